"""Files of strangers: arrays that an HDF5 file holds itself, and what is only read forward: films, packed arrays."""

import contextlib
import importlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.lib import format as npy

from envs.simulation import Array
from pretrain.data.formats.recording import PIECE_BYTES, DatasetError

# Where it is installed, it adds the compressions that HDF5 files of others may use.
with contextlib.suppress(ImportError):
    importlib.import_module("hdf5plugin")


def own_array(group: h5py.Group, name: str, what: str) -> h5py.Dataset:
    """An array that an HDF5 file holds itself: data of other files could be a device, or somebody's secret.

    Args:
        group: The group.
        name: Its name there, nested as in ``"observations/image"``.
        what: The data set, for the message.

    Raises:
        DatasetError: If there is none.
    """
    source = group.get(name)
    own = isinstance(source, h5py.Dataset) and source.file == group.file and not (source.external or source.is_virtual)
    if not own:
        place = f"{group.name}/{name}".strip("/")
        raise DatasetError(
            f"{what} must have an array {place} in {Path(group.file.filename).name}, "
            f"got {'none' if source is None else 'something else'}"
        )
    return source


class Forward:
    """Rows that can only be read forward, by number; who asks in ascending order reads everything once.

    Args:
        start: Begins to read at a row, and yields the rows from there in pieces ``(n, ...)``.
    """

    def __init__(self, start: Callable[[int], Iterator[Array]]) -> None:
        self._start = start
        self._pieces: Iterator[Array] = iter(())
        self._rest: Array | None = None
        self._next = -1

    def rows(self, first: int, count: int) -> Iterator[Array]:
        """Yields rows ``first`` to ``first + count`` in pieces; fewer where there are no more."""
        if self._next != first:
            self._pieces, self._rest, self._next = self._start(first), None, first
        while count > 0:
            piece = self._rest if self._rest is not None else next(self._pieces, None)
            if piece is None:
                self._next = -1
                return
            taken, self._rest = piece[:count], piece[count:] if len(piece) > count else None
            self._next += len(taken)
            count -= len(taken)
            yield taken


def read_film(path: Path, first: int) -> Iterator[Array]:
    """Decodes a film from a frame on.

    Yields:
        Frames uint8 ``(1, H, W, 3)``.
    """
    import imageio_ffmpeg  # of the extra "video"

    # Each frame as it was encoded: none is dropped or repeated for an even rate.
    options = ["-fps_mode", "passthrough"]
    with contextlib.closing(imageio_ffmpeg.read_frames(str(path.absolute()), output_params=options)) as frames:
        width, height = next(frames)["size"]
        for number, frame in enumerate(frames):
            if number >= first:
                yield np.frombuffer(frame, np.uint8).reshape(1, height, width, 3)


def film_shape(path: Path) -> tuple[int, int, int]:
    """``(H, W, 3)`` of the frames of a film."""
    import imageio_ffmpeg  # of the extra "video"

    frames = imageio_ffmpeg.read_frames(str(path.absolute()))
    width, height = next(frames)["size"]
    frames.close()
    return height, width, 3


def packed_shape(file: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array of an ``.npz`` file, whose values are not read."""
    with file.open(f"{name}.npy") as stream:
        return _header(stream)


def read_packed(file: zipfile.ZipFile, name: str, first: int) -> Iterator[Array]:
    """Reads an array of an ``.npz`` file from a row on.

    Yields:
        Rows ``(n, ...)``, some megabytes at a time.
    """
    with file.open(f"{name}.npy") as stream:
        shape, dtype = _header(stream)
        row = int(np.prod(shape[1:])) * dtype.itemsize
        stream.seek(first * row, 1)
        size = max(1, PIECE_BYTES // max(row, 1))
        for start in range(first, shape[0], size):
            count = min(size, shape[0] - start)
            yield np.frombuffer(stream.read(count * row), dtype).reshape(count, *shape[1:])


def _header(stream: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if fortran or dtype.hasobject or not shape:
        raise ValueError(f"arrays must hold numbers row by row, got {dtype} of shape {shape}, fortran_order {fortran}")
    return shape, dtype
