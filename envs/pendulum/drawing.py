"""Pictures of a pendulum as Gymnasium draws it, without the arrow that shows the torque."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Numbers = NDArray[Any] | np.generic | float

FLOOR, ROD, AXLE, GOAL, TRAIL = (255, 255, 255), (204, 77, 77), (0, 0, 0), (30, 150, 100), (60, 130, 220)
BOUND = 2.2
"""Half of the width that a picture shows, in lengths of the rod."""
ROD_RADIUS, AXLE_RADIUS, GOAL_RADIUS = 0.1, 0.05, 0.06
"""Radii in lengths of the rod."""


def tip(angle: Numbers) -> NDArray[np.float64]:
    """Where the rod ends, ``(..., 2)`` in lengths of the rod from the axle: x to the right, y upwards."""
    return np.stack([-np.sin(angle), np.cos(angle)], -1)


def to_canvas(points: Array, size: int) -> NDArray[np.float64]:
    """Column and row ``(..., 2)`` at which points lie in a picture of such a size."""
    return (np.asarray(points, np.float64) * (1, -1) + BOUND) * (size / (2 * BOUND))


def draw(angle: Numbers, size: int) -> NDArray[np.uint8]:
    """The pendulum at an angle (radians from upright, counter-clockwise), uint8 ``(size, size, 3)``."""
    image = np.full((size, size, 3), FLOOR, np.float64)
    end = tip(angle)
    _paint(image, np.zeros(2), end, ROD_RADIUS, ROD)
    _paint(image, np.zeros(2), np.zeros(2), AXLE_RADIUS, AXLE)
    return np.rint(image).astype(np.uint8)


def draw_picture(size: int, angle: Numbers, goal: float, trail: Array) -> NDArray[np.uint8]:
    """The same for people: a green dot where the tip should be, blue ones ``(T, 2)`` where it was."""
    image = draw(angle, size).astype(np.float64)
    for place in trail:
        _paint(image, place, place, GOAL_RADIUS / 3, TRAIL)
    _paint(image, tip(goal), tip(goal), GOAL_RADIUS, GOAL)
    return np.rint(image).astype(np.uint8)


def _paint(image: NDArray[np.float64], start: Array, end: Array, radius: float, color: tuple[int, int, int]) -> None:
    """Paints a rod with round ends; its edge is one pixel soft."""
    size = len(image)
    scale = size / (2 * BOUND)
    first, last = to_canvas(start, size), to_canvas(end, size)
    pixels = np.arange(size) + 0.5
    x, y = pixels[None, :] - first[0], pixels[:, None] - first[1]
    along = last - first
    length = float(along @ along)
    part = np.clip((x * along[0] + y * along[1]) / length, 0, 1) if length else np.zeros((size, size))
    distance = np.hypot(x - part * along[0], y - part * along[1])
    cover = np.clip(radius * scale + 0.5 - distance, 0, 1)[..., None]
    image += cover * (np.array(color) - image)


def agent_pixels(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How much of each pixel of images ``(..., S, S, 3)`` the pendulum covers, ``(..., S, S)``: what green it lacks."""
    return np.clip((FLOOR[1] - images[..., 1].astype(np.float64)) / (FLOOR[1] - ROD[1]), 0, 1)


def read_angles(images: NDArray[np.uint8]) -> Any:
    """Angles ``(...)`` of the pendulums in images ``(..., S, S, 3)``, within half a degree.

    Raises:
        ValueError: If an image shows none.
    """
    # The axle is in the middle of the picture, so that what is dark lies on average in the direction of the rod.
    weight = 255.0 - images[..., 1]
    offset = np.arange(images.shape[-2]) + 0.5 - images.shape[-2] / 2
    x, y = weight.sum(-2) @ offset, -(weight.sum(-1) @ offset)
    if (np.hypot(x, y) <= 0).any():
        raise ValueError("each image must show a pendulum, got one without it")
    return np.arctan2(-x, y)
