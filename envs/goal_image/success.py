"""Success: when an environment's goal counts as reached, said by the environment, by a distance or by a function."""

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.goal_image.images import leaves, pick
from envs.inputs import check_choice, real_numbers, shown

OWN = "own"
"""Success as the environment reports it."""
OWN_KEYS = ("is_success", "success")
"""Names in ``info`` under which environments report their own success."""
INFO = "info."
"""Beginning of the key of a value in ``info``."""

Array = NDArray[Any]


class Moment(NamedTuple):
    """What an environment shows at one time."""

    observation: Any
    info: dict[str, Any]


def own_success(observation: Any, info: Mapping[str, Any], *goal: Any) -> bool | None:
    """Success as the environment reports it in ``info``; None where it does not."""
    return next((bool(info[name]) for name in OWN_KEYS if name in info), None)


def is_key(success: Any) -> bool:
    """Whether success compares values: it is a key, neither a function nor the name of one, nor the environment's."""
    return isinstance(success, str) and success not in ("", OWN) and _function_name(success) is None


def find_function(what: str, function: Any, others: Sequence[str] = ()) -> Callable[..., Any] | None:
    """A function, or the one that a name ``module:function`` stands for; None where none is named.

    Args:
        what: What it is, for messages.
        function: A function, a name, or "" for none.
        others: What else could have been given, for messages.

    Raises:
        ValueError: If it is anything else, or cannot be imported.
    """
    if callable(function) or function == "":
        return function or None
    match = _function_name(function)
    if match is None:
        choices = ", ".join((*map(repr, others), "a function", "'module:function'"))
        raise ValueError(f"{what} must be one of {choices}, got {shown(function)}")
    try:
        found = importlib.import_module(match["module"])
        for part in match["name"].split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{what} must name a function that can be imported, got {function!r}: {error} "
            "(is its folder in PYTHONPATH?)"
        ) from error
    if not callable(found):
        raise ValueError(f"{what} must name a function, got {function!r}, which is {shown(found)}")
    return found


class Value:
    """A part of what an environment shows, of which the distance from its goal decides success.

    Args:
        space: The observation space.
        key: Key of an observation or ``info.key``, with a part in brackets if only that counts.
        tolerance: Distance within which the goal is reached.

    Attributes:
        dim: How many numbers it is; None: only a moment tells.

    Raises:
        ValueError: If there is no such key, or the tolerance is not positive.
    """

    def __init__(self, space: gym.Space[Any], key: Any, tolerance: Any) -> None:
        match = re.fullmatch(r"(?P<key>[^\[\]]+)(\[(?P<first>\d*):(?P<last>\d*)\])?", key)
        if match is None:
            raise ValueError(f"success must be a key, such as 'observation[0:2]' or 'info.x', got {shown(key)}")
        self.key = match["key"]
        self.part = slice(*(int(match[name]) if match[name] else None for name in ("first", "last")))
        self.dim: int | None = None
        if not self.key.startswith(INFO):
            check_choice("success", self.key, (*(parts := leaves(space)), OWN, "info.KEY", "MODULE:FUNCTION"))
            size = int(np.prod(parts[self.key].shape or ()))
            self.dim = len(range(size)[self.part])
            if not self.dim:
                raise ValueError(f"success must pick some of the {size} numbers of {self.key!r}, got {shown(key)}")
        number = real_numbers(tolerance)
        if number is None or number.ndim or not number > 0:
            raise ValueError(
                f"tolerance must be a positive number where success compares values, got {shown(tolerance)}"
            )
        self.tolerance = float(number)

    def read(self, moment: Moment) -> NDArray[np.float64]:
        """The value at a moment."""
        if self.key.startswith(INFO):
            name = self.key.removeprefix(INFO)
            if name not in moment.info:
                raise ValueError(f"success 'info.{name}' must be in info, got {', '.join(moment.info) or 'nothing'}")
            value = moment.info[name]
        else:
            value = pick(moment.observation, self.key)
        return self.check(value)

    def check(self, value: Any) -> NDArray[np.float64]:
        """A value as numbers ``(dim,)``."""
        numbers = real_numbers(value)
        if numbers is None:
            raise ValueError(f"what success compares ({self.key}) must be numbers, got {shown(value)}")
        return np.ravel(numbers).astype(np.float64)[self.part]

    @staticmethod
    def distance(value: Any, goal: Any) -> Any:
        """Euclidean distances ``(...)`` of values ``(..., dim)``."""
        return np.linalg.norm(np.asarray(value, np.float64) - np.asarray(goal, np.float64), axis=-1)


def _function_name(text: Any) -> re.Match[str] | None:
    return (
        re.fullmatch(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_][\w.]*)", text) if isinstance(text, str) else None
    )
