"""Folders as DINO-WM lays them out: tensors of all episodes, and a file of images for each.

::

    actions.pth or rel_actions.pth       (E, T, A), padded; the last of an episode leads nowhere and is not read
    seq_lengths.pth or seq_lengths.pkl   (E,)  frames of each episode; without, all have T
    obses/episode_000.pth or .mp4        (T, H, W, C) or (T, C, H, W), uint8, or floats from 0 to 255
    000000/obses.pth                     the same, of deformable objects

Files are read without running what a pickle may hold.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from envs.simulation import Array, Simulation
from pretrain.data.formats.reading import film_shape, read_film
from pretrain.data.formats.recording import DatasetError, action_box, image_space, in_pieces, readable
from worldmodel.storage.files import open_regular

ACTIONS = ("rel_actions.pth", "actions.pth")
"""Files with actions; the first that is there counts."""
LENGTHS = ("seq_lengths.pth", "seq_lengths.pkl")
"""Files with lengths of episodes."""
IMAGES = ("obses/episode_{:03d}.pth", "obses/episode_{:03d}.mp4", "{:06d}/obses.pth")
"""Files with the images of an episode."""
PARTS = ("train", "val")
"""Folders of a dataset that its authors split themselves."""
KEY = "obses"
"""Key of its images."""
RULE = f"it must be a folder with {ACTIONS[1]} and {IMAGES[0].format(0)} and the like, as DINO-WM writes them"
"""What is asked of a folder."""


def matches(path: Path) -> bool:
    """Whether there is such a folder at a path, or one with its two parts."""
    return any((folder / name).is_file() for folder in (path, path / PARTS[0]) for name in ACTIONS)


class DinoWMRecording:
    """Such a folder as a :class:`~pretrain.data.formats.recording.Recording`.

    Args:
        path: The folder.

    Raises:
        DatasetError: If it cannot be read, or is laid out in another way.
    """

    files: Sequence[Path]
    spaces: Mapping[str, gym.Space[Any]]
    simulation: Simulation | None = None
    action_max_norm: float | None = None

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, str(path)
        found = next((path / name for name in ACTIONS if (path / name).is_file()), None)
        if found is None:
            parts = " or ".join(str(path / part) for part in PARTS if (path / part).is_dir())
            raise DatasetError(f"dataset must be one of the parts of a DINO-WM dataset, {parts}, got {path}")
        with readable(path, RULE):
            self._actions = _load(found).numpy()
            if self._actions.ndim < 2 or not len(self._actions):
                raise DatasetError(f"{found} must hold actions (E, T, A), got shape {self._actions.shape}")
            count, longest = self._actions.shape[:2]
            rows = _lengths(path, count, longest)
            self._images = [_image_file(path, episode) for episode in range(count)]
            shape, dtype = _first_image(self._images[0])
        self.lengths = np.minimum(rows - 1, longest)
        self.action_space = action_box(self._actions.shape[2:], self._actions.dtype, f"dataset {path} must have")
        # Floats from 0 to 255, as its authors divide by 255 whatever they read.
        space = image_space(shape, np.uint8 if dtype.kind == "f" else dtype)
        self.spaces = {} if space is None else {KEY: space}
        self.files = (found, *self._images)

    def frames(self, key: str, episode: int) -> Iterator[Array]:
        """Yields the frames of an episode in pieces."""
        path, count = self._images[episode], int(self.lengths[episode]) + 1
        must = f"episode {episode} of dataset {self._path} must have frames"
        with readable(self._path, RULE):
            if path.suffix == ".mp4":
                for number, frame in enumerate(read_film(path, 0)):
                    if number == count:
                        return
                    yield frame
                return
            source = _load(path).numpy()[:count]
            if source.dtype.kind == "f":
                if not ((source >= 0) & (source <= 255)).all():
                    raise DatasetError(f"{must} from 0 to 255, got values from {source.min():g} to {source.max():g}")
                source = np.rint(source).astype(np.uint8)
            if len(source) != count:
                raise DatasetError(f"{must}, {count} of them, got {len(source)}")
            yield from in_pieces(source, 0, count)

    def actions(self, episode: int) -> Array:
        """The actions of an episode."""
        return self._actions[episode, : self.lengths[episode]]


class _Plain(pickle.Unpickler):
    """Reads numbers and lists of them from a pickle; whatever would run code is refused."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        raise ValueError(f"a pickle with lengths must hold a list of whole numbers, got {module}.{name}")


def _load(path: Path) -> torch.Tensor:
    """A tensor of a file, mapped into memory where torch can."""
    open_regular(path, max_bytes=2**63).close()
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # files of old releases of torch cannot be mapped
        value = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(value, torch.Tensor):
        raise DatasetError(f"{path} must hold a tensor, got {type(value).__name__}")
    return value


def _lengths(path: Path, count: int, longest: int) -> NDArray[np.int64]:
    """Frames of each episode."""
    found = next((path / name for name in LENGTHS if (path / name).is_file()), None)
    if found is None:
        return np.full(count, longest)
    if found.suffix == ".pkl":
        with open_regular(found) as file:
            rows = np.array(_Plain(file).load())
    else:
        rows = _load(found).numpy()
    if rows.shape != (count,) or rows.dtype.kind not in "iu" or (rows < 1).any() or (rows > longest + 1).any():
        raise DatasetError(
            f"{found} must hold {count} numbers of frames from 1 to {longest + 1}, got {rows.ravel()[:5].tolist()}…"
        )
    return rows.astype(np.int64)


def _image_file(path: Path, episode: int) -> Path:
    """The file with the images of an episode."""
    for name in IMAGES:
        if (found := path / name.format(episode)).is_file():
            return found
    raise DatasetError(
        f"episode {episode} of dataset {path} must have frames in one of "
        f"{', '.join(name.format(episode) for name in IMAGES)}, got none of them"
    )


def _first_image(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the images in a file."""
    if path.suffix == ".mp4":
        return film_shape(path), np.dtype(np.uint8)
    images = _load(path)
    return tuple(images.shape[1:]), np.empty(0, str(images.dtype).removeprefix("torch.")).dtype
