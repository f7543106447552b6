"""Evaluation while a model is trained: what it found is kept in memory, and saved together with the model.

Stable-Baselines3's ``EvalCallback`` writes files of its own whenever it has something to write; killed in between, they
tell of different models. :class:`Evaluation` writes nothing: :func:`agents.rl.models.train` commits its files
(:meth:`Evaluation.files`) with all others.
"""

import io
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from agents.rl.storage.arrays import open_arrays, read_array
from agents.rl.storage.files import CURVE, EVALUATIONS, Progress
from agents.rl.storage.weights import check_finite, model_bytes
from worldmodel.checkpoint import CheckpointError
from worldmodel.storage.files import read_rows

logger = logging.getLogger(__name__)

MAX_EVALUATION_BYTES = 2**28
"""Most bytes of an array of evaluations."""


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Training was asked to stop."""


@dataclass(frozen=True)
class Evaluated:
    """One evaluation.

    Attributes:
        steps: Steps of the training environments before it, of all of them together.
        returns: Sum of rewards of each episode, ``(episodes,)``.
        lengths: Steps of each.
        successes: Whether each ended at the goal.
    """

    steps: int
    returns: NDArray[np.floating[Any]]
    lengths: NDArray[np.signedinteger[Any]]
    successes: NDArray[np.bool_]


@dataclass(frozen=True)
class Findings:
    """What evaluations have found so far.

    Attributes:
        evaluations: All of them.
        curve: Steps, seconds and success of each.
        best_steps: Steps after which the best model was found; None: there is none yet.
        best_return: What it returned on average; None: unknown, the next one is better.
        best_model: That model, where it has not been saved yet.
    """

    evaluations: tuple[Evaluated, ...] = ()
    curve: tuple[Mapping[str, Any], ...] = ()
    best_steps: int | None = None
    best_return: float | None = None
    best_model: bytes | None = None


class Evaluation(BaseCallback):
    """Measures a model every so often.

    Args:
        env: Environments to evaluate in, whose infos tell ``is_success``.
        num_episodes: Episodes of an evaluation.
        every: Steps of each training environment between two evaluations.
        action_repeat: How often each action is taken: steps of the learning curve are those of the environments.
        log: Whether to log what each evaluation finds.

    Attributes:
        findings: What has been found.
        clock: Seconds that training has taken; set by :func:`agents.rl.models.train`.
        is_stopped: Whether to leave off; set by :func:`agents.rl.models.train`.
    """

    def __init__(
        self, env: VecEnv, *, num_episodes: int, every: int, action_repeat: int = 1, log: bool = False
    ) -> None:
        super().__init__()
        self.env = env
        self.num_episodes = num_episodes
        self.every = every
        self.action_repeat = action_repeat
        self.log = log
        self.findings = Findings()
        self.clock: Callable[[], float] = lambda: 0.0
        self.is_stopped: Callable[[], bool] = lambda: False

    def files(self) -> dict[str, bytes | None]:
        """All evaluations and the learning curve, by the names of their files; None where there are none."""
        rows, curve = self.findings.evaluations, self.findings.curve
        arrays = io.BytesIO()
        if rows:
            np.savez(
                arrays,
                timesteps=np.array([row.steps for row in rows], dtype=np.int64),
                results=np.stack([row.returns for row in rows]),
                ep_lengths=np.stack([row.lengths for row in rows]),
                successes=np.stack([row.successes for row in rows]),
            )
        lines = "".join(json.dumps(dict(line)) + "\n" for line in curve)
        return {EVALUATIONS: arrays.getvalue() if rows else None, CURVE: lines.encode() if curve else None}

    def resume(self, folder: Path, progress: Progress) -> None:
        """Goes on with the evaluations that a folder holds; those that are damaged are left out, with a warning.

        Args:
            folder: The run's folder.
            progress: Where it stands; what came after it is evaluated again.
        """
        self.findings = Findings(
            evaluations=tuple(row for row in _read_evaluations(folder) if row.steps <= progress.steps),
            curve=tuple(line for line in _read_curve(folder) if line["steps"] <= progress.steps * self.action_repeat),
            best_steps=progress.best_steps,
            best_return=progress.best_return,
        )

    def _on_step(self) -> bool:
        if (self.num_timesteps // self.training_env.num_envs) % self.every == 0:
            self._evaluate()
        return True

    def _evaluate(self) -> None:
        check_finite(self.model)
        successes: list[bool] = []

        def look(now: dict[str, Any], _: dict[str, Any]) -> None:
            if self.is_stopped():
                raise Stopped
            if now["done"]:
                successes.append(bool(now["info"]["is_success"]))

        returns, lengths = evaluate_policy(
            self.model, self.env, self.num_episodes, deterministic=True, callback=look, return_episode_rewards=True
        )
        assert isinstance(returns, list)
        assert isinstance(lengths, list)
        found = Evaluated(self.num_timesteps, np.array(returns), np.array(lengths), np.array(successes, dtype=np.bool_))
        line = {
            "steps": found.steps * self.action_repeat,
            "seconds": self.clock(),
            "success": float(np.mean(successes)),
        }
        before, mean_return = self.findings, float(np.mean(returns))
        after = replace(before, evaluations=(*before.evaluations, found), curve=(*before.curve, line))
        if before.best_return is None or mean_return > before.best_return:
            after = replace(after, best_steps=found.steps, best_return=mean_return, best_model=model_bytes(self.model))
        self.findings = after
        self._record(mean_return, float(np.mean(lengths)), line)

    def _record(self, mean_return: float, mean_length: float, line: Mapping[str, Any]) -> None:
        self.logger.record("eval/mean_reward", mean_return)
        self.logger.record("eval/mean_ep_length", mean_length)
        self.logger.record("eval/success_rate", line["success"])
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)
        if self.log:
            logger.info(
                "%d steps, %.1f minutes: %.0f%% of validation episodes end at the goal",
                *(line["steps"], line["seconds"] / 60, 100 * line["success"]),
            )


def _read_evaluations(folder: Path) -> list[Evaluated]:
    """All evaluations of a folder, in order; none, with a warning, if the file is damaged."""
    path = folder / EVALUATIONS
    if not path.exists():
        return []
    names = {"timesteps": ("i", 1), "results": ("f", 2), "ep_lengths": ("i", 2), "successes": ("b", 2)}
    try:
        with open_arrays(path) as archive:
            arrays = {
                name: read_array(archive, name, kinds, num_dims, MAX_EVALUATION_BYTES)
                for name, (kinds, num_dims) in names.items()
            }
            steps = arrays["timesteps"]
            if {len(array) for array in arrays.values()} != {len(steps)} or not bool((np.diff(steps) > 0).all()):
                raise ValueError("it must hold evaluations in the order in which they were made")
    except CheckpointError as error:
        logger.warning("%s; these evaluations are left out", error)
        return []
    return [Evaluated(int(row[0]), *row[1:]) for row in zip(*(arrays[name] for name in names), strict=True)]


def _read_curve(folder: Path) -> list[dict[str, Any]]:
    """All lines of the learning curve of a folder, up to the last whole one."""
    path = folder / CURVE
    try:
        return read_rows(path, {"steps": int, "seconds": (int, float), "success": (int, float)})
    except ValueError as error:
        logger.warning("%s; the learning curve so far is left out", error)
        return []
