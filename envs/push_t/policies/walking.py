"""How the agent gets about the board without touching the block: the way around it, and targets that are safe.

Around the T stand way points, fixed in its own frame: one off each of its corners. Shortest paths lead over them (a
visibility graph). Along a path the agent heads for the farthest point that it reaches without touching the block, as
its controller would bring it there; so it slows down for corners only.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from envs.push_t.geometry import AGENT_RADIUS, CENTRE, OUTLINE, SIZE, Array, distance_to_block, rotate
from envs.push_t.physics import DAMPING, REACH, STIFFNESS, TIME_STEP

CLEARANCE = AGENT_RADIUS + 1.0
"""Paths keep the agent's centre this far from the block, in pixels."""
STANDOFF = AGENT_RADIUS + 3.0
"""How far from the block the agent stands before it pushes."""

_MARGIN = 2.0  # of the board, to its border: paths stay within
_FRAME = np.array([0.0, 0.0, 0.0])  # a block in its own frame
_HORIZON = 40  # steps of the solver within which the agent comes to rest at its target
_TOUCHING = AGENT_RADIUS + 0.2
_LOOK_AHEAD = np.array([98, 80, 64, 50, 38, 28, 20, 13, 8, 4, 2])  # pixels along the path
_SAMPLES = 48  # of a straight line, when it is tested


def follow(position: Array, velocity: Array, targets: Array, steps: int = _HORIZON) -> NDArray[np.float64]:
    """Where the controller brings the agent, ``(K, steps, 2)``, for targets ``(K, 2)`` that stay where they are."""
    offset, speed = _responses(steps)
    away = position - targets
    return targets[:, None] + offset[:, None] * away[:, None] + speed[:, None] * velocity


@lru_cache(maxsize=8)
def _responses(steps: int) -> tuple[Array, Array]:
    """What an offset of 1 from the target, and a speed of 1, have become after 1, 2, … steps of the solver."""
    step = np.array(
        [
            [1 - STIFFNESS * TIME_STEP**2, (1 - DAMPING * TIME_STEP) * TIME_STEP],
            [-STIFFNESS * TIME_STEP, 1 - DAMPING * TIME_STEP],
        ]
    )
    powers = [step]
    while len(powers) < steps:
        powers.append(step @ powers[-1])
    return np.array([power[0, 0] for power in powers]), np.array([power[0, 1] for power in powers])


def to_frame(points: Array, block: Array) -> NDArray[np.float64]:
    """Points ``(..., 2)`` of the board in the frame of a block ``(3,)``."""
    return rotate(np.asarray(points) - block[:2], math.cos(block[2]), -math.sin(block[2]))


def from_frame(points: Array, block: Array) -> NDArray[np.float64]:
    """Points ``(..., 2)`` in the frame of a block ``(3,)`` on the board."""
    return block[:2] + rotate(points, math.cos(block[2]), math.sin(block[2]))


def on_board(points: Array) -> NDArray[np.bool_]:
    """Whether the agent can go to points ``(..., 2)``."""
    return np.asarray(((points >= _MARGIN) & (points <= SIZE - _MARGIN)).all(-1))


def lengths(starts: Array, ends: Array) -> NDArray[np.float64]:
    """Lengths ``(N, M)`` of straight ways in the block's frame, infinite where they come too near to it.

    A way that begins nearer to the block than :data:`CLEARANCE` must not come nearer still.
    """
    starts, ends = np.asarray(starts)[:, None], np.asarray(ends)
    steps = ends - starts
    points = starts[..., None, :] + np.linspace(0, 1, _SAMPLES)[:, None] * steps[..., None, :]
    away = distance_to_block(points, _FRAME)  # (N, M, samples)
    limit = np.minimum(CLEARANCE, np.minimum(away[..., 0], away[..., -1]) - 0.1)
    return np.asarray(np.where((away >= limit[..., None]).all(-1), np.sqrt((steps**2).sum(-1)), np.inf))


@lru_cache(maxsize=1)
def way_points() -> tuple[Array, Array]:
    """The way points ``(8, 2)`` in the block's frame, and the straight ways between them ``(8, 8)``."""
    before, after = OUTLINE - np.roll(OUTLINE, 1, 0), np.roll(OUTLINE, -1, 0) - OUTLINE
    normals = [np.stack([side[:, 1], -side[:, 0]], -1) / np.hypot(*side.T)[:, None] for side in (before, after)]
    outer = normals[0][:, 0] * normals[1][:, 1] - normals[0][:, 1] * normals[1][:, 0] > 0
    diagonal = (normals[0] + normals[1]) / np.sqrt(2)
    points = np.concatenate([(OUTLINE + diagonal * (CLEARANCE + 8))[outer], (OUTLINE + diagonal * 34)[~outer]])
    return points, lengths(points, points)


def walks(position: Array, ends: Array, block: Array) -> NDArray[np.float64]:
    """Lengths ``(M,)`` of the shortest ways from a position ``(2,)`` to ends ``(M, 2)``; infinite: there is none."""
    first, _, rest, _ = _graph(position, ends, block)
    return np.asarray(np.concatenate([lengths_to(position, ends, block)[None], first[:, None] + rest]).min(0))


def path_to(position: Array, end: Array, block: Array) -> list[Array]:
    """The shortest way from a position ``(2,)`` to an end ``(2,)`` around a block: its corners, the end included.

    Where there is none, it leads straight there.
    """
    direct = lengths_to(position, end[None], block)[0]
    if np.isfinite(direct):
        return [end]
    first, between, rest, nodes = _graph(position, end[None], block)
    path, to_end = [], rest[:, 0]
    for _ in range(len(nodes)):
        through = first + to_end
        best = int(through.argmin())
        if not through[best] < direct:
            break
        path.append(from_frame(nodes[best], block))
        first = np.where(np.arange(len(nodes)) == best, np.inf, between[best])
        direct = lengths_to(path[-1], end[None], block)[0]
    return [*path, end]


def lengths_to(position: Array, ends: Array, block: Array) -> NDArray[np.float64]:
    """Lengths ``(M,)`` of straight ways from a position ``(2,)`` to ends ``(M, 2)``, infinite where the block is."""
    return lengths(to_frame(position, block)[None], to_frame(ends, block))[0]


def _graph(position: Array, ends: Array, block: Array) -> tuple[Array, Array, Array, Array]:
    """What ways around the block are made of, for the ``W`` way points that are on the board.

    Returns:
        Straight ways from a position to them ``(W,)`` and between them ``(W, W)``, the shortest ways from them to ends
        ``(W, M)``, and where they are in the block's frame ``(W, 2)``.
    """
    nodes, between = way_points()
    usable = on_board(from_frame(nodes, block))
    nodes, between = nodes[usable], between[np.ix_(usable, usable)]
    shortest = between
    for via in range(len(nodes)):  # Floyd and Warshall
        shortest = np.minimum(shortest, shortest[:, via, None] + shortest[None, via])
    to_ends = lengths(nodes, to_frame(ends, block))
    rest = (shortest[:, :, None] + to_ends[None]).min(1, initial=np.inf)
    return lengths(to_frame(position, block)[None], nodes)[0], between, rest, nodes


def step_along(path: list[Array], position: Array, velocity: Array, block: Array) -> NDArray[np.float64]:
    """The next target ``(2,)`` on a path: the farthest that the agent reaches without touching the block."""
    corners = np.stack([position, *path])
    sides = np.sqrt((np.diff(corners, axis=0) ** 2).sum(-1))
    along = np.concatenate([[0.0], np.cumsum(sides)])
    ahead = np.minimum(_LOOK_AHEAD, along[-1])
    targets = np.stack([np.interp(ahead, along, corners[:, axis]) for axis in (0, 1)], -1)
    away = distance_to_block(follow(position, velocity, targets), block)  # (K, steps)
    now = float(distance_to_block(position, block))
    safe = (away >= min(_TOUCHING, now - 0.05)).all(-1) & (np.abs(targets - position) <= REACH).all(-1)
    if safe.any():
        return np.asarray(targets[int(safe.argmax())])
    return leave(position, block, now + 30)  # what it was carried along to: away from the block


def leave(position: Array, block: Array, clearance: float) -> NDArray[np.float64]:
    """A point near a position ``(2,)`` that is at least so far from the block, on the board where possible."""
    point = np.array(position, dtype=np.float64)
    for _ in range(8):
        away = float(distance_to_block(point, block))
        if away >= clearance:
            break
        slope = distance_to_block(point + np.eye(2) * 0.5, block) - distance_to_block(point - np.eye(2) * 0.5, block)
        if not slope.any():
            slope = point - from_frame(np.array([0.0, CENTRE]), block)
        point = np.clip(point + (clearance - away + 0.01) * slope / np.hypot(*slope), _MARGIN, SIZE - _MARGIN)
    return point
