"""Reinforcement learning with Stable-Baselines3 and sb3-contrib: algorithms by name, budgets, checkpoints, resuming.

::

    make_model      name of an algorithm, environment, features ──► model
    train           model, budget ──► folder: model.zip, replay.pkl, progress.json
    load            folder ──► model, whose ``predict`` goes through the one evaluation

The folder's ``rl.json``, which names the algorithm, and its ``best_model.zip`` come from :mod:`benchmarks.train_rl`.
Models are saved by Stable-Baselines3 as zips that hold pickles: load only those that you trust.
"""

import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sb3_contrib
import stable_baselines3
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from worldmodel.checkpoint import replacing

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    "a2c": stable_baselines3.A2C,
    "ppo": stable_baselines3.PPO,
    "trpo": sb3_contrib.TRPO,
    "recurrent-ppo": sb3_contrib.RecurrentPPO,
    "ddpg": stable_baselines3.DDPG,
    "td3": stable_baselines3.TD3,
    "sac": stable_baselines3.SAC,
    "tqc": sb3_contrib.TQC,
}
"""Algorithms for continuous actions that take Dict observations (ARS and CrossQ of sb3-contrib do not)."""
MODEL, BEST, REPLAY, PROGRESS, CONFIG = "model.zip", "best_model.zip", "replay.pkl", "progress.json", "rl.json"
"""Names of a run's files."""


@dataclass(frozen=True)
class Spent:
    """What a run has cost so far, over all its resumptions.

    Attributes:
        steps: Environment steps, of all environments together.
        seconds: Seconds, evaluations included.
    """

    steps: int = 0
    seconds: float = 0.0


def is_off_policy(algorithm: str) -> bool:
    """Whether an algorithm learns from a replay buffer, and can relabel goals in hindsight.

    Raises:
        ValueError: If there is no such algorithm.
    """
    return issubclass(_algorithm(algorithm), OffPolicyAlgorithm)


def make_model(
    algorithm: str,
    env: VecEnv,
    *,
    features: type,
    feature_options: Mapping[str, Any] | None = None,
    hindsight: bool = False,
    options: Mapping[str, Any] | None = None,
    policy_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
    log: Path | None = None,
) -> BaseAlgorithm:
    """Makes an untrained model.

    Args:
        algorithm: One of :data:`ALGORITHMS`.
        env: What it is to be trained in.
        features: A features extractor (:mod:`agents.features`).
        feature_options: Its keywords.
        hindsight: Whether to relabel goals in hindsight (HER, arXiv 1707.01495).
        options: Keywords of the algorithm, such as ``learning_rate``.
        policy_options: Keywords of its policy, such as ``net_arch``.
        seed: Seed of weights, exploration and replay.
        device: Where its networks are.
        log: Folder for TensorBoard; None: none.

    Raises:
        ValueError: If there is no such algorithm, or it has no replay buffer to relabel goals in.
    """
    make = _algorithm(algorithm)
    keywords = dict(options or {})
    if hindsight:
        if not is_off_policy(algorithm):
            names = ", ".join(repr(name) for name in ALGORITHMS if is_off_policy(name))
            raise ValueError(f"hindsight needs an algorithm with a replay buffer ({names}), got {algorithm!r}")
        keywords |= {
            "replay_buffer_class": HerReplayBuffer,
            "replay_buffer_kwargs": {"n_sampled_goal": 4, "goal_selection_strategy": "future"},
        }
    policy = {
        "features_extractor_class": features,
        "features_extractor_kwargs": dict(feature_options or {}),
        "normalize_images": False,
        **(policy_options or {}),
    }
    return make(
        "MultiInputLstmPolicy" if algorithm == "recurrent-ppo" else "MultiInputPolicy",
        env,
        policy_kwargs=policy,
        seed=seed,
        device=device,
        tensorboard_log=None if log is None else str(log),
        **keywords,
    )


def train(
    model: BaseAlgorithm,
    folder: Path,
    *,
    max_seconds: float | None = None,
    max_steps: int | None = None,
    callbacks: list[BaseCallback] | None = None,
    save_seconds: float = 120.0,
    save_replay: bool = True,
    progress: bool = True,
) -> Spent:
    """Trains a model until its budget is spent, or goes on with what a folder holds.

    Args:
        model: The model, new or from :func:`load` with its environment.
        folder: Where it is saved, every ``save_seconds`` and at the end.
        max_seconds: Seconds to spend over all resumptions; None: no limit.
        max_steps: Environment steps to spend over all resumptions; None: no limit.
        callbacks: Further callbacks, such as an ``EvalCallback``.
        save_seconds: Seconds between two saves.
        save_replay: Whether to save the replay buffer too, so that a resumed run has it.
        progress: Whether to show a progress bar, if there is a limit of steps.

    Returns:
        What has been spent.

    Raises:
        ValueError: If there is no limit.
        KeyboardInterrupt: After saving, if interrupted. Other errors leave what was saved before.
    """
    if max_seconds is None and max_steps is None:
        raise ValueError("max_seconds or max_steps must be given, got None for both")
    folder.mkdir(parents=True, exist_ok=True)
    before = spent(folder)
    budget = _Budget(model, folder, before, max_seconds, save_seconds, save_replay)
    left = 2**62 if max_steps is None else max_steps - before.steps
    if left > 0 and (max_seconds is None or before.seconds < max_seconds):
        try:
            model.learn(
                left,
                callback=CallbackList([*(callbacks or []), budget]),
                reset_num_timesteps=before.steps == 0,
                progress_bar=progress and max_steps is not None,
            )
        except KeyboardInterrupt:
            budget.save()
            raise
        budget.save()
    return spent(folder)


def load(folder: Path, env: VecEnv | None = None, *, best: bool = False, device: str = "cpu") -> BaseAlgorithm:
    """Reads a trained model.

    Args:
        folder: The run's folder.
        env: Environment to go on training in, with the saved replay buffer if there is one.
        best: The model that was best at validation in place of the last one, where there is one.
        device: Where its networks go.

    Raises:
        FileNotFoundError: If there is none.
    """
    config = read_config(folder)
    make = _algorithm(config["algorithm"])
    path = folder / BEST if best and (folder / BEST).exists() else folder / MODEL
    replaced: dict[str, Any] = {}
    if env is None and issubclass(make, OffPolicyAlgorithm):
        # To act it needs no replay buffer, whose memory would be taken at once.
        replaced = {"replay_buffer_class": None, "replay_buffer_kwargs": {}, "buffer_size": 1}
    model = make.load(path, env=env, device=device, custom_objects=replaced)
    if env is not None and isinstance(model, OffPolicyAlgorithm) and (folder / REPLAY).exists():
        with warnings.catch_warnings():
            # Episodes begin anew, so the last one in the buffer does end where it was saved.
            warnings.filterwarnings("ignore", "The last trajectory in the replay buffer will be truncated")
            model.load_replay_buffer(folder / REPLAY)
    return model


def read_config(folder: Path) -> dict[str, Any]:
    """How a run was configured.

    Raises:
        FileNotFoundError: If the folder holds no run.
    """
    path = folder / CONFIG
    if not path.exists():
        raise FileNotFoundError(f"{folder} must hold {CONFIG}, as a folder of worldmodel train-rl does")
    return json.loads(path.read_text(encoding="utf-8"))


def spent(folder: Path) -> Spent:
    """What a run has spent so far; nothing where the folder holds none."""
    path = folder / PROGRESS
    return Spent(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else Spent()


class _Budget(BaseCallback):
    """Saves now and then, and stops training when its time is over."""

    def __init__(
        self,
        model: BaseAlgorithm,
        folder: Path,
        before: Spent,
        max_seconds: float | None,
        save_seconds: float,
        save_replay: bool,
    ) -> None:
        super().__init__()
        self.model = model
        self.folder = folder
        self.max_seconds = max_seconds
        self.save_seconds = save_seconds
        self.save_replay = save_replay
        self._began = time.monotonic() - before.seconds
        self._saved = time.monotonic()

    def _on_step(self) -> bool:
        now = time.monotonic()
        if now - self._saved > self.save_seconds:
            self.save()
        return self.max_seconds is None or now - self._began < self.max_seconds

    def save(self) -> None:
        """Writes what resuming needs; each file appears whole or not at all."""
        state = {"steps": int(self.model.num_timesteps), "seconds": time.monotonic() - self._began}
        with replacing(self.folder / MODEL) as temporary, temporary.open("wb") as file:
            self.model.save(file)
        if self.save_replay and isinstance(self.model, OffPolicyAlgorithm):
            with replacing(self.folder / REPLAY) as temporary, temporary.open("wb") as file:
                self.model.save_replay_buffer(file)
        with replacing(self.folder / PROGRESS) as temporary:
            temporary.write_text(json.dumps(state) + "\n", encoding="utf-8")
        self._saved = time.monotonic()


def _algorithm(name: str) -> type[BaseAlgorithm]:
    if name not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(map(repr, ALGORITHMS))}, got {name!r}")
    return ALGORITHMS[name]
