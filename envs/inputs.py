"""What people hand to the environments, checked: settings, counts, seeds, numbers.

What nobody meant as a number is refused, though numpy would make one of it: texts that look like numbers, the bytes of
a string, truth values. Every error is one line that names the thing, the rule and the value.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BYTES = bytes | bytearray | memoryview
_SHOWN_CHARACTERS = 160


def shown(value: Any) -> str:
    """A value as errors quote it: its ``repr`` in one line, shortened if it is long.

    Example:
        >>> shown(np.zeros((2, 2)))
        'array([[0., 0.], [0., 0.]])'
    """
    try:
        text = re.sub(r"\s*\n\s*", " ", repr(value))
    except Exception:  # as of an integer with too many digits
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Checks that a setting is one of its choices, and returns it.

    Raises:
        ValueError: If it is not.
    """
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {shown(value)}")
    return value


def check_flag(name: str, value: Any) -> bool:
    """Checks that a setting is True or False, and returns it as a plain bool.

    Raises:
        ValueError: If it is anything else, 1 or "yes" for example.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def check_count(name: str, value: Any) -> int:
    """Checks that a setting is a positive integer, and returns it as a plain int.

    Raises:
        ValueError: If it is not.
    """
    if not is_integer(value) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {shown(value)}")
    return int(value)


def is_integer(value: Any) -> bool:
    """Whether a value is an integer of Python or numpy; truth values are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_seed(seed: Any) -> int | None:
    """Checks a seed, and returns it as a plain int; None stays None.

    Raises:
        ValueError: If it is not a non-negative integer or None.
    """
    if seed is None:
        return None
    if not is_integer(seed) or seed < 0:
        raise ValueError(f"seed must be a non-negative integer or None, got {shown(seed)}")
    return int(seed)


def check_seeds(seed: Any, num_envs: int) -> list[int | None]:
    """Checks seeds of several environments; a single one stands for ``seed, seed + 1, …``.

    Args:
        seed: An integer or None, or a list or array with one for each environment.
        num_envs: Number of environments.

    Returns:
        A seed for each environment, or None.

    Raises:
        ValueError: If a seed is not a non-negative integer or None, or there is not one for each environment.
    """
    if hasattr(seed, "tolist") and not isinstance(seed, _BYTES):  # arrays and numpy's integers
        seed = seed.tolist()
    if seed is None or isinstance(seed, int | float):
        first = check_seed(seed)
        return [None if first is None else first + i for i in range(num_envs)]
    rule = f"seed must be an integer or a list of {num_envs}"
    if not isinstance(seed, Sequence) or isinstance(seed, str | _BYTES):
        raise ValueError(f"{rule}, got {shown(seed)}")
    if len(seed) != num_envs:
        raise ValueError(f"{rule}, got {len(seed)} of them")
    seeds = []
    for i, one in enumerate(seed):
        try:
            seeds.append(check_seed(one))
        except ValueError as error:
            raise ValueError(f"environment {i}: {error}") from None
    return seeds


def check_actions(name: str, actions: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Actions as float32; whether they are finite is for the physics to say.

    Raises:
        ValueError: If they are not real numbers of the right shape.
    """
    if isinstance(actions, np.ndarray):
        array = actions
    else:
        if isinstance(actions, _BYTES) or _holds_truth_values(actions):
            raise ValueError(f"{name} must be real numbers, got {shown(actions)}")
        try:
            array = np.asarray(actions)
        except ValueError as error:
            raise ValueError(f"{name} must have shape {shape}, got {shown(actions)}") from error
        except (TypeError, RuntimeError) as error:  # tensors on another device, or with a gradient
            raise ValueError(f"{name} must be real numbers that numpy can read, got {shown(actions)}") from error
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be real numbers, got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    if array.dtype != np.float32:
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is reported as such
            array = array.astype(np.float32)
    return array


def real_numbers(value: Any) -> NDArray[Any] | None:
    """The real numbers of a value as an array, or None if anything else is among them.

    Args:
        value: An array, a number, a list of numbers, …; texts, bytes, truth values, sets and None are no numbers.

    Returns:
        An array of floats or integers, which is the value itself if that is one; None if there are none.
    """
    if not isinstance(value, np.ndarray):
        if isinstance(value, _BYTES) or _holds_truth_values(value):
            return None
        try:
            value = np.asarray(value)
        except (TypeError, ValueError, RuntimeError):  # ragged lists; tensors on another device, or with a gradient
            return None
    if value.dtype.kind in "fiu":
        return value
    if value.dtype == object and all(isinstance(x, Real) and not isinstance(x, bool) for x in value.flat):
        try:  # fractions, integers beyond 64 bits
            return value.astype(np.float64)
        except OverflowError:
            return None
    return None


def is_listed(value: Any) -> bool:
    """Whether a value is a list, a tuple or an array of at least one dimension."""
    return isinstance(value, list | tuple) or (getattr(value, "ndim", 0) > 0 and not isinstance(value, _BYTES))


def _holds_truth_values(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_truth_values, value))
    return isinstance(value, bool | np.bool_)


def read_starts(episode_start: Any, num_envs: int) -> NDArray[np.bool_]:
    """Reads the flags of environments whose episode has just begun.

    Args:
        episode_start: A flag for each environment, bool or 0 or 1; None where no episode begins.
        num_envs: Number of environments.

    Returns:
        bool ``(num_envs,)``.

    Raises:
        ValueError: If there are fewer or more of them, or they are anything else.
    """
    if episode_start is None:
        return np.zeros(num_envs, dtype=bool)
    flags = np.asarray(episode_start)
    if flags.size != num_envs:
        raise ValueError(f"episode_start must have shape ({num_envs},) for as many observations, got {flags.shape}")
    if flags.dtype != np.bool_ and (flags.dtype.kind not in "iuf" or not np.isin(flags, (0, 1)).all()):
        raise ValueError(f"episode_start must hold a bool, or 0 or 1, for each environment, got {episode_start!r}")
    return flags.astype(bool).reshape(num_envs)


def check_options(options: Any, names: Iterable[str]) -> dict[str, Any]:
    """The reset options that were given, those that are None left out.

    Raises:
        ValueError: If they are no dictionary, or one of them is unknown.
    """
    if not isinstance(options, Mapping | None):
        raise ValueError(f"options must be a dictionary of reset options or None, got {shown(options)}")
    for key in options or {}:
        check_choice("reset option", key, names)
    return {key: value for key, value in (options or {}).items() if value is not None}


def check_mask(mask: Any, num_envs: int) -> NDArray[np.bool_]:
    """Which environments of a vector are reset, bool ``(num_envs,)``, from the option ``reset_mask``; None: all.

    Raises:
        TypeError: If it is not an array of bool.
        ValueError: If it has another shape, or is False everywhere.
    """
    if mask is None:
        return np.ones(num_envs, dtype=bool)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"reset_mask must be an array of bool, got {shown(mask)}")
    if mask.shape != (num_envs,) or not mask.any():
        raise ValueError(f"reset_mask must have shape ({num_envs},) with at least one True, got {shown(mask)}")
    return mask.copy()


def spread_options(
    options: Mapping[str, Any], num_envs: int, batch: Callable[[Any], Sequence[Any] | NDArray[Any] | None]
) -> list[dict[str, Any]]:
    """Reset options of each environment of a vector, from options with or without a batch dimension.

    Args:
        options: The options.
        num_envs: Number of environments.
        batch: The values of an option that has one for each environment; None if it has one for all.

    Raises:
        ValueError: If there are fewer or more values than environments, or one of them is None.
    """
    rows: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key, value in options.items():
        values = batch(value)
        if values is None:
            values = [value] * num_envs
        if len(values) != num_envs:
            raise ValueError(f"option {key!r} must be given once or {num_envs} times, got {len(values)}")
        for i, (row, item) in enumerate(zip(rows, values, strict=True)):
            if item is None:
                raise ValueError(f"option {key!r} must be given for all environments or none, got None for {i}")
            row[key] = item
    return rows
