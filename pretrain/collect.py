"""Collecting data: a policy acts in a Gymnasium environment, and its episodes become a Minari dataset.

Episode ``i`` depends on the seed and ``i`` alone, and every completed episode is a file of its own until all are
joined: a run that was stopped, however hard, is continued by the same call and ends in the same dataset.
"""

import contextlib
import difflib
import errno
import importlib
import json
import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import minari
import numpy as np
import tyro
from gymnasium.envs.registration import EnvSpec, load_env_creator
from minari.dataset.minari_dataset import parse_dataset_id
from tqdm import tqdm

import envs  # noqa: F401  (registers the environments of this project)
from pretrain.datasets import datasets_root, is_two_rooms
from pretrain.explorers import Policy
from pretrain.interruption import Interruption
from pretrain.policies import POLICIES, agent_digest, make_policy, set_random_seed
from pretrain.shards import Episode, ShardFolder, is_published, join, num_joined, publish

JsonDict = Annotated[
    dict[str, Any],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=lambda args: json.loads(args[0]),
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [json.dumps(value)],
    ),
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CollectConfig:
    """Which data to collect, and where to put it."""

    env_id: str = "TwoRooms-v0"
    """Gymnasium id of the environment, such as "TwoRooms-v0" or "my_module:MyEnv-v0"; actions must be a Box."""
    policy: str = "random-walk"
    """Who acts: "random" (uniform), "random-walk" (smooth), "wall-seeking" or "expert" (both Two Rooms only), or the
    path of a saved agent."""
    num_episodes: int = 1000
    """Number of episodes."""
    dataset_id: str | None = None
    """Minari id of the dataset; by default named after environment and policy, such as "two-rooms/random-walk-v0"."""
    root: Path | None = None
    """Folder of the Minari datasets; by default $MINARI_DATASETS_PATH, else Minari's own."""
    seed: int = 0
    """Seed of everything random; the same seed gives the same dataset."""
    max_episode_steps: int | None = None
    """Steps after which an episode is cut off; by default the environment's own limit."""
    layout_set: str | None = None
    """Two Rooms only: layouts to draw from ("train", "validation", "held-out", "all"); by default the environment's."""
    observation: str | None = None
    """Two Rooms only: "state" (default) stores positions and layout, about 100 times smaller, from which training
    renders the same pixels; "pixels" stores images."""
    env_kwargs: JsonDict = field(default_factory=dict)
    """Further keywords of the environment, as JSON on the command line."""
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
        The dataset; images are stored losslessly. ``minari.load_dataset`` opens it anywhere.

    Raises:
        FileExistsError: If the dataset exists.
        ValueError: If the configuration cannot be carried out.
        OSError: If the disk is full; the message says what is kept and how to go on.
        KeyboardInterrupt: If interrupted; its message says the same.
    """
    if config.num_episodes < 1:
        raise ValueError(f"num_episodes must be at least 1, got {config.num_episodes}")
    if config.seed < 0:
        raise ValueError(f"seed must not be negative, got {config.seed}")
    dataset_id = config.dataset_id or default_dataset_id(config.env_id, config.policy)
    target = _target(dataset_id, config.root)
    env = make_env(config)
    try:
        policy = make_policy(config.policy, env)
        return _collect(config, env, policy, dataset_id, target)
    finally:
        env.close()


def make_env(config: CollectConfig) -> gym.Env[Any, Any]:
    """Makes the environment to collect in.

    Raises:
        ValueError: If the id is unknown, the keywords do not fit, actions are not a bounded Box, observations are
            neither a Box nor a Dict of Boxes, or nothing limits an episode's length.
    """
    spec = _find_spec(config.env_id)
    kwargs = dict(config.env_kwargs)
    two_rooms = {"layout_set": config.layout_set, "observation": config.observation}
    given = {key: value for key, value in two_rooms.items() if value is not None}
    if is_two_rooms(spec):
        kwargs = {"observation": "state"} | kwargs | given
    elif given:
        raise ValueError(f"{' and '.join(given)} are for Two Rooms only, got env_id {config.env_id!r}")
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


def default_dataset_id(env_id: str, policy: str) -> str:
    """The id a dataset gets when none is given.

    Example:
        >>> default_dataset_id("TwoRooms-v0", "random-walk")
        'two-rooms/random-walk-v0'
        >>> default_dataset_id("my_module:RGBReach-v2", "runs/my agent")
        'rgb-reach/my-agent-v0'
    """
    name = re.sub(r"-v\d+$", "", env_id.rpartition(":")[2]).rpartition("/")[2]
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()
    policy = policy if policy in POLICIES else Path(policy).name
    environment, actor = (re.sub(r"[^\w]+", "-", part).strip("-") or "unnamed" for part in (words, policy))
    return f"{environment}/{actor}-v0"


def run_episode(env: gym.Env[Any, Any], policy: Policy, *, env_seed: int, policy_seed: int) -> Episode:
    """Runs one episode.

    A policy that draws random numbers is seeded by its ``set_random_seed`` first, where it has one.

    Args:
        env: The environment.
        policy: Who acts.
        env_seed: Seed of the environment.
        policy_seed: Seed of the policy.
    """
    set_random_seed(policy, policy_seed)
    executed_in_info = is_two_rooms(env.spec)
    observation, info = env.reset(seed=env_seed)
    observations, infos = [_copy(observation, env.observation_space)], [info]
    actions: list[Any] = []
    rewards: list[float] = []
    terminations: list[bool] = []
    truncations: list[bool] = []
    state, start = None, True
    while start or not (terminations[-1] or truncations[-1]):
        action, state = policy.predict(observation, state=state, episode_start=np.array([start]), deterministic=False)
        start = False
        if np.shape(action) != env.action_space.shape:
            raise ValueError(
                f"the policy must return actions of shape {env.action_space.shape}, got {np.shape(action)}"
            )
        observation, reward, terminated, truncated, info = env.step(action)
        # Two Rooms scales long actions back; what was executed is what explains the next observation.
        actions.append(np.array(info["action"] if executed_in_info else action, dtype=env.action_space.dtype))
        observations.append(_copy(observation, env.observation_space))
        infos.append(info)
        rewards.append(float(reward))
        terminations.append(bool(terminated))
        truncations.append(bool(truncated))
    success = [i.get("is_success") for i in infos]
    return Episode(
        seed=env_seed,
        observations=_stack(observations),
        actions=np.stack(actions),
        rewards=np.array(rewards),
        terminations=np.array(terminations),
        truncations=np.array(truncations),
        infos={} if None in success else {"is_success": np.array(success, dtype=bool)},
    )


def _collect(
    config: CollectConfig, env: gym.Env[Any, Any], policy: Policy, dataset_id: str, target: Path
) -> minari.MinariDataset:
    """Collects what is missing, joins it, and moves it to its place."""
    work = target.with_name(f".{target.name}.collecting")
    if target.exists() and is_published(work):
        # Stopped between its last two steps; only tidying up is left.
        same = ShardFolder.parameters_match(work, _parameters(config)) and num_joined(work) == config.num_episodes
        shutil.rmtree(work)
        if same:
            return minari.MinariDataset(target / "data")
    if target.exists() and not config.overwrite:
        raise FileExistsError(f"dataset {dataset_id!r} exists already in {target}; overwrite=True replaces it")
    with _advice(config.num_episodes, dataset_id, work):
        shards = ShardFolder(work, _parameters(config), restart=config.overwrite)
        if num_joined(work) != config.num_episodes:
            _collect_missing(config, env, policy, shards, label=dataset_id)
            about = f"{config.num_episodes} episodes of {config.policy} in {config.env_id}, seed {config.seed}"
            join(shards, config.num_episodes, env, dataset_id, algorithm=Path(config.policy).name, description=about)
        publish(work, dataset_id, target)
        shutil.rmtree(work)
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
        # h5py names the error number in its message only.
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or f"errno = {errno.ENOSPC}" in str(error):
            raise OSError(errno.ENOSPC, f"the disk is full: {advice} once there is room") from error
        raise


def _parameters(config: CollectConfig) -> dict[str, Any]:
    """What the episodes depend on, as JSON values."""
    names = ("env_id", "policy", "seed", "max_episode_steps", "layout_set", "observation", "env_kwargs")
    return {name: getattr(config, name) for name in names} | {"policy_sha256": agent_digest(config.policy)}


def _target(dataset_id: str, root: Path | None) -> Path:
    """Where a dataset belongs."""
    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:
        raise ValueError(f"dataset_id must have the form 'namespace/name-v0', got {dataset_id!r}") from error
    return datasets_root(root) / dataset_id


def _find_spec(env_id: str) -> EnvSpec:
    """The specification of a registered environment."""
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(
                f"env_id must name an importable module before its colon, got {env_id!r}: {error} "
                "(is its folder in PYTHONPATH?)"
            ) from error
    try:
        return _serializable(gym.spec(name))
    except gym.error.Error as error:
        close = difflib.get_close_matches(name, list(gym.registry), n=5, cutoff=0.5)
        hint = f"; close matches are {', '.join(map(repr, close))}" if close else ""
        raise ValueError(
            f"env_id must be a registered Gymnasium environment (or 'module:Env-v0'), got {env_id!r}{hint}"
        ) from error


def _serializable(spec: EnvSpec) -> EnvSpec:
    """The specification with its entry point as a name, for a dataset cannot store the class itself."""
    entry_point = spec.entry_point
    if callable(entry_point):
        name = f"{entry_point.__module__}:{getattr(entry_point, '__qualname__', '')}"
        try:
            found = load_env_creator(name)
        except (AttributeError, ImportError):
            found = None
        if found is not entry_point:
            raise ValueError(f"the entry point of {spec.id!r} must be importable by name, got {entry_point!r}")
        spec.entry_point = name
    return spec


def _copy(observation: Any, space: gym.Space[Any]) -> Any:
    """A copy of an observation in the types of its space."""
    if isinstance(space, gym.spaces.Dict):
        return {key: np.array(observation[key], dtype=leaf.dtype) for key, leaf in space.spaces.items()}
    return np.array(observation, dtype=space.dtype)


def _stack(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: np.stack([o[key] for o in observations]) for key in observations[0]}
    return np.stack(observations)
