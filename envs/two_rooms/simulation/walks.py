"""Ways to draw trajectories of Two Rooms.

- ``"wall-rich"``: short trajectories that mostly start near the inner wall and head for the door or the wall beside it,
  because what decides planning is what happens there. Actions are held for a block of steps.
- ``"no-crossings"``: the same, but never through the door: no position is within the wall's thickness, not even in the
  doorway, and each trajectory stays in one room.
- ``"reference"``: EB-JEPA's (arXiv 2602.03604): 91-step random walks with the steps of :mod:`envs.explorers`, 35 % of
  them steered through the door; a window is cut from each.
- ``"pldm"``: those of PLDM's good data (arXiv 2502.14819), all in one layout: 91-step random walks with the same steps,
  60 % of them laid through a point of the doorway; a window is cut from each. The released settings have no experts.
- ``"pldm-no-crossings"``: the same without the trajectories that have positions on both sides of the wall; visits to
  the doorway, from either side, remain.

Steps are taken by :func:`envs.two_rooms.physics.step`, like the environment's.
"""

from collections.abc import Callable
from functools import partial

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
"""Steps of a trajectory of the reference's recipe, and of PLDM's."""
DOORWAY_FRACTION, DOORWAY_STD, DOORWAY_ANGLE = 0.6, 1.4, np.pi / 4
"""PLDM's trajectories through the doorway: their share, the standard deviation of where they pass the door's centre, in
pixels, and the largest angle to the wall's normal at which they do."""
BORDER_DISTANCE = 0.01
"""Starts of these trajectories that would lie outside the arena are moved to this distance from its border."""
SPARE = 2
"""How many of PLDM's trajectories are drawn at once for each that is needed without crossings: one in three crosses."""


def draw_until(
    accepts: Callable[[Array, Layout], Array],
    draw: Callable[[Layout], tuple[Array, ...]],
    layout: Layout,
    spare: int = 1,
) -> tuple[Array, ...]:
    """Arrays ``(N, ...)`` drawn in as many layouts, and drawn again where the first of them is not accepted.

    Args:
        accepts: From the first of the arrays and its layouts, which rows are accepted.
        draw: Draws arrays, a row a layout.
        layout: ``N`` layouts.
        spare: How many rows are drawn at once for each that is needed; the first that is accepted is taken.
    """
    drawn: tuple[Array, ...] = ()
    needed = np.arange(len(layout.wall))
    while len(needed) or not drawn:
        part = layout.select(np.repeat(needed, spare))
        new = draw(part)
        accepted = accepts(new[0], part).reshape(-1, spare)
        chosen = np.arange(len(needed)) * spare + accepted.argmax(1)
        drawn = drawn or tuple(np.empty((len(needed), *array.shape[1:]), array.dtype) for array in new)
        for array, rows in zip(drawn, new, strict=True):
            array[needed] = rows[chosen]
        needed = needed[~accepted.any(1)]
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
    return _cut(generator, positions, actions, num_steps)


def crosses(positions: Array, layout: Layout) -> NDArray[np.bool_]:
    """Whether trajectories ``(B, S, 2)`` have positions beyond both faces of the wall, which is PLDM's rule."""
    across = positions[..., 0] - layout.wall[:, None]
    return (across.min(1) < -WALL_HALF_THICKNESS) & (across.max(1) > WALL_HALF_THICKNESS)


def pldm_walk(
    generator: np.random.Generator, layout: Layout, num_steps: int, hold: int, *, crossings: bool = True
) -> tuple[Array, Array]:
    """The same of recipe "pldm", and without crossings of "pldm-no-crossings"; actions are not held."""
    draw = partial(_pldm_trajectories, generator)
    if crossings:
        positions, actions = draw(layout)
    else:
        positions, actions = draw_until(lambda drawn, part: ~crosses(drawn, part), draw, layout, SPARE)
    return _cut(generator, positions, actions, num_steps)


def _pldm_trajectories(generator: np.random.Generator, layout: Layout) -> tuple[Array, Array]:
    """Whole trajectories: positions ``(B, 91, 2)`` and actions ``(B, 90, 2)``."""
    start, actions = draw_until(is_free, partial(_pldm_intentions, generator), layout)
    positions = np.empty((len(start), REFERENCE_STEPS + 1, 2), dtype=np.float32)
    positions[:, 0] = start
    for t in range(REFERENCE_STEPS):
        positions[:, t + 1] = step(positions[:, t], actions[:, t], layout).positions
    return positions, actions


def _pldm_intentions(generator: np.random.Generator, layout: Layout) -> tuple[Array, Array]:
    """Starts ``(B, 2)``, not all of them free, and the actions from there ``(B, 90, 2)``.

    A walk through the doorway turns at random before it as well as behind: it is drawn in both directions from a point
    between the door's posts, where it heads across the wall at one of its steps. Whether it gets there depends on what
    stands in its way.
    """
    n = len(layout.wall)
    rows = np.arange(n)
    through = generator.random(n) < DOORWAY_FRACTION
    passing = np.where(through, generator.integers(REFERENCE_STEPS, size=n), 0)  # the action that leads to the point
    doorway, anywhere = (_free_points(generator, layout, propose) for propose in (_in_doorway, _anywhere))
    toward = generator.choice([0.0, np.pi], size=n) + generator.uniform(-DOORWAY_ANGLE, DOORWAY_ANGLE, size=n)
    heading = np.where(through, toward, generator.uniform(-np.pi, np.pi, size=n))
    turns = np.cumsum(generator.vonmises(0.0, HEADING_CONCENTRATION, size=(n, REFERENCE_STEPS)), axis=1)
    headings = heading[:, None] + turns - turns[rows, passing][:, None]
    lengths = step_lengths(generator, n * REFERENCE_STEPS).reshape(n, REFERENCE_STEPS)
    actions = (lengths[..., None] * direction(headings)).astype(np.float32)
    travelled = np.cumsum(actions, axis=1)[rows, passing]
    start = np.where(through[:, None], doorway - travelled, anywhere)
    start = start.clip(ARENA_MIN + BORDER_DISTANCE, ARENA_MAX - BORDER_DISTANCE)
    return start.astype(np.float32), actions


def _in_doorway(generator: np.random.Generator, layout: Layout) -> Array:
    """Points within the wall's thickness, around the door's centre."""
    n = len(layout.wall)
    across = generator.uniform(-WALL_HALF_THICKNESS, WALL_HALF_THICKNESS, size=n)
    return np.stack([layout.wall + across, layout.door + generator.normal(0.0, DOORWAY_STD, size=n)], -1)


def _cut(generator: np.random.Generator, positions: Array, actions: Array, num_steps: int) -> tuple[Array, Array]:
    """A window of so many steps from each whole trajectory, anywhere in it."""
    n = len(positions)
    first = generator.integers(REFERENCE_STEPS - num_steps + 1, size=n)[:, None]
    rows = np.arange(n)[:, None]
    window = first + np.arange(num_steps + 1)
    return positions[rows, window], actions[rows, window[:, :-1]]
