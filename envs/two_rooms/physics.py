"""The physics of Two Rooms: pure, batched, the one place that knows walls, doors and collisions.

A point agent moves in a square arena that a wall with a door divides into two rooms. Coordinates are pixels of a
65 × 65 image: x is the column, y the row, growing downwards. Everything here is a function of arrays with a leading
batch dimension ``N`` and works for one agent and for a million; the environment, the vector environment and the data
generator all call :func:`step`.

Positions are float32. Collisions are decided in float64 between float32 points, so what is decided is exactly what is
stored, and a batch gives bit for bit what its members give alone.
"""

from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np

from envs.simulation import Array

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

    def exchanged(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Coordinates, exchanged where the wall is horizontal: x and y to across and along the wall, and back."""
        if self.horizontal is False:
            return x, y
        return np.where(self.horizontal, y, x), np.where(self.horizontal, x, y)


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


def clip_actions(actions: Array) -> Array:
    """Scales displacements longer than :data:`MAX_STEP` back to it.

    Args:
        actions: Displacements in pixels, ``(N, 2)``.

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
    bound = MAX_STEP * MAX_STEP * (1.0 + 1e-6)
    if largest <= bound:
        return actions
    if not np.isfinite(largest):
        raise ValueError(f"actions must be finite, got {actions[~np.isfinite(squared)][0].tolist()}")
    scale = np.where(squared > bound, MAX_STEP / np.sqrt(np.maximum(squared, 1e-12)), 1.0)
    return (actions * scale[:, None]).astype(np.float32)


def is_free(positions: Array, layout: Layout) -> Array:
    """Whether positions are in free space: inside the arena and not in the wall.

    Args:
        positions: ``(N, 2)``, pixels.
        layout: A layout, or ``N`` of them.

    Returns:
        bool ``(N,)``.
    """
    across, along = layout.exchanged(*np.asarray(positions, dtype=np.float64).T)
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
    start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    across0, along0 = layout.exchanged(start[:, 0], start[:, 1])
    across1, along1 = layout.exchanged(end[:, 0], end[:, 1])
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
    across0, along0 = layout.exchanged(*start.T)
    across1, along1 = layout.exchanged(*goal.T)
    wall, door = layout.wall.astype(np.float64), layout.door.astype(np.float64)
    # Faces of the wall in the order in which the path meets them, and the corners of the door on each.
    toward = np.where(across0 <= across1, 1.0, -1.0)
    faces = (wall - toward * WALL_HALF_THICKNESS, wall + toward * WALL_HALF_THICKNESS)
    sides = (door - DOOR_HALF_WIDTH, door + DOOR_HALF_WIDTH)
    corners = [[np.stack([face, side], -1) for side in sides] for face in faces]
    s, g = np.stack([across0, along0], -1), np.stack([across1, along1], -1)
    bends = [(s, g), *((corner, corner) for face in corners for corner in face), *product(*corners)]
    paths = np.stack([np.stack([s, first, second, g], 1) for first, second in bends], 1)  # (N, C, 4, 2)
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
        radius: Radius of the discs, in pixels.

    Returns:
        Lengths in pixels, ``(N,)``; 0 where the start lies in the disc.
    """
    waypoints, _ = shortest_path(start, goal, layout)
    goal = waypoints[:, -1]
    total = np.zeros(len(waypoints))
    inside = np.zeros(len(waypoints), dtype=bool)
    for a, b in pairwise(np.moveaxis(waypoints, 1, 0)):
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


def _in_arena(across: Array, along: Array) -> Array:
    return (across > ARENA_MIN) & (across < ARENA_MAX) & (along > ARENA_MIN) & (along < ARENA_MAX)


def _wall_crossing(
    across0: Array, along0: Array, across1: Array, along1: Array, layout: Layout
) -> tuple[Any, Any, Array]:
    """The part ``[enter, leave]`` of each segment (as fractions) within the wall's thickness; does it miss the door?"""
    low, high, door = layout.wall - WALL_HALF_THICKNESS, layout.wall + WALL_HALF_THICKNESS, layout.door
    near = (np.minimum(across0, across1) <= high) & (np.maximum(across0, across1) >= low)
    if not near.any():
        return 1.0, 0.0, near
    enter, leave = _fractions_between(across0, across1, low, high)
    slope = along1 - along0
    along_enter = np.where(enter == 1.0, along1, along0 + enter * slope)
    along_leave = np.where(leave == 1.0, along1, along0 + leave * slope)
    misses = np.maximum(np.abs(along_enter - door), np.abs(along_leave - door)) > DOOR_HALF_WIDTH
    return enter, leave, near & misses


def _fractions_between(start: Array, end: Array, low: Any, high: Any, slack: float = 0.0) -> tuple[Array, Array]:
    """Where segments enter and leave a range of a coordinate, as fractions; 0 and 1 if they run along the range."""
    delta = end - start
    moving = np.abs(delta) > slack
    safe = np.where(moving, delta, 1.0)
    to_low, to_high = (low - start) / safe, (high - start) / safe
    enter = np.where(moving, np.clip(np.minimum(to_low, to_high), 0.0, 1.0), 0.0)
    leave = np.where(moving, np.clip(np.maximum(to_low, to_high), 0.0, 1.0), 1.0)
    return enter, leave


def _bounce(start: Array, target: Array, layout: Layout, noise: Array) -> Array:
    """Landing points of blocked steps, float32 ``(N, 2)``; every landing is reachable in a straight line."""
    across0, along0 = layout.exchanged(*start.astype(np.float64).T)
    across1, along1 = layout.exchanged(*target.astype(np.float64).T)
    contact, normal_is_across, side = _first_contact(across0, along0, across1, along1, layout)
    contact_across = across0 + contact * (across1 - across0)
    contact_along = along0 + contact * (along1 - along0)
    noise_across, noise_along = layout.exchanged(*(np.asarray(noise, dtype=np.float64) * BOUNCE_STD).T)

    def off_contact(normal: Any, tangent: Any) -> Array:
        """Points beside the contacts: so far along the wall's normal, back to where the agent came from, and aside."""
        away = side * normal
        across = contact_across + np.where(normal_is_across, away, tangent)
        along = contact_along + np.where(normal_is_across, tangent, away)
        return np.stack(layout.exchanged(across, along), -1).astype(np.float32)

    noise_normal = np.abs(np.where(normal_is_across, noise_across, noise_along))
    landing = off_contact(noise_normal, np.where(normal_is_across, noise_along, noise_across))
    fallback = off_contact(BOUNCE_FALLBACK, 0.0)
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


def _paths_clear(paths: Array, wall: Array, door: Array) -> Array:
    """Whether paths ``(N, C, 4, 2)``, which may touch corners of the door, keep out of the wall, bool ``(N, C)``."""
    slack = 1e-9  # touching a corner or sliding along a face is allowed
    low, high = (wall[:, None, None] + sign * (WALL_HALF_THICKNESS - slack) for sign in (-1, 1))
    across, along = np.moveaxis(paths, -1, 0)
    start, end = across[..., :-1], across[..., 1:]
    enter, leave = _fractions_between(start, end, low, high, slack)
    inside = (enter < leave) & ((np.abs(end - start) > slack) | (low < start) & (start < high))
    slope = np.diff(along)
    worst = np.maximum(*(np.abs(along[..., :-1] + t * slope - door[:, None, None]) for t in (enter, leave)))
    return ~(inside & (worst > DOOR_HALF_WIDTH + 1e-6)).any(-1)
