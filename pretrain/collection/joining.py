"""The last steps of a collection: its episodes become a Minari dataset, which moves to its place.

::

    shards ──► joined/ID/data      complete? ──► joined.ok
    what stood in its place ──► replaced/      joined/ID ──► its place

Each step is one rename or has a mark, so that a process that was killed at any point is continued by the next.
"""

import importlib.metadata
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from minari.dataset.minari_storage import MinariStorage
from minari.namespace import NAMESPACE_METADATA_FILENAME

from pretrain.collection.hdf5_file import new_hdf5
from pretrain.collection.shards import JOINED, REPLACED, ShardFolder
from pretrain.data.formats.minari import DATA_FILE, METADATA_FILE
from pretrain.loop.interruption import Interruption
from worldmodel.storage.files import read_bytes, write_text

MARK = "joined.ok"
"""Name of the file that says that the joined dataset is complete: how many episodes it has."""


def join(
    shards: ShardFolder,
    num_episodes: int,
    env: gym.Env[Any, Any],
    dataset_id: str,
    *,
    algorithm: str,
    description: str,
) -> None:
    """Turns shards into a Minari dataset inside their folder; a mark says that it is complete.

    Args:
        shards: The folder, in which the first ``num_episodes`` are finished.
        num_episodes: How many to join.
        env: The environment they are from.
        dataset_id: Minari id of the dataset.
        algorithm: Who acted.
        description: What the dataset holds.

    Raises:
        OSError: If it cannot be written, for example because the disk is full; nothing is left of it then.
        KeyboardInterrupt: If interrupted; nothing is left of it then.
    """
    (shards.path / MARK).unlink(missing_ok=True)
    joined = shards.path / JOINED
    if joined.exists():
        shutil.rmtree(joined)
    try:
        data = joined / dataset_id / "data"
        data.mkdir(parents=True)
        storage = MinariStorage.new(data, env.observation_space, env.action_space, env.spec, jpeg_encoding=False)
        about = {"dataset_id": dataset_id, "algorithm_name": algorithm, "description": description}
        storage.update_metadata(about | {"minari_version": importlib.metadata.version("minari")})
        num_steps = _write_episodes(data / DATA_FILE, shards, num_episodes)
        size = storage.get_size()
        storage.update_metadata({"total_steps": num_steps, "total_episodes": num_episodes, "dataset_size": size})
        write_text(shards.path / MARK, str(num_episodes))
    except BaseException:
        shutil.rmtree(joined, ignore_errors=True)
        raise


def publish(work: Path, dataset_id: str, target: Path) -> None:
    """Moves the joined dataset to its place; what stood there goes only now that the new one is complete.

    Args:
        work: The folder of the shards.
        dataset_id: Minari id of the dataset.
        target: Where it belongs, ``root / dataset_id``.
    """
    for folder in target.parents[: len(Path(dataset_id).parts) - 1]:
        if not (folder / NAMESPACE_METADATA_FILENAME).exists():
            write_text(folder / NAMESPACE_METADATA_FILENAME, "{}")
    if target.exists():
        replaced = work / REPLACED
        if replaced.exists():
            shutil.rmtree(replaced)
        target.rename(replaced)
    (work / JOINED / dataset_id).rename(target)


def restore_replaced(work: Path, target: Path) -> None:
    """Puts a dataset back that was taken from its place when the process was killed before the new one got there."""
    if (work / REPLACED).is_dir() and not target.exists():
        (work / REPLACED).rename(target)


def num_joined(work: Path, dataset_id: str) -> int | None:
    """Number of episodes of the complete dataset in the work folder; ``None`` if there is none."""
    data = work / JOINED / dataset_id / "data"
    if all((data / name).is_file() for name in (METADATA_FILE, DATA_FILE)):
        return _marked(work)
    return None


def num_published(work: Path, dataset_id: str) -> int | None:
    """Number of episodes of the dataset that was joined in this work folder and moved to its place; else ``None``."""
    return None if (work / JOINED / dataset_id).exists() else _marked(work)


def _marked(work: Path) -> int | None:
    try:
        return int(read_bytes(work / MARK, max_bytes=100))
    except (FileNotFoundError, ValueError):
        return None


def _write_episodes(path: Path, shards: ShardFolder, num_episodes: int) -> int:
    """Writes the episodes as Minari lays them out, and returns the number of their steps."""
    num_steps = 0
    with Interruption() as interruption, new_hdf5(path) as (file, below):
        for i in range(num_episodes):
            if interruption.requested:
                raise KeyboardInterrupt
            episode = shards.load(i)
            group = file.create_group(f"episode_{i}")
            num_steps += len(episode.actions)
            group.attrs.update({"id": i, "seed": episode.seed, "total_steps": len(episode.actions)})
            for name, array in episode.arrays().items():  # which can grow, as Minari wants it
                # Images shrink about tenfold; whoever has h5py reads them.
                filters = {"compression": "lzf"} if array.dtype == np.uint8 else {}
                group.create_dataset(name, data=array, chunks=True, maxshape=(None, *array.shape[1:]), **filters)
            group.require_group("infos")  # Minari wants it also where there are none
            if below.error is not None:
                break
    return num_steps
