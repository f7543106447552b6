"""Collecting data: a policy acts in a Gymnasium environment, and its episodes become a Minari dataset.

Episode ``i`` depends on the seed and ``i`` alone, and every completed episode is a file of its own until all are
joined: a run that was stopped, however hard, is continued by the same call and ends in the same dataset.
"""

import contextlib
import errno
import logging
import re
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
from tqdm import tqdm

import envs as _envs  # noqa: F401 - registers the environments of this project
from agents.evaluation.task import Task, make_task
from envs.domain import Policy, domain_of, domains, find_spec, slug
from pretrain.collection.joining import join, num_joined, num_published, publish, restore_replaced
from pretrain.collection.policies import agent_digest, make_policy, set_random_seed
from pretrain.collection.shards import RecordedEpisode, ShardFolder, collecting, discard, remove_discarded
from pretrain.data.episodes import first_fault
from pretrain.data.paths import dataset_folder, work_folder
from pretrain.loop.interruption import Interruption
from worldmodel.config import Count, JsonDict, Seed, command, config

MAX_DEFAULT_NAME = 50
"""Most characters of each half of a dataset id that nobody chose."""

log = logging.getLogger(__name__)


@config
class CollectConfig:
    """Which data to collect, and where to put it."""

    env_id: str = domains()[0].env_id
    """Gymnasium id of the environment, such as "TwoRooms-v0" or "my_module:MyEnv-v0"; actions must be a Box."""
    policy: str = "random-walk"
    """Who acts: "random" (uniform), "random-walk" (smooth), another explorer of the environment ("wall-seeking" in Two
    Rooms), "expert" where it has one, or the folder of a training run."""
    num_episodes: Count = 1000
    """Number of episodes."""
    dataset_id: str | None = None
    """Minari id of the dataset; by default named after environment and policy, such as "two-rooms/random-walk-v0"."""
    root: Path | None = None
    """Folder of the Minari datasets; by default $MINARI_DATASETS_PATH, else Minari's own."""
    seed: Seed = 0
    """Seed of everything random; the same seed gives the same dataset."""
    max_episode_steps: Count | None = None
    """Steps after which an episode is cut off; by default the environment's own limit."""
    env_kwargs: JsonDict = field(default_factory=dict)
    """Keywords of the environment, as JSON on the command line. Two Rooms stores positions and layouts, about 100 times
    smaller than images, from which training draws the same pixels; {"observation": "pixels"} stores images."""
    overwrite: bool = False
    """Replace an existing dataset (once the new one is complete), and discard an unfinished collection made with other
    parameters."""
    progress: bool = True
    """Show a progress bar."""


def collect(config: CollectConfig) -> minari.MinariDataset:
    """Collects a dataset, or finishes one whose collection was stopped.

    Args:
        config: What to collect.

    Returns:
        The dataset; images are stored losslessly. ``minari.load_dataset`` opens it wherever Minari has its HDF5 extra
        and Pillow (``pip install "minari[hdf5]" pillow``).

    Raises:
        FileExistsError: If the dataset exists.
        BlockingIOError: If another process collects this dataset; the message says which.
        ValueError: If the configuration cannot be carried out.
        OSError: If the disk is full; the message says what is kept and how to go on.
        KeyboardInterrupt: If interrupted; its message says the same.
    """
    given = config.dataset_id
    dataset_id = default_dataset_id(config.env_id, config.policy) if given is None else given
    target = dataset_folder(dataset_id, config.root)
    remove_discarded(work_folder(target))
    if target.exists() and not config.overwrite and not work_folder(target).exists():
        raise _exists(dataset_id, target)
    env = make_env(config)
    try:
        policy = make_policy(config.policy, env, _task(config))
        return _collect(config, env, policy, dataset_id, target)
    finally:
        env.close()


main = command(CollectConfig, collect, "collect")


def make_env(config: CollectConfig) -> gym.Env[Any, Any]:
    """Makes the environment to collect in.

    Raises:
        ValueError: If the id is unknown, the keywords do not fit, actions are not a bounded Box, observations are
            neither a Box nor a Dict of Boxes, or nothing limits an episode's length.
    """
    domain = domain_of(find_spec(config.env_id))
    kwargs = domain.keywords(observation=domain.compact) | config.env_kwargs
    try:
        env = gym.make(config.env_id, max_episode_steps=config.max_episode_steps, **kwargs)
    except (TypeError, gym.error.Error) as error:
        raise ValueError(f"environment {config.env_id!r} cannot be made with keywords {kwargs}: {error}") from error
    if not isinstance(env.action_space, gym.spaces.Box) or not env.action_space.is_bounded():
        raise ValueError(f"environment {config.env_id!r} must have bounded Box actions, got {env.action_space}")
    space = env.observation_space
    leaves = list(space.spaces.values()) if isinstance(space, gym.spaces.Dict) else [space]
    if not all(isinstance(leaf, gym.spaces.Box) for leaf in leaves):
        raise ValueError(
            f"environment {config.env_id!r} must have observations that are a Box or a Dict of Boxes, got {space}"
        )
    if env.spec is None or env.spec.max_episode_steps is None:
        raise ValueError(f"environment {config.env_id!r} has no time limit: max_episode_steps must be given, got None")
    return env


def _task(config: CollectConfig) -> Task:
    """The environment as agents see it."""
    domain = domain_of(config.env_id)
    stored = domain.keywords(observation=domain.compact)
    return make_task(config.env_id, {key: value for key, value in config.env_kwargs.items() if key not in stored})


def default_dataset_id(env_id: str, policy: str) -> str:
    """The id a dataset gets when none is given.

    Example:
        >>> default_dataset_id("TwoRooms-v0", "random-walk")
        'two-rooms/random-walk-v0'
        >>> default_dataset_id("my_module:RGBReach-v2", "runs/my agent")
        'rgb-reach/my-agent-v0'
    """
    actor = re.sub(r"[^\w]+", "-", Path(policy).name).strip("-")[:MAX_DEFAULT_NAME] or "unnamed"
    environment = slug(env_id)[:MAX_DEFAULT_NAME]
    if len(environment) < 2 or environment == "data":
        environment = f"{environment}-env"  # Minari has no namespaces of one letter, and keeps "data" for itself
    return f"{environment}/{actor}-v0"


def run_episode(env: gym.Env[Any, Any], policy: Policy, *, env_seed: int, policy_seed: int) -> RecordedEpisode:
    """Runs one episode.

    A policy that draws random numbers is seeded by its ``set_random_seed`` first, where it has one.

    Args:
        env: The environment.
        policy: Who acts.
        env_seed: Seed of the environment.
        policy_seed: Seed of the policy.
    """
    set_random_seed(policy, policy_seed)
    executed_in_info = domain_of(env.spec).reports_action
    observation, info = env.reset(seed=env_seed)
    observations, success = [_copy(observation, env.observation_space)], [info.get("is_success")]
    actions: list[Any] = []
    rewards: list[float] = []
    state, terminated, truncated = None, False, False
    while not (terminated or truncated):
        start = np.array([not actions])
        action, state = policy.predict(observation, state=state, episode_start=start, deterministic=False)
        if np.shape(action) != env.action_space.shape:
            raise ValueError(
                f"the policy must return actions of shape {env.action_space.shape}, got {np.shape(action)}"
            )
        observation, reward, terminated, truncated, info = env.step(action)
        # What was executed is what explains the next observation.
        actions.append(np.array(info["action"] if executed_in_info else action, dtype=env.action_space.dtype))
        observations.append(_copy(observation, env.observation_space))
        success.append(info.get("is_success"))
        rewards.append(float(reward))
    taken, is_last = np.stack(actions), np.arange(1, len(actions) + 1) == len(actions)
    assert isinstance(env.action_space, gym.spaces.Box)
    if fault := first_fault(taken, env.action_space):
        raise ValueError(f"the policy must return actions that are finite and within their bounds, got {fault}")
    return RecordedEpisode(
        seed=env_seed,
        observations=_stack(observations),
        actions=taken,
        rewards=np.array(rewards),
        terminations=is_last & bool(terminated),
        truncations=is_last & bool(truncated),
        infos={} if None in success else {"is_success": np.array(success, dtype=bool)},
    )


def _collect(
    config: CollectConfig, env: gym.Env[Any, Any], policy: Policy, dataset_id: str, target: Path
) -> minari.MinariDataset:
    """Collects what is missing, joins it, and moves it to its place."""
    work, count, parameters = work_folder(target), config.num_episodes, _parameters(config)
    with _advice(count, dataset_id, work), collecting(work, "unfinished collection"):
        restore_replaced(work, target)
        if target.exists() and (published := num_published(work, dataset_id)) is not None:
            # Stopped between its last two steps; only tidying up is left.
            same = published == count and ShardFolder.parameters_match(work, parameters)
            discard(work)
            if same:
                return minari.MinariDataset(target / "data")
        if target.exists() and not config.overwrite:
            raise _exists(dataset_id, target)
        shards = ShardFolder(work, parameters, restart=config.overwrite)
        if num_joined(work, dataset_id) != count:
            _collect_missing(config, env, policy, shards, label=dataset_id)
            about = f"{count} episodes of {config.policy} in {config.env_id}, seed {config.seed}"
            join(shards, count, env, dataset_id, algorithm=Path(config.policy).name, description=about)
        publish(work, dataset_id, target)
        discard(work)
    dataset = minari.MinariDataset(target / "data")
    log.info("dataset %r: %d episodes, %d steps, in %s", dataset_id, len(dataset), dataset.total_steps, target)
    return dataset


def _collect_missing(
    config: CollectConfig, env: gym.Env[Any, Any], policy: Policy, shards: ShardFolder, *, label: str
) -> None:
    """Runs the episodes that are not there yet."""
    done = shards.finished(config.num_episodes)
    if done:
        log.info("continuing: %d of %d episodes are there already", len(done), config.num_episodes)
    bar = tqdm(
        total=config.num_episodes, initial=len(done), desc=label, unit="episode", disable=not config.progress or None
    )
    with bar, Interruption() as interruption:
        for i in range(config.num_episodes):
            if interruption.requested:
                raise KeyboardInterrupt
            if i in done:
                continue
            env_seed, policy_seed = map(int, np.random.SeedSequence((config.seed, i)).generate_state(2))
            shards.save(i, run_episode(env, policy, env_seed=env_seed, policy_seed=policy_seed))
            bar.update()


@contextlib.contextmanager
def _advice(num_episodes: int, dataset_id: str, work: Path) -> Iterator[None]:
    """Adds to an interruption and to a full disk what is kept and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, OSError) as error:
        kept = len(list(work.glob("episode-*.npz")))
        advice = (
            f"{min(kept, num_episodes)} of {num_episodes} episodes of {dataset_id!r} are kept in {work}; "
            "the same command goes on from there"
        )
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"interrupted: {advice}") from None
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(errno.ENOSPC, f"the disk is full: {advice} once there is room") from error
        raise


def _exists(dataset_id: str, target: Path) -> FileExistsError:
    return FileExistsError(f"dataset {dataset_id!r} exists already in {target}; overwrite=True replaces it")


def _parameters(config: CollectConfig) -> dict[str, Any]:
    """What the episodes depend on, as JSON values."""
    names = ("env_id", "policy", "seed", "max_episode_steps", "env_kwargs")
    return {name: getattr(config, name) for name in names} | {
        "policy_sha256": agent_digest(config.policy, domain_of(config.env_id))
    }


def _copy(observation: Any, space: gym.Space[Any]) -> Any:
    """A copy of an observation in the types of its space."""
    if isinstance(space, gym.spaces.Dict):
        return {key: np.array(observation[key], dtype=leaf.dtype) for key, leaf in space.spaces.items()}
    return np.array(observation, dtype=space.dtype)


def _stack(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: np.stack([o[key] for o in observations]) for key in observations[0]}
    return np.stack(observations)
