"""The scene of Pillars: which pillars there are, where the agent can be and go, and the shortest paths.

Everything is a function of arrays. Coordinates are pixels of the 64 × 64 image from its upper left corner, x to the
right and y downwards, so the centre of the first pixel is (0.5, 0.5). A place is where the agent's centre is.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SIZE = 64
"""Side of the floor, in pixels."""
AGENT_RADIUS = 2.0
"""Radius of the agent."""
PILLAR_RADIUS = 6.0
"""Radius of a pillar."""
NUM_PILLARS = 4
"""Pillars of a layout."""
GOAL_RADIUS = 4.0
"""A goal counts as reached when the agent is closer than this."""
MAX_STEP = 2.5
"""Displacement along an axis at an action of 1."""
MIN_DISTANCE = 24.0
"""Start and goal are at least this far apart, as the crow flies."""
LAYOUT_SETS = {"train": range(800), "validation": range(800, 900), "held-out": range(900, 1000), "all": range(1000)}
"""Layouts by the name of their set; the first three are disjoint and make up the fourth."""

_CONTACT = AGENT_RADIUS + PILLAR_RADIUS  # distance of the centres when the agent touches a pillar
_SPACING, _INSET = 18.0, 12.0  # of pillars' centres, from each other and from the border: the agent fits between
_LAYOUT_SEED = 64
_NUM_CORNERS = 16  # of the polygon that shortest paths follow around a pillar


@lru_cache(maxsize=1000)
def pillars_of(layout: int) -> NDArray[np.float32]:
    """The pillars' centres ``(4, 2)`` in a layout, always the same ones; the array cannot be written to."""
    rng = np.random.default_rng([_LAYOUT_SEED, layout])
    while True:
        pillars = rng.uniform(_INSET, SIZE - _INSET, (NUM_PILLARS, 2)).astype(np.float32)
        gaps = distance(pillars[:, None], pillars)[np.triu_indices(NUM_PILLARS, 1)]
        if gaps.min() >= _SPACING:
            pillars.setflags(write=False)
            return pillars


def is_blocked(starts: Array, ends: Array, pillars: Array) -> NDArray[np.bool_]:
    """Whether steps from ``(..., 2)`` to ``(..., 2)`` meet one of the pillars ``(..., 4, 2)`` or the border.

    Returns:
        Truth values ``(...)``; just touching is no meeting.
    """
    starts, ends, pillars = (np.asarray(points, dtype=np.float64) for points in (starts, ends, pillars))
    steps, to_pillars = (ends - starts)[..., None, :], pillars - starts[..., None, :]
    along = (steps * to_pillars).sum(-1) / np.maximum((steps**2).sum(-1), 1e-12)  # 0 at the start, 1 at the end
    meets = distance(np.clip(along, 0, 1)[..., None] * steps, to_pillars) < _CONTACT
    leaves = [(places < AGENT_RADIUS) | (places > SIZE - AGENT_RADIUS) for places in (starts, ends)]
    return np.asarray(meets.any(-1) | leaves[0].any(-1) | leaves[1].any(-1))


def is_free(places: Array, pillars: Array) -> NDArray[np.bool_]:
    """Whether the agent can be at places ``(..., 2)`` among pillars ``(..., 4, 2)``, ``(...)``."""
    return np.asarray(~is_blocked(places, places, pillars))


def distance(a: Any, b: Any) -> NDArray[np.float64]:
    """Distances ``(...)`` between points ``(..., 2)``."""
    difference = np.subtract(a, b, dtype=np.float64)
    return np.asarray(np.hypot(difference[..., 0], difference[..., 1]))


def sample_endpoints(
    rng: np.random.Generator, pillars: Array, start: Array | None = None, goal: Array | None = None
) -> tuple[Array, Array]:
    """Draws a start and a goal ``(2,)``, free and far apart, uniformly; one that is given stays as it is.

    In about 70 % of draws a pillar stands in the straight way.
    """
    while start is None or goal is None:
        # Two decimals make small manifests; float32 is what the environment computes with.
        drawn = rng.uniform(AGENT_RADIUS, SIZE - AGENT_RADIUS, (2, 2)).round(2).astype(np.float32)
        ends = drawn[0] if start is None else start, drawn[1] if goal is None else goal
        if is_free(np.stack(ends), pillars).all() and distance(*ends) >= MIN_DISTANCE:
            return ends
    return start, goal


def shortest_path(pillars: Array, start: Array, targets: Array) -> tuple[float, Array]:
    """The shortest path to the nearest of some targets, by a visibility graph: pillars are polygons in it.

    Args:
        pillars: Their centres, ``(4, 2)``.
        start: Where the path begins, ``(2,)``.
        targets: Where it may end, ``(M, 2)``.

    Returns:
        Its length in pixels, at most 1.4 % too long (0.1 % on average), and the end of its first straight part,
        ``(2,)``; infinite and the start itself if there is no path.
    """
    corners, between = _roadmap(np.asarray(pillars, dtype=np.float32).tobytes())
    straight = _lengths(start[None], targets, pillars)[0]
    to_corner = _lengths(start[None], corners, pillars)[0]
    to_corner[to_corner < 1e-3] = np.inf  # the corner where we are leads nowhere new
    around = to_corner + (between + _lengths(corners, targets, pillars).min(1)).min(1)
    lengths, ends = np.concatenate([straight, around]), np.concatenate([targets, corners])
    best = int(lengths.argmin())
    return float(lengths[best]), ends[best] if np.isfinite(lengths[best]) else start


def shortest_path_to_disc(pillars: Array, start: Array, goal: Array) -> float:
    """Length of the shortest path to where the goal counts as reached, in pixels: what SPL compares with."""
    x, y = start - goal
    rim = goal + GOAL_RADIUS * _circle(32, float(np.arctan2(y, x)))  # one of its points lies towards the start
    return shortest_path(pillars, start, rim)[0] if distance(start, goal) > GOAL_RADIUS else 0.0


@lru_cache(maxsize=1000)
def _roadmap(pillars: bytes) -> tuple[Array, Array]:
    """Corners ``(64, 2)`` of polygons around pillars, and the shortest paths between all of them ``(64, 64)``."""
    centres = np.frombuffer(pillars, dtype=np.float32).reshape(-1, 1, 2)
    radius = (_CONTACT + 1e-3) / np.cos(np.pi / _NUM_CORNERS)  # who walks along its sides just passes the pillar
    corners = (centres + radius * _circle(_NUM_CORNERS)).reshape(-1, 2)
    lengths = _lengths(corners, corners, centres[:, 0])
    for via in range(len(corners)):  # Floyd and Warshall
        lengths = np.minimum(lengths, lengths[:, via, None] + lengths[None, via])
    return corners, lengths


def _lengths(starts: Array, ends: Array, pillars: Array) -> Array:
    """Lengths ``(N, M)`` of straight lines from ``(N, 2)`` to ``(M, 2)``; infinite where they are blocked."""
    starts, ends = np.broadcast_arrays(starts[:, None], ends)
    return np.where(is_blocked(starts, ends, pillars), np.inf, distance(starts, ends))


def _circle(count: int, first: float = 0.0) -> Array:
    """Points ``(count, 2)`` on the unit circle, from a first angle on."""
    angles = first + np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(angles), np.sin(angles)], -1)
