"""Weights in the zips of Stable-Baselines3: written as it writes them, read as tensors and nothing else.

A zip holds ``policy.pth``, optimizers and the like, each what ``torch.save`` makes of tensors, and ``data``, a JSON
with pickles in it. Here ``data`` is never opened, and the rest is read with ``weights_only=True`` into a model that was
built without it: names, shapes and types must be exactly those of the model, and numbers finite.
"""

import io
import math
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr
from torch import Tensor
from torch.optim import Adam, Optimizer, RMSprop

from worldmodel.checkpoint import CheckpointError

MAX_ZIP_BYTES = 4 * 2**30
"""Most bytes of a zip."""
OVERHEAD, OVERHEAD_PER_TENSOR = 2**20, 2**12
"""Bytes that a member may have beside those of its tensors."""
MOMENTS: dict[type[Optimizer], tuple[str, ...]] = {Adam: ("exp_avg", "exp_avg_sq"), RMSprop: ("square_avg",)}
"""What optimizers keep of a parameter, beside the number of steps; the last is of squares, no less than zero."""


def model_bytes(model: BaseAlgorithm) -> bytes:
    """A model as the zip of Stable-Baselines3.

    Raises:
        FloatingPointError: If a weight is not finite.
    """
    check_finite(model)
    buffer = io.BytesIO()
    model.save(buffer)
    return buffer.getvalue()


def check_finite(model: BaseAlgorithm) -> None:
    """Checks that all that a model has learned is finite.

    Raises:
        FloatingPointError: If a tensor is not; the message names it.
    """
    for name, tensor in _tensors(model.get_parameters() | _variables(model)):
        if not bool(torch.isfinite(tensor).all()):
            raise FloatingPointError(
                f"weights must be finite to be saved, got some in {name!r} that are not; try a lower learning_rate"
            )


def check_policy(model: BaseAlgorithm, data: bytes, path: Path) -> Mapping[str, Tensor]:
    """The networks of a zip, which must be those of a model.

    Args:
        model: The model.
        data: The bytes of the zip.
        path: Where they come from, for messages.

    Raises:
        CheckpointError: If the zip is damaged, or holds other networks than the model's.
    """
    return _read_tensors(data, "policy", model.policy.state_dict(), path)


def load_policy(model: BaseAlgorithm, data: bytes, path: Path) -> None:
    """Puts the networks of a zip into a model, all that acting needs; takes and raises as :func:`check_policy`."""
    model.policy.load_state_dict(dict(check_policy(model, data, path)))
    if model.use_sde:
        model.policy.reset_noise()  # type: ignore[operator]


def load_all(model: BaseAlgorithm, data: bytes, path: Path) -> None:
    """Puts networks, optimizers and variables of a zip into a model: what further training needs.

    It takes and raises what :func:`check_policy` does.
    """
    load_policy(model, data, path)
    for name in model._get_torch_save_params()[0]:
        part = recursive_getattr(model, name)
        if isinstance(part, Optimizer):
            _load_optimizer(part, data, name, path)
    variables = _variables(model)
    found = _read_tensors(data, "pytorch_variables", variables, path)
    for name, tensor in variables.items():
        tensor.data.copy_(found[name])


def _variables(model: BaseAlgorithm) -> dict[str, Tensor]:
    """Single tensors that a model saves beside its networks and optimizers."""
    return {name: recursive_getattr(model, name) for name in model._get_torch_save_params()[1]}


def _tensors(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of a state, with their names."""
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _tensors(value, f"{name}.{key}" if name else key)


def _read(data: bytes, name: str, tensors: Collection[Tensor], path: Path) -> Any:
    """Reads a member: tensors and plain containers of them, no more bytes than these tensors take."""
    member = f"{name}.pth"
    max_bytes = sum(tensor.nbytes + OVERHEAD_PER_TENSOR for tensor in tensors) + OVERHEAD
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(member) as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise ValueError(f"more than {max_bytes:,} bytes")
        with zipfile.ZipFile(io.BytesIO(content)) as parts:  # what torch.save makes is a zip too
            if sum(info.file_size for info in parts.infolist()) > max_bytes:
                raise ValueError(f"more than {max_bytes:,} bytes")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # zipfile and torch raise many kinds for damaged and foreign files
        reason = str(error).partition("\n")[0] or type(error).__name__
        if "Weights only load failed" in reason:
            reason = "it holds something else"
        raise CheckpointError(f"{path} must be a zip of a trained model with tensors in {member}: {reason}") from error


def _read_tensors(data: bytes, name: str, wanted: Mapping[str, Tensor], path: Path) -> Mapping[str, Tensor]:
    """Reads a member that holds tensors by name, the same as are wanted."""
    found = _read(data, name, wanted.values(), path)
    _compare(found, wanted, name, path)
    return found


def _load_optimizer(optimizer: Optimizer, data: bytes, name: str, path: Path) -> None:
    """Sets what an optimizer remembers of each parameter; its settings are not read."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    content = _read(data, name, 3 * parameters, path)
    state = content.get("state") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(type(i) is int and 0 <= i < len(parameters) for i in state):
        raise CheckpointError(f"{path} must hold the state of {len(parameters)} parameters in {name}.pth")
    kinds = MOMENTS[type(optimizer)]
    for i, moments in state.items():
        where = f"{name}.{i}"
        if not isinstance(moments, Mapping) or set(moments) != {"step", *kinds}:
            raise CheckpointError(f"{path} must hold step, {', '.join(kinds)} in '{where}'")
        _compare({key: moments[key] for key in kinds}, dict.fromkeys(kinds, parameters[i].detach()), where, path)
        if bool((moments[kinds[-1]] < 0).any()):
            raise CheckpointError(f"{path} must hold squares in '{where}', got some below 0")
        step = moments["step"]
        count = step.item() if isinstance(step, Tensor) and step.numel() == 1 else step
        if type(count) not in (int, float) or not 0 <= count < math.inf:
            raise CheckpointError(f"{path} must hold a number of steps in '{where}', got {str(step)[:40]}")
    optimizer.load_state_dict({"state": dict(state), "param_groups": optimizer.state_dict()["param_groups"]})


def _compare(found: Any, wanted: Mapping[str, Tensor], name: str, path: Path) -> None:
    """Raises a CheckpointError unless the same tensors were found as are wanted, and are finite."""
    fit = f"the weights in {path} do not fit rl.json"
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{fit}: {name!r} must be tensors by name, got {type(found).__name__}")
    for key in sorted(wanted.keys() | found.keys(), key=str):
        if key not in found or key not in wanted:
            raise CheckpointError(f"{fit}: '{name}.{key}' is {'missing' if key in wanted else 'unknown'}")
        tensor, model = found[key], wanted[key]
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise CheckpointError(f"{fit}: '{name}.{key}' must be a tensor, got {type(tensor).__name__}")
        if (tensor.dtype, tensor.shape) != (model.dtype, model.shape):
            is_now = f"{tensor.dtype} {list(tensor.shape)}"
            raise CheckpointError(f"{fit}: '{name}.{key}' must be {model.dtype} {list(model.shape)}, got {is_now}")
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path} must hold finite numbers, got some in '{name}.{key}' that are not")
