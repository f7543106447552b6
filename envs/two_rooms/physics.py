"""The physics of Two Rooms: pure, batched, the one place that knows walls, doors and collisions.

A point agent moves in a square arena that a wall with a door divides into two rooms. Coordinates are pixels of a
65 × 65 image: x is the column, y the row, growing downwards. Everything here is a function of arrays with a leading
batch dimension ``N`` and works for one agent and for a million; the environment, the vector environment and the data
generator all call :func:`step`.

Positions are float32. Collisions are decided in float64 between float32 points, so what is decided is exactly what is
stored, and a batch gives bit for bit what its members give alone.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SIZE = 65
"""Side of the image in pixels."""
ARENA_MIN, ARENA_MAX = 4.0, 60.0
"""The agent's coordinates stay strictly between these two."""
WALL_HALF_THICKNESS = 1.0
"""The inner wall covers ``|x − wall| ≤`` this."""
DOOR_HALF_WIDTH = 4.0
"""The door leaves ``|y − door| ≤`` this open."""
MAX_STEP = 2.45
"""Largest displacement a step, in pixels (Euclidean norm)."""
GOAL_RADIUS = 4.5
"""An agent closer than this to the goal has reached it."""
BOUNCE_STD = 0.5
"""Standard deviation of the landing noise of a bounce, in pixels."""
BOUNCE_FALLBACK = 0.3
"""Distance from the contact, along the normal, at which a bounce lands when its noisy landing is blocked."""
COLLISIONS = ("stay", "bounce")
"""What a blocked step can do."""

Array = NDArray[Any]


class Layout(NamedTuple):
    """Where the wall and its door are; each field a scalar or an array of shape ``(N,)``.

    Attributes:
        wall: Position of the wall's centre line (x of a vertical wall, y of a horizontal one), in pixels.
        door: Position of the door's centre along the wall, in pixels.
        horizontal: Whether the wall runs from left to right; by default it runs from top to bottom.
    """

    wall: Any
    door: Any
    horizontal: Any = False

    def select(self, index: Any) -> "Layout":
        """The layouts at ``index`` of a batch of layouts."""
        return Layout(*(np.asarray(field)[index] for field in self))

    def broadcast(self, shape: tuple[int, ...]) -> "Layout":
        """The same layout with each field broadcast to ``shape``."""
        return Layout(*(np.broadcast_to(np.asarray(field), shape) for field in self))


class Step(NamedTuple):
    """What one step did.

    Attributes:
        positions: Where the agents are now, float32 ``(N, 2)``.
        actions: The displacements that were attempted, after the norm bound, float32 ``(N, 2)``.
        blocked: Whether the segment met a wall, bool ``(N,)``.
    """

    positions: Array
    actions: Array
    blocked: Array


def clip_actions(actions: Array, max_norm: float = MAX_STEP) -> Array:
    """Scales displacements longer than ``max_norm`` back to it.

    Args:
        actions: Displacements in pixels, ``(N, 2)``.
        max_norm: Largest Euclidean norm, in pixels.

    Returns:
        float32 ``(N, 2)``.

    Raises:
        ValueError: If an action is not finite.
    """
    actions = np.asarray(actions, dtype=np.float32)
    exact = actions.astype(np.float64)  # squares of float32 numbers cannot overflow here
    exact *= exact
    squared = exact[:, 0] + exact[:, 1]
    largest = squared.max(initial=0.0)
    # What was scaled once passes unchanged, so executed actions can be replayed; the slack is float32's rounding.
    if largest <= max_norm * max_norm * (1.0 + 1e-6):
        return actions
    if not np.isfinite(largest):
        raise ValueError(f"actions must be finite, got {actions[~np.isfinite(squared)][0].tolist()}")
    scale = np.where(squared > max_norm * max_norm * (1.0 + 1e-6), max_norm / np.sqrt(np.maximum(squared, 1e-12)), 1.0)
    return (actions * scale[:, None]).astype(np.float32)


def is_free(positions: Array, layout: Layout) -> Array:
    """Whether positions are in free space: inside the arena and not in the wall.

    Args:
        positions: ``(N, 2)``, pixels.
        layout: A layout, or ``N`` of them.

    Returns:
        bool ``(N,)``.
    """
    across, along = _across_along(np.asarray(positions, dtype=np.float64), layout)
    return _in_arena(across, along) & ~(
        (np.abs(across - layout.wall) <= WALL_HALF_THICKNESS) & (np.abs(along - layout.door) > DOOR_HALF_WIDTH)
    )


def segment_blocked(start: Array, end: Array, layout: Layout) -> Array:
    """Whether any point of straight segments leaves free space.

    Args:
        start: First points, in free space, ``(N, 2)``.
        end: Last points, ``(N, 2)``.
        layout: A layout, or ``N`` of them.

    Returns:
        bool ``(N,)``.
    """
    across0, along0 = _across_along(np.asarray(start, dtype=np.float64), layout)
    across1, along1 = _across_along(np.asarray(end, dtype=np.float64), layout)
    _, _, misses_door = _wall_crossing(across0, along0, across1, along1, layout)
    # The arena is convex: a segment that starts inside stays inside if it ends inside.
    return misses_door | ~_in_arena(across1, along1)


def step(
    positions: Array, actions: Array, layout: Layout, *, collision: str = "stay", noise: Array | None = None
) -> Step:
    """Moves agents by their actions; a step whose straight segment leaves free space is blocked.

    Args:
        positions: Where the agents are, in free space, float32 ``(N, 2)``.
        actions: Displacements in pixels, ``(N, 2)``; norms above :data:`MAX_STEP` are scaled back to it.
        layout: A layout, or ``N`` of them.
        collision: ``"stay"``: a blocked agent does not move. ``"bounce"``: it lands near the first contact.
        noise: Landing noise of ``"bounce"``, standard normal, ``(N, 2)``; multiplied by :data:`BOUNCE_STD` here.

    Returns:
        The new positions, the actions as bounded, and which steps were blocked.

    Raises:
        ValueError: If an action is not finite, the collision mode is unknown, or "bounce" gets no noise.
    """
    if collision not in COLLISIONS:
        raise ValueError(f"collision must be one of {', '.join(map(repr, COLLISIONS))}, got {collision!r}")
    positions = np.asarray(positions, dtype=np.float32)
    actions = clip_actions(actions)
    targets = positions + actions
    blocked = segment_blocked(positions, targets, layout)
    if not blocked.any():
        return Step(targets, actions, blocked)
    new = np.where(blocked[:, None], positions, targets)
    if collision == "bounce":
        if noise is None:
            raise ValueError("collision 'bounce' needs noise of shape (N, 2), got None")
        hit = np.flatnonzero(blocked)
        where = layout.broadcast((len(positions),)).select(hit)
        new[hit] = _bounce(positions[hit], targets[hit], where, np.asarray(noise)[hit])
    return Step(new, actions, blocked)


def shortest_path(start: Array, goal: Array, layout: Layout) -> tuple[Array, Array]:
    """Shortest way from start to goal for a point agent: straight, or bent at corners of the door.

    Args:
        start: ``(N, 2)``, in free space.
        goal: ``(N, 2)``, in free space.
        layout: A layout, or ``N`` of them.

    Returns:
        ``waypoints`` ``(N, 4, 2)``: start, up to two corners of the door (repeated where fewer are needed), goal;
        and ``length`` ``(N,)`` in pixels.
    """
    start = np.atleast_2d(np.asarray(start, dtype=np.float64))
    goal = np.atleast_2d(np.asarray(goal, dtype=np.float64))
    layout = layout.broadcast((len(start),))
    across0, along0 = _across_along(start, layout)
    across1, along1 = _across_along(goal, layout)
    wall, door = layout.wall.astype(np.float64), layout.door.astype(np.float64)
    # Faces of the wall in the order in which the path meets them, and the corners of the door on each.
    toward = np.where(across0 <= across1, 1.0, -1.0)
    faces = (wall - toward * WALL_HALF_THICKNESS, wall + toward * WALL_HALF_THICKNESS)
    sides = (door - DOOR_HALF_WIDTH, door + DOOR_HALF_WIDTH)
    corners = [[np.stack([face, side], -1) for side in sides] for face in faces]
    s, g = np.stack([across0, along0], -1), np.stack([across1, along1], -1)
    candidates = [np.stack([s, s, g, g], 1)]
    candidates += [np.stack([s, corner, corner, g], 1) for face in corners for corner in face]
    candidates += [np.stack([s, near, far, g], 1) for near in corners[0] for far in corners[1]]
    paths = np.stack(candidates, 1)  # (N, C, 4, 2)
    lengths = np.linalg.norm(np.diff(paths, axis=2), axis=-1).sum(-1)  # (N, C)
    lengths[~_paths_clear(paths, wall, door)] = np.inf
    best = lengths.argmin(1)
    rows = np.arange(len(start))
    waypoints = paths[rows, best]
    return np.where(layout.horizontal[:, None, None], waypoints[..., ::-1], waypoints), lengths[rows, best]


def shortest_path_to_goal_disc(start: Array, goal: Array, layout: Layout, radius: float = GOAL_RADIUS) -> Array:
    """Length of the shortest path until it first enters the disc around the goal: the path length SPL compares with.

    Args:
        start: ``(N, 2)``, in free space.
        goal: ``(N, 2)``, in free space.
        layout: A layout, or ``N`` of them.
        radius: Radius of the disc, in pixels.

    Returns:
        Lengths in pixels, ``(N,)``; 0 where the start lies in the disc.
    """
    waypoints, _ = shortest_path(start, goal, layout)
    goal = waypoints[:, -1]
    total = np.zeros(len(waypoints))
    inside = np.zeros(len(waypoints), dtype=bool)
    for a, b in zip(np.moveaxis(waypoints, 1, 0)[:-1], np.moveaxis(waypoints, 1, 0)[1:], strict=True):
        length = np.linalg.norm(b - a, axis=-1)
        direction = (b - a) / np.maximum(length, 1e-12)[:, None]
        closest = ((goal - a) * direction).sum(-1)
        offset = np.linalg.norm(goal - a - closest[:, None] * direction, axis=-1)
        half_chord = np.sqrt(np.maximum(radius**2 - offset**2, 0.0))
        entry = np.maximum(closest - half_chord, 0.0)
        enters = (offset < radius) & (entry <= length) & (closest + half_chord >= 0)
        total += np.where(inside, 0.0, np.where(enters, entry, length))
        inside |= enters
    return total


def _across_along(points: Array, layout: Layout) -> tuple[Array, Array]:
    """Coordinates across the wall and along it."""
    if layout.horizontal is False:
        return points[..., 0], points[..., 1]
    swap = layout.horizontal
    return np.where(swap, points[..., 1], points[..., 0]), np.where(swap, points[..., 0], points[..., 1])


def _in_arena(across: Array, along: Array) -> Array:
    return (across > ARENA_MIN) & (across < ARENA_MAX) & (along > ARENA_MIN) & (along < ARENA_MAX)


def _wall_crossing(
    across0: Array, along0: Array, across1: Array, along1: Array, layout: Layout
) -> tuple[Any, Any, Array]:
    """The part ``[enter, leave]`` of each segment (as fractions) within the wall's thickness; does it miss the door?"""
    wall, door = layout.wall, layout.door
    near = (np.minimum(across0, across1) <= wall + WALL_HALF_THICKNESS) & (
        np.maximum(across0, across1) >= wall - WALL_HALF_THICKNESS
    )
    if not near.any():
        return 1.0, 0.0, near
    delta = across1 - across0
    moving = delta != 0
    safe = np.where(moving, delta, 1.0)
    to_low = (wall - WALL_HALF_THICKNESS - across0) / safe
    to_high = (wall + WALL_HALF_THICKNESS - across0) / safe
    # A segment parallel to the wall is within its thickness all along or not at all.
    enter = np.where(moving, np.clip(np.minimum(to_low, to_high), 0.0, 1.0), 0.0)
    leave = np.where(moving, np.clip(np.maximum(to_low, to_high), 0.0, 1.0), 1.0)
    slope = along1 - along0
    along_enter = np.where(enter == 1.0, along1, along0 + enter * slope)
    along_leave = np.where(leave == 1.0, along1, along0 + leave * slope)
    misses = np.maximum(np.abs(along_enter - door), np.abs(along_leave - door)) > DOOR_HALF_WIDTH
    return enter, leave, near & misses


def _bounce(start: Array, target: Array, layout: Layout, noise: Array) -> Array:
    """Landing points of blocked steps, float32 ``(N, 2)``; every landing is reachable in a straight line."""
    across0, along0 = _across_along(start.astype(np.float64), layout)
    across1, along1 = _across_along(target.astype(np.float64), layout)
    contact, normal_is_across, side = _first_contact(across0, along0, across1, along1, layout)
    contact_across = across0 + contact * (across1 - across0)
    contact_along = along0 + contact * (along1 - along0)
    noise_across, noise_along = _across_along(np.asarray(noise, dtype=np.float64) * BOUNCE_STD, layout)
    landing = _from_across_along(
        contact_across + np.where(normal_is_across, side * np.abs(noise_across), noise_across),
        contact_along + np.where(normal_is_across, noise_along, side * np.abs(noise_along)),
        layout,
    )
    fallback = _from_across_along(
        contact_across + np.where(normal_is_across, side * BOUNCE_FALLBACK, 0.0),
        contact_along + np.where(normal_is_across, 0.0, side * BOUNCE_FALLBACK),
        layout,
    )
    new = np.where(segment_blocked(start, fallback, layout)[:, None], start, fallback)
    return np.where(segment_blocked(start, landing, layout)[:, None], new, landing)


def _first_contact(
    across0: Array, along0: Array, across1: Array, along1: Array, layout: Layout
) -> tuple[Array, Array, Array]:
    """First contact of blocked segments: its fraction, whether the normal runs across the wall, the normal's sign."""
    d_across, d_along = across1 - across0, along1 - along0

    def reach(start: Array, delta: Array, bound: Any) -> Array:
        """Fraction of the segment at which a coordinate reaches ``bound``; infinite where it does not."""
        fraction = (bound - start) / np.where(delta == 0, 1.0, delta)
        return np.where((delta != 0) & (fraction >= 0) & (fraction <= 1), fraction, np.inf)

    arena_across = reach(across0, d_across, np.where(d_across > 0, ARENA_MAX, ARENA_MIN))
    arena_along = reach(along0, d_along, np.where(d_along > 0, ARENA_MAX, ARENA_MIN))
    enter, leave, misses = _wall_crossing(across0, along0, across1, along1, layout)
    face_first = misses & (np.abs(along0 + enter * d_along - layout.door) > DOOR_HALF_WIDTH)
    face = np.where(face_first, enter, np.inf)
    jamb_at = reach(
        along0, d_along, np.where(d_along > 0, layout.door + DOOR_HALF_WIDTH, layout.door - DOOR_HALF_WIDTH)
    )
    jamb = np.where(misses & ~face_first & (jamb_at <= leave), jamb_at, np.inf)
    contacts = np.stack([arena_across, face, arena_along, jamb])
    first = contacts.argmin(0)
    fraction = np.minimum(contacts.min(0), 1.0)
    normal_is_across = first < 2
    return fraction, normal_is_across, -np.sign(np.where(normal_is_across, d_across, d_along))


def _from_across_along(across: Array, along: Array, layout: Layout) -> Array:
    swap = layout.horizontal
    return np.stack([np.where(swap, along, across), np.where(swap, across, along)], -1).astype(np.float32)


def _paths_clear(paths: Array, wall: Array, door: Array) -> Array:
    """Whether paths ``(N, C, 4, 2)``, which may touch corners of the door, keep out of the wall, bool ``(N, C)``."""
    a, b = paths[:, :, :-1], paths[:, :, 1:]
    slack = 1e-9  # touching a corner or sliding along a face is allowed
    low, high = (wall[:, None, None] + sign * (WALL_HALF_THICKNESS - slack) for sign in (-1, 1))
    delta = b[..., 0] - a[..., 0]
    safe = np.where(np.abs(delta) > slack, delta, 1.0)
    parallel = np.abs(delta) <= slack
    t0 = np.clip(np.minimum((low - a[..., 0]) / safe, (high - a[..., 0]) / safe), 0, 1)
    t1 = np.clip(np.maximum((low - a[..., 0]) / safe, (high - a[..., 0]) / safe), 0, 1)
    inside = np.where(parallel, (a[..., 0] > low) & (a[..., 0] < high), t1 > t0)
    t0, t1 = np.where(parallel, 0.0, t0), np.where(parallel, 1.0, t1)
    slope = b[..., 1] - a[..., 1]
    worst = np.maximum(
        np.abs(a[..., 1] + t0 * slope - door[:, None, None]), np.abs(a[..., 1] + t1 * slope - door[:, None, None])
    )
    return ~(inside & (worst > DOOR_HALF_WIDTH + 1e-6)).any(-1)
