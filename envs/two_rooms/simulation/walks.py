"""Ways to draw trajectories of Two Rooms.

- ``"wall-rich"``: short trajectories that mostly start near the inner wall and head for the door or the wall beside it,
  because what decides planning is what happens there. Actions are held for a block of steps.
- ``"no-crossings"``: the same, but never through the door: no position is within the wall's thickness, not even in the
  doorway, and each trajectory stays in one room.
- ``"reference"``: EB-JEPA's (arXiv 2602.03604): 91-step random walks with the steps of :mod:`envs.explorers`, 35 % of
  them steered through the door; a window is cut from each.

Steps are taken by :func:`envs.two_rooms.physics.step`, like the environment's.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from envs.explorers import HEADING_CONCENTRATION, direction, step_lengths
from envs.simulation import Array
from envs.two_rooms.physics import (
    ARENA_MAX,
    ARENA_MIN,
    DOOR_HALF_WIDTH,
    MAX_STEP,
    WALL_HALF_THICKNESS,
    Layout,
    is_free,
    step,
)

REFERENCE_STEPS = 90
"""Steps of a trajectory of the reference's recipe."""


def draw_until(
    accepts: Callable[[Array, Layout], Array], draw: Callable[[Layout], tuple[Array, ...]], layout: Layout
) -> tuple[Array, ...]:
    """Arrays ``(N, ...)`` drawn in as many layouts, and drawn again where the first of them is not accepted."""
    drawn = draw(layout)
    refused = np.flatnonzero(~accepts(drawn[0], layout))
    while len(refused):
        part = layout.select(refused)
        again = draw(part)
        for array, new in zip(drawn, again, strict=True):
            array[refused] = new
        refused = refused[~accepts(again[0], part)]
    return drawn


def _free_points(
    generator: np.random.Generator, layout: Layout, propose: Callable[[np.random.Generator, Layout], Array]
) -> Array:
    """Draws one free point a layout, float32 ``(N, 2)``, from ``propose(generator, layout) -> (n, 2)``."""
    (points,) = draw_until(is_free, lambda part: (propose(generator, part).astype(np.float32),), layout)
    return points


def _anywhere(generator: np.random.Generator, layout: Layout) -> Array:
    return generator.uniform(ARENA_MIN, ARENA_MAX, size=(len(layout.wall), 2))


def _near_wall(generator: np.random.Generator, layout: Layout) -> Array:
    """Points within 9 px of the inner wall; half of them within 9 px of the door's centre along it."""
    n = len(layout.wall)
    across = layout.wall + generator.uniform(0.0, 9.0, size=n) * generator.choice([-1.0, 1.0], size=n)
    near_door = layout.door + generator.uniform(-9.0, 9.0, size=n)
    along = np.where(generator.random(n) < 0.5, near_door, generator.uniform(ARENA_MIN, ARENA_MAX, size=n))
    return np.stack([across, along], -1)


def starts(generator: np.random.Generator, layout: Layout, near_fraction: float) -> Array:
    """Free points, this fraction of them near the inner wall, the others anywhere."""
    near = generator.random(len(layout.wall)) < near_fraction
    near_points, points = _free_points(generator, layout, _near_wall), _free_points(generator, layout, _anywhere)
    return np.where(near[:, None], near_points, points)


def stays(positions: Array, layout: Layout) -> NDArray[np.bool_]:
    """Whether trajectories ``(B, S, 2)`` stay in one room and out of the wall's thickness, in the doorway too."""
    across = positions[..., 0] - layout.wall[:, None]
    return (np.abs(across) > WALL_HALF_THICKNESS).all(1) & (np.sign(across) == np.sign(across[:, :1])).all(1)


def wall_rich_walk(generator: np.random.Generator, layout: Layout, num_steps: int, hold: int) -> tuple[Array, Array]:
    """Positions ``(B, S + 1, 2)`` and actions ``(B, S, 2)`` of recipe "wall-rich", in ``B`` layouts."""
    n = len(layout.wall)
    num_blocks = num_steps // hold
    start = starts(generator, layout, 0.85)
    # Half head for a point across the wall: at the door, or anywhere along the wall; half in any direction.
    beyond = layout.wall + np.sign(layout.wall - start[:, 0]) * generator.uniform(0.0, 6.0, size=n)
    at_door = layout.door + generator.uniform(-1.5, 1.5, size=n) * DOOR_HALF_WIDTH
    along = np.where(generator.random(n) < 0.5, at_door, start[:, 1] + generator.uniform(-9.0, 9.0, size=n))
    aimed = np.arctan2(along - start[:, 1], beyond - start[:, 0])
    heading = np.where(generator.random(n) < 0.5, aimed, generator.uniform(-np.pi, np.pi, size=n))
    turns = generator.vonmises(0.0, 3.0, size=(n, num_blocks))
    turns[:, 0] = 0.0
    headings = heading[:, None] + np.cumsum(turns, axis=1)
    lengths = MAX_STEP * np.sqrt(generator.uniform(0.0, 1.0, size=(n, num_blocks)))
    blocks = lengths[..., None] * direction(headings)
    actions = np.repeat(blocks, hold, axis=1).astype(np.float32)
    positions = np.empty((n, actions.shape[1] + 1, 2), dtype=np.float32)
    positions[:, 0] = start
    for t in range(actions.shape[1]):
        positions[:, t + 1] = step(positions[:, t], actions[:, t], layout).positions
    return positions, actions


def reference_walk(generator: np.random.Generator, layout: Layout, num_steps: int, hold: int) -> tuple[Array, Array]:
    """The same of recipe "reference", whose actions are not held."""
    n = len(layout.wall)
    start = _free_points(generator, layout, _anywhere)
    through_door = generator.random(n) < 0.35
    heading = generator.uniform(-np.pi, np.pi, size=n)
    side = np.sign(layout.wall - start[:, 0])
    positions = np.empty((n, REFERENCE_STEPS + 1, 2), dtype=np.float32)
    actions = np.empty((n, REFERENCE_STEPS, 2), dtype=np.float32)
    positions[:, 0] = start
    for t in range(REFERENCE_STEPS):
        turn = generator.vonmises(0.0, HEADING_CONCENTRATION, size=n)
        length = step_lengths(generator, n)
        # Steered trajectories turn to the door until they are through: first before it, then to its far side.
        x, y = positions[:, t].T.astype(np.float64)
        before = (layout.wall - x) * side > 0
        aligned = np.abs(y - layout.door) < DOOR_HALF_WIDTH - 1
        target_x = layout.wall + side * np.where(aligned, 4.0, -4.0)
        steered = through_door & before
        heading = np.where(steered, np.arctan2(layout.door - y, target_x - x), heading)
        heading = heading + np.where(steered & aligned, 0.3, 1.0) * turn
        actions[:, t] = length[:, None] * direction(heading)
        positions[:, t + 1] = step(positions[:, t], actions[:, t], layout).positions
    first = generator.integers(REFERENCE_STEPS - num_steps + 1, size=n)[:, None]
    rows = np.arange(n)[:, None]
    window = first + np.arange(num_steps + 1)
    return positions[rows, window], actions[rows, window[:, :-1]]
