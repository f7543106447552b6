"""Devices and their memory, checked before anything starts."""

import contextlib
from collections.abc import Callable

import psutil
import torch
from torch import nn

TRAINING_COPIES = 4
"""Copies of its parameters that training takes: weights, gradients and two moments of AdamW."""


def check_device(name: str | torch.device) -> torch.device:
    """A device of this machine.

    Args:
        name: As torch names it: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ValueError: If there is no such device; the message lists those there are.
    """
    found = available_devices()
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or (device.type if device.index in (None, 0) else str(device)) not in found:
        raise ValueError(f"device must be one of {', '.join(map(repr, found))} on this machine, got {str(name)!r}")
    return device


def available_devices() -> list[str]:
    """Names of the devices of this machine."""
    names = ["cpu"]
    if torch.cuda.is_available():
        names += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names.append("mps")
    return names


def require_memory(num_bytes: float, what: str) -> None:
    """Refuses what does not fit into memory: allocating it would fail late, or take the machine down.

    Args:
        num_bytes: Bytes needed, at least.
        what: What needs them, with the settings that decide the size.

    Raises:
        ValueError: If this machine has less memory free.
    """
    available = float(psutil.virtual_memory().available)
    with contextlib.suppress(ImportError):  # Windows knows no such limits
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            available = min(available, float(limit))
    if num_bytes > available:
        raise ValueError(f"{what} must fit into memory, got {_size(num_bytes)} for {_size(available)} that are free")


def num_parameter_bytes(build: Callable[[], nn.Module]) -> int:
    """Bytes of a module's parameters and buffers, without allocating any."""
    with torch.device("meta"):
        module = build()
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def _size(num_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB", "EB"):
        if num_bytes < 1000 or unit == "EB":
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    raise AssertionError
