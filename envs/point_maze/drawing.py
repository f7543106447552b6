"""Pictures of PointMaze: what agents see, what people see, and where the ball is in an image.

Agents see MuJoCo's picture from above, without the red ball that marks the original's goal. The floor's two colours and
that of walls have, weighted by (−1, 2, −1), no brightness, and highlights have none; the ball has. So this weighting
shows the ball alone, in proportion to how much of it covers a pixel.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.offscreen import TopView
from envs.point_maze.mazes import GOAL_RADIUS, MAPS
from envs.point_maze.physics import load

Array = NDArray[Any]
Image = NDArray[np.uint8]
Color = tuple[int, int, int]

IMAGE_SIZE = 64
"""Side of agents' images in pixels."""
SEEN_RADIUS = 0.2
"""Radius of the ball as it is drawn, as in the original: twice that of the ball that touches walls."""
CANVAS_SIDE = 7.0
"""What pictures of :func:`draw_scene` show of the world, in metres: all mazes at the same scale."""
FLOOR: Color = (36, 60, 84)
WALL: Color = (214, 154, 92)
BALL: Color = (92, 184, 92)
GOAL: Color = (225, 60, 60)
TRAIL: Color = (235, 235, 235)

_BALL_WEIGHTS = np.array([-1, 2, -1])
_BRIGHTEST = 172  # pixel of a ball, by these weights
_LEAST_BRIGHTNESS = 100  # of all pixels together, by these weights; the smallest ball has some 500


def side_of(maze: str) -> float:
    """What an image shows of a maze, in metres: all but the outer half of its outer walls."""
    return len(MAPS[maze]) - 1.0


@lru_cache
def view_of(maze: str) -> TopView:
    """The camera above a maze, one a process; its pictures hide the goal, and show all of the ball."""
    model = load(maze).model
    model.site("target").rgba[:] = 0
    # Drawn above the walls, which would hide what of it is wider than the ball that touches them.
    ball = model.site("particle_site")
    ball.pos[2], ball.sameframe[:] = 1.0, 0  # "same frame" would mean: where its body is
    return TopView(model, side_of(maze), IMAGE_SIZE)


def read_positions(images: Array, maze: str) -> NDArray[np.float64]:
    """Positions ``(..., 2)`` of the balls in images ``(..., 64, 64, 3)`` of a maze, within 0.01 m.

    Raises:
        ValueError: If an image shows none.
    """
    weight = _ball_weights(images)
    total = weight.sum((-1, -2))
    if (total < _LEAST_BRIGHTNESS).any():
        raise ValueError("each image must show a ball, got one without it")
    scale = side_of(maze) / IMAGE_SIZE
    offset = (np.arange(IMAGE_SIZE) + 0.5 - IMAGE_SIZE / 2) * scale
    return np.stack([weight.sum(-2) @ offset, -(weight.sum(-1) @ offset)], -1) / total[..., None]


def _ball_weights(images: Array) -> NDArray[np.int64]:
    """How bright the ball is in each pixel ``(..., 64, 64)`` of images ``(..., 64, 64, 3)``."""
    weight = np.asarray(images, np.int64) @ _BALL_WEIGHTS
    return np.where(weight > 6, weight, 0)  # less than that is rounding


def agent_pixels(images: Array) -> NDArray[np.float64]:
    """How much of each pixel of images ``(..., 64, 64, 3)`` the ball covers, ``(..., 64, 64)``."""
    return np.minimum(_ball_weights(images) / _BRIGHTEST, 1.0)


def find_mazes(images: Array) -> NDArray[np.int64]:
    """Which maze images ``(..., 64, 64, 3)`` show: indices ``(...)`` into the names of :data:`MAPS`."""
    brown = np.asarray(images, np.int64)[..., 0] > np.asarray(images, np.int64)[..., 2]
    return np.argmin([(brown != wall_pixels(maze)).sum((-1, -2)) for maze in MAPS], 0)


def find_positions(images: Array) -> NDArray[np.float64]:
    """Positions ``(N, 2)`` of the balls in images ``(N, 64, 64, 3)`` or ``(N, 3, 64, 64)``, whatever the maze."""
    if images.shape[-1] != 3:
        images = np.moveaxis(images, -3, -1)
    found, positions = find_mazes(images), np.empty((*images.shape[:-3], 2))
    for index, maze in enumerate(MAPS):
        positions[found == index] = read_positions(images[found == index], maze)
    return positions


@lru_cache
def wall_pixels(maze: str, size: int = IMAGE_SIZE, side: float | None = None) -> NDArray[np.bool_]:
    """Which pixels ``(size, size)`` of a picture that shows so many metres are walls."""
    is_wall = np.array([[cell == "#" for cell in row] for row in MAPS[maze]])
    shown = side or side_of(maze)
    cells = np.floor((np.arange(size) + 0.5) * (shown / size) + (len(is_wall) - shown) / 2).astype(int)
    cells = np.clip(cells, 0, len(is_wall) - 1)  # beyond the maze there are walls, as at its border
    return is_wall[cells[:, None], cells]


def to_canvas(points: Array, size: int, side: float = CANVAS_SIDE) -> NDArray[np.float64]:
    """Column and row ``(..., 2)`` at which points lie in a picture that shows so many metres."""
    return (np.asarray(points, np.float64) * (1, -1) + side / 2) * (size / side)


def draw_picture(size: int, maze: str, position: Array, goal: Array, trail: Array, side: float = CANVAS_SIDE) -> Image:
    """A picture for people: a ring where the goal counts as reached, and the trail ``(T, 2)`` of the ball."""
    image = np.where(wall_pixels(maze, size, side)[..., None], WALL, FLOOR).astype(np.float64)
    scale = size / side

    def paint(place: Array, radius: float, color: Color, width: float | None = None) -> None:
        """Paints a disc, or a ring of such a width, in metres; its edge is one pixel soft."""
        column, row = to_canvas(place, size, side)
        window = [slice(max(0, int(at - radius * scale - 1)), int(at + radius * scale + 2)) for at in (row, column)]
        y, x = (np.arange(size)[part] + 0.5 - at for part, at in zip(window, (row, column), strict=True))
        away = np.hypot(x, y[:, None])
        cover = np.clip(radius * scale + 0.5 - away, 0, 1)
        if width is not None:
            cover -= np.clip((radius - width) * scale + 0.5 - away, 0, 1)
        part = image[window[0], window[1]]
        part += cover[..., None] * (np.array(color) - part)

    for place in trail:
        paint(place, 0.03, TRAIL)
    paint(goal, GOAL_RADIUS, GOAL, 0.05)
    paint(position, SEEN_RADIUS, BALL)
    return np.rint(image).astype(np.uint8)
