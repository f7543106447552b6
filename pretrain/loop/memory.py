"""Memory of a long run on CPUs: kept by the process rather than given back and asked for anew."""

import ctypes
import math
import platform
from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import nn

from worldmodel.nn.devices import TRAINING_COPIES, num_parameter_bytes, require_memory

M = TypeVar("M", bound=nn.Module)

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Options of glibc's ``mallopt``."""


def require_batch(what: str, batch_size: int, shape: Sequence[int]) -> None:
    """Refuses batches whose pixels alone, as bytes and as single-precision numbers, do not fit into memory.

    Args:
        what: Name of the field of the batch's size.
        batch_size: Rows of a batch.
        shape: Shape of a row.

    Raises:
        ValueError: If they do not fit.
    """
    require_memory(5.0 * batch_size * math.prod(shape), f"a batch of pixels ({what} {batch_size} × {tuple(shape)})")


def built(build: Callable[[], M], config: object) -> M:
    """A module to train, if it can be trained in the memory that there is.

    Args:
        build: Builds it.
        config: Its configuration, for the message.

    Raises:
        ValueError: If its weights, their gradients and the optimiser's moments do not fit into memory.
    """
    require_memory(TRAINING_COPIES * num_parameter_bytes(build), f"training {config}")
    return build()


def keep_memory() -> bool:
    """Lets glibc's allocator keep what is freed.

    By default it maps every large buffer anew and unmaps it when it is freed, and the kernel clears each page again.
    That took up to a third of a training step with large activations. Other C libraries are left alone.

    Returns:
        Whether the allocator took the options.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
