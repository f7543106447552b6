"""Evaluation while a model is trained: what it found is kept in memory, and saved together with the model.

Stable-Baselines3's ``EvalCallback`` writes files of its own whenever it has something to write; killed in between, they
tell of different models. :class:`Evaluation` writes nothing: :func:`agents.rl.training.train` commits its files
(:meth:`Evaluation.files`) with all others.
"""

import io
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from agents.rl.storage.arrays import open_arrays, read_array
from agents.rl.storage.files import BEST, CURVE, EVALUATIONS, Progress
from agents.rl.storage.weights import check_finite, model_bytes
from agents.rl.vec_env import refuse_normalized
from worldmodel.checkpoint import CheckpointError
from worldmodel.storage.files import read_rows

logger = logging.getLogger(__name__)

EVALUATED = {"timesteps": ("i", 1), "results": ("f", 2), "ep_lengths": ("i", 2), "successes": ("b", 2)}
"""Arrays with a row for each evaluation, with the kind of their numbers and their dimensions: steps of the training
environments before it, of all of them together; of each of its episodes the sum of rewards, steps, and success."""
MAX_EVALUATION_BYTES = 2**28
"""Most bytes of an array of evaluations."""


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Training was asked to stop."""


@dataclass(frozen=True)
class Findings:
    """What evaluations have found so far.

    Attributes:
        evaluations: Those of all evaluations, as in their file (:data:`EVALUATED`); none where there was none yet.
        curve: Steps, seconds and success of each.
        best_steps: Steps after which the best model was found; None: there is none yet.
        best_return: What it returned on average; None: unknown, the next one is better.
        best_model: That model, where it has not been saved yet.
    """

    evaluations: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    curve: tuple[Mapping[str, Any], ...] = ()
    best_steps: int | None = None
    best_return: float | None = None
    best_model: bytes | None = None


@dataclass(eq=False, repr=False)
class Evaluation(BaseCallback):
    """Measures a model every so often.

    Args:
        env: Environments to evaluate in, whose infos tell ``is_success``.
        num_episodes: Episodes of an evaluation.
        every: Steps of each training environment between two evaluations.
        action_repeat: How often each action is taken: steps of the learning curve are those of the environments.
        log: Whether to log what each evaluation finds.
        clock: Seconds that training has taken; set by :func:`agents.rl.training.train`.
        is_stopped: Whether to leave off; set by :func:`agents.rl.training.train`.

    Attributes:
        findings: What has been found.

    Raises:
        ValueError: If the environments are in VecNormalize.
    """

    env: VecEnv
    _: KW_ONLY
    num_episodes: int
    every: int
    action_repeat: int = 1
    log: bool = False
    clock: Callable[[], float] = lambda: 0.0
    is_stopped: Callable[[], bool] = lambda: False
    findings: Findings = field(init=False, default_factory=Findings)

    def __post_init__(self) -> None:
        refuse_normalized("env", self.env)
        super().__init__()

    def files(self) -> dict[str, bytes | None]:
        """What is to be saved, by the names of its files: all evaluations, the learning curve, a new best model.

        None removes a file: there is nothing to be saved in it.
        """
        found, arrays = self.findings, io.BytesIO()
        if any(map(len, found.evaluations.values())):
            np.savez(arrays, **found.evaluations)  # type: ignore[arg-type]
        lines = "".join(json.dumps(dict(line)) + "\n" for line in found.curve)
        files = {EVALUATIONS: arrays.getvalue() or None, CURVE: lines.encode() or None}
        return files if found.best_model is None else files | {BEST: found.best_model}

    def resume(self, folder: Path, progress: Progress) -> None:
        """Goes on with the evaluations that a folder holds; those that are damaged are left out, with a warning.

        Args:
            folder: The run's folder.
            progress: Where it stands; what came after it is evaluated again.
        """
        arrays = _read_evaluations(folder)
        self.findings = Findings(
            evaluations={name: array[arrays["timesteps"] <= progress.steps] for name, array in arrays.items()},
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
        steps, before, mean_return = self.num_timesteps, self.findings, float(np.mean(returns))
        row = {"timesteps": steps, "results": returns, "ep_lengths": lengths, "successes": successes}
        arrays = {name: np.array([*before.evaluations.get(name, ()), value]) for name, value in row.items()}
        line = {
            "steps": steps * self.action_repeat,
            "seconds": self.clock(),
            "success": float(np.mean(successes)),
        }
        self.findings = replace(before, evaluations=arrays, curve=(*before.curve, line))
        if before.best_return is None or mean_return > before.best_return:
            self.findings = replace(
                self.findings, best_steps=steps, best_return=mean_return, best_model=model_bytes(self.model)
            )
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


def _read_evaluations(folder: Path) -> dict[str, NDArray[Any]]:
    """All evaluations of a folder, in order; none, with a warning, if the file is damaged."""
    path = folder / EVALUATIONS
    if not path.exists():
        return {}
    try:
        with open_arrays(path) as archive:
            arrays = {name: read_array(archive, name, MAX_EVALUATION_BYTES) for name in EVALUATED}
            steps = arrays["timesteps"]
            for name, (kind, num_dims) in EVALUATED.items():
                array = arrays[name]
                if array.dtype.kind != kind or array.ndim != num_dims or len(array) != len(steps):
                    raise ValueError(f"{name!r} must have a row for each evaluation, got {array.dtype} {array.shape}")
            if not bool((np.diff(steps) > 0).all()):
                raise ValueError("it must hold evaluations in the order in which they were made")
    except CheckpointError as error:
        logger.warning("%s; these evaluations are left out", error)
        return {}
    return arrays


def _read_curve(folder: Path) -> list[dict[str, Any]]:
    """All lines of the learning curve of a folder, up to the last whole one."""
    path = folder / CURVE
    try:
        return read_rows(path, {"steps": int, "seconds": (int, float), "success": (int, float)})
    except ValueError as error:
        logger.warning("%s; the learning curve so far is left out", error)
        return []
