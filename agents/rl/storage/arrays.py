"""Arrays of numbers in npz files, read without pickles and no larger than they may be."""

import contextlib
import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from worldmodel.checkpoint import CheckpointError
from worldmodel.storage.files import open_regular

CHUNK = 2**22
"""Numbers that are looked at together."""


@contextlib.contextmanager
def open_arrays(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens an npz file.

    Raises:
        CheckpointError: If it is damaged, or holds something else; also where that shows only while it is open.
        OSError: If it cannot be read.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except (CheckpointError, OSError):
        raise
    except Exception as error:  # zipfile raises many kinds for damaged and foreign files
        raise CheckpointError(f"{path} must be an npz file of arrays: {str(error) or 'it ends too early'}") from error


def fill_array(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    """Reads an array into one of the same shape and type.

    Args:
        archive: The npz file.
        name: The array's name.
        array: Where its numbers go; contiguous.

    Raises:
        ValueError: If it has another shape or type, or holds numbers that are not finite.
    """
    with _open(archive, name) as file:
        shape, dtype = _header(file)
        if (shape, dtype) != (array.shape, array.dtype):
            raise ValueError(f"{name!r} must be {array.dtype} {array.shape}, got {dtype} {shape}")
        left = memoryview(array.data).cast("B") if array.size else memoryview(b"")
        while len(left):
            count = file.readinto(left)
            if not count:
                raise ValueError(f"{name!r} ends too early")
            left = left[count:]
        if file.read(1):  # reading to the end checks the sum of the bytes too
            raise ValueError(f"{name!r} has more numbers than its shape says")
    flat = array.reshape(-1)
    if array.dtype.kind == "f" and not all(
        np.isfinite(flat[start : start + CHUNK]).all() for start in range(0, flat.size, CHUNK)
    ):
        raise ValueError(f"{name!r} must hold finite numbers, got some that are not")


def read_array(archive: zipfile.ZipFile, name: str, kinds: str, num_dims: int, max_bytes: int) -> NDArray[Any]:
    """Reads an array of a shape that is not known before.

    Args:
        archive: The npz file.
        name: The array's name.
        kinds: What its numbers may be, as NumPy's ``dtype.kind``.
        num_dims: Its dimensions.
        max_bytes: Most bytes.

    Raises:
        ValueError: If it has another type, other dimensions, too many bytes, or holds numbers that are not finite.
    """
    with _open(archive, name) as file:
        shape, dtype = _header(file)
    if dtype.kind not in kinds or len(shape) != num_dims or math.prod(shape) * dtype.itemsize > max_bytes:
        raise ValueError(f"{name!r} must be {num_dims}-dimensional and of kind {kinds}, got {dtype} {shape}")
    array = np.empty(shape, dtype)
    fill_array(archive, name, array)
    return array


def _open(archive: zipfile.ZipFile, name: str) -> io.BufferedIOBase:
    return cast(io.BufferedIOBase, archive.open(f"{name}.npy"))


def _header(file: io.BufferedIOBase) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array that follows, from its header."""
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"arrays must be in version 1 or 2 of NumPy's format, got {version}")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    if dtype.hasobject or (fortran_order and len(shape) > 1) or any(size < 0 for size in shape):
        raise ValueError(f"arrays must be in C order and hold numbers, got {dtype} {shape}")
    return shape, dtype
