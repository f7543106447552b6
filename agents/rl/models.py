"""Reinforcement learning with Stable-Baselines3 and sb3-contrib: algorithms by name, budgets, checkpoints, resuming.

::

    make_model      a run's configuration (rl.json), environment ──► model
    train           model, budget ──► folder                                (agents.rl.training)
    load            folder ──► model, whose ``predict`` goes through the one evaluation

A run's folder, its files and what they say are in :mod:`agents.rl.storage.files`. Models are saved by
Stable-Baselines3 as zips that hold pickles; none of these is ever read here: a model is built anew from ``rl.json``,
and tensors alone are read from its zip (:mod:`agents.rl.storage.weights`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents.rl.algorithms import algorithm_class, check_options, check_rollouts, is_off_policy
from agents.rl.features import FEATURES
from agents.rl.storage.files import CONFIG, MODEL, PROGRESS, REPLAY, RunConfig, RunFiles, read_files
from agents.rl.storage.memory import require_buffer, require_networks
from agents.rl.storage.replay import read_replay
from agents.rl.storage.weights import load_all, load_policy
from agents.rl.vec_env import refuse_normalized
from worldmodel.checkpoint import CheckpointError
from worldmodel.nn.devices import check_device

HINDSIGHT = {"n_sampled_goal": 4, "goal_selection_strategy": "future"}
"""How goals are relabelled."""


def make_model(
    run: RunConfig, env: VecEnv, *, sample: np.ndarray | None = None, log: Path | None = None
) -> BaseAlgorithm:
    """Makes the untrained model that a run's configuration describes.

    Args:
        run: The configuration. Where it says so, goals are relabelled in hindsight (HER, arXiv 1707.01495).
        env: What it is to be trained in.
        sample: What features are standardised on, where they are; unneeded where weights are loaded later.
        log: Folder for TensorBoard; None: none.

    Raises:
        ValueError: If the environment has other spaces or is in VecNormalize, an option makes no sense for so many
            environments, or the model does not fit into memory.
    """
    refuse_normalized("env", env)
    wanted, found = run.read_spaces(), (env.observation_space, env.action_space)
    if wanted != found:
        raise ValueError(f"the observation and action space of env must be those of the run, {wanted}, got {found}")
    keywords = check_options(run.algorithm, run.hyperparameters)
    check_rollouts(run.algorithm, keywords, env.num_envs)
    require_buffer(run, env.num_envs)
    require_networks(run, train=True)
    if run.hindsight:
        keywords |= {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": dict(HINDSIGHT)}
    keywords["tensorboard_log"] = None if log is None else str(log)
    return _make(run, env, sample, device="cpu", **keywords)


def load(folder: Path, env: VecEnv | None = None, *, best: bool = False, log: Path | None = None) -> BaseAlgorithm:
    """Reads a trained model; nothing in its files is executed.

    Args:
        folder: The run's folder.
        env: Environment to go on training in, with the saved replay buffer if there is one; the caller holds the
            folder's lock. None: the model is there to act.
        best: To act, the model that was best at validation in place of the last one, where there is one.
        log: Folder for TensorBoard; None: none.

    Raises:
        FileNotFoundError: If there is none.
        CheckpointError: If a file is damaged, was made by an older version, or does not fit the others.
    """
    if env is None:
        return load_to_act(read_files(folder, best=best))
    files = read_files(folder, best=False)
    progress = files.progress
    if progress is None:
        raise CheckpointError(f"{folder} must hold {PROGRESS} beside {CONFIG}; or start anew with --overwrite")
    model = make_model(files.config, env, log=log)
    load_all(model, files.model, folder / MODEL)
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


def load_to_act(files: RunFiles, device: str = "cpu") -> BaseAlgorithm:
    """A trained model from its files; nothing in them is executed.

    Raises:
        CheckpointError: If the weights do not fit.
    """
    model = _build_to_act(files.config, device)
    load_policy(model, files.model, files.folder / files.name)
    return model


def _build_to_act(run: RunConfig, device: str) -> BaseAlgorithm:
    """A model without environment, and with nothing of what only training needs, such as room for experience."""
    try:
        require_networks(run, train=False)
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
    model = _make(run, None, None, device=check_device(device), _init_setup_model=False, **small)
    # As Stable-Baselines3 does when it loads a model.
    model.observation_space, model.action_space = run.read_spaces()
    model.n_envs = 1
    model._setup_model()
    return model


def _make(run: RunConfig, env: VecEnv | None, sample: np.ndarray | None, **keywords: Any) -> BaseAlgorithm:
    """A model of Stable-Baselines3, with a run's features and hidden layers of actor and critic."""
    make: Callable[..., BaseAlgorithm] = algorithm_class(run.algorithm)
    policy = {
        "features_extractor_class": FEATURES[run.features],
        "features_extractor_kwargs": run.feature_options | ({} if sample is None else {"sample": sample}),
        "normalize_images": False,
        "net_arch": list(run.net_arch),
    }
    name = "MultiInputLstmPolicy" if run.algorithm == "recurrent-ppo" else "MultiInputPolicy"
    return make(name, env, policy_kwargs=policy, seed=run.seed, **keywords)
