"""Arrays of numbers in npz files, read without pickles and no larger than they may be."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from worldmodel.checkpoint import CheckpointError
from worldmodel.storage.files import open_regular

HEADER = 2**14
"""Most bytes of a member of an npz file beside those of its numbers."""


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


def read_array(archive: zipfile.ZipFile, name: str, max_bytes: int) -> NDArray[Any]:
    """Reads an array.

    Args:
        archive: The npz file.
        name: The array's name.
        max_bytes: Most bytes of its numbers.

    Raises:
        ValueError: If it has more bytes, or holds anything but numbers that are finite.
    """
    with archive.open(f"{name}.npy") as file:
        if archive.getinfo(file.name).file_size > max_bytes + HEADER:
            raise ValueError(f"{name!r} must have at most {max_bytes:,} bytes")
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        if file.read(1):  # reading to the end checks the sum of the bytes too
            raise ValueError(f"{name!r} has more numbers than its shape says")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name!r} must hold finite numbers, got some that are not")
    return array


def fill_array(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    """Reads an array into one of the same shape and type.

    Raises:
        ValueError: If it has another shape or type, or holds numbers that are not finite.
    """
    found = read_array(archive, name, array.nbytes)
    if (found.shape, found.dtype) != (array.shape, array.dtype):
        raise ValueError(f"{name!r} must be {array.dtype} {array.shape}, got {found.dtype} {found.shape}")
    array[...] = found
