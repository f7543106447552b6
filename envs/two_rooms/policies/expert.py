"""A scripted expert for Two Rooms: straight to the goal, or through the door along the shortest path.

It is the ceiling in comparisons: it knows the geometry and reads positions, wall and door off the observation.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.inputs import check_choice
from envs.two_rooms.physics import (
    ARENA_MAX,
    ARENA_MIN,
    DOOR_HALF_WIDTH,
    MAX_STEP,
    SIZE,
    Layout,
    clip_actions,
    segment_blocked,
)
from envs.two_rooms.task import ORIENTATIONS, image_positions

CORNER_MARGIN = 0.5
"""Straight ways past the door's corners keep at least this distance from them along the wall, in pixels."""
WAYPOINT_MARGIN = 0.7
"""Waypoints lie this far inside the door, in pixels: more than the corner margin, so that they can be passed."""
WAYPOINT_DISTANCE = 1.5
"""Waypoints lie this far from the wall's centre line, in pixels."""

LARGEST = np.float32(MAX_STEP)
"""Largest component of an action."""


class ExpertPolicy:
    """Goes to the goal and stays there, in every valid episode and both collision modes.

    It has Stable-Baselines3's ``predict`` and takes observations of one environment or of a batch. It has no memory:
    each call plans from where the agent is: to the goal if the way is clear, else to the far side of the door, else to
    its near side.

    Args:
        wall_orientation: "vertical" or "horizontal"; needed for "state" observations, which do not show it. Pixels do.

    Raises:
        ValueError: If the orientation is neither.
    """

    def __init__(self, wall_orientation: str = "vertical") -> None:
        check_choice("wall_orientation", wall_orientation, ORIENTATIONS)
        self.horizontal = wall_orientation == "horizontal"

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[NDArray[np.float32], Any]:
        """Chooses actions.

        Args:
            observation: ``observation`` and ``desired_goal`` of Two Rooms, one or a batch, pixels or state.
            state: Passed through.
            episode_start: Not used.
            deterministic: Not used; the expert always is.

        Returns:
            Actions, float32 ``(2,)`` or ``(N, 2)``, and ``state``.

        Raises:
            ValueError: If the observation is not one of Two Rooms.
        """
        positions, goals, layout = read_observation(observation, horizontal=self.horizontal)
        single = positions.ndim == 1
        positions, goals = np.atleast_2d(positions), np.atleast_2d(goals)
        layout = layout.broadcast((len(positions),))
        actions = clip_actions((next_waypoints(positions, goals, layout) - positions).astype(np.float32))
        actions = np.clip(actions, -LARGEST, LARGEST)  # their norm may exceed the bound by rounding
        return (actions[0] if single else actions), state


def next_waypoints(positions: NDArray[np.float64], goals: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """Where to head for: the goal, else the far side of the door, else the near side.

    Args:
        positions: ``(N, 2)``.
        goals: ``(N, 2)``.
        layout: ``N`` layouts.

    Returns:
        ``(N, 2)``.
    """
    here, goal = (np.stack(layout.exchanged(*points.T), -1).astype(np.float64) for points in (positions, goals))
    wall, door = (np.asarray(field, dtype=np.float64) for field in (layout.wall, layout.door))
    # In coordinates across and along the wall: where the straight line to the goal passes the two sides of the door,
    # moved to the part of the door that keeps clear of its corners.
    toward = np.where(goal[:, 0] >= here[:, 0], 1.0, -1.0)
    span = goal[:, 0] - here[:, 0]
    sides = []
    for side in (toward * WAYPOINT_DISTANCE, -toward * WAYPOINT_DISTANCE):  # far, near
        fraction = np.clip((wall + side - here[:, 0]) / np.where(span == 0, 1.0, span), 0.0, 1.0)
        along = here[:, 1] + fraction * (goal[:, 1] - here[:, 1])
        reach = DOOR_HALF_WIDTH - WAYPOINT_MARGIN
        sides.append(np.stack([wall + side, np.clip(along, door - reach, door + reach)], -1))
    far, near = sides
    upright = Layout(wall, door)
    target = np.where(_clear(here, far, upright)[:, None], far, near)
    target = np.where(_clear(here, goal, upright)[:, None], goal, target)
    return np.stack(layout.exchanged(*target.T), -1)


def read_observation(
    observation: Any, *, horizontal: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64], Layout]:
    """Reads agent, goal and layout off an observation.

    Args:
        observation: ``observation`` and ``desired_goal`` of Two Rooms, one or a batch, pixels or state.
        horizontal: Whether the wall is horizontal; read off the image with pixels.

    Returns:
        Positions and goals, float64 ``(..., 2)``, and the layouts, fields of shape ``(...)``.

    Raises:
        ValueError: If the observation is not one of Two Rooms.
    """
    if not isinstance(observation, Mapping) or not {"observation", "desired_goal"} <= set(observation):
        raise ValueError(
            "observation must be a dictionary with 'observation' and 'desired_goal', "
            f"got {sorted(observation) if isinstance(observation, Mapping) else type(observation).__name__}"
        )
    seen, goal = np.asarray(observation["observation"]), np.asarray(observation["desired_goal"])
    if seen.shape[-3:] == (2, SIZE, SIZE) and goal.shape == seen.shape:
        return image_positions(seen), image_positions(goal), read_layout(seen)
    if seen.shape[-1:] == (4,) and goal.shape == (*seen.shape[:-1], 2):
        seen = seen.astype(np.float64)
        layout = Layout(seen[..., 2], seen[..., 3], np.full(seen.shape[:-1], horizontal))
        return seen[..., :2], goal.astype(np.float64), layout
    raise ValueError(
        f"observation must have shape (..., 2, {SIZE}, {SIZE}) with a goal of the same shape, "
        f"or (..., 4) with a goal (..., 2), got {seen.shape} and {goal.shape}"
    )


def read_layout(images: NDArray[np.uint8]) -> Layout:
    """Reads wall and door off channel 1 of images.

    Args:
        images: uint8 ``(..., 2, 65, 65)``.

    Returns:
        Layouts, fields of shape ``(...)``.
    """
    inside = np.arange(int(ARENA_MIN) + 1, int(ARENA_MAX))
    drawn = images[..., 1, inside[0] : inside[-1] + 1, inside[0] : inside[-1] + 1] > 0
    columns, rows = drawn.sum(-2), drawn.sum(-1)  # wall pixels in each column, in each row
    horizontal = columns.max(-1) < rows.max(-1)  # the wall is longer than it is thick
    across = np.where(horizontal[..., None], rows, columns)
    along = np.where(horizontal[..., None], columns, rows)
    thick, opened = across == across.max(-1, keepdims=True), along == 0
    wall, door = (((mask * inside).sum(-1) / mask.sum(-1)) for mask in (thick, opened))
    return Layout(wall, door, horizontal)


def _clear(start: NDArray[np.float64], end: NDArray[np.float64], layout: Layout) -> NDArray[np.bool_]:
    """Whether straight ways keep clear of the door's corners: they are free wherever in the margin the door were."""
    shifted = (layout._replace(door=layout.door + margin) for margin in (-CORNER_MARGIN, CORNER_MARGIN))
    first, second = (segment_blocked(start, end, other) for other in shifted)
    return ~(first | second)
