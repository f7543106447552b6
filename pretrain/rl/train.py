"""``worldmodel train-rl ALGO``: train a reinforcement learning baseline under a budget of time.

Success and return on the environment's validation layouts, where it has some, are measured while it trains; the model
with the best mean return is kept beside the last, and is the one that is evaluated later.
"""

import functools
import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium as gym
import numpy as np
import torch
import tyro
from annotated_types import Ge, Le
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from agents import rl
from agents.evaluation.task import GOAL_IMAGE, GoalImageConfig, Task, make_task
from agents.observations import KEYS
from agents.rl.algorithms import Algorithm
from agents.rl.codes import WORLD_MODEL, Code, CodedVecEnv, open_code
from agents.rl.held_actions import RepeatedActions
from agents.rl.storage.files import ActionRepeat, NumEnvs
from agents.rl.storage.spaces import space_to_json
from agents.rl.vec_env import SB3VecEnv
from envs.domain import PIXELS, STATE, domains, find_spec, slug
from pretrain.loop.interruption import Interruption
from pretrain.presets import DEFAULT
from worldmodel.checkpoint import CONFIG, TRAINING_STATE, CheckpointError, load_pretrained
from worldmodel.config import ConfigError, Count, Positive, Seed, Width, command, config, differences, number
from worldmodel.encoders import EncoderName
from worldmodel.nn.devices import require_memory
from worldmodel.storage.files import commit, recover
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

EVALUATIONS, CURVE = rl.EVALUATIONS, rl.CURVE
"""Names of the files of the learning curve: all episodes of all evaluations, and a line for each with the time."""
UNSAVED_FIELDS = ("max_minutes", "max_steps", "output", "overwrite", "progress", "threads")
"""Fields that may change when a run resumes."""
RUN_FILES = (rl.CONFIG, rl.MODEL, rl.BEST, rl.REPLAY, rl.OLD_REPLAY, rl.PROGRESS, EVALUATIONS, CURVE)
"""Files that go when a run starts anew."""
NORMALIZATION_IMAGES = 128
"""Images on which a trained encoder's normalisation is fitted."""
MAX_REPLAY = {"state": 1_000_000, "latents": 300_000, "profiles": 200_000, None: 100_000}
"""Transitions that a replay buffer holds, by what they are kept as: at most 1.3 GB of codes, 5 GB of images."""


@config
class TrainRLConfig:
    """Trains a reinforcement learning baseline."""

    algorithm: tyro.conf.Positional[Algorithm]
    """Of Stable-Baselines3 and sb3-contrib."""
    env_id: str = domains()[0].env_id
    """Gymnasium id of the environment; its observations must be goal-conditioned, or made so by goal-image."""
    goal_image: GoalImageConfig = field(default_factory=GoalImageConfig)
    """How an environment without goals is shown; any of these wraps it in envs.GoalImage, whose rewards are sparse."""
    observation: Literal["state", "pixels", "latents"] = "state"
    """What it sees. state: numbers that say all. pixels: images, through an encoder of its own. latents: images,
    through the frozen encoder of a pretrained world model, of which the run keeps a copy."""
    hindsight: bool = True
    """Relabels goals in hindsight (HER), with the algorithms that have a replay buffer."""
    reward: Literal["sparse", "dense"] | None = None
    """sparse: 0 at the goal, −1 elsewhere. dense: minus the distance. By default sparse with hindsight and dense
    without."""
    checkpoint: str = DEFAULT
    """latents: the world model."""
    encoder: EncoderName = "axial"
    """pixels: the encoder. axial: a perceptron on the means along both axes of an image, which begins as that of the
    shipped world model does; these means are taken once, as an image is seen. The others are convolutional, and many
    times slower."""
    num_envs: NumEnvs | None = None
    """Environments that are stepped together; by default 16 with the algorithms that have a replay buffer, and 256 with
    the others."""
    action_repeat: ActionRepeat = 4
    """How often each action is taken, in training and later, as in the world model's blocks of actions."""
    net_arch: tuple[Width, ...] = (256, 256)
    """Widths of the hidden layers of actor and critic."""
    options: dict[str, bool | int | float] = field(default_factory=dict)
    """Keywords of the algorithm in place of what suits it here, such as learning_rate 3e-4 gamma 0.95."""
    seed: Seed = 0
    """Seed of weights, exploration and episodes."""
    max_minutes: Positive | None = 15.0
    """Minutes to train, evaluations included; the same command with more resumes the run. None: as many as it takes."""
    max_steps: Count | None = None
    """Environment steps to train, if they come before the minutes are over; rounded up to whole rollouts, which are a
    step of all environments with the algorithms that have a replay buffer, and n_steps of them with the others."""
    eval_every: Count | None = None
    """Environment steps between two evaluations; by default 20,000 with the algorithms that have a replay buffer, which
    learn more from each step, and 100,000 with the others."""
    eval_episodes: NumEnvs = 50
    """Episodes of an evaluation, on validation layouts, where the environment has some."""
    threads: Annotated[int, Ge(1), Le(1024), number(int, "in 1…1024")] | None = None
    """Threads of torch; by default its own choice."""
    output: Path | None = None
    """Folder of the run; by default runs/rl-ENVIRONMENT-ALGORITHM-OBSERVATION-seedSEED."""
    overwrite: bool = False
    """Starts anew where the folder already holds a run; by default the run resumes."""
    progress: bool = True
    """Whether to say how it goes after each evaluation, and with a number of steps to show a progress bar."""

    def rules(self) -> None:
        """What the fields must be together.

        Raises:
            ConfigError: If they contradict one another.
        """
        if self.max_minutes is None and self.max_steps is None:
            raise ConfigError("max_minutes or max_steps", "given", (None, None))
        if self.max_steps is not None and self.max_steps < self.action_repeat:
            raise ConfigError("max_steps", f"at least action_repeat ({self.action_repeat})", self.max_steps)
        hyperparameters(self)


def run(config: TrainRLConfig) -> Path:
    """Trains, or goes on where the run was stopped.

    Returns:
        The run's folder.

    Raises:
        ValueError: If the folder holds a run of another configuration, or what is asked for does not fit into memory.
        BlockingIOError: If another process trains in the folder.
        KeyboardInterrupt: After saving, if it was interrupted (Ctrl-C, SIGTERM).
    """
    name = f"rl-{slug(config.env_id)}-{config.algorithm}-{config.observation}-seed{config.seed}"
    folder = (config.output or Path("runs") / name).absolute()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output must be a folder, got the file {folder}")
    images = _num_envs(config) + config.eval_episodes
    if config.observation != "state":
        # An environment holds three images, each as bytes, and as numbers while they are encoded.
        require_memory(images * 3 * 5 * math.prod(_pixel_shape(config)), f"images of {images:,} environments")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with Interruption() as interruption, locked(folder, "run"):
        recover(folder)
        spent = _train(config, folder, lambda: interruption.requested)
    logger.info("%d steps in %.1f minutes: %s", spent.steps * config.action_repeat, spent.seconds / 60, folder)
    return folder


main = command(TrainRLConfig, run, "train-rl")


def _train(config: TrainRLConfig, folder: Path, is_stopped: Callable[[], bool]) -> rl.Progress:
    saved = _saved(config, folder)
    if saved is None:
        _clear(config, folder)
    code = _code(config, folder)
    env = make_env(config, "train", code)
    validation_env = make_env(config, "validation", code, config.eval_episodes)
    eval_every = config.eval_every or (20_000 if rl.is_off_policy(config.algorithm) else 100_000)
    try:
        evaluation = rl.Evaluation(
            validation_env,
            num_episodes=config.eval_episodes,
            every=max(1, eval_every // (_num_envs(config) * config.action_repeat)),
            action_repeat=config.action_repeat,
            log=config.progress,
        )
        return rl.train(
            _open(config, folder, env, code, saved),
            folder,
            max_seconds=None if config.max_minutes is None else 60 * config.max_minutes,
            max_steps=None if config.max_steps is None else config.max_steps // config.action_repeat,
            evaluation=evaluation,
            save_replay=_kept_as(config) is not None,
            progress=config.progress,
            is_stopped=is_stopped,
        )
    finally:
        env.close()
        validation_env.close()


def make_env(config: TrainRLConfig, layout_set: str, code: Code | None = None, num_envs: int | None = None) -> VecEnv:
    """Environments to train or to evaluate in; with a code, images are seen as that."""
    task = _task(config)
    task.check_success()
    domain = task.domain
    reward = config.reward or ("sparse" if _hindsight(config) else "dense")
    kind = STATE if config.observation == STATE else PIXELS
    make = task.vector(kind, autoreset_mode=AutoresetMode.SAME_STEP, reward=reward, layout_set=layout_set)
    vector = make(num_envs or _num_envs(config))
    if not isinstance(space := vector.single_observation_space, gym.spaces.Dict) or not set(KEYS) <= set(space.spaces):
        vector.close()
        rule = f"an environment whose observations hold {' and '.join(KEYS)}; --goal-image.size 64 would give it goals"
        raise ConfigError("env_id", rule, f"{config.env_id!r} with {space}")
    env: VecEnv = SB3VecEnv(RepeatedActions(vector, config.action_repeat))
    if code is not None and not _hindsight(config):
        env = CodedVecEnv(env, code, lambda images: np.zeros((len(images), 0)), lambda *goals: None, 0)
    elif code is not None:
        if domain.read_positions is None or STATE not in domain.observations:
            raise ConfigError("hindsight", f"off where positions cannot be read off images, as in {domain.title}", True)
        # Goals of codes are rewarded by what the environment says of positions.
        states: Any = gym.make(config.env_id, **task.keywords(observation=STATE, reward=reward)).unwrapped
        (position_dim,) = states.observation_space["desired_goal"].shape
        reward_of = functools.partial(states.compute_reward, info={})
        env = CodedVecEnv(env, code, domain.read_positions, reward_of, position_dim)
    env = VecMonitor(env, info_keywords=("is_success",))
    env.seed(config.seed + 1_000_003)  # a model that is trained in it seeds it anew
    return env


def hyperparameters(config: TrainRLConfig) -> dict[str, Any]:
    """What suits an algorithm here, and what was asked for.

    It began as rl-zoo's settings for goal-conditioned tasks; ``worldmodel tune`` tried departures from them.

    Raises:
        ConfigError: If something was asked for that the algorithm does not know, or that makes no sense.
    """
    num_envs, kept_as = _num_envs(config), _kept_as(config)
    limit = find_spec(config.env_id).max_episode_steps
    if limit is None:
        raise ConfigError("env_id", "an environment with a time limit", config.env_id)
    episode = math.ceil(limit / config.action_repeat)
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
    options |= rl.check_options(config.algorithm, config.options)
    rl.check_rollouts(config.algorithm, options, num_envs)
    if _hindsight(config):
        # Goals are those that finished episodes reached: there must always be one to learn from.
        for name, least in {"learning_starts": num_envs * (episode - 1), "buffer_size": 2 * num_envs * episode}.items():
            if options[name] < least:
                rule = (
                    f"at least {least:,} for hindsight in {num_envs} environments, whose episodes have {episode} steps"
                )
                raise ConfigError(f"options.{name}", rule, options[name])
    return options


def _pixel_shape(config: TrainRLConfig) -> tuple[int, ...]:
    """Shape of an image, as the environment gives it."""
    env = _task(config).make(PIXELS)
    env.close()
    space = env.observation_space
    if not isinstance(space, gym.spaces.Dict) or len(space["observation"].shape or ()) != 3:
        raise ConfigError("env_id", f"an environment with images for observation {config.observation!r}", config.env_id)
    return space["observation"].shape or ()


def _task(config: TrainRLConfig) -> Task:
    return make_task(config.env_id, config.goal_image.keywords())


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
    return None if name in (None, "state") else open_code(name, folder, _pixel_shape(config))


def _saved(config: TrainRLConfig, folder: Path) -> rl.RunConfig | None:
    """How the run of a folder was configured, which must be as this one is; None where it begins."""
    if (folder / CONFIG).exists():
        raise ValueError(f"output must be a folder of its own, got {folder}, which holds the {CONFIG} of a checkpoint")
    if config.overwrite or not (folder / rl.CONFIG).exists():
        return None
    saved = rl.read_run(folder)
    wanted = _asked(config)
    changes = sorted(differences({name: getattr(saved, name) for name in wanted}, wanted))
    if changes:
        raise ValueError(
            f"{folder} holds a run of another configuration; it differs in {'; '.join(changes)}. "
            "Choose another --output, or --overwrite"
        )
    if not (folder / rl.MODEL).exists() and (folder / rl.PROGRESS).exists():
        raise CheckpointError(f"{folder} must hold {rl.MODEL} beside {rl.PROGRESS}; or start anew with --overwrite")
    return saved


def _asked(config: TrainRLConfig) -> dict[str, Any]:
    """What a run is configured by, as far as it must not change when it resumes."""
    asked = {name: value for name, value in asdict(config).items() if name not in UNSAVED_FIELDS}
    goal_image = config.goal_image.keywords().get(GOAL_IMAGE, {})
    return asked | {"goal_image": goal_image, "hindsight": _hindsight(config), "kept_as": _kept_as(config)}


def _clear(config: TrainRLConfig, folder: Path) -> None:
    """Makes room for a run that starts anew, with a copy of the world model that it sees through, if any."""
    source = load_pretrained(config.checkpoint).path if config.observation == "latents" else None
    commit(folder, dict.fromkeys(RUN_FILES))
    if source is not None:
        ignored = shutil.ignore_patterns(TRAINING_STATE, ".*")
        shutil.copytree(source, folder / WORLD_MODEL, ignore=ignored, dirs_exist_ok=True)


def _open(
    config: TrainRLConfig, folder: Path, env: VecEnv, code: Code | None, saved: rl.RunConfig | None
) -> BaseAlgorithm:
    """A new model, or the one that a folder holds, to go on with."""
    log = folder / "tensorboard"
    if saved is not None and (folder / rl.MODEL).exists():
        model = rl.load(folder, env, log=log)
    else:
        begun = saved or _describe(config, env)
        model = rl.make_model(begun, env, sample=_sample(config, code), log=log)
        rl.write_run(folder, begun)
    # Environments get this seed and those that follow it: no two runs, and no two parts of a run, share episodes.
    mixed = np.random.SeedSequence([config.seed, model.num_timesteps]).generate_state(1)[0]
    model.set_random_seed(int(mixed >> 1))
    return model


def _describe(config: TrainRLConfig, env: VecEnv) -> rl.RunConfig:
    """All that is needed to build a run's model anew, and how it is trained."""
    features: dict[str | None, tuple[Any, dict[str, int | str]]] = {
        "state": ("vectors", {}),
        "latents": ("codes", {"num_layers": 0}),
        "profiles": ("codes", {"num_layers": 2}),
        None: ("images", {"encoder": config.encoder}),
    }
    name, feature_options = features[_kept_as(config)]
    return rl.RunConfig(
        format=rl.FORMAT,
        features=name,
        feature_options=feature_options,
        hyperparameters=hyperparameters(config),
        observation_space=space_to_json(env.observation_space),
        action_space=space_to_json(env.action_space),
        **_asked(config),
    )


def _sample(config: TrainRLConfig, code: Code | None) -> np.ndarray | None:
    """What features are standardised on; None: by the bounds of their spaces."""
    if config.observation == "state":
        return None
    env = _task(config).vector(PIXELS)(NORMALIZATION_IMAGES)
    images = env.reset(seed=config.seed)[0]["observation"]
    env.close()
    return images if code is None else code(images)
