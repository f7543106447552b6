"""Results of evaluations: one row an episode, aggregates, paired comparisons."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.statistics import Comparison, compare_paired, spl, wilson_interval

SUCCESS_KINDS = ("final", "ever")
"""Success at the last step of an episode, and at any step of it."""
SETTINGS = ("manifest", "manifest_hash", "num_episodes", "num_envs", "seed", "deterministic")
"""Fields of a result that say of which evaluation it is."""


@dataclass(frozen=True)
class Episode:
    """What happened in one episode; lengths are in the environment's unit.

    Attributes:
        index: Place in the manifest.
        final_success: Whether the goal was reached at the last step.
        ever_success: Whether it was reached at any step.
        steps_to_goal: Steps until it was first reached; none if never.
        num_steps: Steps of the episode.
        total_reward: Sum of rewards.
        final_distance: Distance to the goal after the last step, if the environment reports ``distance``.
        path_length: Distance travelled until the goal was first reached (or the end), if it reports ``position``.
        shortest_path: Length of the shortest path, if the manifest knows it.
    """

    index: int
    final_success: bool
    ever_success: bool
    steps_to_goal: int | None
    num_steps: int
    total_reward: float
    final_distance: float | None = None
    path_length: float | None = None
    shortest_path: float | None = None


@dataclass(frozen=True)
class EvalResult:
    """The rows of an evaluation and what produced them.

    Attributes:
        manifest: Name of the manifest.
        manifest_hash: Its hash.
        num_episodes: Number of episodes asked for: the first of the manifest. Fewer rows mean an unfinished evaluation.
        num_envs: Episodes a batch.
        seed: Seed of the policy.
        deterministic: Passed to ``predict``.
        rows: One entry an episode.
        plan_seconds: Seconds of each plan (of each call, if the policy reports no timings) for ``num_envs`` at once.
        steps_per_plan: Steps that a plan serves.
        wall_seconds: Duration of all batches, one after the other.
        env_steps: Environment steps made.
    """

    manifest: str
    manifest_hash: str
    num_episodes: int
    num_envs: int
    seed: int
    deterministic: bool
    rows: tuple[Episode, ...] = ()
    plan_seconds: tuple[float, ...] = ()
    steps_per_plan: int = 1
    wall_seconds: float = 0.0
    env_steps: int = 0

    @property
    def finished(self) -> bool:
        """Whether there is a row for each episode."""
        return len(self.rows) == self.num_episodes

    @property
    def missing(self) -> list[int]:
        """First episodes of the batches whose rows are not there yet."""
        done = {row.index for row in self.rows}
        return [first for first in range(0, self.num_episodes, self.num_envs) if first not in done]

    def joined(self, other: "EvalResult") -> "EvalResult":
        """The result with what another one of the same evaluation has of other batches."""
        return replace(
            self,
            rows=tuple(sorted(self.rows + other.rows, key=lambda row: row.index)),
            plan_seconds=self.plan_seconds + other.plan_seconds,
            steps_per_plan=other.steps_per_plan,
            wall_seconds=self.wall_seconds + other.wall_seconds,
            env_steps=self.env_steps + other.env_steps,
        )

    def successes(self, kind: str = "final") -> NDArray[np.bool_]:
        """Whether each episode succeeded, ``(num_episodes,)``.

        Raises:
            ValueError: If the kind is neither "final" nor "ever".
        """
        if kind not in SUCCESS_KINDS:
            raise ValueError(f"kind of success must be one of {', '.join(map(repr, SUCCESS_KINDS))}, got {kind!r}")
        return np.array([getattr(row, f"{kind}_success") for row in self.rows], dtype=bool)

    def summary(self) -> dict[str, Any]:
        """Aggregates: rates with Wilson 95% intervals, SPL, steps, distances, latency.

        Entries that the environment or the manifest gives no data for are None. Latency is in milliseconds: of a plan
        (for ``num_envs`` episodes at once) and of a plan divided by the steps it serves.
        """
        rows = self.rows
        summary: dict[str, Any] = {"num_episodes": len(rows)}
        for kind in SUCCESS_KINDS:
            success = self.successes(kind)
            summary[f"{kind}_success"] = float(success.mean()) if len(rows) else None
            summary[f"{kind}_success_interval"] = (
                list(wilson_interval(int(success.sum()), len(rows))) if len(rows) else None
            )
        paths = [(r.ever_success, r.shortest_path, r.path_length) for r in rows]
        measured = [(s, a, b) for s, a, b in paths if a is not None and b is not None]
        summary["spl"] = spl(*zip(*measured, strict=True)) if measured and len(measured) == len(rows) else None
        summary["mean_steps_to_goal"] = _mean([r.steps_to_goal for r in rows])
        summary["mean_final_distance"] = _mean([r.final_distance for r in rows])
        summary["mean_total_reward"] = _mean([r.total_reward for r in rows])
        for quantile in (50, 95):
            plan = 1e3 * float(np.percentile(self.plan_seconds, quantile)) if self.plan_seconds else None
            summary[f"plan_p{quantile}_ms"] = plan
            summary[f"step_p{quantile}_ms"] = None if plan is None else plan / self.steps_per_plan
        return summary | {
            "steps_per_plan": self.steps_per_plan,
            "wall_seconds": self.wall_seconds,
            "env_steps": self.env_steps,
        }

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "EvalResult":
        """The inverse of :meth:`to_dict`; keys it does not know fail.

        Raises:
            ValueError: If the content is no evaluation result.
        """
        try:
            rows = tuple(Episode(**row) for row in content["rows"])
            return cls(**(content | {"rows": rows, "plan_seconds": tuple(content["plan_seconds"])}))
        except (KeyError, TypeError) as error:
            raise ValueError(f"an evaluation result must have the fields of EvalResult: {error}") from error


def compare(first: EvalResult, second: EvalResult, kind: str = "final") -> Comparison:
    """Compares two policies on the same episodes, pair by pair.

    Raises:
        ValueError: If the results are not of the same episodes of the same manifest.
    """
    if first.manifest_hash != second.manifest_hash:
        raise ValueError(
            "compared results must be of the same manifest, got "
            f"{first.manifest!r} ({first.manifest_hash[:12]}) and {second.manifest!r} ({second.manifest_hash[:12]})"
        )
    indices = [[row.index for row in result.rows] for result in (first, second)]
    if indices[0] != indices[1]:
        raise ValueError(
            f"compared results must hold the same episodes, got {len(indices[0])} and {len(indices[1])} of them"
        )
    return compare_paired(first.successes(kind).tolist(), second.successes(kind).tolist())


def _mean(values: list[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
