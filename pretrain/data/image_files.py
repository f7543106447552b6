"""Files of labelled images, read with care: IDX files of MNIST's kind, plain or gzipped, and CIFAR-10's rows.

What a file says of itself is compared with its size before anything is allocated, and a gzipped one is unpacked no
further than that.
"""

import contextlib
import gzip
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8

from worldmodel.nn.devices import require_memory
from worldmodel.storage.files import open_regular, read_bytes

MAX_DIMS = 4
"""Most dimensions of an IDX file: images of several channels."""
MAX_DEFLATE_RATIO = 1032
"""Most bytes that a gzipped byte can stand for."""
CIFAR_SHAPE = (3, 32, 32)
"""``(C, H, W)`` of CIFAR-10's images."""
CIFAR_ROW = 1 + math.prod(CIFAR_SHAPE)
"""Bytes of one of them: its label, then red, green and blue planes."""
NUM_CIFAR_CLASSES = 10
"""How many classes it has."""


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Reads an IDX file of bytes, plain or gzipped.

    Raises:
        ValueError: If it is no such file, or does not hold what it says, or that does not fit into memory.
        OSError: If it is missing or cannot be read.
    """
    with _open_idx(path) as (stream, shape, num_left):
        total, packed = math.prod(shape), path.suffix == ".gz"
        if total > num_left * MAX_DEFLATE_RATIO if packed else total != num_left:
            most = "at most " if packed else ""
            raise ValueError(
                f"{path} must hold {total} bytes, of shape {shape} as it says, got {most}{max(num_left, 0)}"
            )
        require_memory(2 * total, f"{path} of shape {shape}")
        body = stream.read(total + 1)  # one more, to see that it ends there; a checksum is compared at the end
    if len(body) != total:
        got = "more" if len(body) > total else len(body)
        raise ValueError(f"{path} must hold {total} bytes, of shape {shape} as it says, got {got}")
    return np.frombuffer(body, np.uint8).reshape(shape).copy()


def idx_shape(path: Path) -> tuple[int, ...]:
    """The shape of what an IDX file says that it holds.

    Raises:
        ValueError: If it is no such file.
        OSError: If it is missing or cannot be read.
    """
    with _open_idx(path) as (_, shape, _):
        return shape


def read_cifar(path: Path) -> UInt8[np.ndarray, "n 3073"]:
    """Reads a file of the binary version of CIFAR-10: a row an image, its label first.

    Raises:
        ValueError: If it is no such file.
        OSError: If it is missing or cannot be read.
    """
    rows = np.frombuffer(read_bytes(path), np.uint8)
    if rows.size == 0 or rows.size % CIFAR_ROW:
        raise ValueError(f"{path} must hold rows of {CIFAR_ROW} bytes, got {rows.size} bytes")
    rows = rows.reshape(-1, CIFAR_ROW)
    if rows[:, 0].max() >= NUM_CIFAR_CLASSES:
        raise ValueError(f"{path} must have labels from 0 to {NUM_CIFAR_CLASSES - 1}, got {rows[:, 0].max()}")
    return rows


@contextlib.contextmanager
def _open_idx(path: Path) -> Iterator[tuple[IO[bytes] | gzip.GzipFile, tuple[int, ...], int]]:
    """An IDX file behind its header, the shape that this says, and how many bytes of the file are left as stored."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        stream = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
        try:
            # Two zeros, the type (8: unsigned bytes), the number of dimensions, their sizes as big-endian integers.
            head = stream.read(4)
            if len(head) < 4 or head[:3] != b"\0\0\x08":
                raise ValueError(f"{path} must be an IDX file of unsigned bytes, got one that begins with {head.hex()}")
            num_dims = head[3]
            if not 1 <= num_dims <= MAX_DIMS:
                raise ValueError(f"{path} must have 1 to {MAX_DIMS} dimensions, got {num_dims}")
            sizes = stream.read(4 * num_dims)
            if len(sizes) < 4 * num_dims:
                raise ValueError(f"{path} must hold {num_dims} sizes as it says, got {len(sizes)} bytes of them")
            yield stream, tuple(np.frombuffer(sizes, ">u4").tolist()), size - 4 - 4 * num_dims
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} must be a whole gzipped file, got one that is not: {error}") from error
