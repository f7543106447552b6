"""The task of Two Rooms: settings, spaces, how episodes start, and the reward.

One source for the scalar and the vector environment; both drive :class:`envs.two_rooms.rooms.Rooms` with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.inputs import check_choice, check_flag, real_numbers, shown
from envs.two_rooms.layouts import (
    DOOR_RANGE,
    LAYOUT_SETS,
    WALL_RANGE,
    check_layout,
    check_position,
    sample_endpoints,
    sample_layouts,
)
from envs.two_rooms.physics import ARENA_MAX, ARENA_MIN, COLLISIONS, GOAL_RADIUS, MAX_STEP, SIZE, Layout

OBSERVATIONS = ("pixels", "state")
"""What an observation can be."""
REWARDS = ("sparse", "dense")
"""What a reward can be."""
ORIENTATIONS = ("vertical", "horizontal")
"""How the wall can run."""
EPISODE_OPTIONS = ("layout", "start", "goal")
"""What ``reset(options=...)`` can fix."""
MAX_EPISODE_STEPS = 200
"""Steps after which a registered environment truncates an episode."""

Episode = tuple[Layout, NDArray[np.float32], NDArray[np.float32]]
"""How an episode starts: the layout, where the agent starts ``(2,)`` and where it shall go ``(2,)``."""

_CHOICES = {
    "observation": OBSERVATIONS,
    "reward": REWARDS,
    "collision": COLLISIONS,
    "wall_orientation": ORIENTATIONS,
    "layout_set": LAYOUT_SETS,
}
_KEYS = ("observation", "achieved_goal", "desired_goal")


@dataclass(frozen=True)
class Settings:
    """Settings of Two Rooms, checked; the keywords of the environments.

    Attributes:
        observation: "pixels" or "state".
        reward: "sparse" or "dense".
        collision: "stay" or "bounce".
        wall_orientation: "vertical" or "horizontal".
        layout_set: The set that random layouts are drawn from, one of :data:`envs.two_rooms.layouts.LAYOUT_SETS`.
        layout: A fixed layout ``(wall, door)``; by default each episode draws one.
        terminate_on_success: Whether an episode ends when the goal is reached.
        goal_radius: An agent closer than this to the goal has reached it, in pixels; at most
            :data:`envs.two_rooms.physics.GOAL_RADIUS`, so that no goal is reached through the wall.

    Raises:
        ValueError: If a setting is not one of its choices, or the layout or the radius is impossible.
    """

    observation: str = "pixels"
    reward: str = "sparse"
    collision: str = "stay"
    wall_orientation: str = "vertical"
    layout_set: str = "train"
    layout: Any = None
    terminate_on_success: bool = False
    goal_radius: float = GOAL_RADIUS

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        if self.layout is not None:
            object.__setattr__(self, "layout", check_layout(self.layout, horizontal=self.horizontal))
        object.__setattr__(self, "terminate_on_success", check_flag("terminate_on_success", self.terminate_on_success))
        object.__setattr__(self, "goal_radius", _check_radius(self.goal_radius))

    @property
    def horizontal(self) -> bool:
        """Whether the wall runs from left to right."""
        return self.wall_orientation == "horizontal"

    def observation_space(self) -> spaces.Space[Any]:
        """The space of one observation: ``observation``, ``achieved_goal`` and ``desired_goal``."""
        if self.observation == "pixels":
            return spaces.Dict({key: spaces.Box(0, 255, (2, SIZE, SIZE), np.uint8) for key in _KEYS})
        low = np.array([ARENA_MIN, ARENA_MIN, WALL_RANGE[0], DOOR_RANGE[0]], dtype=np.float32)
        high = np.array([ARENA_MAX, ARENA_MAX, WALL_RANGE[1], DOOR_RANGE[1]], dtype=np.float32)
        goals = {key: spaces.Box(ARENA_MIN, ARENA_MAX, (2,), np.float32) for key in _KEYS[1:]}
        return spaces.Dict({"observation": spaces.Box(low, high, dtype=np.float32), **goals})

    def reward_at(self, distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rewards at distances from the goal, in pixels."""
        if self.reward == "sparse":
            return np.subtract(distance < self.goal_radius, 1.0, dtype=np.float64)
        return np.subtract(0.0, distance / SIZE)  # a plain minus would make −0 of 0

    def compute_reward(self, achieved_goal: Any, desired_goal: Any) -> Any:
        """Rewards of achieved goals ``(..., *goal shape)`` for desired ones: a float, or float64 ``(...)``.

        Raises:
            ValueError: If the goals are not images or finite numbers of the right shape, their batches do not match,
                or an image shows no agent.
        """
        achieved = self._goal_positions("achieved_goal", achieved_goal)
        desired = self._goal_positions("desired_goal", desired_goal)
        try:
            rewards = self.reward_at(distances(np.atleast_2d(achieved), np.atleast_2d(desired)))
        except ValueError as error:
            raise ValueError(
                "achieved_goal and desired_goal must have batch dimensions that match, "
                f"got {achieved.shape[:-1]} and {desired.shape[:-1]}"
            ) from error
        return rewards if max(achieved.ndim, desired.ndim) > 1 else float(rewards[0])

    def _goal_positions(self, name: str, goal: Any) -> NDArray[Any]:
        """Where goals ``(..., *goal shape)`` are, ``(..., 2)``."""
        pixels = self.observation == "pixels"
        shape = (2, SIZE, SIZE) if pixels else (2,)
        array = real_numbers(goal)
        if array is None:
            raise ValueError(f"{name} must be an array of real numbers, got {shown(goal)}")
        if array.shape[-len(shape) :] != shape:
            numbers = ", ".join(map(str, shape))
            raise ValueError(
                f"{name} must have shape (..., {numbers}) with observation {self.observation!r}, got {array.shape}"
            )
        if not pixels:
            finite = np.isfinite(array).all(-1)
            if not finite.all():
                raise ValueError(f"{name} must be finite, got {array[~finite][0].tolist()}")
            return array
        if array.dtype != np.uint8:
            raise ValueError(f"{name} must be uint8 images with observation 'pixels', got dtype {array.dtype}")
        try:
            return image_positions(array)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


def _check_radius(radius: Any) -> float:
    """The radius of a goal as a plain float.

    Raises:
        ValueError: If it is not above zero and at most :data:`envs.two_rooms.physics.GOAL_RADIUS`.
    """
    number = real_numbers(radius)
    if number is None or number.shape != () or not 0 < number <= GOAL_RADIUS:
        raise ValueError(f"goal_radius must be a number above 0 and at most {GOAL_RADIUS}, got {shown(radius)}")
    return float(number)


def action_space() -> spaces.Box:
    """The space of one action: a displacement in pixels."""
    return spaces.Box(-MAX_STEP, MAX_STEP, (2,), np.float32)


def _moments(side: int) -> NDArray[np.float64]:
    """Weights of an image's pixels ``(side², 3)`` that sum up to its mass and that times the centroid's x and y."""
    rows, columns = np.divmod(np.arange(side * side), side)
    return np.stack([np.ones(side * side), columns, rows], -1)


_MOMENTS, _WINDOW_MOMENTS = _moments(SIZE), _moments(10)


def distances(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Euclidean distances between points ``(..., 2)``, in pixels."""
    difference = np.subtract(a, b, dtype=np.float64)
    distance: NDArray[np.float64] = np.hypot(difference[..., 0], difference[..., 1])
    return distance


def image_positions(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Where agents are in images: the centroid of channel 0, within 0.01 px of the agent.

    Args:
        images: uint8 ``(..., 2, 65, 65)``.

    Returns:
        float64 ``(..., 2)``, pixels.

    Raises:
        ValueError: If channel 0 of an image is black.
    """
    # Sums of whole numbers, exact in any order: a batch gives bit for bit what its members give.
    moments = images[..., 0, :, :].reshape(*images.shape[:-3], SIZE * SIZE).astype(np.float64) @ _MOMENTS
    mass = moments[..., :1]
    if not mass.all():
        raise ValueError("each image must show the agent in channel 0, got a black channel")
    return moments[..., 1:] / mass


def agent_pixels(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How much of each pixel of images ``(..., 2, 65, 65)`` shows the agent, ``(..., 65, 65)``: channel 0."""
    return images[..., 0, :, :] / 255


def window_positions(corners: NDArray[np.int64], blobs: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What :func:`image_positions` gives for images in which just these blobs were drawn, without reading the images.

    Args:
        corners: First column and row of each window, ``(N, 2)``.
        blobs: Pixels of each window, uint8 ``(N, 10, 10)``.

    Returns:
        float64 ``(N, 2)``, pixels.
    """
    moments = blobs.reshape(-1, 100).astype(np.float64) @ _WINDOW_MOMENTS
    mass = moments[:, :1]
    return (moments[:, 1:] + corners * mass) / mass


def sample_episode(task: Settings, rng: np.random.Generator, given: Mapping[str, Any]) -> Episode:
    """Draws how an episode starts: a layout, then a start and a goal in different rooms, except where options fix them.

    Args:
        task: Settings.
        rng: Source of randomness. Drawn from in this order: the layout unless it is fixed, the two points unless both
            are fixed.
        given: Options, checked: any of ``layout`` ``(wall, door)``, ``start`` and ``goal`` ``(x, y)``.

    Returns:
        Layout, start and goal. If just one point is given, the other is drawn in the room across the wall.

    Raises:
        ValueError: If the layout is impossible or a point is not in free space.
    """
    layout = task.layout
    if "layout" in given:
        layout = check_layout(given["layout"], horizontal=task.horizontal)
    if layout is None:
        wall, door, _ = sample_layouts(rng, 1, task.layout_set)
        layout = Layout(int(wall[0]), int(door[0]), task.horizontal)
    points = {name: check_position(name, given[name], layout) for name in ("start", "goal") if name in given}
    if len(points) == 2:
        return layout, points["start"], points["goal"]
    drawn = sample_endpoints(rng, layout.broadcast((1,)))
    start, goal = drawn[0][0], drawn[1][0]
    axis = int(task.horizontal)
    for name, point in points.items():
        low_room = point[axis] < layout.wall
        other = start if (start[axis] < layout.wall) != low_room else goal
        start, goal = (point, other) if name == "start" else (other, point)
    return layout, start, goal
