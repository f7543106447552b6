"""Reinforcement learning with Stable-Baselines3 and sb3-contrib: algorithms by name, budgets, checkpoints, resuming.

::

    make_model      name of an algorithm, environment, features ──► model
    build           a run's configuration (rl.json), environment ──► model
    train           model, budget ──► folder                                (agents.rl.training)
    load            folder ──► model, whose ``predict`` goes through the one evaluation

A run's folder, its files and what they say are in :mod:`agents.rl.storage.files`. Models are saved by
Stable-Baselines3 as zips that hold pickles; none of these is ever read here: a model is built anew from ``rl.json``,
and tensors alone are read from its zip (:mod:`agents.rl.storage.weights`).
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents.rl.algorithms import ALGORITHMS, algorithm_class, check_options, check_rollouts, is_off_policy
from agents.rl.features import FEATURES
from agents.rl.storage import files as run_files
from agents.rl.storage.files import BEST, CONFIG, MODEL, PROGRESS, REPLAY, RunConfig, RunFiles, read_run
from agents.rl.storage.memory import require_buffer, require_networks
from agents.rl.storage.replay import read_replay
from agents.rl.storage.weights import MAX_ZIP_BYTES, load_all, load_policy
from worldmodel.checkpoint import CheckpointError
from worldmodel.nn.devices import check_device
from worldmodel.storage.files import read_set

logger = logging.getLogger(__name__)

HINDSIGHT = {"n_sampled_goal": 4, "goal_selection_strategy": "future"}
"""How goals are relabelled."""


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
        features: A features extractor (:mod:`agents.rl.features`).
        feature_options: Its keywords.
        hindsight: Whether to relabel goals in hindsight (HER, arXiv 1707.01495).
        options: Keywords of the algorithm, such as ``learning_rate``.
        policy_options: Keywords of its policy, such as ``net_arch``.
        seed: Seed of weights, exploration and replay.
        device: Where its networks are.
        log: Folder for TensorBoard; None: none.

    Raises:
        ValueError: If there is no such algorithm, it has no replay buffer to relabel goals in, an option makes no
            sense, or the model does not fit into memory.
    """
    make = algorithm_class(algorithm)
    keywords = check_options(algorithm, options or {})
    check_rollouts(algorithm, keywords, env.num_envs)
    if hindsight and not is_off_policy(algorithm):
        names = ", ".join(repr(name) for name in ALGORITHMS if is_off_policy(name))
        raise ValueError(f"hindsight needs an algorithm with a replay buffer ({names}), got {algorithm!r}")
    spaces = env.observation_space, env.action_space
    require_buffer(algorithm, *spaces, keywords, env.num_envs, hindsight=hindsight)
    policy = _policy_options(features, feature_options or {}, policy_options or {})
    net_arch = policy.get("net_arch", ())
    extracted = {key: value for key, value in (feature_options or {}).items() if key != "sample"}
    require_networks(algorithm, spaces[0], features, extracted, net_arch, train=True)
    if hindsight:
        keywords |= {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": dict(HINDSIGHT)}
    return make(
        _policy_name(algorithm),
        env,
        policy_kwargs=policy,
        seed=seed,
        device=check_device(device),
        tensorboard_log=None if log is None else str(log),
        **keywords,
    )


def build(
    run: RunConfig,
    env: VecEnv,
    *,
    sample: np.ndarray | None = None,
    device: str = "cpu",
    log: Path | None = None,
) -> BaseAlgorithm:
    """Makes the untrained model that a run's configuration describes.

    Args:
        run: The configuration.
        env: What it is to be trained in.
        sample: What features are standardised on, where they are; unneeded where weights are loaded later.
        device: Where its networks are.
        log: Folder for TensorBoard; None: none.

    Raises:
        ValueError: If the environment has other spaces, or the model does not fit into memory.
    """
    for name, wanted, found in zip(
        ("observation", "action"), run.read_spaces(), (env.observation_space, env.action_space), strict=True
    ):
        if wanted != found:
            raise ValueError(f"the {name} space of env must be that of the run, {wanted}, got {found}")
    return make_model(
        run.algorithm,
        env,
        features=FEATURES[run.features],
        feature_options=run.feature_options | ({} if sample is None else {"sample": sample}),
        hindsight=run.hindsight,
        options=run.hyperparameters,
        policy_options={"net_arch": list(run.net_arch)},
        seed=run.seed,
        device=device,
        log=log,
    )


def load(
    folder: Path,
    env: VecEnv | None = None,
    *,
    best: bool = False,
    device: str = "cpu",
    log: Path | None = None,
) -> BaseAlgorithm:
    """Reads a trained model; nothing in its files is executed.

    Args:
        folder: The run's folder.
        env: Environment to go on training in, with the saved replay buffer if there is one; the caller holds the
            folder's lock.
        best: The model that was best at validation in place of the last one, where there is one.
        device: Where its networks go.
        log: Folder for TensorBoard; None: none.

    Raises:
        FileNotFoundError: If there is none.
        CheckpointError: If a file is damaged, was made by an older version, or does not fit the others.
    """
    if env is not None:
        return _load_to_train(folder, env, device, log)
    return load_to_act(read_files(folder, best=best), device)


def read_files(folder: Path, *, best: bool = True) -> RunFiles:
    """Reads the files of a trained model, all of one commit.

    Args:
        folder: The run's folder.
        best: The model that was best at validation in place of the last one, where there is one.

    Raises:
        FileNotFoundError: If there is none.
        CheckpointError: If a file is damaged, or was made by an older version.
    """
    read_run(folder)  # what is wrong there is said first
    files = read_set(folder, (CONFIG, PROGRESS, BEST) if best else (CONFIG, PROGRESS, MODEL), max_bytes=MAX_ZIP_BYTES)
    name = BEST if best else MODEL
    if best and BEST not in files:
        files = read_set(folder, (CONFIG, PROGRESS, MODEL), max_bytes=MAX_ZIP_BYTES)
        name = MODEL
    if name not in files or CONFIG not in files:
        raise FileNotFoundError(f"{folder} must hold {name}, as a folder of worldmodel train-rl does")
    if best and name == MODEL:
        logger.warning("%s holds no %s, a model that was best at validation: the last model is used", folder, BEST)
    run = read_run(folder, files[CONFIG])
    if PROGRESS in files:
        run_files.check_settings(folder, files[CONFIG], run_files.read_progress(folder, files[PROGRESS]))
    return RunFiles(folder, run, name, files[name])


def load_to_act(files: RunFiles, device: str = "cpu") -> BaseAlgorithm:
    """A trained model from its files; nothing in them is executed.

    Raises:
        CheckpointError: If the weights do not fit.
    """
    model = _build_to_act(files.config, device)
    load_policy(model, files.model, files.folder / files.name)
    if model.use_sde:
        model.policy.reset_noise()  # type: ignore[operator]
    return model


def _load_to_train(folder: Path, env: VecEnv, device: str, log: Path | None) -> BaseAlgorithm:
    run = read_run(folder)
    files = read_set(folder, (CONFIG, PROGRESS, MODEL), max_bytes=MAX_ZIP_BYTES)
    for name in (MODEL, PROGRESS):
        if name not in files:
            raise CheckpointError(f"{folder} must hold {name} beside {CONFIG}; or start anew with --overwrite")
    progress = run_files.read_progress(folder, files[PROGRESS])
    run_files.check_settings(folder, files[CONFIG], progress)
    model = build(run, env, device=device, log=log)
    load_all(model, files[MODEL], folder / MODEL)
    if model.use_sde:
        model.policy.reset_noise()  # type: ignore[operator]
    model.num_timesteps, model._episode_num = progress.steps, progress.episodes
    model._n_updates = progress.updates
    if isinstance(model, OffPolicyAlgorithm):
        assert isinstance(model.replay_buffer, DictReplayBuffer)
        if (folder / REPLAY).exists():
            read_replay(model.replay_buffer, folder / REPLAY)
        else:
            # The buffer is empty again: it is filled before anything is learned from it.
            model.learning_starts += model.num_timesteps
    return model


def _build_to_act(run: RunConfig, device: str) -> BaseAlgorithm:
    """A model without environment, and with nothing of what only training needs, such as room for experience."""
    observation_space, action_space = run.read_spaces()
    features = FEATURES[run.features]
    try:
        require_networks(run.algorithm, observation_space, features, run.feature_options, run.net_arch, train=False)
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{CONFIG} must describe a model that can be built: {error}") from error
    if is_off_policy(run.algorithm):
        small: dict[str, Any] = {"buffer_size": 1}
    else:
        small = {"n_steps": 2} | ({} if run.algorithm == "a2c" else {"batch_size": 2})
    if run.algorithm in ("sac", "tqc"):
        small["target_entropy"] = 0.0  # found by the size of actions of an environment otherwise
    if "use_sde" in run.hyperparameters:
        small["use_sde"] = run.hyperparameters["use_sde"]
    policy = _policy_options(features, run.feature_options, {"net_arch": list(run.net_arch)})
    make: Callable[..., BaseAlgorithm] = algorithm_class(run.algorithm)
    model = make(
        _policy_name(run.algorithm),
        None,
        policy_kwargs=policy,
        seed=run.seed,
        device=check_device(device),
        _init_setup_model=False,
        **small,
    )
    # As Stable-Baselines3 does when it loads a model.
    model.observation_space, model.action_space, model.n_envs = observation_space, action_space, 1
    model._setup_model()
    return model


def _policy_options(features: type, feature_options: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "features_extractor_class": features,
        "features_extractor_kwargs": dict(feature_options),
        "normalize_images": False,
        **others,
    }


def _policy_name(algorithm: str) -> str:
    return "MultiInputLstmPolicy" if algorithm == "recurrent-ppo" else "MultiInputPolicy"
