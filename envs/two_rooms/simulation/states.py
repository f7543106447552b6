"""The simulation of Two Rooms behind :class:`envs.simulation.Simulation`: positions and layouts as plain arrays."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from envs.inputs import check_choice
from envs.simulation import Array, Trajectories, Trial
from envs.two_rooms.layouts import PLDM_LAYOUT, sample_layouts
from envs.two_rooms.physics import (
    ARENA_MAX,
    ARENA_MIN,
    DOOR_HALF_WIDTH,
    MAX_STEP,
    SIZE,
    Layout,
    is_free,
    shortest_path_to_goal_disc,
    step,
)
from envs.two_rooms.pictures.rendering import render
from envs.two_rooms.policies.expert import read_layout
from envs.two_rooms.simulation.walks import (
    REFERENCE_STEPS,
    draw_until,
    pldm_walk,
    reference_walk,
    stays,
    wall_rich_walk,
)
from envs.two_rooms.task import image_positions

NUM_TRIALS = 512
"""Trials at walls, and as many at doors."""
START_DISTANCE, PUSH_DISTANCE, PUSH = 6.0, 16.0, 1.0
"""Distance from the wall's centre line at the start, length of the push, and of each of its steps, in pixels."""
CLEARANCE = 2.5
"""Pushes at walls pass the door's edge at this distance at least, in pixels; those at doors are as far from it."""


WALKS: dict[str, Callable[..., tuple[Array, Array]]] = {
    "wall-rich": wall_rich_walk,
    "no-crossings": wall_rich_walk,
    "reference": reference_walk,
    "pldm": pldm_walk,
    "pldm-no-crossings": partial(pldm_walk, crossings=False),
}
"""How each recipe moves."""
CUT = ("reference", "pldm", "pldm-no-crossings")
"""Recipes that cut windows from trajectories of a fixed length."""
IN_ONE_LAYOUT = ("pldm", "pldm-no-crossings")
"""Recipes whose trajectories are all in PLDM's layout, whatever set is asked for."""


class TwoRoomsSimulation:
    """Two Rooms with the collision mode "stay"; a layout is wall and door.

    Args:
        wall_orientation: "vertical" or "horizontal": then x and y of all that is drawn at random are exchanged.
    """

    pixel_shape: tuple[int, int, int] = (2, SIZE, SIZE)
    action_low: tuple[float, ...] = (-MAX_STEP, -MAX_STEP)
    action_high: tuple[float, ...] = (MAX_STEP, MAX_STEP)
    position_low: tuple[float, ...] = (ARENA_MIN, ARENA_MIN)
    position_high: tuple[float, ...] = (ARENA_MAX, ARENA_MAX)
    layout_names: tuple[str, ...] = ("wall", "door")
    recipes: tuple[str, ...] = tuple(WALKS)

    def __init__(self, wall_orientation: str = "vertical") -> None:
        self.horizontal = wall_orientation == "horizontal"

    def trajectories(
        self,
        generator: np.random.Generator,
        count: int,
        num_steps: int,
        *,
        hold: int = 1,
        recipe: str = "",
        layout_set: str = "train",
        per_layout: int = 1,
    ) -> Trajectories:
        """Draws trajectories; see :class:`envs.simulation.Simulation` and :mod:`envs.two_rooms.simulation.walks`.

        Raises:
            ValueError: If the recipe is unknown, or longer trajectories are asked for than it has.
        """
        recipe = self._check(recipe)
        if recipe in CUT and num_steps > REFERENCE_STEPS:
            raise ValueError(f"a window of the {recipe} recipe must fit in {REFERENCE_STEPS} steps, got {num_steps}")
        layout = _layouts(generator, -(-count // per_layout), layout_set, recipe).select(np.arange(count) // per_layout)
        draw = partial(WALKS[recipe], generator, num_steps=num_steps, hold=hold)
        positions, actions = draw_until(stays, draw, layout) if recipe == "no-crossings" else draw(layout)
        return Trajectories(self._turned(positions), self._turned(actions), _numbers(layout))

    def trials(self, generator: np.random.Generator, layout_set: str, recipe: str = "") -> Mapping[str, Trial]:
        """Pushes across the wall, beside the door and at it: who ends on the wrong side?

        ::

                │             │
             ●──▶ wall     ●──▶   straight across, from 6 px, for 16 px
                │             door
                │             │
        """
        layout = _layouts(generator, NUM_TRIALS, layout_set, self._check(recipe))
        side = generator.choice([-1.0, 1.0], size=NUM_TRIALS)
        at_door = layout.door + generator.uniform(-1.0, 1.0, size=NUM_TRIALS) * (DOOR_HALF_WIDTH - CLEARANCE)
        # Anywhere along the wall but at the door: the door's rows are cut out of the range that is drawn from.
        cut = DOOR_HALF_WIDTH + CLEARANCE
        below = np.maximum(layout.door - cut - (ARENA_MIN + 1), 0.0)
        above = np.maximum((ARENA_MAX - 1) - (layout.door + cut), 0.0)
        along = generator.random(NUM_TRIALS) * (below + above)
        at_wall = np.where(along < below, ARENA_MIN + 1 + along, layout.door + cut + along - below)
        action = np.stack([-side * PUSH, np.zeros(NUM_TRIALS)], -1).astype(np.float32)

        def trial(rows: Array, should_cross: bool) -> Trial:
            positions = np.stack([layout.wall + side * START_DISTANCE, rows], -1).astype(np.float32)
            return Trial(
                positions=self._turned(positions),
                layout=_numbers(layout),
                action=self._turned(action),
                num_steps=int(PUSH_DISTANCE / PUSH),
                is_wrong=lambda ends: (np.sign(self._turned(ends)[:, 0] - layout.wall) != side) != should_cross,
            )

        return {"walks_through_walls": trial(at_wall, False), "refuses_doors": trial(at_door, True)}

    def displacement(self, actions: Any) -> Any:
        """Actions are displacements."""
        return actions

    def step(self, positions: Array, actions: Array, layout: Array) -> Array:
        """Positions after a step."""
        return step(positions, actions, self._layout(layout)).positions

    def draw(self, positions: Any, layout: Any) -> Any:
        """Images as agents see them; each layout's walls are drawn once."""
        xp = array_api_compat.array_namespace(layout)
        wall, door = layout[:, :1], layout[:, 1:2]
        return render(positions, Layout(wall, door, xp.full_like(wall, self.horizontal, dtype=xp.bool)))

    def read(self, images: NDArray[np.uint8]) -> tuple[Array, Array]:
        """Positions and layouts that images show."""
        return image_positions(images), _numbers(read_layout(images))

    def distance(self, positions: Array, goals: Array, layout: Array) -> NDArray[np.float64]:
        """Lengths of the shortest paths to the discs around the goals."""
        return shortest_path_to_goal_disc(positions, goals, self._layout(layout))

    def free_positions(self, layout: Array) -> NDArray[np.float32]:
        """Free positions of whole coordinates."""
        axis = np.arange(ARENA_MIN + 1, ARENA_MAX, dtype=np.float32)
        points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        return points[is_free(points, self._layout(np.broadcast_to(layout, (len(points), 2))))]

    def _turned(self, points: Array) -> Array:
        """Across and along the wall to x and y, and back."""
        return points[..., ::-1].copy() if self.horizontal else points

    def _layout(self, layout: Array) -> Layout:
        return Layout(layout[:, 0], layout[:, 1], np.full(len(layout), self.horizontal))

    def _check(self, recipe: str) -> str:
        return check_choice("recipe", recipe or self.recipes[0], self.recipes)


def _layouts(generator: np.random.Generator, n: int, layout_set: str, recipe: str) -> Layout:
    """Draws ``n`` layouts in which a recipe has trajectories."""
    return PLDM_LAYOUT.broadcast((n,)) if recipe in IN_ONE_LAYOUT else sample_layouts(generator, n, layout_set)


def _numbers(layout: Layout) -> NDArray[np.float32]:
    """Wall and door of layouts, ``(B, 2)``."""
    return np.stack([layout.wall, layout.door], -1).astype(np.float32)
