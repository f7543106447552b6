"""Weights in safetensors files: exactly those of the architecture, finite, compared before anything is built."""

import json
import logging
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from torch import Tensor, nn

logger = logging.getLogger(__name__)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""Names of the files of a checkpoint: what describes the architecture, and the weights."""
DTYPES = {torch.float32: "F32", torch.int64: "I64", torch.bool: "BOOL", torch.uint8: "U8", torch.float64: "F64"}
"""How safetensors names types."""


class CheckpointError(ValueError):
    """A checkpoint is missing, corrupt or of another kind."""


def load_modules(
    weights: bytes, parts: Mapping[str, Callable[[], nn.Module | None]], path: Path, device: torch.device | str = "cpu"
) -> dict[str, nn.Module]:
    """Builds modules and reads their weights, and puts them on a device and in evaluation mode.

    The names, shapes and types that the file's header lists are compared with those that the modules would have before
    anything is built.

    Args:
        weights: The bytes of the file.
        parts: Builders of the modules, by the prefix of their weights; one that returns None is left out.
        path: Where the file is, beside the one that describes the architecture; for messages.
        device: Where they go.

    Raises:
        CheckpointError: If the file is corrupt, or holds other tensors than exactly those of the modules, or one that
            is not finite.
    """
    try:
        with torch.device("meta"):
            described = {name: module for name, build in parts.items() if (module := build()) is not None}
    except (ValueError, RuntimeError, OverflowError) as error:
        line = str(error).partition("\n")[0]
        raise CheckpointError(f"{path.parent / CONFIG} does not describe a model of this version: {line}") from error
    expected = nn.ModuleDict(described).state_dict()
    _compare(_header(weights, path), expected, path)
    try:
        tensors = from_bytes(weights)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} must be a safetensors file: {error}") from error
    check_finite(tensors, f"{path} must hold finite numbers", CheckpointError)
    modules = {}
    for name, build in parts.items():
        if (module := build()) is not None:
            _load(module, {key: tensors[f"{name}.{key}"] for key in module.state_dict()}, name, path)
            modules[name] = module.to(device).eval()
    return modules


def check_finite(tensors: Mapping[str, Tensor], rule: str, error: type[Exception]) -> None:
    """Raises ``error``, with the rule and the name, for the first tensor that holds numbers that are not finite."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise error(f"{rule}, got some in {name!r} that are not")


def _header(weights: bytes, path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each tensor of a safetensors file, from its header."""
    try:
        (size,) = struct.unpack("<Q", weights[:8])
        header = json.loads(weights[8 : 8 + min(size, len(weights))].decode())
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: (str(entry["dtype"]), tuple(entry["shape"])) for name, entry in entries.items()}
    except (struct.error, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} must be a safetensors file: {type(error).__name__} in its header") from error


def _compare(found: Mapping[str, tuple[str, tuple[int, ...]]], expected: Mapping[str, Tensor], path: Path) -> None:
    """Raises a CheckpointError unless a file holds exactly the tensors that the architecture has."""
    fit = f"the weights in {path} do not fit the architecture in {CONFIG}"
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise CheckpointError(f"{fit}: {name!r} is missing")
        if name not in expected:
            raise CheckpointError(f"{fit}: {name!r} is unknown")
        wanted = (DTYPES[expected[name].dtype], tuple(expected[name].shape))
        if found[name] != wanted:
            got = f"{found[name][0]} {list(found[name][1])}"
            raise CheckpointError(f"{fit}: {name!r} must be {wanted[0]} {list(wanted[1])}, got {got}")


def _load(module: nn.Module, tensors: dict[str, Tensor], part: str, path: Path) -> None:
    """Loads weights into a module; bounds among them are taken from the configuration, not from the file."""
    for name in getattr(module, "constants", ()):
        if not torch.equal(getattr(module, name), tensors[name]):
            logger.warning("%s holds other values in '%s.%s' than %s says, which count", path, part, name, CONFIG)
            tensors[name] = getattr(module, name)
    module.load_state_dict(tensors)
