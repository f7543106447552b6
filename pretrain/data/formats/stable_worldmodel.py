"""HDF5 files as stable-worldmodel lays them out: an array a column, all episodes one after the other.

::

    pixels      (N, H, W, C) or (N, C, H, W), uint8; any other array of images may be chosen
    action      (N, A); the last of an episode leads nowhere and is not read
    ep_len      (E,)  rows of each episode
    ep_offset   (E,)  its first row
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
from numpy.typing import NDArray

from envs.simulation import Array, Simulation
from pretrain.data.formats.reading import own_array
from pretrain.data.formats.recording import DatasetError, action_box, image_space, in_pieces, readable
from worldmodel.nn.devices import require_memory

LENGTHS, OFFSETS, ACTION = "ep_len", "ep_offset", "action"
"""Names of its arrays."""
SUFFIXES = (".h5", ".hdf5")
"""How its files are called."""
RULE = f"it must be an HDF5 file with the arrays {LENGTHS}, {OFFSETS}, {ACTION} and images (compressed: see hdf5plugin)"
"""What is asked of a file."""


def data_file(path: Path) -> Path | None:
    """The HDF5 file at a path, or the only one in a folder."""
    if path.is_dir():
        found = [file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file()]
        return found[0] if len(found) == 1 else None
    return path if path.suffix in SUFFIXES and path.is_file() else None


def matches(path: Path) -> bool:
    """Whether there is such a file at a path."""
    return data_file(path) is not None


class StableWorldmodelRecording:
    """Such a file as a :class:`~pretrain.data.formats.recording.Recording`.

    Args:
        path: The file, or a folder with one.

    Raises:
        DatasetError: If it cannot be read, or is laid out in another way.
    """

    files: Sequence[Path]
    spaces: Mapping[str, gym.Space[Any]]
    simulation: Simulation | None = None
    action_max_norm: float | None = None

    def __init__(self, path: Path) -> None:
        file_path = data_file(path)
        assert file_path is not None
        self._path = file_path
        self.name, self.files = str(file_path), (file_path,)
        what = f"dataset {file_path}"
        with readable(file_path, RULE):
            self._file = file = h5py.File(file_path, "r")
            rows, self._offsets = (own_array(file, name, what)[()] for name in (LENGTHS, OFFSETS))
            action = own_array(file, ACTION, what)
            self.lengths = _steps(rows, self._offsets, len(action), what)
            self.action_space = action_box(action.shape[1:], action.dtype, f"{what} must have")
            require_memory(float(action.nbytes), f"actions of {what}, of shape {action.shape},")
            self._actions = action[()]
            self.spaces = {
                name: space
                for name, array in file.items()
                if isinstance(array, h5py.Dataset) and array.shape[:1] == action.shape[:1] and name != ACTION
                if (space := image_space(array.shape[1:], array.dtype)) is not None
            }

    def frames(self, key: str, episode: int) -> Iterator[Array]:
        """Yields the frames of an episode in pieces."""
        with readable(self._path, RULE):
            source = own_array(self._file, key, f"dataset {self._path}")
            yield from in_pieces(source, int(self._offsets[episode]), int(self.lengths[episode]) + 1)

    def actions(self, episode: int) -> Array:
        """The actions of an episode."""
        return self._actions[int(self._offsets[episode]) :][: int(self.lengths[episode])]


def _steps(rows: Array, offsets: Array, total: int, what: str) -> NDArray[np.int64]:
    """Steps of each episode: one less than its rows."""
    whole = all(array.dtype.kind in "iu" and array.ndim == 1 for array in (rows, offsets))
    fit = whole and len(rows) == len(offsets) > 0
    if not fit or (rows < 1).any() or (offsets < 0).any() or (offsets + rows > total).any():
        raise DatasetError(
            f"{what} must have episodes within its {total} rows, as {LENGTHS} and {OFFSETS}, "
            f"got {rows.ravel()[:5].tolist()}… and {offsets.ravel()[:5].tolist()}…"
        )
    return rows.astype(np.int64) - 1
