"""Frames that do not fit into memory: a file of them beside the data, written once and read in pieces.

::

    .frames/NAME-OPTIONS-FILES.npy     uint8 (N, C, H, W), all episodes one after the other
    .frames/NAME-OPTIONS-FILES.json    which episodes are at fault, and why

OPTIONS stands for how images are read, FILES for the data's files with their sizes and times. When these change, the
file is made anew and the old one removed. It is read and not mapped, so that nothing of it stays in the process.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import filelock
import numpy as np
from jaxtyping import Int, UInt8
from numpy.lib import format as npy

from envs.simulation import Array
from worldmodel.storage.files import absolute, read_json, replacing, write_json

FOLDER = ".frames"
"""Name of the folder beside the data."""
VARIABLE = "WORLDMODEL_FRAMES"
"""Environment variable that names another folder."""
VERSION = 1
"""Number of the layout of the files; another one makes them anew."""

Store = Callable[[int, UInt8[np.ndarray, "n c h w"]], None]
"""Puts frames away, from a row on."""

log = logging.getLogger(__name__)


class StoredFrames:
    """Frames in a file, read as they are asked for.

    Args:
        path: A file of :func:`numpy.save` with uint8 ``(N, C, H, W)``.

    Attributes:
        shape: ``(N, C, H, W)``.

    Raises:
        ValueError: If it holds something else.
        OSError: If it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("rb", buffering=0)
        npy.read_magic(self._file)
        self.shape, fortran, dtype = npy.read_array_header_1_0(self._file)
        self._start = self._file.tell()
        self._size = int(np.prod(self.shape[1:]))
        whole = path.stat().st_size == self._start + self.shape[0] * self._size
        if fortran or dtype != np.uint8 or len(self.shape) != 4 or not whole:
            raise ValueError(f"{path} must hold uint8 frames (N, C, H, W), got {dtype} of shape {self.shape}")

    def __getitem__(self, rows: Int[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
        """Reads the frames of rows of any shape."""
        places = self._start + rows.ravel().astype(np.int64) * self._size
        if hasattr(os, "posix_fadvise"):  # all are under way before the first is waited for
            for place in places.tolist():
                os.posix_fadvise(self._file.fileno(), place, self._size, os.POSIX_FADV_WILLNEED)
        frames = np.empty((len(places), *self.shape[1:]), np.uint8)
        for frame, place in zip(frames, places.tolist(), strict=True):
            self._file.seek(place)
            if self._file.readinto(frame.data) != self._size:  # type: ignore[attr-defined]
                raise OSError(errno.EIO, f"{self._file.name} ends early; it changed while it was read")
        return frames.reshape(*rows.shape, *self.shape[1:])


def cached_frames(
    name: str,
    files: Sequence[Path],
    options: Sequence[Any],
    shape: tuple[int, int, int, int],
    write: Callable[[Store], dict[int, str]],
    *,
    folder: str | Path = "",
) -> tuple[StoredFrames, dict[int, str]]:
    """Frames of a data set from their file, which is written if it is missing or older than the data.

    Processes that need the same file wait for the first of them. One that is killed leaves nothing that counts.

    Args:
        name: What messages call the data.
        files: Its files.
        options: How images are read.
        shape: ``(N, C, H, W)`` of all frames.
        write: Puts all frames away, and returns the faults of episodes by their numbers.
        folder: Where the file belongs; by default ``WORLDMODEL_FRAMES``, else a folder beside the data.

    Returns:
        The frames, and the faults.

    Raises:
        OSError: If there is no room, or the folder cannot be written to; the message says what to do.
    """
    place = absolute(folder or os.environ.get(VARIABLE) or files[0].parent / FOLDER)
    kind = f"{Path(name).name[:40]}-{_digest([VERSION, name, *options])}"
    states = [(str(path), (found := path.stat()).st_size, found.st_mtime_ns) for path in files]
    path = place / f"{kind}-{_digest([states, shape])}.npy"
    notes = path.with_suffix(".json")
    num_bytes = float(np.prod(shape, dtype=np.float64))
    if not (path.exists() and notes.exists()):
        with _named(place, num_bytes, name):
            place.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(place / f"{kind}.lock"):
                if not (path.exists() and notes.exists()):
                    _make(path, notes, kind, shape, write, name)
    faults = read_json(notes, "the notes of a file of frames")["faults"]
    return StoredFrames(path), {int(episode): str(fault) for episode, fault in faults.items()}


def _make(
    path: Path,
    notes: Path,
    kind: str,
    shape: tuple[int, int, int, int],
    write: Callable[[Store], dict[int, str]],
    name: str,
) -> None:
    """Writes the file and its notes, and removes those of older data."""
    for old in (*path.parent.glob(f"{kind}-*.*"), *path.parent.glob(f".{kind}-*.tmp")):
        old.unlink(missing_ok=True)
    num_bytes, size = int(np.prod(shape, dtype=np.int64)), int(np.prod(shape[1:]))
    free = shutil.disk_usage(path.parent).free
    if num_bytes > free:
        raise OSError(errno.ENOSPC, f"{num_bytes / 1e9:.3g} GB are needed, {free / 1e9:.3g} GB are free")
    log.warning("frames of dataset %r are written to %s once (%.3g GB)", name, path, num_bytes / 1e9)
    with replacing(path) as temporary, temporary.open("wb") as file:
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        start = file.tell()
        file.truncate(start + num_bytes)

        def store(row: int, frames: Array) -> None:
            file.seek(start + row * size)
            file.write(np.ascontiguousarray(frames).data)

        faults = write(store)
        write_json(notes, {"faults": faults})


@contextlib.contextmanager
def _named(folder: Path, num_bytes: float, name: str) -> Iterator[None]:
    """Says of what a full or read-only disk raises what it is about, and what helps."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"frames of dataset {name!r} ({num_bytes / 1e9:.3g} GB) must be written to {folder}: name another folder "
            f"with data.cache (or {VARIABLE}), or smaller images with data.size; got {error.strerror or error}",
        ) from error


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()[:12]
