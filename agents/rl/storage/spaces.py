"""Spaces of observations and actions as JSON, and back: Boxes, and Dicts of Boxes.

Bounds are one number where all are the same, else a flat list; infinite ones are the texts "inf" and "-inf".
"""

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from worldmodel.config import ConfigError

DTYPES = ("uint8", "float32", "float64")
"""Types of numbers that a Box may hold."""
MAX_DIMS, MAX_NUMBERS, MAX_KEYS = 8, 2**24, 64
"""Most dimensions and numbers of a Box, and most Boxes of a Dict."""
INFINITE = {"inf": math.inf, "-inf": -math.inf}
"""How infinite bounds are written."""


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """A space in JSON types.

    Raises:
        ValueError: If it is neither a Box nor a Dict of Boxes.
    """
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": {key: _box_to_json(box) for key, box in space.spaces.items()}}
    return _box_to_json(space)


def space_from_json(values: Any, what: str) -> spaces.Space[Any]:
    """A space from what :func:`space_to_json` made of it.

    Args:
        values: The JSON types.
        what: Name of the field that holds them, for messages.

    Raises:
        ConfigError: If they do not describe a Box or a Dict of Boxes.
    """
    if isinstance(values, dict) and values.get("type") == "Dict":
        _require_keys(values, ("type", "spaces"), what)
        boxes = values["spaces"]
        if not isinstance(boxes, dict) or not 1 <= len(boxes) <= MAX_KEYS:
            raise ConfigError(f"{what}.spaces", f"an object with 1 to {MAX_KEYS} Boxes", boxes)
        return spaces.Dict({key: _box_from_json(box, f"{what}.spaces.{key}") for key, box in boxes.items()})
    return _box_from_json(values, what)


def _box_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    if not isinstance(space, spaces.Box) or str(space.dtype) not in DTYPES:
        raise ValueError(f"a space must be a Box of {', '.join(DTYPES)}, or a Dict of such Boxes, got {space}")
    return {
        "type": "Box",
        "shape": list(space.shape),
        "dtype": str(space.dtype),
        "low": _bound_to_json(space.low),
        "high": _bound_to_json(space.high),
    }


def _bound_to_json(bound: NDArray[Any]) -> Any:
    flat = bound.reshape(-1).tolist()
    texts = [value if math.isfinite(value) else ("inf" if value > 0 else "-inf") for value in flat]
    return texts[0] if len(set(flat)) == 1 else texts


def _box_from_json(values: Any, what: str) -> spaces.Box:
    if not isinstance(values, dict) or values.get("type") != "Box":
        raise ConfigError(what, "an object of type 'Box'", values)
    _require_keys(values, ("type", "shape", "dtype", "low", "high"), what)
    shape, dtype = values["shape"], values["dtype"]
    if not isinstance(shape, list) or len(shape) > MAX_DIMS or not all(type(n) is int and n >= 1 for n in shape):
        raise ConfigError(f"{what}.shape", f"a list of at most {MAX_DIMS} integers, each at least 1", shape)
    if math.prod(shape) > MAX_NUMBERS:
        raise ConfigError(f"{what}.shape", f"that of at most {MAX_NUMBERS:,} numbers", shape)
    if dtype not in DTYPES:
        raise ConfigError(f"{what}.dtype", f"one of {', '.join(map(repr, DTYPES))}", dtype)
    low, high = (_bound_from_json(values[key], tuple(shape), dtype, f"{what}.{key}") for key in ("low", "high"))
    if not bool((low <= high).all()):
        raise ConfigError(f"{what}.low", "at most high everywhere", values["low"])
    return spaces.Box(low, high, tuple(shape), np.dtype(dtype).type)


def _bound_from_json(values: Any, shape: tuple[int, ...], dtype: str, what: str) -> NDArray[Any]:
    if isinstance(values, list) and len(values) != math.prod(shape):
        raise ConfigError(what, f"one number, or {math.prod(shape)}", f"{len(values)} of them")
    given = values if isinstance(values, list) else [values]
    numbers: list[Any] = [INFINITE.get(value, value) if isinstance(value, str) else value for value in given]
    for number in numbers:
        if dtype == "uint8":
            fits = type(number) is int and 0 <= number <= 255
        else:
            fits = type(number) in (int, float) and (
                abs(number) <= float(np.finfo(dtype).max) or abs(number) == math.inf
            )
        if not fits:
            raise ConfigError(what, f"made of numbers of type {dtype}", number)
    return np.resize(np.array(numbers, dtype=dtype), shape)  # one number is that of all


def _require_keys(values: dict[str, Any], keys: tuple[str, ...], what: str) -> None:
    if set(values) != set(keys):
        raise ConfigError(what, f"an object with {', '.join(keys)}", ", ".join(values))
