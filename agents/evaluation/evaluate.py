"""Evaluation: one function for every policy, one row an episode.

Any object with Stable-Baselines3's ``predict(observation, state, episode_start, deterministic) -> (action, state)``
is a policy; any Gymnasium vector environment that reports ``info["is_success"]`` is an environment. If a policy has
``set_random_seed(seed)``, it is called before each batch of episodes. If it has ``timings``, a list of seconds of each
plan, and ``steps_per_plan``, the number of steps that a plan serves, the latency reported is that of a plan::

    batch of episodes   reset(seed=[...], options={...})      all start together
                        predict → step → predict → step …     for the manifest's number of steps
    row                 final success   = is_success after the last step
                        ever success    = is_success after any step (or at the start)
                        steps to goal   = steps until it was first true
                        path length     = distance travelled until then
"""

import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from tqdm import tqdm

from agents.evaluation.manifest import Manifest
from agents.evaluation.results import SETTINGS, SUCCESS_KINDS, Episode, EvalResult, compare
from envs.domain import Policy

__all__ = ["Episode", "EvalResult", "Manifest", "Policy", "compare", "evaluate", "measure_latency"]

MakeEnv = Callable[[int], VectorEnv]
"""Makes a vector environment of so many environments."""


def evaluate(
    policy: Policy,
    make_env: MakeEnv,
    manifest: Manifest,
    *,
    num_episodes: int | None = None,
    num_envs: int = 50,
    seed: int = 0,
    deterministic: bool = True,
    previous: EvalResult | None = None,
    batches: Collection[int] | None = None,
    on_batch: Callable[[EvalResult], None] | None = None,
    progress: bool = True,
) -> EvalResult:
    """Runs a policy on the episodes of a manifest, in batches of ``num_envs`` that start together.

    A batch depends on the seed and its place alone, so an evaluation continued from ``previous`` has the rows of an
    uninterrupted one, and so have batches that ran apart and were joined. Environments that end episodes early are run
    on until the batch is done; what follows the end of an episode does not count.

    Args:
        policy: Anything with Stable-Baselines3's ``predict``.
        make_env: Makes a vector environment of so many environments. Each reset gets the manifest's seeds and its reset
            options stacked along the first axis.
        manifest: The episodes.
        num_episodes: Run only the first so many episodes; by default all.
        num_envs: Episodes a batch.
        seed: Seed of the policy; each batch derives its own.
        deterministic: Passed to ``predict``.
        previous: Unfinished result to continue.
        batches: Run only the batches that begin with these episodes; by default all.
        on_batch: Called with the result so far after each batch.
        progress: Whether to show a progress bar.

    Returns:
        The result, one row an episode.

    Raises:
        ValueError: If there are fewer episodes than asked for, ``previous`` belongs to another evaluation, or the
            environment reports no ``is_success``.
    """
    result = begin(
        manifest,
        num_episodes=num_episodes,
        num_envs=num_envs,
        seed=seed,
        deterministic=deterministic,
        previous=previous,
    )
    total = result.num_episodes
    env: VectorEnv | None = None
    closing = contextlib.ExitStack()
    steps = total * manifest.max_steps if manifest.max_steps else None
    bar = tqdm(total=steps, initial=result.env_steps, unit="step", desc=manifest.name, disable=not progress or None)
    with bar, closing:
        for first in result.missing:
            if batches is not None and first not in batches:
                continue
            indices = range(first, min(first + num_envs, total))
            if env is None or env.num_envs != len(indices):
                closing.close()
                env = make_env(len(indices))
                closing.callback(env.close)
            _seed_policy(policy, seed, first)
            result = _add_batch(result, policy, env, manifest, indices, bar)
            bar.set_postfix({kind: f"{result.successes(kind).mean():.1%}" for kind in SUCCESS_KINDS})
            if on_batch is not None:
                on_batch(result)
    return result


def begin(
    manifest: Manifest,
    *,
    num_episodes: int | None = None,
    num_envs: int = 50,
    seed: int = 0,
    deterministic: bool = True,
    previous: EvalResult | None = None,
) -> EvalResult:
    """The result of an evaluation before its first batch, or ``previous``; for arguments see :func:`evaluate`.

    Raises:
        ValueError: If there are fewer episodes than asked for, or ``previous`` belongs to another evaluation.
    """
    total = len(manifest) if num_episodes is None else num_episodes
    if not 1 <= total <= len(manifest):
        raise ValueError(f"num_episodes must be from 1 to {len(manifest)} (those of {manifest.name!r}), got {total}")
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    result = EvalResult(manifest.name, manifest.hash, total, num_envs, seed, deterministic)
    if previous is None:
        return result
    _check_same_evaluation(previous, result)
    return previous


def measure_latency(
    policy: Policy, make_env: MakeEnv, manifest: Manifest, *, num_episodes: int = 3, seed: int = 0
) -> dict[str, Any]:
    """Latency of a policy that acts for a single environment, as it would when deployed.

    Returns:
        ``plan_p50_ms``, ``plan_p95_ms``: milliseconds of a plan (a call, for policies that do not plan);
        ``step_p50_ms``, ``step_p95_ms``: divided by the steps that a plan serves; ``steps_per_plan``; ``num_plans``.
    """
    result = evaluate(
        policy, make_env, manifest, num_episodes=min(num_episodes, len(manifest)), num_envs=1, seed=seed, progress=False
    )
    summary = result.summary()
    names = ("plan_p50_ms", "plan_p95_ms", "step_p50_ms", "step_p95_ms", "steps_per_plan")
    return {name: summary[name] for name in names} | {"num_plans": len(result.plan_seconds)}


def _check_same_evaluation(previous: EvalResult, current: EvalResult) -> None:
    for name in SETTINGS:
        had, wanted = getattr(previous, name), getattr(current, name)
        if had != wanted:
            raise ValueError(f"previous result must be of the same evaluation: {name} was {had!r}, now {wanted!r}")


def _seed_policy(policy: Policy, seed: int, first: int) -> None:
    """Restarts the policy's random numbers for the batch whose first episode is ``first``."""
    set_seed = getattr(policy, "set_random_seed", None)
    if callable(set_seed):
        set_seed(int(np.random.SeedSequence([seed, first]).generate_state(1)[0]) >> 1)  # SB3 wants 31 bits


def _add_batch(
    result: EvalResult, policy: Policy, env: VectorEnv, manifest: Manifest, indices: range, bar: Any
) -> EvalResult:
    """The result with what one more batch gives."""
    started = time.perf_counter()
    timings: list[float] | None = getattr(policy, "timings", None)
    num_timed = len(timings or ())
    rows, seconds = _run_batch(policy, env, manifest, indices, result.deterministic, bar)
    if timings is not None:
        seconds = policy.timings[num_timed:]  # type: ignore[attr-defined]
    batch = replace(
        result,
        rows=rows,
        plan_seconds=tuple(round(float(s), 6) for s in seconds),
        steps_per_plan=int(getattr(policy, "steps_per_plan", 1)),
        wall_seconds=time.perf_counter() - started,
        env_steps=sum(row.num_steps for row in rows),
    )
    return result.joined(batch)


def _run_batch(
    policy: Policy, env: VectorEnv, manifest: Manifest, indices: range, deterministic: bool, bar: Any
) -> tuple[tuple[Episode, ...], list[float]]:
    """Runs one batch of episodes; returns its rows and the seconds of each call of ``predict``."""
    n = len(indices)
    seeds: Any = [manifest.seeds[i] for i in indices]  # the base class declares an int; vector environments take lists
    observation, infos = env.reset(seed=seeds, options=manifest.options(indices))
    record = _Record(n, infos)
    state: Any = None
    starts, running = np.ones(n, dtype=bool), np.ones(n, dtype=bool)
    seconds: list[float] = []
    while running.any():
        called = time.perf_counter()
        action, state = policy.predict(observation, state, starts, deterministic)
        seconds.append(time.perf_counter() - called)
        observation, reward, terminated, truncated, infos = env.step(action)
        ended = np.asarray(terminated) | np.asarray(truncated)
        record.add(reward, ended, infos, running)
        bar.update(int(running.sum()))
        running &= ~ended
        starts = ended
        if record.num_steps.max() == manifest.max_steps:
            break
        if ended.any() and running.any() and env.metadata.get("autoreset_mode") == AutoresetMode.DISABLED:
            observation, _ = env.reset(options={"reset_mask": ended})
    return record.rows(manifest, indices), seconds


class _Record:
    """Metrics of a batch of episodes, each frozen when its episode ends."""

    def __init__(self, n: int, infos: dict[str, Any]) -> None:
        self.num_steps = np.zeros(n, dtype=int)
        self.total_reward = np.zeros(n)
        self.success = np.zeros(n, dtype=bool)
        if "is_success" in infos:
            self.success = np.array(infos["is_success"], dtype=bool)
        self.steps_to_goal = np.where(self.success, 0, -1)
        self.path_length = np.zeros(n)
        self.position = np.array(infos["position"], dtype=np.float64) if "position" in infos else None
        self.distance = np.array(infos["distance"], dtype=np.float64) if "distance" in infos else None

    def add(self, reward: Any, ended: NDArray[np.bool_], infos: dict[str, Any], running: NDArray[np.bool_]) -> None:
        """Takes in one step of the episodes that are still ``running``."""
        success = _info(infos, "is_success", ended)
        if success is None:
            raise ValueError(
                "the environment must report 'is_success' in info after each step, as Gymnasium-Robotics does "
                "(--goal-image.success says what counts where it does not), "
                f"got {sorted(key for key in infos if not key.startswith('_'))}"
            )
        self.num_steps += running
        self.total_reward += np.where(running, np.asarray(reward, dtype=np.float64), 0.0)
        position, distance = _info(infos, "position", ended), _info(infos, "distance", ended)
        if self.position is not None and position is not None:
            travelled = np.linalg.norm(position - self.position, axis=-1)
            self.path_length += np.where(running & (self.steps_to_goal < 0), travelled, 0.0)
            self.position = np.where(running[:, None], position, self.position)
        if self.distance is not None and distance is not None:
            self.distance = np.where(running, distance, self.distance)
        self.success = np.where(running, success.astype(bool), self.success)
        reached = running & self.success & (self.steps_to_goal < 0)
        self.steps_to_goal = np.where(reached, self.num_steps, self.steps_to_goal)

    def rows(self, manifest: Manifest, indices: range) -> tuple[Episode, ...]:
        """One row an episode."""
        return tuple(
            Episode(
                index=index,
                final_success=bool(self.success[i]),
                ever_success=bool(self.steps_to_goal[i] >= 0),
                steps_to_goal=int(self.steps_to_goal[i]) if self.steps_to_goal[i] >= 0 else None,
                num_steps=int(self.num_steps[i]),
                total_reward=round(float(self.total_reward[i]), 6),
                final_distance=None if self.distance is None else round(float(self.distance[i]), 6),
                path_length=None if self.position is None else round(float(self.path_length[i]), 6),
                shortest_path=None if manifest.shortest_paths is None else manifest.shortest_paths[index],
            )
            for i, index in enumerate(indices)
        )


def _info(infos: dict[str, Any], key: str, ended: NDArray[np.bool_]) -> NDArray[Any] | None:
    """An entry of a vector environment's info after a step, before any automatic reset in the same step."""
    now, last = infos.get(key), infos.get("final_info", {}).get(key)
    if now is None or last is None:
        reported = last if now is None else now
        return None if reported is None else np.array(reported)
    return np.where(ended.reshape(ended.shape + (1,) * (np.ndim(last) - 1)), last, now)
