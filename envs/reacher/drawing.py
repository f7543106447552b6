"""Pictures of the arm: what agents see, what people see, and where the fingertip is in an image.

Agents see MuJoCo's picture from above, without the red ball that marks the original's goal. The grey floor and the blue
links have, weighted by (−1, 3, −2), no brightness, and highlights have none; the green fingertip has. So this weighting
shows the fingertip alone, in proportion to how much of it covers a pixel.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.offscreen import TopView
from envs.reacher.arm import GOAL_RADIUS, elbow, fingertip, load

Array = NDArray[Any]
Image = NDArray[np.uint8]
Color = tuple[int, int, int]

IMAGE_SIZE = 64
"""Side of agents' images in pixels."""
SIDE = 46.0
"""What pictures show, in cm: the arm reaches 22 cm to all sides."""
SAMPLES = 4
"""Agents' images are drawn so many times as large and averaged: links are not even three pixels wide."""
LINK_RADIUS = 1.0
"""Radius of links and fingertip, in cm."""
FLOOR: Color = (230, 230, 230)
LINK: Color = (20, 110, 160)
ROOT: Color = (225, 110, 155)
TIP: Color = (10, 190, 145)
GOAL: Color = (225, 60, 60)
TRAIL: Color = (120, 150, 190)

_COLOURFUL = 70  # levels between the strongest and the weakest channel where a link covers the whole pixel
_TIP_WEIGHTS = np.array([-1, 3, -2])


@lru_cache
def view() -> TopView:
    """The camera above the arm, one a process; its pictures hide the goal, and show all of the fingertip."""
    model = load().model
    model.geom("target").rgba[:] = 0
    # Drawn above the links, which it would be half sunk in.
    tip = model.geom("fingertip")
    tip.pos[2], tip.sameframe[:] = 0.1, 0  # "same frame" would mean: where its body is
    return TopView(model, SIDE / 100, IMAGE_SIZE, samples=SAMPLES)


def read_positions(images: Array) -> NDArray[np.float64]:
    """Places ``(..., 2)`` of the fingertips in images ``(..., 64, 64, 3)``, within 0.2 cm.

    Images of shape ``(..., 3, 64, 64)`` will do too.

    Raises:
        ValueError: If an image shows none.
    """
    images = np.asarray(images, np.int64)
    if images.shape[-1] != 3:
        images = np.moveaxis(images, -3, -1)
    weight = images @ _TIP_WEIGHTS
    weight = np.where(weight > 12, weight, 0)  # less than that is rounding
    total = weight.sum((-1, -2))
    if (total < 100).any():
        raise ValueError("each image must show a fingertip, got one without it")
    offset = (np.arange(IMAGE_SIZE) + 0.5 - IMAGE_SIZE / 2) * (SIDE / IMAGE_SIZE)
    return np.stack([weight.sum(-2) @ offset, -(weight.sum(-1) @ offset)], -1) / total[..., None]


def agent_pixels(images: Array) -> NDArray[np.float64]:
    """How much of each pixel of images ``(..., 64, 64, 3)`` the arm covers, ``(..., 64, 64)``: the floor is grey."""
    colourful = images.max(-1).astype(np.float64) - images.min(-1)
    return np.clip(colourful / _COLOURFUL, 0, 1)


def to_canvas(points: Array, size: int) -> NDArray[np.float64]:
    """Column and row ``(..., 2)`` at which places lie in a picture of such a side."""
    return (np.asarray(points, np.float64) * (1, -1) + SIDE / 2) * (size / SIDE)


def draw_picture(size: int, angles: Array, goal: Array, trail: Array) -> Image:
    """A picture for people: a ring where the goal counts as reached, and the trail ``(T, 2)`` of the fingertip."""
    image = np.full((size, size, 3), FLOOR, np.float64)
    shoulder = np.zeros(2)
    for place in trail:
        _paint(image, place, place, 0.25, TRAIL)
    _paint(image, shoulder, elbow(angles), LINK_RADIUS, LINK)
    _paint(image, elbow(angles), fingertip(angles), LINK_RADIUS, LINK)
    _paint(image, shoulder, shoulder, LINK_RADIUS, ROOT)
    _paint(image, fingertip(angles), fingertip(angles), LINK_RADIUS, TIP)
    _paint(image, goal, goal, GOAL_RADIUS, GOAL, width=0.3)
    return np.rint(image).astype(np.uint8)


def _paint(image: Array, start: Array, end: Array, radius: float, color: Color, width: float | None = None) -> None:
    """Paints a link with round ends, or a ring of such a width, in cm; its edge is one pixel soft."""
    size = len(image)
    scale = size / SIDE
    first, last = to_canvas(start, size), to_canvas(end, size)
    low = np.maximum(np.minimum(first, last) - radius * scale - 1, 0).astype(int)
    high = np.maximum(np.maximum(first, last) + radius * scale + 2, 0).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    x, y = (low[axis] + np.arange(part.shape[1 - axis]) + 0.5 - first[axis] for axis in (0, 1))
    y = y[:, None]
    along = last - first
    length = float(along @ along)
    nearest = np.clip((x * along[0] + y * along[1]) / length, 0, 1) if length else 0.0
    away = np.hypot(x - nearest * along[0], y - nearest * along[1])
    cover = np.clip(radius * scale + 0.5 - away, 0, 1)
    if width is not None:
        cover -= np.clip((radius - width) * scale + 0.5 - away, 0, 1)
    part += cover[..., None] * (np.array(color) - part)
