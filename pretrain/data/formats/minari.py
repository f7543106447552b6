"""Minari datasets, checked as they are read: nothing of a damaged or a stranger's file goes further.

::

    metadata.json     an object with the fields that are needed ──► spaces, counts
    main_data.hdf5    a regular file, as many episodes and steps as the metadata say
    each episode      arrays of the right number, shape and type, before they are read; finite and within bounds, after
"""

import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari
import numpy as np
from minari.dataset.minari_storage import is_image_space
from numpy.typing import NDArray
from PIL import Image

from envs.domain import Domain, domain_of
from envs.goal_image.images import WHOLE, leaves, pick
from envs.simulation import Array, Simulation, state_size
from pretrain.data.formats.reading import own_array
from pretrain.data.formats.recording import DatasetError, check_array, in_pieces, readable
from worldmodel.storage.files import open_regular, read_json

METADATA_FILE = "metadata.json"
"""Name of the file in which Minari keeps what holds for all episodes."""
DATA_FILE = "main_data.hdf5"
"""Name of the file in which Minari keeps the episodes."""
MAX_METADATA_BYTES = 256 * 2**20
"""Most bytes of the metadata, which list the bounds of every pixel."""
RULE = f"{METADATA_FILE} and {DATA_FILE} must be as Minari writes them"
"""What is asked of the files."""

_REQUIRED = {
    "dataset_id": str,
    "data_format": str,
    "minari_version": str,
    "observation_space": str,
    "action_space": str,
    "total_episodes": int,
    "total_steps": int,
}


def data_folder(path: Path) -> Path | None:
    """The folder with the files of the Minari dataset at a path, if there is one."""
    data = path / "data" if (path / "data").is_dir() else path
    return data if (data / METADATA_FILE).exists() else None


def matches(path: Path) -> bool:
    """Whether there is a Minari dataset at a path."""
    return data_folder(path) is not None


class MinariRecording:
    """A Minari dataset as a :class:`~pretrain.data.formats.recording.Recording`.

    States that an environment's simulation can draw (:attr:`envs.domain.Domain.compact`) are recorded as they are.

    Args:
        path: The dataset's folder, or the folder ``data`` in it.

    Raises:
        DatasetError: If it cannot be read, its metadata are wrong, or its actions are not a Box.
    """

    files: Sequence[Path]
    spaces: Mapping[str, gym.Space[Any]]
    simulation: Simulation | None

    def __init__(self, path: Path) -> None:
        data = data_folder(path)
        assert data is not None
        self._data = data
        self._dataset = _open_checked(data)
        self.name: str = self._dataset.id
        stored = data / DATA_FILE
        self.files = (data / METADATA_FILE, *([stored] if stored.exists() else sorted(data.rglob("*.arrow"))))
        with readable(data, RULE):
            domain = domain_of(self._dataset.env_spec)
            self.simulation = _simulation(self._dataset, domain)
            self.spaces = leaves(self._dataset.observation_space)
        space = self._dataset.action_space
        if not isinstance(space, gym.spaces.Box) or not space.low.size or np.dtype(space.dtype).kind != "f":
            raise DatasetError(f"dataset {self.name!r} must have Box actions of real numbers, got {space}")
        self.action_space = space
        self.action_max_norm = domain.action_max_norm
        self.lengths = _episode_lengths(self._dataset)

    def frames(self, key: str, episode: int) -> Iterator[Array]:
        """Yields the frames of an episode in pieces."""
        space, count = self.spaces[key], int(self.lengths[episode]) + 1
        assert isinstance(space, gym.spaces.Box)
        must = self._must(episode, "frames")
        with readable(self._data, RULE):
            if self._dataset.storage.FORMAT != "hdf5":
                read = pick(next(self._dataset.iterate_episodes([episode])).observations, key)
                check_array(read, space, count, must)
                yield read
                return
            whole = not isinstance(self._dataset.observation_space, gym.spaces.Dict)
            place = "observations" if whole else f"observations/{key.replace('.', '/')}"
            source = own_array(self._file[f"episode_{episode}"], place, f"dataset {self._data}")
            if self._dataset.storage.jpeg_encoding and is_image_space(space):
                yield from _decoded(source, space, count, must)
            else:
                check_array(source, space, count, must)
                yield from in_pieces(source, 0, count)

    def actions(self, episode: int) -> Array:
        """The actions of an episode."""
        length, must = int(self.lengths[episode]), self._must(episode, "actions")
        with readable(self._data, RULE):
            if self._dataset.storage.FORMAT != "hdf5":
                read = next(self._dataset.iterate_episodes([episode])).actions
                check_array(read, self.action_space, length, must)
                return read
            source = own_array(self._file[f"episode_{episode}"], "actions", f"dataset {self._data}")
            check_array(source, self.action_space, length, must)
            return source[()]

    @functools.cached_property
    def _file(self) -> h5py.File:
        """The file with the episodes, opened once."""
        return h5py.File(self._data / DATA_FILE, "r")

    def _must(self, episode: int, what: str) -> str:
        return f"episode {episode} of dataset {self._data} must have {what}"


def _open_checked(data: Path) -> minari.MinariDataset:
    with readable(data, RULE):
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


def _episode_lengths(dataset: minari.MinariDataset) -> NDArray[np.int64]:
    data = Path(dataset.storage.data_path)
    with readable(data, RULE):
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


def _simulation(dataset: minari.MinariDataset, domain: Domain) -> Simulation | None:
    """What draws the dataset's frames, where they are states of the environment's simulation."""
    space: Any = dataset.observation_space
    if isinstance(space, gym.spaces.Dict):
        space = space.spaces.get(WHOLE)
    if domain.compact and isinstance(space, gym.spaces.Box) and space.dtype == np.float32 and len(space.shape) == 1:
        simulation = domain.simulation(dataset.env_spec.kwargs if dataset.env_spec else {})
        if space.shape == (state_size(simulation),):
            return simulation
    return None


def _decoded(source: h5py.Dataset, space: gym.spaces.Box, count: int, must: str) -> Iterator[Array]:
    """Decodes JPEG images, a row of bytes each."""
    if len(source) != count:
        raise DatasetError(f"{must}, {count} of them, got {len(source)}")
    for i in range(count):
        image = np.array(Image.open(io.BytesIO(bytes(source[i]))))
        check_array(image[None], space, 1, must)
        yield image[None]
