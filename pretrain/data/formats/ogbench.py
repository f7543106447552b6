"""OGBench's visual datasets: one ``.npz`` file, all episodes one after the other.

::

    observations   (N, H, W, C), uint8
    actions        (N, A); the last of an episode leads nowhere and is not read
    terminals      (N,)  1 in the last row of an episode
"""

import functools
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from envs.simulation import Array, Simulation
from pretrain.data.formats.reading import Forward, packed_shape, read_packed
from pretrain.data.formats.recording import DatasetError, action_box, image_space, readable

OBSERVATIONS, ACTIONS, TERMINALS = "observations", "actions", "terminals"
"""Names of its arrays."""
RULE = f"it must be a file of numpy.savez with {OBSERVATIONS}, {ACTIONS} and {TERMINALS}"
"""What is asked of a file."""


def matches(path: Path) -> bool:
    """Whether there is such a file at a path."""
    return path.suffix == ".npz" and path.is_file()


class OGBenchRecording:
    """Such a file as a :class:`~pretrain.data.formats.recording.Recording`; it is never in memory whole.

    Args:
        path: The file.

    Raises:
        DatasetError: If it cannot be read, or is laid out in another way.
    """

    files: Sequence[Path]
    spaces: Mapping[str, gym.Space[Any]]
    simulation: Simulation | None = None
    action_max_norm: float | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name, self.files = str(path), (path,)
        with readable(path, RULE), np.load(path, allow_pickle=False) as file:
            missing = [name for name in (OBSERVATIONS, ACTIONS, TERMINALS) if name not in file.files]
            if missing:
                raise DatasetError(f"dataset {path} must have an array {missing[0]!r}, got {', '.join(file.files)}")
            self._actions, terminals = file[ACTIONS], file[TERMINALS]
            self._file = zipfile.ZipFile(path)
            shape, dtype = packed_shape(self._file, OBSERVATIONS)
        if not len(terminals) == len(self._actions) == shape[0] > 0 or terminals.ndim != 1:
            raise DatasetError(
                f"dataset {path} must have as many {ACTIONS} and {TERMINALS} as {OBSERVATIONS}, {shape[0]}, "
                f"got {self._actions.shape} and {terminals.shape}"
            )
        last = np.flatnonzero(terminals)
        if not len(last) or last[-1] != len(terminals) - 1:
            raise DatasetError(f"dataset {path} must have a 1 in {TERMINALS} at its end, got {float(terminals[-1]):g}")
        self._first = np.concatenate([[0], last[:-1] + 1])
        self.lengths = last - self._first
        self.action_space = action_box(self._actions.shape[1:], self._actions.dtype, f"dataset {path} must have")
        space = image_space(shape[1:], dtype)
        self.spaces = {} if space is None else {OBSERVATIONS: space}
        self._stream = Forward(functools.partial(read_packed, self._file, OBSERVATIONS))

    def frames(self, key: str, episode: int) -> Iterator[Array]:
        """Yields the frames of an episode in pieces."""
        with readable(self._path, RULE):
            yield from self._stream.rows(int(self._first[episode]), int(self.lengths[episode]) + 1)

    def actions(self, episode: int) -> Array:
        """The actions of an episode."""
        return self._actions[self._first[episode] :][: self.lengths[episode]]
