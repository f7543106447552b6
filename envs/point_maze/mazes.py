"""The mazes: where walls are, where the ball can be, and the shortest paths.

Everything is a function of arrays. Coordinates are metres from the middle of the maze, x to the right and y upwards. A
place is where the ball's centre is.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MAPS = {
    "umaze": ("#####", "#   #", "### #", "#   #", "#####"),
    "medium": ("########", "#  ##  #", "#  #   #", "##   ###", "#  #   #", "# #  # #", "#   #  #", "########"),
}
"""Gymnasium-Robotics' maps, one character a cell of 1 × 1 m: ``#`` is a wall."""
BALL_RADIUS = 0.1
"""Radius of the ball."""
GOAL_RADIUS = 0.45
"""A goal counts as reached when the ball is closer than this."""
CELL_NOISE = 0.25
"""Starts and goals are drawn at most this far from the middle of a cell along each axis."""

_OVERLAP = 0.02  # a ball that leans on a wall sinks a little into it
_RIM_POINTS = 32


@lru_cache
def walls(maze: str) -> NDArray[np.float64]:
    """The centres ``(W, 2)`` of all cells that are walls; the array cannot be written to."""
    return _centres(maze, "#")


@lru_cache
def free_cells(maze: str) -> NDArray[np.float64]:
    """The centres ``(F, 2)`` of all other cells; the array cannot be written to."""
    return _centres(maze, " ")


def _centres(maze: str, character: str) -> NDArray[np.float64]:
    rows = MAPS[maze]
    cells = [(i, j) for i, row in enumerate(rows) for j, found in enumerate(row) if found == character]
    centres = np.array([(j + 0.5 - len(rows) / 2, len(rows) / 2 - i - 0.5) for i, j in cells])
    centres.setflags(write=False)
    return centres


def clearance(maze: str, places: Array) -> NDArray[np.float64]:
    """Distances ``(...)`` of places ``(..., 2)`` from the nearest wall; 0 in a wall and outside the maze."""
    places = np.asarray(places, np.float64)
    beyond = np.maximum(np.abs(places[..., None, :] - walls(maze)) - 0.5, 0)
    inside = (np.abs(places) < len(MAPS[maze]) / 2).all(-1)
    return np.where(inside, np.hypot(beyond[..., 0], beyond[..., 1]).min(-1), 0.0)


def is_free(maze: str, places: Array) -> NDArray[np.bool_]:
    """Whether the ball can be at places ``(..., 2)``, ``(...)``; it may touch walls."""
    return np.asarray(clearance(maze, places) >= BALL_RADIUS - _OVERLAP)


def sample_places(maze: str, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Places ``(count, 2)`` as Gymnasium-Robotics draws them: a free cell, at most 0.25 m from its middle.

    They have four decimals, which make small manifests.
    """
    cells = free_cells(maze)
    return (cells[rng.integers(len(cells), size=count)] + rng.uniform(-CELL_NOISE, CELL_NOISE, (count, 2))).round(4)


def distance(a: Any, b: Any) -> NDArray[np.float64]:
    """Distances ``(...)`` between points ``(..., 2)``."""
    difference = np.subtract(a, b, dtype=np.float64)
    return np.asarray(np.hypot(difference[..., 0], difference[..., 1]))


def shortest_path(maze: str, start: Array, targets: Array, margin: float = BALL_RADIUS) -> tuple[float, Array]:
    """The shortest path to the nearest of some targets, by a visibility graph: walls are grown by a margin in it.

    Args:
        maze: Name of the maze.
        start: Where the path begins, ``(2,)``.
        targets: Where it may end, ``(M, 2)``.
        margin: How far it stays from walls along each axis, but where start and targets are nearer to them.

    Returns:
        Its length in metres, at most 4 cm too long a corner, for it goes around corners at right angles; and the ends
        of its straight parts ``(K, 2)``. Infinite and the start itself if there is no path.
    """
    start, targets = np.asarray(start, np.float64), np.asarray(targets, np.float64)
    straight = _lengths(maze, start[None], targets, margin)[0]
    if len(targets) == 1 and np.isfinite(straight[0]):
        return float(straight[0]), targets
    corners, between, via = _roadmap(maze, margin)
    to_corner, from_corner = (_lengths(maze, ends, corners, margin) for ends in (start[None], targets))
    to_corner[to_corner < 1e-6] = np.inf  # the corner where we are leads nowhere new
    last = from_corner.min(0)
    around = to_corner[0][:, None] + between + last
    first, final = np.unravel_index(around.argmin(), around.shape)
    if straight.min() <= around.min():
        length = float(straight.min())
        return length, targets[[straight.argmin()]] if np.isfinite(length) else start[None]
    passed = corners[list(_unfold(via, int(first), int(final)))]
    return float(around.min()), np.concatenate([passed, targets[[from_corner[:, final].argmin()]]])


def shortest_path_to_disc(maze: str, start: Array, goal: Array) -> float:
    """Length of the shortest path to where the goal counts as reached, in metres: what SPL compares with."""
    if distance(start, goal) <= GOAL_RADIUS:
        return 0.0
    away = np.arctan2(start[1] - goal[1], start[0] - goal[0])
    angles = away + np.arange(_RIM_POINTS) * (2 * np.pi / _RIM_POINTS)  # one of them lies towards the start
    rim = goal + GOAL_RADIUS * np.stack([np.cos(angles), np.sin(angles)], -1)
    return shortest_path(maze, start, rim[clearance(maze, rim) >= BALL_RADIUS])[0]


@lru_cache
def _roadmap(maze: str, margin: float) -> tuple[Array, Array, Array]:
    """Corners ``(C, 2)`` of grown walls, lengths of the shortest paths between them, and the next corner on each."""
    signs = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
    grown = (walls(maze)[:, None] + (0.5 + margin) * signs).reshape(-1, 2)
    # A wall turns a corner where its neighbours along both axes are free; places there are in the clear.
    across = np.stack([grown - 2 * margin * np.tile(signs * mask, (len(walls(maze)), 1)) for mask in ((1, 0), (0, 1))])
    turns = (clearance(maze, np.stack([grown, *across])) > 0).all(0)
    corners = grown[turns]
    lengths = _lengths(maze, corners, corners, margin)
    following = np.tile(np.arange(len(corners)), (len(corners), 1))
    for middle in range(len(corners)):  # Floyd and Warshall
        detour = lengths[:, middle, None] + lengths[None, middle]
        shorter = detour < lengths
        lengths = np.where(shorter, detour, lengths)
        following = np.where(shorter, following[:, [middle]], following)
    return corners, lengths, following


def _unfold(following: Array, first: int, final: int) -> Iterable[int]:
    yield first
    while first != final:
        first = int(following[first, final])
        yield first


def _lengths(maze: str, starts: Array, ends: Array, margin: float) -> NDArray[np.float64]:
    """Lengths ``(N, M)`` of straight lines from ``(N, 2)`` to ``(M, 2)``; infinite where they meet grown walls."""
    room = [np.abs(points[:, None] - walls(maze)).max(-1).min(-1) - 0.5 for points in (starts, ends)]
    grown = np.clip(np.minimum(room[0][:, None], room[1]), 0, margin) - 1e-6  # (N, M)
    offsets, steps = walls(maze) - starts[:, None, None], (ends - starts[:, None])[:, :, None]
    steps = np.where(steps == 0, 1e-12, steps)
    # Of the straight line, the part between the two sides of a grown wall, for each axis (the slab method).
    half = (0.5 + grown)[..., None, None]
    near, far = (offsets - np.sign(steps) * half) / steps, (offsets + np.sign(steps) * half) / steps
    enters, leaves = np.maximum(near.max(-1), 0), np.minimum(far.min(-1), 1)
    meets = (enters < leaves).any(-1)
    return np.where(meets, np.inf, distance(starts[:, None], ends))
