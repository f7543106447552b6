"""The images that an agent remembers, for models that see the last frames of an episode and not one alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
History = tuple[Image, ...]
"""Images of one environment from the past steps of its episode, oldest first; never changed in place."""


def recent_frames(history: History, image: Image, context: int, frame_skip: int) -> Image:
    """The last frames that a model sees at once, ``(context, ...)``, oldest first and ``frame_skip`` steps apart.

    Before the beginning of an episode nothing moved: its first image stands for what is missing.

    Example:
        >>> zero, one, two, three, four, five = np.arange(6, dtype=np.uint8)[:, None]
        >>> recent_frames((zero, one, two, three, four), five, context=3, frame_skip=2).ravel().tolist()
        [1, 3, 5]
        >>> recent_frames((zero,), one, context=3, frame_skip=2).ravel().tolist()
        [0, 0, 1]
    """
    frames: Sequence[Image] = (*history, image)
    now = len(frames) - 1
    return np.stack([frames[max(0, now - i * frame_skip)] for i in reversed(range(context))])


def continue_histories(state: Any, starts: NDArray[np.bool_]) -> list[History]:
    """The history of each environment, empty where an episode starts.

    Args:
        state: Histories; None begins an episode in every environment.
        starts: Which environments begin an episode, ``(n,)``.

    Raises:
        ValueError: If there are histories of another number of environments.
    """
    if state is None:
        return [()] * len(starts)
    if not isinstance(state, tuple) or len(state) != len(starts):
        raise ValueError(f"state must be what predict returned for {len(starts)} environments, or None, got {state!r}")
    return [() if begins else history for history, begins in zip(state, starts, strict=True)]


def remember(history: History, image: Image, context: int, frame_skip: int) -> History:
    """The history with one more image, as far back as :func:`recent_frames` looks; a single frame needs none."""
    length = (context - 1) * frame_skip
    return (*history, image.copy())[-length:] if length else ()
