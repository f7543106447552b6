"""Collecting data: a policy acts in a Gymnasium environment, and its episodes become a Minari dataset.

Episode ``i`` depends on the seed and ``i`` alone, and every completed episode is a file of its own until all are
joined: a run that was stopped, however hard, is continued by the same call and ends in the same dataset.
"""

import contextlib
import errno
import logging
import re
from collections.abc import Iterator
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

import minari
from tqdm import tqdm

import envs as _envs  # noqa: F401 - registers the environments of this project
from agents.evaluation.task import GoalImageConfig
from envs.domain import domain_of, domains, slug
from envs.goal_image.images import is_image, leaves
from pretrain.collection.episodes import Recorder, Source
from pretrain.collection.joining import join, num_joined, num_published, publish, restore_replaced
from pretrain.collection.policies import agent_digest
from pretrain.collection.shards import ShardFolder, collecting, discard, remove_discarded
from pretrain.collection.workers import record_in_processes, record_in_tasks
from pretrain.data.paths import dataset_folder, work_folder
from pretrain.loop.interruption import Interruption
from worldmodel.cluster.config import Cluster, ClusterConfig
from worldmodel.cluster.jobs import connect, modules_of
from worldmodel.config import ConfigError, Count, JsonDict, Seed, command, config

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
    goal_image: GoalImageConfig = field(default_factory=GoalImageConfig)
    """How an environment without goal images is shown; any of these wraps it in envs.GoalImage."""
    env_kwargs: JsonDict = field(default_factory=dict)
    """Keywords of the environment, as JSON on the command line. Two Rooms stores positions and layouts, about 100 times
    smaller than images, from which training draws the same pixels; {"observation": "pixels"} stores images."""
    num_workers: Count = 1
    """Processes that step environments, each one at a time; the dataset is the same for any number of them."""
    cluster: Cluster = field(default_factory=ClusterConfig)
    """Whether episodes are recorded in tasks of Ray, in place of processes of this machine."""
    overwrite: bool = False
    """Replace an existing dataset (once the new one is complete), and discard an unfinished collection made with other
    parameters."""
    progress: bool = True
    """Show a progress bar."""

    def rules(self) -> None:
        """What the fields must be together.

        Raises:
            ConfigError: If there are to be both processes and tasks.
        """
        if self.cluster.ray is not None and self.num_workers > 1:
            raise ConfigError("num_workers", "1 with --ray, whose tasks do the work", self.num_workers)


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
    source = _source(config)
    with source.open() as recorder:
        space = recorder.env.observation_space
        if not domain_of(config.env_id).compact and not any(map(is_image, leaves(space).values())):
            log.info("%r shows no images, which world models learn from; --goal-image.size 64 adds some", config.env_id)
        return _collect(config, source, recorder, dataset_id, target)


main = command(CollectConfig, collect, "collect")


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


def _collect(
    config: CollectConfig, source: Source, recorder: Recorder, dataset_id: str, target: Path
) -> minari.MinariDataset:
    """Collects what is missing, joins it, and moves it to its place."""
    work, count, parameters = work_folder(target), config.num_episodes, _parameters(source)
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
            _collect_missing(config, source, recorder, shards, label=dataset_id)
            about = f"{count} episodes of {config.policy} in {config.env_id}, seed {config.seed}"
            join(shards, count, recorder.env, dataset_id, algorithm=Path(config.policy).name, description=about)
        publish(work, dataset_id, target)
        discard(work)
    dataset = minari.MinariDataset(target / "data")
    log.info("dataset %r: %d episodes, %d steps, in %s", dataset_id, len(dataset), dataset.total_steps, target)
    return dataset


def _collect_missing(
    config: CollectConfig, source: Source, recorder: Recorder, shards: ShardFolder, *, label: str
) -> None:
    """Records the episodes that are not there yet."""
    done = shards.finished(config.num_episodes)
    if done:
        log.info("continuing: %d of %d episodes are there already", len(done), config.num_episodes)
    missing = [i for i in range(config.num_episodes) if i not in done]
    bar = tqdm(
        total=config.num_episodes, initial=len(done), desc=label, unit="episode", disable=not config.progress or None
    )
    modules = modules_of(config.env_id, config.goal_image.goals, config.goal_image.success)
    workers_of = connect(config.cluster, modules=modules, progress=False)
    with bar, Interruption() as interruption, workers_of as workers:
        num_workers = min(config.num_workers, len(missing))
        if workers is not None:
            episodes = record_in_tasks(source, missing, workers, lambda: interruption.requested)
        elif num_workers > 1:
            episodes = record_in_processes(source, missing, num_workers, lambda: interruption.requested)
        else:
            episodes = ((i, recorder.record(i)) for i in missing if not interruption.requested)
        with contextlib.closing(episodes):
            for i, episode in episodes:
                shards.save(i, episode)
                bar.update()
        if interruption.requested:
            raise KeyboardInterrupt


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


def _source(config: CollectConfig) -> Source:
    """What the episodes depend on."""
    env_kwargs = config.goal_image.join(config.env_kwargs)
    return Source(config.env_id, config.policy, config.seed, config.max_episode_steps, env_kwargs)


def _parameters(source: Source) -> dict[str, Any]:
    """The same as JSON values, with a hash of the agent's weights."""
    return asdict(source) | {"policy_sha256": agent_digest(source.policy, domain_of(source.env_id))}
