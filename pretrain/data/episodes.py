"""Episodes of a Minari dataset, checked as they are read: nothing of a damaged or a stranger's file goes further.

::

    metadata.json     an object with the fields that are needed ──► spaces, counts
    main_data.hdf5    a regular file, as many episodes and steps as the metadata say
    each episode      arrays of the right number, shape and type, before they are read; finite and within bounds, after

Whatever is wrong is said in one line, with the dataset's path.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import h5py
import minari
import numpy as np
from numpy.typing import NDArray

from envs.simulation import Array
from worldmodel.storage.files import open_regular, read_json

METADATA_FILE = "metadata.json"
"""Name of the file in which Minari keeps what holds for all episodes."""
DATA_FILE = "main_data.hdf5"
"""Name of the file in which Minari keeps the episodes."""
MAX_METADATA_BYTES = 256 * 2**20
"""Most bytes of the metadata, which list the bounds of every pixel."""
TOLERANCE = 1e-4
"""How far a value may lie outside of its bounds, as a part of them."""

_REQUIRED = {
    "dataset_id": str,
    "data_format": str,
    "minari_version": str,
    "observation_space": str,
    "action_space": str,
    "total_episodes": int,
    "total_steps": int,
}


class DatasetError(ValueError):
    """A dataset does not hold what it should."""


@contextlib.contextmanager
def readable(data: Path) -> Iterator[None]:
    """Says, of whatever a damaged dataset makes h5py, json, Minari and Gymnasium raise, which dataset it is.

    Args:
        data: The folder with its files.
    """
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DatasetError(
            f"dataset {data} cannot be read: {METADATA_FILE} and {DATA_FILE} must be as Minari writes them, "
            f"got {reason if len(reason) <= 300 else reason[:300] + '…'}"
        ) from error


def open_checked(data: Path) -> minari.MinariDataset:
    """Opens a dataset.

    Args:
        data: The folder with its files.

    Raises:
        DatasetError: If it cannot be read, or does not hold what its metadata say.
    """
    with readable(data):
        metadata = read_json(data / METADATA_FILE, "the metadata of a dataset", max_bytes=MAX_METADATA_BYTES)
        for name, kind in _REQUIRED.items():
            value = metadata.get(name)
            if not isinstance(value, kind) or isinstance(value, bool):
                found = f"{value!r:.60}" if name in metadata else "none"
                word = {str: "a text", int: "a whole number"}[kind]
                raise DatasetError(f"{data / METADATA_FILE} must have {word} as {name!r}, got {found}")
        if metadata["data_format"] == "hdf5":
            open_regular(data / DATA_FILE, max_bytes=2**63).close()
            with h5py.File(data / DATA_FILE, "r") as file:
                num_episodes = sum(name.startswith("episode_") for name in file)
            if metadata["total_episodes"] != num_episodes or num_episodes < 1:
                raise DatasetError(
                    f"{data / METADATA_FILE} must have the number of episodes in {DATA_FILE}, at least one, as "
                    f"total_episodes: {num_episodes} are there, got {metadata['total_episodes']}"
                )
        return minari.MinariDataset(data)


def episode_lengths(dataset: minari.MinariDataset) -> NDArray[np.int64]:
    """Number of steps of each episode of a dataset.

    Raises:
        DatasetError: If they are not what the metadata say.
    """
    data = Path(dataset.storage.data_path)
    with readable(data):
        count, total = dataset.storage.total_episodes, dataset.storage.total_steps
        if dataset.storage.FORMAT == "hdf5":
            with h5py.File(data / DATA_FILE, "r") as file:
                found = [file[f"episode_{i}"].attrs["total_steps"] for i in range(count)]
        else:
            found = [metadata["total_steps"] for metadata in dataset.storage.get_episode_metadata(range(count))]
        for i, length in enumerate(found):
            if not isinstance(length, int | np.integer) or not 0 <= length < 2**40:
                raise DatasetError(f"episode {i} of dataset {data} must have a number of steps, got {length!r:.60}")
        if sum(map(int, found)) != total:
            raise DatasetError(
                f"{data / METADATA_FILE} must have the sum of the episodes' steps, {sum(map(int, found))}, as "
                f"total_steps, got {total}"
            )
        return np.array(found, np.int64)


def read_episodes(
    dataset: minari.MinariDataset, space: gym.spaces.Box, episodes: NDArray[np.int64], lengths: NDArray[np.int64]
) -> Iterator[tuple[Array, Array]]:
    """Reads frames and actions of episodes, one after the other.

    Args:
        dataset: The dataset, with Box actions.
        space: Its frames'.
        episodes: Which ones.
        lengths: How many steps L they have.

    Yields:
        Frames ``(L + 1, ...)`` and actions ``(L, ...)`` as the spaces say; of Dict observations "observation".

    Raises:
        DatasetError: If an episode is not as the spaces say, or has values that are not finite or out of bounds.
    """
    data = Path(dataset.storage.data_path)
    nested = isinstance(dataset.observation_space, gym.spaces.Dict)
    plain = dataset.storage.FORMAT == "hdf5" and not dataset.storage.jpeg_encoding
    with readable(data), contextlib.ExitStack() as stack:
        file = stack.enter_context(h5py.File(data / DATA_FILE, "r")) if plain else None
        for episode, length in zip(episodes.tolist(), lengths.tolist(), strict=True):
            must = f"episode {episode} of dataset {data} must have"
            if file is not None:
                group = file[f"episode_{episode}"]
                frames = _source(group, "observations/observation" if nested else "observations")
                actions = _source(group, "actions")
            else:
                read = next(dataset.iterate_episodes([episode]))
                frames, actions = read.observations["observation"] if nested else read.observations, read.actions
            frames = _read_checked(frames, space, length + 1, f"{must} frames")
            yield frames, _read_checked(actions, dataset.action_space, length, f"{must} actions")


def first_fault(values: Array, space: gym.spaces.Box) -> str | None:
    """Says what the first value is that is not finite, or not in a space (by more than :data:`TOLERANCE`).

    Args:
        values: Values of the space, ``(T, ...)``.
        space: The space.

    Returns:
        Words for messages, or None where all is well.
    """
    if values.dtype == np.uint8 == space.dtype and (space.low == 0).all() and (space.high == 255).all():
        return None
    low, high = (bound.astype(np.float64) for bound in (space.low, space.high))
    size = np.maximum(*(np.where(np.isfinite(bound), np.abs(bound), 0.0) for bound in (low, high)))
    wrong = ~(np.isfinite(values) & (values >= low - TOLERANCE * size) & (values <= high + TOLERANCE * size))
    if not wrong.any():
        return None
    step, *place = (int(i) for i in np.argwhere(wrong)[0])
    component = tuple(place)
    return f"{values[step, *place]:g} in row {step}, bounds {low[component]:g} and {high[component]:g}"


def _source(group: h5py.Group, name: str) -> h5py.Dataset:
    """Where an array of an episode is in its group."""
    source = group.get(name)
    # Data of other files could be a device, or somebody's secret.
    own = isinstance(source, h5py.Dataset) and source.file == group.file and not (source.external or source.is_virtual)
    if not own:
        raise DatasetError(
            f"dataset {Path(group.file.filename).parent} must have an array {group.name[1:]}/{name} in {DATA_FILE}, "
            f"got {'none' if source is None else 'something else'}"
        )
    return source


def _read_checked(source: Array | h5py.Dataset, space: gym.spaces.Box, count: int, must: str) -> Array:
    """Reads an array that has the shape and type of a space, which is seen before it is read, and values in it."""
    same = source.dtype == space.dtype or (source.dtype.kind in "fiu" and np.dtype(space.dtype).kind == "f")
    if source.shape != (count, *space.shape) or not same:
        kind = "text" if source.dtype.kind in "OSU" else source.dtype
        raise DatasetError(
            f"{must} of shape {(count, *space.shape)} and type {space.dtype}, got {source.shape}, {kind}"
        )
    values = source[()]
    if fault := first_fault(values, space):
        raise DatasetError(f"{must} that are finite and within their bounds, got {fault}")
    return values
