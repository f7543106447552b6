"""What agents are given to act, as they read it: an image of what is, one of what is wanted, flags of new episodes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEYS = ("observation", "desired_goal")
"""All that an agent looks at."""


def read_images(observation: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8], bool]:
    """Reads the images of an observation.

    Args:
        observation: Dict with uint8 images ``observation`` and ``desired_goal`` of one shape, of one environment (3
            dimensions) or of a vector (4).

    Returns:
        Present and goal images as batches of four dimensions, and whether they came as batches.

    Raises:
        ValueError: If the observation holds anything else.
    """
    wanted = "observation must be a dict with uint8 images " + " and ".join(map(repr, KEYS))
    if not isinstance(observation, Mapping):
        raise ValueError(f"{wanted}, got {type(observation).__name__}")
    for key in KEYS:
        if key not in observation:
            raise ValueError(f"{wanted}, got keys {', '.join(map(repr, observation)) or 'none'}")
    images, goals = (np.asarray(observation[key]) for key in KEYS)
    for key, image in zip(KEYS, (images, goals), strict=True):
        if image.dtype != np.uint8:
            raise ValueError(f"{key} must have dtype uint8, got {image.dtype}")
        if image.ndim not in (3, 4) or image.size == 0:
            raise ValueError(f"{key} must be an image of 3 dimensions or a batch of 4, got shape {image.shape}")
    if images.shape != goals.shape:
        raise ValueError(f"observation and desired_goal must have one shape, got {images.shape} and {goals.shape}")
    return (images, goals, True) if images.ndim == 4 else (images[None], goals[None], False)


def channels_first(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images ``(..., H, W, C)`` of at most four channels as ``(..., C, H, W)``; others stay as they are."""
    last = images.shape[-1] <= 4 < images.shape[-3]
    return np.ascontiguousarray(np.moveaxis(images, -1, -3)) if last else images
