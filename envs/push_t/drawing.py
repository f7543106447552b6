"""Pictures of Push-T: what agents see, what people see, and where agent and block are in an image.

Shapes are painted with edges one pixel soft, each in a window around it. The floor is grey; the agent has as much red
as it, and the block as much blue. So what blue an image lacks shows the agent alone, what red it lacks the block alone,
in proportion to how much of them covers a pixel: sums of these tell where they are and how the block is turned.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.push_t.geometry import AGENT_RADIUS, SIZE, WALL, distance_in_frame

Array = NDArray[Any]
Image = NDArray[np.uint8]
Color = tuple[int, int, int]

FLOOR = 240  # grey
AGENT: Color = (240, 90, 40)
BLOCK: Color = (60, 110, 240)
GOAL: Color = (40, 160, 100)  # this and the next two in pictures for people only
TRAIL: Color = (150, 150, 160)
EDGE: Color = (200, 200, 205)

_MIDDLE, _RADIUS = 46.0, 76.0  # the circle around the T: how far down the stem its centre is, and its radius
_CENTROID = (3600 * 15 + 2700 * 75) / 6300  # how far down the stem the centroid of the T's area is
_AT_ONCE = 4  # images that are read
_DOT = 2.0  # radius of a dot of the trail
_SLACK = 1.0  # pixels of the image: how far soft edges reach


def draw(poses: Array, size: int) -> Image:
    """Images uint8 ``(N, size, size, 3)`` of poses ``(N, 5)``; the agent lies over the block."""
    images = np.full((len(poses), size, size, 3), FLOOR, dtype=np.uint8)
    poses = np.asarray(poses, dtype=np.float64)
    # One by one: numpy's sine and cosine need not give a batch what they give its members.
    cos, sin = (np.array([turn(angle) for angle in poses[:, 4].tolist()]) for turn in (math.cos, math.sin))
    middles = poses[:, 2:4] + np.stack([-_MIDDLE * sin, _MIDDLE * cos], -1)
    corners, x, y = _window(middles, _RADIUS, size, poses[:, 2:4])
    cos, sin = cos[:, None, None], sin[:, None, None]
    _paint(images, corners, distance_in_frame(cos * x + sin * y, cos * y - sin * x), BLOCK)
    _paint_discs(images, poses[:, :2], AGENT_RADIUS, AGENT)
    return images


def _paint_discs(images: Image, centres: Array, radius: float, color: Color) -> None:
    """Paints a disc into each image, around centres ``(N, 2)``."""
    corners, x, y = _window(centres, radius, len(images[0]), centres)
    _paint(images, corners, np.sqrt(x**2 + y**2) - radius, color)


def _window(centres: Array, radius: float, size: int, origins: Array) -> tuple[Array, Array, Array]:
    """Windows of images that hold what of a disc on the board is in them.

    Returns:
        First row and column of each ``(N, 2)``, and where their pixels' centres are on the board, seen from an origin:
        x ``(N, 1, W)`` and y ``(N, W, 1)``.
    """
    scale = SIZE / size
    width = min(size, math.ceil(2 * (radius / scale + _SLACK)) + 1)
    first = np.clip(np.floor((centres - radius) / scale - _SLACK), 0, size - width).astype(np.int64)
    places = (first[:, :, None] + (np.arange(width) + 0.5)) * scale - origins[:, :, None]  # (N, 2, W)
    return first[:, ::-1], places[:, 0, None, :], places[:, 1, :, None]


def _paint(images: Image, corners: Array, distances: Array, color: Color) -> None:
    """Paints what lies within distance 0 of a rim, both in pixels of the board; edges are one pixel of the image soft.

    Args:
        images: ``(N, size, size, 3)``.
        corners: First row and column of a window in each, ``(N, 2)``.
        distances: Of its pixels, ``(N, W, W)``.
        color: Of the paint.
    """
    cover = np.clip(0.5 - distances * (images.shape[1] / SIZE), 0, 1)
    width = cover.shape[1]
    views = [
        image[row : row + width, column : column + width]
        for image, (row, column) in zip(images, corners.tolist(), strict=True)
    ]
    patches = np.stack(views)
    for channel, level in enumerate(color):
        patch = patches[..., channel]
        patch[...] = np.rint(patch + cover * (level - patch.astype(np.float64)))
    for view, patch in zip(views, patches, strict=True):
        view[...] = patch


def agent_pixels(images: Image) -> NDArray[np.float64]:
    """How much of each pixel of images ``(..., size, size, 3)`` the agent covers, ``(..., size, size)``."""
    return np.clip((FLOOR - images[..., 2].astype(np.float64)) / (FLOOR - AGENT[2]), 0, 1)


def read_goals(images: Image) -> NDArray[np.float64]:
    """Agent x, y, block x, y, cosine and sine ``(..., 6)`` as images ``(..., size, size, 3)`` show them.

    The agent is at the centroid of its colour. The block's axis is the longer principal axis of its colour, which
    points to where the stem ends: there the third moment is positive; its position follows from centroid and axis.
    Of 64 × 64 images, agent, block and angle are read within 0.2 px, 0.3 px and 0.3° on average, and within 0.5 px,
    3 px and 2.5° wherever both are all in the image and the agent at most touches the block. What is partly outside is
    misread; of what is not in the image at all the numbers are NaN.
    """
    images = np.asarray(images)
    *batch, size, _, _ = images.shape
    rows = images.reshape(-1, size, size, 3)
    # Some at a time: what fits into the processor's cache is summed twice as fast.
    parts = [_moments(rows[i : i + _AT_ONCE]) for i in range(0, len(rows), _AT_ONCE)]
    scale, moments = SIZE / size, np.concatenate([np.empty((0, 13)), *parts])
    goals = np.full((len(moments), 6), np.nan)
    for goal, (agent, agent_x, agent_y, block, x, y, *sums) in zip(goals, moments.tolist(), strict=True):
        if agent:
            goal[:2] = (agent_x / agent + size) * (scale / 2), (agent_y / agent + size) * (scale / 2)
        if block:
            x, y = x / block, y / block
            u, v = _axis(x, y, *(total / block for total in sums))
            goal[2] = (x + size) * (scale / 2) - _CENTROID * u
            goal[3] = (y + size) * (scale / 2) - _CENTROID * v
            goal[4:] = v, -u
    return goals.reshape(*batch, 6)


def _moments(images: Image) -> NDArray[np.float64]:
    """Sums ``(N, 13)`` of what images lack: of blue times 1, x, y, and of red times 1, x, y, xx, xy, … yyy.

    Where the agent covers a part of a pixel, what red it lacks is put down to the rest of it.

    The coordinates are those of pixels' centres from the middle of the image, twice, so that they are whole numbers:
    sums of whole numbers below 2⁵³ are exact in any order, and a batch gives bit for bit what its members give.
    """
    size = images.shape[1]
    powers = _powers(size)
    blue, red = ((FLOOR - images[..., channel].astype(np.float64)).reshape(-1, size * size) for channel in (2, 0))
    most = FLOOR - AGENT[2]  # where the agent covers the whole pixel
    mixed = np.nonzero(blue)
    red[mixed] = np.rint(red[mixed] * (most / np.maximum(most - blue[mixed], most / 8)))
    return np.concatenate([blue @ powers[:, :3], red @ powers], -1)


@lru_cache(maxsize=4)
def _powers(size: int) -> NDArray[np.float64]:
    """1, x, y, xx, xy, yy, xxx, xxy, xyy, yyy of all pixels, ``(size², 10)``."""
    y, x = (2.0 * index.ravel() + 1 - size for index in np.indices((size, size)))
    return np.stack([x ** (n - k) * y**k for n in range(4) for k in range(n + 1)], -1)


def _axis(
    x: float, y: float, xx: float, xy: float, yy: float, xxx: float, xxy: float, xyy: float, yyy: float
) -> tuple[float, float]:
    """The unit vector down the T's stem, from its mean moments."""
    heading = 0.5 * math.atan2(2 * (xy - x * y), (xx - x * x) - (yy - y * y))  # of the longer principal axis
    u, v = math.cos(heading), math.sin(heading)
    skew = (
        (xxx - 3 * x * xx + 2 * x**3) * u**3
        + 3 * (xxy - 2 * x * xy - y * xx + 2 * x * x * y) * u * u * v
        + 3 * (xyy - 2 * y * xy - x * yy + 2 * y * y * x) * u * v * v
        + (yyy - 3 * y * yy + 2 * y**3) * v**3
    )
    return (u, v) if skew > 0 else (-u, -v)


def draw_picture(size: int, block: Array, goal: Array, position: Array, trail: Array) -> Image:
    """A picture for people, uint8 ``(size, size, 3)``: outlines are the goal, each dot of the trail a step.

    Args:
        size: Its side.
        block: x, y and angle of the block, ``(3,)``.
        goal: Pose ``(5,)`` of agent and block in the goal.
        position: Where the agent is, ``(2,)``.
        trail: Where it has been, ``(T, 2)``.
    """
    image = draw(np.array([[*position, *block]]), size)
    places = (np.arange(size) + 0.5) * (SIZE / size)
    x, y, everywhere = places[None, None, :], places[None, :, None], np.zeros((1, 2), dtype=np.int64)
    _paint(image, everywhere, np.minimum(np.minimum(x, SIZE - x), np.minimum(y, SIZE - y)) - WALL, EDGE)
    cos, sin, from_x, from_y = math.cos(goal[4]), math.sin(goal[4]), x - goal[2], y - goal[3]
    block_rim = distance_in_frame(cos * from_x + sin * from_y, cos * from_y - sin * from_x)
    agent_rim = np.sqrt((x - goal[0]) ** 2 + (y - goal[1]) ** 2) - AGENT_RADIUS
    for rim in (block_rim, agent_rim):
        _paint(image, everywhere, np.abs(rim) - 2, GOAL)
    for dot in np.asarray(trail, dtype=np.float64):
        _paint_discs(image, dot[None], _DOT, TRAIL)
    _paint_discs(image, np.asarray(position, dtype=np.float64)[None], AGENT_RADIUS, AGENT)
    return image[0]


def to_canvas(points: Array, size: int) -> NDArray[np.float64]:
    """Column and row ``(..., 2)``, from the upper left corner, at which points lie in a picture of such a size."""
    return np.asarray(points, dtype=np.float64) * (size / SIZE)
