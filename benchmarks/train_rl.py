"""``worldmodel train-rl ALGO``: train a reinforcement learning baseline for Two Rooms, under a budget of time.

Success and return on layouts of the validation set are measured while it trains; the model with the best mean return is
kept beside the last, and is the one that is evaluated later.
"""

import inspect
import json
import logging
import math
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
import tyro
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

import envs as _envs  # noqa: F401 - registers Two Rooms
from agents import rl
from agents.features import CodeFeatures, ImageFeatures, VectorFeatures
from agents.held_actions import RepeatedActions
from agents.image_codes import WORLD_MODEL, Code, CodedVecEnv, open_code
from agents.vec_env import SB3VecEnv
from benchmarks.report import write_json
from envs.two_rooms.task import MAX_EPISODE_STEPS, Task, image_positions
from pretrain.two_rooms import TwoRoomsWindows
from worldmodel.checkpoint import load_pretrained
from worldmodel.files import replacing

logger = logging.getLogger(__name__)

UNSAVED_FIELDS = ("max_minutes", "max_steps", "output", "overwrite", "progress", "threads")
"""Fields that may change when a run resumes."""
EVALUATIONS, CURVE = "evaluations.npz", "curve.jsonl"
"""Names of the files of the learning curve: EvalCallback's, and ours, which knows the time."""
NORMALIZATION_IMAGES = 128
"""Images on which a trained encoder's normalisation is fitted."""
GIVEN = (
    *("policy", "env", "seed", "device", "tensorboard_log", "policy_kwargs", "_init_setup_model"),
    *("replay_buffer_class", "replay_buffer_kwargs"),
)
"""Keywords of algorithms that follow from other options."""
MAX_REPLAY = {"state": 1_000_000, "latents": 300_000, "profiles": 200_000, None: 100_000}
"""Transitions that a replay buffer holds, by what they are kept as: at most 1.3 GB of codes, 5 GB of images."""


@dataclass(frozen=True, kw_only=True)
class TrainRLConfig:
    """Trains a reinforcement learning baseline for Two Rooms."""

    algorithm: tyro.conf.Positional[Literal["a2c", "ppo", "trpo", "recurrent-ppo", "ddpg", "td3", "sac", "tqc"]]
    """Of Stable-Baselines3 and sb3-contrib."""
    observation: Literal["state", "pixels", "latents"] = "state"
    """What it sees. state: positions, wall and door. pixels: images, through an encoder of its own. latents: images,
    through the frozen encoder of a pretrained world model, of which the run keeps a copy."""
    hindsight: bool = True
    """Relabels goals in hindsight (HER), with the algorithms that have a replay buffer."""
    reward: Literal["sparse", "dense"] | None = None
    """sparse: 0 at the goal, −1 elsewhere. dense: minus the distance. By default sparse with hindsight and dense
    without."""
    checkpoint: str = "two-rooms"
    """latents: the world model."""
    encoder: Literal["strided", "axial", "impala"] = "axial"
    """pixels: the encoder. axial: a perceptron on the means along both axes of an image, which begins as that of the
    shipped world model does; these means are taken once, as an image is seen. The others are convolutional, and many
    times slower."""
    num_envs: int | None = None
    """Environments that are stepped together; by default 16 with the algorithms that have a replay buffer, and 256 with
    the others."""
    action_repeat: int = 4
    """How often each action is taken, in training and later, as in the world model's blocks of actions."""
    net_arch: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of actor and critic."""
    options: dict[str, int | float] = field(default_factory=dict)
    """Keywords of the algorithm in place of what suits it here, such as learning_rate 3e-4 gamma 0.95."""
    seed: int = 0
    """Seed of weights, exploration and episodes."""
    max_minutes: float | None = 15.0
    """Minutes to train, evaluations included; the same command with more resumes the run. None: as many as it takes."""
    max_steps: int | None = None
    """Environment steps to train, if they come before the minutes are over."""
    eval_every: int | None = None
    """Environment steps between two evaluations; by default 20,000 with the algorithms that have a replay buffer, which
    learn more from each step, and 100,000 with the others."""
    eval_episodes: int = 50
    """Episodes of an evaluation, on layouts of the validation set."""
    threads: int | None = None
    """Threads of torch; by default its own choice."""
    output: Path | None = None
    """Folder of the run; by default runs/rl-ALGORITHM-OBSERVATION-seedSEED."""
    overwrite: bool = False
    """Starts anew where the folder already holds a run; by default the run resumes."""
    progress: bool = True
    """Whether to say how it goes after each evaluation, and with a number of steps to show a progress bar."""


def run(config: TrainRLConfig) -> Path:
    """Trains, or goes on where the run was stopped.

    Returns:
        The run's folder.

    Raises:
        ValueError: If the folder holds a run of another configuration, or a number is out of its range.
    """
    for name in ("num_envs", "action_repeat", "eval_every", "eval_episodes"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if config.max_minutes is None and config.max_steps is None:
        raise ValueError("max_minutes or max_steps must be given, got None for both")
    if config.max_minutes is not None and config.max_minutes <= 0:
        raise ValueError(f"max_minutes must be positive, got {config.max_minutes:g}")
    if config.max_steps is not None and config.max_steps < config.action_repeat:
        raise ValueError(f"max_steps must be at least action_repeat ({config.action_repeat}), got {config.max_steps}")
    options = hyperparameters(config)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    folder = config.output or Path(f"runs/rl-{config.algorithm}-{config.observation}-seed{config.seed}")
    eval_every = config.eval_every or (20_000 if rl.is_off_policy(config.algorithm) else 100_000)
    _begin(config, folder)
    code = _code(config, folder)
    env = make_env(config, "train", code)
    validation_env = make_env(config, "validation", code, config.eval_episodes)
    try:
        model = _open(config, folder, env, code, options)
        evaluation = EvalCallback(
            validation_env,
            n_eval_episodes=config.eval_episodes,
            eval_freq=max(1, eval_every // (_num_envs(config) * config.action_repeat)),
            log_path=str(folder),
            best_model_save_path=str(folder),
            callback_after_eval=_Curve(folder, config.action_repeat, config.progress),
            verbose=0,
        )
        _resume_evaluations(evaluation, folder)
        spent = rl.train(
            model,
            folder,
            max_seconds=None if config.max_minutes is None else 60 * config.max_minutes,
            max_steps=None if config.max_steps is None else config.max_steps // config.action_repeat,
            callbacks=[evaluation],
            save_replay=_kept_as(config) is not None,
            progress=config.progress,
        )
    finally:
        env.close()
        validation_env.close()
    logger.info("%d steps in %.1f minutes: %s", spent.steps * config.action_repeat, spent.seconds / 60, folder)
    return folder


def make_env(config: TrainRLConfig, layout_set: str, code: Code | None = None, num_envs: int | None = None) -> VecEnv:
    """Environments to train or to evaluate in; with a code, images are seen as that."""
    reward = config.reward or ("sparse" if _hindsight(config) else "dense")
    vector = gym.make_vec(
        "TwoRooms-v0",
        num_envs=num_envs or _num_envs(config),
        autoreset_mode="SameStep",
        observation="state" if config.observation == "state" else "pixels",
        reward=reward,
        layout_set=layout_set,
    )
    env: VecEnv = SB3VecEnv(RepeatedActions(vector, config.action_repeat))
    if code is not None:
        env = CodedVecEnv(env, code, image_positions, Task(observation="state", reward=reward).compute_reward)
    env = VecMonitor(env, info_keywords=("is_success",))
    env.seed(config.seed + 1_000_003)  # a model that is trained in it seeds it anew
    return env


def hyperparameters(config: TrainRLConfig) -> dict[str, Any]:
    """What suits an algorithm here, and what was asked for.

    It began as rl-zoo's settings for goal-conditioned tasks; :mod:`benchmarks.tune` tried departures from them.

    Raises:
        ValueError: If something was asked for that the algorithm does not know.
    """
    num_envs, kept_as = _num_envs(config), _kept_as(config)
    episode = math.ceil(MAX_EPISODE_STEPS / config.action_repeat)
    options: dict[str, Any]
    if rl.is_off_policy(config.algorithm):
        options = {
            "learning_rate": 1e-3,
            "buffer_size": MAX_REPLAY[kept_as],
            "batch_size": 512,
            "gamma": 0.95,
            "tau": 0.01,
            "learning_starts": num_envs * episode,  # hindsight needs finished episodes
            "train_freq": 1,
            "gradient_steps": max(1, num_envs // 4),
        }
    else:
        options = {"learning_rate": 1e-3, "n_steps": episode, "gamma": 0.97}
        if config.algorithm != "a2c":
            options |= {"batch_size": max(1, num_envs * episode // 8), "gae_lambda": 0.95}
        if config.algorithm in ("ppo", "recurrent-ppo"):
            options |= {"n_epochs": 10, "ent_coef": 0.01}
    known = [name for name in inspect.signature(rl.ALGORITHMS[config.algorithm]).parameters if name not in GIVEN]
    for name in config.options:
        if name not in known:
            raise ValueError(f"options must be keywords of {config.algorithm} ({', '.join(known)}), got {name!r}")
    return options | config.options


def _num_envs(config: TrainRLConfig) -> int:
    return config.num_envs or (16 if rl.is_off_policy(config.algorithm) else 256)


def _hindsight(config: TrainRLConfig) -> bool:
    return config.hindsight and rl.is_off_policy(config.algorithm)


def _kept_as(config: TrainRLConfig) -> Literal["state", "profiles", "latents"] | None:
    """What observations are kept as to learn from; None: images."""
    if config.observation == "pixels":
        return "profiles" if config.encoder == "axial" else None
    return config.observation


def _code(config: TrainRLConfig, folder: Path) -> Code | None:
    name = _kept_as(config)
    return None if name in (None, "state") else open_code(name, folder, TwoRoomsWindows.pixel_shape)


def _begin(config: TrainRLConfig, folder: Path) -> None:
    """Checks that a folder holds a run of this configuration, or begins one in it."""
    saved = {key: value for key, value in asdict(config).items() if key not in UNSAVED_FIELDS}
    saved |= {"net_arch": list(config.net_arch), "kept_as": _kept_as(config)}
    if (folder / rl.CONFIG).exists() and not config.overwrite:
        before = rl.read_config(folder)
        different = sorted(key for key in saved if before.get(key) != saved[key])
        if different:
            changes = "; ".join(f"{key} (was {before.get(key)}, now {saved[key]})" for key in different)
            raise ValueError(
                f"{folder} holds a run of another configuration; it differs in {changes}. "
                "Choose another --output, or --overwrite"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in (rl.MODEL, rl.BEST, rl.REPLAY, rl.PROGRESS, EVALUATIONS, CURVE):
        (folder / name).unlink(missing_ok=True)
    if config.observation == "latents":
        shutil.copytree(load_pretrained(config.checkpoint).path, folder / WORLD_MODEL, dirs_exist_ok=True)
    write_json(folder / rl.CONFIG, saved)


def _open(
    config: TrainRLConfig, folder: Path, env: VecEnv, code: Code | None, options: dict[str, Any]
) -> BaseAlgorithm:
    """A new model, or the one that a folder holds, to go on with."""
    if (folder / rl.MODEL).exists():
        model = rl.load(folder, env)
        if isinstance(model, OffPolicyAlgorithm) and not (folder / rl.REPLAY).exists():
            # Its replay buffer is empty again.
            model.learning_starts = model.num_timesteps + options["learning_starts"]
    else:
        features, feature_options = _features(config, code)
        model = rl.make_model(
            config.algorithm,
            env,
            features=features,
            feature_options=feature_options,
            hindsight=_hindsight(config),
            options=options,
            policy_options={"net_arch": list(config.net_arch)},
            seed=config.seed,
            log=folder / "tensorboard",
        )
    # Environments get this seed and those that follow it: no two runs, and no two parts of a run, share episodes.
    mixed = np.random.SeedSequence([config.seed, model.num_timesteps]).generate_state(1)[0]
    model.set_random_seed(int(mixed >> 1))
    return model


class _Curve(BaseCallback):
    """Writes a line of steps, seconds and success after each evaluation; goes on with that of a stopped run."""

    def __init__(self, folder: Path, action_repeat: int, progress: bool) -> None:
        super().__init__()
        self.path = folder / CURVE
        self.action_repeat = action_repeat
        self.progress = progress
        spent = rl.spent(folder)
        self._began = time.monotonic() - spent.seconds
        if self.path.exists():
            # What came after the last save is run again.
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if json.loads(line)["steps"] <= spent.steps * action_repeat]
            with replacing(self.path) as temporary:
                temporary.write_text("".join(kept), encoding="utf-8")

    def _on_step(self) -> bool:
        assert isinstance(self.parent, EvalCallback)
        line = {
            "steps": self.num_timesteps * self.action_repeat,
            "seconds": time.monotonic() - self._began,
            "success": float(np.mean(self.parent.evaluations_successes[-1])),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.progress:
            logger.info(
                "%d steps, %.1f minutes: %.0f%% of validation episodes end at the goal",
                *(line["steps"], line["seconds"] / 60, 100 * line["success"]),
            )
        return True


def _resume_evaluations(callback: EvalCallback, folder: Path) -> None:
    """Goes on with the evaluations that a folder holds, up to where it was saved."""
    path = folder / EVALUATIONS
    if not path.exists():
        return
    with np.load(path) as file:
        count = int((file["timesteps"] <= rl.spent(folder).steps).sum())
        callback.evaluations_timesteps = file["timesteps"][:count].tolist()
        callback.evaluations_results = file["results"][:count].tolist()
        callback.evaluations_length = file["ep_lengths"][:count].tolist()
        callback.evaluations_successes = file["successes"][:count].tolist()
        # The best model so far may come from after the save: it is a model of this run all the same.
        callback.best_mean_reward = float(file["results"].mean(axis=1).max())


def _features(config: TrainRLConfig, code: Code | None) -> tuple[type, dict[str, Any]]:
    if config.observation == "state":
        return VectorFeatures, {}
    sample_env = gym.make_vec("TwoRooms-v0", num_envs=NORMALIZATION_IMAGES, observation="pixels")
    images = sample_env.reset(seed=config.seed)[0]["observation"]
    sample_env.close()
    if code is None:
        return ImageFeatures, {"encoder": config.encoder, "sample": images}
    return CodeFeatures, {"sample": code(images), "num_layers": 0 if config.observation == "latents" else 2}
