"""The geometry of Push-T: board, T and disc, poses, and how far one pose is from another.

Everything is a function of arrays. Coordinates are pixels of a 512 × 512 board, x to the right and y downwards; angles
are in radians, clockwise as one sees it. In the block's own frame the T lies with its bar along x and its stem along y;
its *position* is the middle of the bar's outer edge (the published environment's convention), its *centre* is the
centre of gravity, 45 px down the stem. Two forms of a pose::

    pose   [agent x, agent y, block x, block y, angle]           what options of ``reset`` hold
    goal   [agent x, agent y, block x, block y, cos, sin]        what observations hold, float32
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SIZE = 512.0
"""Side of the board, in pixels."""
AGENT_RADIUS = 15.0
"""Radius of the agent."""
WALL = 7.0
"""From the board's border to the inner face of its walls: segments of radius 2 around 5 and 506."""
FAR_WALL = 504.0
"""Where the inner faces of the walls on the far sides are."""
BAR, STEM = (-60.0, 0.0, 60.0, 30.0), (-15.0, 30.0, 15.0, 120.0)
"""The two rectangles of the T in its own frame: left, top, right, bottom."""
OUTLINE = np.array([[-60, 0], [60, 0], [60, 30], [15, 30], [15, 120], [-15, 120], [-15, 30], [-60, 30]], dtype=float)
"""The T's corners in its own frame, in order, ``(8, 2)``."""
CENTRE = 45.0
"""How far down the stem the centre of gravity lies."""
TOLERANCE = 20.0
"""Success is when each error is below this: pixels of agent and block, degrees of the angle."""
STARTS = ((50.0, 450.0), (50.0, 450.0), (100.0, 400.0), (100.0, 400.0), (-math.pi, math.pi))
"""Ranges that poses are drawn from."""


def rotate(points: Any, cos: Any, sin: Any) -> NDArray[np.float64]:
    """Turns points ``(..., 2)`` by angles whose cosines and sines are given, ``(...)``."""
    points = np.asarray(points, dtype=np.float64)
    x, y = points[..., 0], points[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], -1)


def outline(block: Array) -> NDArray[np.float64]:
    """Corners ``(..., 8, 2)`` on the board of blocks ``(..., 3)``, x, y and angle."""
    block = np.asarray(block, dtype=np.float64)
    angle = block[..., 2, None]
    return block[..., None, :2] + rotate(OUTLINE, np.cos(angle), np.sin(angle))


def centre(block: Array) -> NDArray[np.float64]:
    """Centres of gravity ``(..., 2)`` of blocks ``(..., 3)``."""
    block = np.asarray(block, dtype=np.float64)
    return np.stack(
        [block[..., 0] - CENTRE * np.sin(block[..., 2]), block[..., 1] + CENTRE * np.cos(block[..., 2])], -1
    )


def distance_to_block(points: Any, block: Array) -> NDArray[np.float64]:
    """Distances ``(...)`` in pixels from points ``(..., 2)`` to the rim of blocks ``(..., 3)``; negative inside."""
    block = np.asarray(block, dtype=np.float64)
    own = rotate(np.asarray(points, dtype=np.float64) - block[..., :2], np.cos(block[..., 2]), -np.sin(block[..., 2]))
    return distance_in_frame(own[..., 0], own[..., 1])


def distance_in_frame(x: Array, y: Array) -> Array:
    """Distances to the rim of the T from points in its own frame; negative inside."""
    x, rims = np.abs(x), []  # it is symmetric
    for half, height in ((BAR[2], BAR[3]), (STEM[2], STEM[3])):  # the stem goes on into the bar, so there is no seam
        across, along = x - half, np.abs(y - height / 2) - height / 2
        outside = np.sqrt(np.maximum(across, 0) ** 2 + np.maximum(along, 0) ** 2)
        rims.append(outside + np.minimum(np.maximum(across, along), 0))
    return np.asarray(np.minimum(*rims))


def to_goals(poses: Array) -> NDArray[np.float32]:
    """Goals ``(..., 6)`` of poses ``(..., 5)``."""
    poses = np.asarray(poses, dtype=np.float64)
    # One by one: numpy's sine and cosine need not give a batch what they give its members.
    turned = [(math.cos(angle), math.sin(angle)) for angle in poses[..., 4].ravel().tolist()]
    return np.concatenate([poses[..., :4], np.reshape(turned, (*poses.shape[:-1], 2))], -1).astype(np.float32)


def to_poses(goals: Array) -> NDArray[np.float64]:
    """Poses ``(..., 5)`` of goals ``(..., 6)``."""
    goals = np.asarray(goals, dtype=np.float64)
    return np.concatenate([goals[..., :4], np.arctan2(goals[..., 5:], goals[..., 4:5])], -1)


def wrap(angle: Any) -> Any:
    """Angles in radians, brought to [−π, π)."""
    return (np.asarray(angle) + np.pi) % (2 * np.pi) - np.pi


def distance(achieved: Any, desired: Any) -> NDArray[np.float64]:
    """How far goals ``(..., 6)`` are from others: the largest of three errors, ``(...)``.

    The errors are the agent's distance and the block's, in pixels, and the angle between the blocks, in degrees: all
    have the same tolerance, so success is a distance below :data:`TOLERANCE`. What is NaN counts as a board away.
    """
    achieved, desired = np.broadcast_arrays(
        np.asarray(achieved, dtype=np.float64), np.asarray(desired, dtype=np.float64)
    )
    squares = (achieved[..., :4] - desired[..., :4]) ** 2
    (a_cos, a_sin), (d_cos, d_sin) = (np.moveaxis(goals[..., 4:], -1, 0) for goals in (achieved, desired))
    sines, cosines = a_sin * d_cos - a_cos * d_sin, a_cos * d_cos + a_sin * d_sin
    # One by one: numpy's arctan2 need not give a batch what it gives its members.
    angles = [abs(math.degrees(math.atan2(s, c))) for s, c in zip(sines.flat, cosines.flat, strict=True)]
    places = np.sqrt(np.maximum(squares[..., 0] + squares[..., 1], squares[..., 2] + squares[..., 3]))
    found = np.maximum(places, np.reshape(angles, places.shape))
    return np.asarray(np.where(np.isnan(found), SIZE, found))


def block_is_inside(block: Array) -> bool:
    """Whether a block ``(3,)`` lies within the walls."""
    corners = outline(block)
    return bool((corners >= WALL).all() and (corners <= FAR_WALL).all())


def sample_pose(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draws a pose ``(5,)``: the block within the walls, the agent not touching it.

    The ranges are those of the published environment, which also starts with blocks half in a wall. Two decimals (four
    of the angle) make small manifests.
    """
    low, high = np.transpose(STARTS)
    while True:
        pose = rng.uniform(low, high)
        pose = np.append(pose[:4].round(2), pose[4].round(4))
        if block_is_inside(pose[2:]) and distance_to_block(pose[:2], pose[2:]) > AGENT_RADIUS:
            return pose


def sample_episode(
    rng: np.random.Generator, start: Array | None = None, goal: Array | None = None
) -> tuple[Array, Array]:
    """Draws poses ``(5,)`` of a start and a goal that is not yet reached there; what is given stays as it is."""
    if start is not None and goal is not None:
        return start, goal
    while True:
        ends = sample_pose(rng) if start is None else start, sample_pose(rng) if goal is None else goal
        if distance(to_goals(ends[0]), to_goals(ends[1])) >= TOLERANCE:
            return ends
