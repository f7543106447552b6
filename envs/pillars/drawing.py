"""Pictures of Pillars: what agents see, what people see, and where the agent is in an image.

Discs are painted with smooth edges over a floor. Floor and pillars have as much red as green, the agent has not: so
the difference of the two channels shows the agent alone, in proportion to how much of it covers a pixel.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.pillars.scene import AGENT_RADIUS, GOAL_RADIUS, PILLAR_RADIUS, SIZE

Array = NDArray[Any]
Image = NDArray[np.uint8]
Color = tuple[int, int, int]

FLOOR: Color = (240, 240, 230)
PILLAR: Color = (70, 70, 120)
AGENT: Color = (230, 70, 40)
GOAL: Color = (30, 150, 100)  # this and the next in pictures for people only
TRAIL: Color = (60, 130, 220)


def draw_floor(pillars: Array, size: int = SIZE) -> Image:
    """An image uint8 ``(size, size, 3)`` of the pillars ``(4, 2)`` with no agent."""
    image = np.full((size, size, 3), FLOOR, dtype=np.uint8)
    for centre in pillars:
        _paint_disc(image, centre, PILLAR_RADIUS, PILLAR)
    return image


def draw_agent(floor: Image, position: Array) -> Image:
    """A copy of the image of a floor, with the agent at a position ``(2,)``."""
    image = floor.copy()
    _paint_disc(image, position, AGENT_RADIUS, AGENT)
    return image


def draw_picture(size: int, pillars: Array, position: Array, goal: Array, trail: Array) -> Image:
    """A picture for people, uint8 ``(size, size, 3)``: a ring is the goal, each dot of the trail ``(T, 2)`` a step."""
    image = draw_floor(pillars, size)
    _paint_disc(image, goal, GOAL_RADIUS, GOAL, hole=GOAL_RADIUS - 0.6)
    for place in trail:
        _paint_disc(image, place, 0.45, TRAIL)
    return draw_agent(image, position)


def to_canvas(points: Array, size: int) -> Array:
    """Column and row ``(..., 2)``, from the upper left corner, at which points lie in a picture of such a size."""
    return np.asarray(points, dtype=np.float64) * (size / SIZE)


def read_positions(images: Image) -> NDArray[np.float64]:
    """Where agents are in images ``(..., 64, 64, 3)``: the centroids ``(..., 2)``, within 0.05 px.

    Raises:
        ValueError: If an image shows no agent.
    """
    # Sums of whole numbers are exact in any order: a batch gives bit for bit what its members give.
    weight = images[..., 0].astype(np.float64) - images[..., 1]
    mass, centres = weight.sum((-2, -1)), np.arange(SIZE) + 0.5
    if (mass <= 0).any():
        raise ValueError("each image must show the agent, got one without its colour")
    return np.stack([weight.sum(-2) @ centres / mass, weight.sum(-1) @ centres / mass], -1)


def agent_pixels(images: Image) -> NDArray[np.float64]:
    """How much of each pixel of images ``(..., S, S, 3)`` the agent covers, ``(..., S, S)``."""
    weight = images[..., 0].astype(np.float64) - images[..., 1]
    return np.clip(weight / (AGENT[0] - AGENT[1]), 0, 1)


def _paint_disc(image: Image, centre: Array, radius: float, color: Color, hole: float = 0.0) -> None:
    """Paints a disc, or a ring around a hole, into an image of any size; edges are one pixel soft."""
    scale = len(image) / SIZE
    (x, y), outer, inner = to_canvas(centre, len(image)), radius * scale, hole * scale
    left, right, top, bottom = (
        int(np.clip(edge, 0, len(image))) for edge in (x - outer - 1, x + outer + 2, y - outer - 1, y + outer + 2)
    )
    distance = np.hypot(np.arange(left, right) + 0.5 - x, (np.arange(top, bottom) + 0.5 - y)[:, None])
    cover = np.clip(outer + 0.5 - distance, 0, 1)
    if hole:
        cover -= np.clip(inner + 0.5 - distance, 0, 1)
    patch = image[top:bottom, left:right]
    patch[...] = np.rint(patch + cover[..., None] * (np.array(color) - patch))
