"""What every format gives: episodes of images and actions, looked over before they are read, and checked as they are.

::

    a path ──► Recording      lengths of the episodes, what may be an image, which bounds actions have
    episode ──► frames        (L + 1, ...) in pieces, so that no episode need fit into memory
            ──► actions       (L, ...); actions[t] takes frame t to frame t + 1

Whatever is wrong is a :class:`DatasetError`, one line with the data set's path.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.goal_image.images import AUTO, is_image
from envs.inputs import shown
from envs.simulation import Array, Simulation

TOLERANCE = 1e-4
"""How far a value may lie outside of its bounds, as a part of them."""
PIECE_BYTES = 16 * 2**20
"""About how many bytes of frames are read at a time."""
GOALS = ("achieved_goal", "desired_goal", "goal")
"""Names of images that are not what is observed."""


class DatasetError(ValueError):
    """A dataset does not hold what it should."""


@runtime_checkable
class Recording(Protocol):
    """Recorded episodes, opened but not read.

    Attributes:
        name: What messages call it.
        files: The files that hold it; with their sizes and times they are its identity.
        spaces: What is recorded beside actions, by key; images among it are found by :func:`choose_image`.
        lengths: Number of steps L of each episode, int64 ``(E,)``; it has L + 1 frames.
        action_space: Shape and type of an action; bounds that are infinite are not known.
        simulation: What draws frames that are states, or None.
        action_max_norm: Largest Euclidean norm of an action, or None.
    """

    name: str
    files: Sequence[Path]
    spaces: Mapping[str, gym.Space[Any]]
    lengths: NDArray[np.int64]
    action_space: gym.spaces.Box
    simulation: Simulation | None
    action_max_norm: float | None

    def frames(self, key: str, episode: int) -> Iterator[Array]:
        """Yields the frames of an episode in order, ``(n, ...)`` at a time, as they are stored.

        Raises:
            DatasetError: If they cannot be read.
        """

    def actions(self, episode: int) -> Array:
        """The actions of an episode, ``(L, ...)``.

        Raises:
            DatasetError: If they cannot be read.
        """


@contextlib.contextmanager
def readable(path: Path, rule: str) -> Iterator[None]:
    """Says, of whatever a damaged data set makes the libraries raise that read it, which data set it is.

    Args:
        path: The data set.
        rule: What it must be.
    """
    try:
        yield
    except (DatasetError, ModuleNotFoundError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DatasetError(
            f"dataset {path} cannot be read: {rule}, got {reason if len(reason) <= 300 else reason[:300] + '…'}"
        ) from error


def choose_image(recording: Recording, image: str = AUTO) -> str:
    """The key of a recording's images.

    Args:
        recording: The recording.
        image: A key, or "auto": the only image beside goals.

    Raises:
        DatasetError: If there are no images, there is no such one, or several to choose from; it lists them.
    """
    found = [key for key, space in recording.spaces.items() if is_image(space)]
    observed = [key for key in found if key.rpartition(".")[2] not in GOALS]
    if not found:
        what = next(iter(recording.spaces.values())) if len(recording.spaces) == 1 else dict(recording.spaces)
        raise DatasetError(
            f"dataset {recording.name!r} must hold images: observations that are uint8 Boxes of shape (H, W, C) or "
            "(C, H, W) and the like, or floats in [0, 1] (or states that the environment's simulation can draw), "
            f"got {shown(what)}"
        )
    if image == AUTO and len(observed) == 1:
        return observed[0]
    choices = ", ".join(map(repr, found))
    if image == AUTO:
        raise DatasetError(f"image of dataset {recording.name!r} must be chosen among {choices}, got 'auto'")
    if image not in found:
        raise DatasetError(f"image of dataset {recording.name!r} must be one of {choices}, got {shown(image)}")
    return image


def image_space(shape: Sequence[int], dtype: Any) -> gym.spaces.Box | None:
    """The space of images of a shape and type: uint8, or floats in [0, 1]. None where they cannot be images."""
    kind = np.dtype(dtype)
    if min(shape, default=0) < 1 or (kind != np.uint8 and kind.kind != "f"):
        return None
    space = gym.spaces.Box(0, 255 if kind == np.uint8 else 1, tuple(shape), kind.type)
    return space if is_image(space) else None


def action_box(shape: Sequence[int], dtype: Any, must: str) -> gym.spaces.Box:
    """The space of actions whose bounds are not known.

    Args:
        shape: Shape of an action.
        dtype: Type of its numbers.
        must: Beginning of the message: "dataset … must have".

    Raises:
        DatasetError: If they are whole numbers, or not numbers, or there are none.
    """
    kind = np.dtype(dtype)
    if kind.kind != "f":
        word = "whole numbers (discrete actions?)" if kind.kind in "iub" else "something else"
        raise DatasetError(f"{must} actions that are real numbers, got {word} of type {kind}")
    if min(shape, default=0) < 1 and tuple(shape) != ():
        raise DatasetError(f"{must} actions of at least one component, got shape {tuple(shape)}")
    return gym.spaces.Box(-np.inf, np.inf, tuple(shape), np.float32)


def check_array(source: Any, space: gym.spaces.Box, count: int, must: str) -> None:
    """Checks the shape and type of an array, which need not be in memory.

    Args:
        source: An array, or what has its shape and type.
        space: The space of its rows.
        count: How many rows it must have at least.
        must: Beginning of the message, such as "episode 3 of dataset … must have frames".

    Raises:
        DatasetError: If they are others.
    """
    same = source.dtype == space.dtype or (source.dtype.kind in "fiu" and np.dtype(space.dtype).kind == "f")
    if source.shape != (count, *space.shape) or not same:
        kind = "text" if source.dtype.kind in "OSU" else source.dtype
        raise DatasetError(
            f"{must} of shape {(count, *space.shape)} and type {space.dtype}, got {source.shape}, {kind}"
        )


def check_values(values: Array, space: gym.spaces.Box, must: str, first: int = 0) -> None:
    """Checks that values are finite and within their bounds.

    Args:
        values: Rows ``(T, ...)``.
        space: The space of a row.
        must: Beginning of the message.
        first: Number of the first row, for the message.

    Raises:
        DatasetError: If one is not.
    """
    if fault := first_fault(values, space, first):
        raise DatasetError(f"{must} that are finite and within their bounds, got {fault}")


def first_fault(values: Array, space: gym.spaces.Box, first: int = 0) -> str | None:
    """Says what the first value is that is not finite, or not in a space (by more than :data:`TOLERANCE`).

    Args:
        values: Values of the space, ``(T, ...)``.
        space: The space.
        first: Number of the first row.

    Returns:
        Words for messages, or None where all is well.
    """
    if values.dtype == np.uint8 == space.dtype and (space.low == 0).all() and (space.high == 255).all():
        return None
    low, high = (bound.astype(np.float64) for bound in (space.low, space.high))
    size = np.maximum(*(np.where(np.isfinite(bound), np.abs(bound), 0.0) for bound in (low, high)))
    wrong = ~(np.isfinite(values) & (values >= low - TOLERANCE * size) & (values <= high + TOLERANCE * size))
    if not wrong.any():
        return None
    step, *place = (int(i) for i in np.argwhere(wrong)[0])
    component = tuple(place)
    return f"{values[step, *place]:g} in row {first + step}, bounds {low[component]:g} and {high[component]:g}"


def in_pieces(source: Any, first: int, count: int) -> Iterator[Array]:
    """Yields rows ``first`` to ``first + count`` of an array that need not be in memory, some megabytes at a time."""
    row = int(np.prod(source.shape[1:])) * source.dtype.itemsize
    size = max(1, PIECE_BYTES // max(row, 1))
    for start in range(first, first + count, size):
        yield source[start : min(start + size, first + count)]
