"""Actions as an environment takes them: every policy that knows its action space hands its actions over here."""

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


def check_action_space(space: Any, action_dim: int) -> None:
    """Raises ValueError unless a space is None or a box of actions of ``action_dim`` numbers."""
    if space is None:
        return
    if not isinstance(space, spaces.Box):
        raise ValueError(f"action_space must be a Box or None, got {space}")
    if math.prod(space.shape) != action_dim:
        raise ValueError(f"action_space must have {action_dim} dimensions as the model, got {space}")


def check_defined(actions: NDArray[Any]) -> None:
    """Raises FloatingPointError if an action of ``(n, ...)`` holds NaN, which no bounds can mend."""
    undefined = np.isnan(actions).reshape(len(actions), -1).any(1)
    if undefined.any():
        raise FloatingPointError(
            f"actions must be numbers, got NaN for environments {np.flatnonzero(undefined).tolist()}"
        )


def to_space(actions: Any, space: spaces.Box) -> NDArray[Any]:
    """Actions of the shape and dtype of a space, clipped to its bounds: each of them is in the space.

    Actions that are in the space already keep every bit.

    Args:
        actions: Numbers ``(n, ...)``, as many for each action as the space has.
        space: The action space of one environment.

    Returns:
        Actions ``(n, *space.shape)``.

    Raises:
        FloatingPointError: If an action holds NaN, which no bounds can mend.
    """
    given = np.asarray(actions).reshape(-1, *space.shape)
    check_defined(given)
    # In the more precise of both dtypes: bounds are numbers of the space's own, so that rounding does not pass them.
    clipped = np.clip(given.astype(np.result_type(given, space.dtype), copy=False), space.low, space.high)
    with np.errstate(over="ignore"):  # where the space is unbounded, what its dtype cannot hold is infinite
        return clipped.astype(space.dtype)
