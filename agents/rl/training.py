"""Training under a budget, saved at good places: everything that a run saves is committed as one set.

::

    rollout ──► update ──► rollout ──► update …       evaluations come within rollouts
            ▲           ▲           ▲
            └───────────┴───────────┴── here a run is saved, and here it goes on when it was stopped or killed

A good place is between an update and the next rollout, where networks, replay buffer and counts tell of the same steps.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from tqdm import tqdm

from agents.rl.evaluation import Evaluation, Findings, Stopped
from agents.rl.storage.files import BEST, MODEL, PROGRESS, REPLAY, Progress, read_progress, settings_hash
from agents.rl.storage.replay import replay_writer
from agents.rl.storage.weights import MAX_ZIP_BYTES, check_finite, check_policy, model_bytes
from worldmodel.config import to_json
from worldmodel.storage.files import Content, commit, read_bytes

logger = logging.getLogger(__name__)


def train(
    model: BaseAlgorithm,
    folder: Path,
    *,
    max_seconds: float | None = None,
    max_steps: int | None = None,
    evaluation: Evaluation | None = None,
    save_seconds: float = 120.0,
    save_replay: bool = True,
    progress: bool = True,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Progress:
    """Trains a model until its budget is spent, or goes on with what a folder holds.

    A budget of steps is met by whole rollouts: it is exceeded by less than one of them, which is a step of all
    environments with a replay buffer (times ``train_freq``), and ``n_steps`` of them without one. A budget of seconds
    is exceeded by a step or an update, and by the last save.

    Args:
        model: The model, new or from :func:`agents.rl.models.load` with its environment.
        folder: Where it is saved, every ``save_seconds`` and at the end. This process alone writes to it.
        max_seconds: Seconds to spend over all resumptions; None: no limit.
        max_steps: Environment steps to spend over all resumptions; None: no limit.
        evaluation: How it is evaluated in between; the model that was best is kept beside the last.
        save_seconds: Seconds between two saves, which wait for the end of a rollout.
        save_replay: Whether to save the replay buffer too, so that a resumed run has it.
        progress: Whether to show a progress bar, if there is a limit of steps.
        is_stopped: Asked again and again whether to stop; by default never.

    Returns:
        Where the run stands, and what has been spent.

    Raises:
        ValueError: If there is no limit, or the model is not the one that the folder holds.
        FloatingPointError: If weights are no longer finite; what was saved before remains.
        KeyboardInterrupt: After saving, if it was stopped; the run goes on from the last update. Other errors, and a
            KeyboardInterrupt that does not come from here, leave what was saved before.
    """
    if max_seconds is None and max_steps is None:
        raise ValueError("max_seconds or max_steps must be given, got None for both")
    before = read_progress(folder)
    if model.num_timesteps != before.steps:
        raise ValueError(
            f"model must have made the {before.steps} steps that {folder} tells of, got {model.num_timesteps}"
        )
    run = _Run(folder, before, evaluation, max_seconds, save_seconds, save_replay, is_stopped)
    if evaluation is not None:
        evaluation.resume(folder, before)
        evaluation.clock, evaluation.is_stopped = run.seconds, is_stopped
        _mend_best(model, folder, before, evaluation)
    if (max_steps is None or before.steps < max_steps) and not run.is_over():
        _learn(model, run, evaluation, max_steps, progress)
    return read_progress(folder)


def _mend_best(model: BaseAlgorithm, folder: Path, before: Progress, evaluation: Evaluation) -> None:
    """Puts the last model in the place of the best one, if that is missing or damaged."""
    if before.best_steps is None:
        return
    path = folder / BEST
    try:
        check_policy(model, read_bytes(path, max_bytes=MAX_ZIP_BYTES), path)
    except (OSError, ValueError) as error:
        logger.warning("%s; the last model takes the place of the best", error)
        mended = replace(before, best_steps=before.steps, best_return=None)
        commit(folder, {BEST: read_bytes(folder / MODEL, max_bytes=MAX_ZIP_BYTES), PROGRESS: _to_bytes(mended)})
        evaluation.resume(folder, mended)


def _to_bytes(progress: Progress) -> bytes:
    return (json.dumps(to_json(progress)) + "\n").encode()


def _learn(
    model: BaseAlgorithm, run: "_Run", evaluation: Evaluation | None, max_steps: int | None, progress: bool
) -> None:
    done = model.num_timesteps
    left = 2**62 if max_steps is None else max_steps - done
    hidden = not progress or max_steps is None or None  # None: hidden where there is no terminal
    was_stopped = False
    with tqdm(total=max_steps, initial=done, disable=hidden, unit="step") as run.bar:
        callbacks: list[BaseCallback] = [callback for callback in (evaluation, run) if callback is not None]
        try:
            model.learn(left, callback=callbacks, reset_num_timesteps=done == 0)
        except Stopped:
            was_stopped = True
            run.go_back()
        except (ValueError, RuntimeError):
            check_finite(model)  # distributions refuse what is not, in many words
            raise
    run.save()
    if was_stopped:
        raise KeyboardInterrupt


@dataclass(eq=False, repr=False)
class _Run(BaseCallback):
    """Saves at good places, and ends training when its time is over or it was asked to stop."""

    folder: Path
    before: Progress
    evaluation: Evaluation | None
    max_seconds: float | None
    save_seconds: float
    save_replay: bool
    is_stopped: Callable[[], bool]
    bar: tqdm = field(init=False)

    def __post_init__(self) -> None:
        super().__init__()
        self.settings = settings_hash(self.folder)
        self._saved = time.monotonic()
        self._began = self._saved - self.before.seconds

    def seconds(self) -> float:
        """Seconds that the run has taken."""
        return time.monotonic() - self._began

    def is_over(self) -> bool:
        """Whether its time is."""
        return self.max_seconds is not None and self.seconds() >= self.max_seconds

    def go_back(self) -> None:
        """Forgets the steps of a rollout from which nothing has been learned; they will be made again."""
        self.model.num_timesteps, self.model._episode_num, findings = self._place
        if self.evaluation is not None:
            self.evaluation.findings = findings

    def save(self) -> None:
        """Commits all that the run has to save."""
        found = self._findings()
        progress = Progress(
            steps=self.model.num_timesteps,
            seconds=self.seconds(),
            episodes=self.model._episode_num,
            updates=self.model._n_updates,
            best_steps=found.best_steps,
            best_return=found.best_return,
            settings=self.settings,
        )
        files: dict[str, Content] = {MODEL: model_bytes(self.model), PROGRESS: _to_bytes(progress)}
        if self.save_replay and isinstance(self.model, OffPolicyAlgorithm):
            assert isinstance(self.model.replay_buffer, DictReplayBuffer)
            files[REPLAY] = replay_writer(self.model.replay_buffer)
        if self.evaluation is not None:
            files |= self.evaluation.files()
        commit(self.folder, files)
        if self.evaluation is not None:
            self.evaluation.findings = replace(found, best_model=None)
        self._saved = time.monotonic()

    def _on_rollout_start(self) -> None:
        self._place = self.model.num_timesteps, self.model._episode_num, self._findings()
        if self.is_stopped():
            raise Stopped
        if time.monotonic() - self._saved > self.save_seconds:
            self.save()

    def _on_step(self) -> bool:
        self.bar.update(self.training_env.num_envs)
        if self.is_stopped():
            raise Stopped
        return not self.is_over()

    def _findings(self) -> Findings:
        """What evaluations have found, if there are any."""
        return Findings() if self.evaluation is None else self.evaluation.findings
