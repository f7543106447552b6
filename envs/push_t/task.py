"""The task of Push-T: settings, spaces, options of ``reset``, and the reward.

One source for the scalar and the vector environment; both drive :class:`envs.push_t.boards.Boards` with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.inputs import check_choice, check_flag, is_integer, real_numbers, shown
from envs.push_t.drawing import read_goals
from envs.push_t.geometry import AGENT_RADIUS, SIZE, TOLERANCE, centre, distance, distance_to_block, sample_episode

Array = NDArray[Any]

OBSERVATIONS = ("pixels", "state")
"""What an observation can be."""
REWARDS = ("sparse", "dense")
"""What a reward can be."""
CONTROLS = ("relative", "absolute")
"""What an action can be: where the target is from the agent, or on the board."""
IMAGE_SIZES = (64, 96)
"""Sides that images can have."""
EPISODE_OPTIONS = ("start", "goal", "start_velocity")
"""What ``reset(options=...)`` can fix."""
MAX_EPISODE_STEPS = 300
"""Steps after which a registered environment truncates an episode."""
MAX_SPEED = 2000.0
"""Largest component of a start's velocity, in pixels per second."""

_KEYS = ("observation", "achieved_goal", "desired_goal")
_POSE = ("agent", "block", "angle")


class Setup(NamedTuple):
    """How an episode starts.

    Attributes:
        start: Pose, float64 ``(5,)``.
        goal: Pose, float64 ``(5,)``.
        velocity: The agent's, float64 ``(2,)``.
    """

    start: Array
    goal: Array
    velocity: Array


@dataclass(frozen=True)
class Settings:
    """Settings of Push-T, checked; the keywords of the environments.

    Attributes:
        observation: "pixels" or "state".
        control: "relative" or "absolute".
        reward: "sparse" or "dense".
        size: Side of images, 64 or 96.
        terminate_on_success: Whether an episode ends when the goal is reached.

    Raises:
        ValueError: If a setting is not one of its choices.
    """

    observation: str = "pixels"
    control: str = "relative"
    reward: str = "sparse"
    size: int = 64
    terminate_on_success: bool = False

    def __post_init__(self) -> None:
        check_choice("observation", self.observation, OBSERVATIONS)
        check_choice("control", self.control, CONTROLS)
        check_choice("reward", self.reward, REWARDS)
        if not is_integer(self.size) or self.size not in IMAGE_SIZES:
            raise ValueError(f"size must be one of {', '.join(map(str, IMAGE_SIZES))}, got {shown(self.size)}")
        object.__setattr__(self, "terminate_on_success", check_flag("terminate_on_success", self.terminate_on_success))

    @property
    def sees_pixels(self) -> bool:
        """Whether observations are images."""
        return self.observation == "pixels"

    def observation_space(self) -> spaces.Space[Any]:
        """The space of one observation: ``observation``, ``achieved_goal`` and ``desired_goal``."""
        if self.sees_pixels:
            return spaces.Dict({key: spaces.Box(0, 255, (self.size, self.size, 3), np.uint8) for key in _KEYS})
        # The agent can swing out of the board a little, and press the block through a wall.
        goal_low, goal_high = [-SIZE] * 4 + [-1.0] * 2, [2 * SIZE] * 4 + [1.0] * 2
        low = np.array([*goal_low, *[-2 * MAX_SPEED] * 2], dtype=np.float32)
        high = np.array([*goal_high, *[2 * MAX_SPEED] * 2], dtype=np.float32)
        goals = {key: spaces.Box(low[:6], high[:6], dtype=np.float32) for key in _KEYS[1:]}
        return spaces.Dict({"observation": spaces.Box(low, high, dtype=np.float32), **goals})

    def action_space(self) -> spaces.Box:
        """The space of one action."""
        low, high = (-1.0, 1.0) if self.control == "relative" else (0.0, SIZE)
        return spaces.Box(low, high, (2,), np.float32)

    def reward_at(self, away: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rewards at distances from the goal (:func:`envs.push_t.geometry.distance`)."""
        if self.reward == "sparse":
            return np.asarray(np.subtract(away < TOLERANCE, 1.0, dtype=np.float64))
        return np.asarray(np.subtract(0.0, away / SIZE))  # a plain minus would make −0 of 0

    def compute_reward(self, achieved_goal: Any, desired_goal: Any) -> Any:
        """Rewards of achieved goals ``(..., *goal shape)`` for desired ones: a float, or float64 ``(...)``.

        Raises:
            ValueError: If the goals are not images or finite numbers of the right shape, or their batches do not match.
        """
        achieved = self._read("achieved_goal", achieved_goal)
        desired = self._read("desired_goal", desired_goal)
        try:
            rewards = self.reward_at(distance(achieved, desired))
        except ValueError as error:
            raise ValueError(
                "achieved_goal and desired_goal must have batch dimensions that match, "
                f"got {achieved.shape[:-1]} and {desired.shape[:-1]}"
            ) from error
        return rewards if rewards.ndim else float(rewards)

    def _read(self, name: str, goal: Any) -> Array:
        """Goals as numbers ``(..., 6)``; off images where these are goals."""
        shape = (self.size, self.size, 3) if self.sees_pixels else (6,)
        array = real_numbers(goal)
        if array is None:
            raise ValueError(f"{name} must be an array of real numbers, got {shown(goal)}")
        if array.shape[-len(shape) :] != shape:
            raise ValueError(f"{name} must have shape (..., {', '.join(map(str, shape))}), got {array.shape}")
        if self.sees_pixels:
            if array.dtype != np.uint8:
                raise ValueError(f"{name} must be uint8 images with observation 'pixels', got dtype {array.dtype}")
            return read_goals(array)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite, got {shown(array)}")
        return array


def set_up(rng: np.random.Generator, given: Mapping[str, Any] | None = None) -> Setup:
    """Draws how an episode starts, except for what options fix.

    Raises:
        ValueError: If an option is impossible.
    """
    given = given or {}
    poses = {name: _check_pose(name, given[name]) for name in ("start", "goal") if name in given}
    velocity = np.zeros(2)
    if "start_velocity" in given:
        velocity = _check_numbers("start_velocity", given["start_velocity"], "two finite numbers (x, y)", 2)
        if np.abs(velocity).max() > MAX_SPEED:
            raise ValueError(f"start_velocity must be at most {MAX_SPEED:g} px/s each way, got {velocity.tolist()}")
    return Setup(*sample_episode(rng, **poses), velocity)


def _check_numbers(name: str, value: Any, rule: str, count: int) -> NDArray[np.float64]:
    numbers = real_numbers(value)
    if numbers is None or numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be {rule}, got {shown(value)}")
    return numbers.astype(np.float64)


def _check_pose(name: str, value: Any) -> NDArray[np.float64]:
    """A pose from five numbers or a dictionary."""
    if isinstance(value, Mapping):
        if set(value) != set(_POSE):
            raise ValueError(f"{name} must have the entries {', '.join(map(repr, _POSE))}, got {shown(list(value))}")
        parts = [_check_numbers(f"{name}[{key!r}]", value[key], "two finite numbers (x, y)", 2) for key in _POSE[:2]]
        angle = _check_numbers(f"{name}['angle']", [value["angle"]], "a finite number", 1)
        value = np.concatenate([*parts, angle])
    rule = "five finite numbers (agent x, y, block x, y, angle) or a dictionary with 'agent', 'block', 'angle'"
    pose = _check_numbers(name, value, rule, 5)
    if not (np.abs(pose[:2] - SIZE / 2) <= SIZE / 2 + AGENT_RADIUS).all():
        raise ValueError(f"{name} must have the agent on the board, 0 to {SIZE:g} and its radius, got {pose.tolist()}")
    if not (np.abs(centre(pose[2:]) - SIZE / 2) <= SIZE / 2).all():
        raise ValueError(f"{name} must have the block's centre on the board, 0 to {SIZE:g}, got {pose.tolist()}")
    if distance_to_block(pose[:2], pose[2:]) <= 0:
        raise ValueError(f"{name} must not have the agent's centre inside the block, got {pose.tolist()}")
    return pose
