"""Gymnasium's MuJoCo Reacher as an environment with goal images."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.inputs import check_actions, check_choice, check_options, check_seed, real_numbers, shown
from envs.offscreen import TopView, find_backend
from envs.reacher.arm import GOAL_RADIUS, LINKS, MAX_ELBOW, MAX_SPEED, Arm, distance, fingertip, sample_poses
from envs.reacher.drawing import IMAGE_SIZE, draw_picture, read_positions, view

Array = NDArray[Any]

OBSERVATIONS = ("pixels", "state")
"""What an observation can be."""
REWARDS = ("sparse", "dense")
"""What a reward can be."""
RENDER_SIZE = 512
"""Side of rendered frames in pixels."""


class ReacherEnv(gym.Env[dict[str, Array], Array]):
    """An arm of two links must bring its fingertip to where the goal image shows it, and stay there.

    ## Description

    The dynamics are those of Gymnasium's `Reacher-v5`, simulated by MuJoCo in steps of 0.02 s. The goal is a pose of
    the arm; of two poses with the same fingertip one is as good as the other. One picture says nothing of the velocity.

    Places are centimetres from the shoulder: x to the right, y upwards. Angles are radians, counter-clockwise.

    ## Action Space

    `Box(-1, 1, (2,), float32)`: the torques, in units of 200 N m; what is out of bounds is clipped. A torque of 1
    changes the angular velocity by 4 rad/s a step.

    | Num | Action                 | Min | Max |
    |-----|------------------------|-----|-----|
    | 0   | torque at the shoulder | -1  | 1   |
    | 1   | torque at the elbow    | -1  | 1   |

    ## Observation Space

    A `Dict` with the names of Gymnasium-Robotics' goal-conditioned environments.

    | Key             | `observation="pixels"`                | `observation="state"`                                 |
    |-----------------|---------------------------------------|-------------------------------------------------------|
    | `observation`   | the arm, RGB, uint8 (64, 64, 3)       | cosines, sines and velocities of shoulder and elbow,  |
    |                 |                                       | x, y of the fingertip, float32 (8,)                   |
    | `achieved_goal` | the same image                        | x, y of the fingertip, float32 (2,)                   |
    | `desired_goal`  | the arm in the pose of the goal       | x, y of its fingertip, float32 (2,)                   |

    Images are MuJoCo's, from straight above, without the original's red goal.

    ## Rewards

    - `"sparse"`: 0 where the fingertip is closer than 2 cm to that of the goal, −1 otherwise.
    - `"dense"`: −distance / 21 cm.

    The reward is always `compute_reward(achieved_goal, desired_goal, info)`. With pixels that reads the fingertip's
    place off the images, within 0.2 cm; `info["is_success"]` and `info["distance"]` are of the true places.

    ## Starting State

    The angles of start and goal are uniform: of the shoulder all, of the elbow from −3 to 3; the arm rests. They are
    drawn again if the start counts as success. `reset(options=...)` can fix `"start"` (both angles, or both and their
    velocities) and `"goal"` (both angles), which may then be close to each other.

    ## Episode End

    Truncation after 200 steps (`max_episode_steps` of `gymnasium.make`).

    ## Information

    `is_success`, `distance` (cm), `position` and `goal` (of the fingertip, cm), `angles`.

    ## Arguments

    - `observation`: `"pixels"` (default) or `"state"`.
    - `reward`: `"sparse"` (default) or `"dense"`.
    - `render_mode`: `None` or `"rgb_array"`.

    ## Version History

    * v0: Initial version, with the dynamics of `Reacher-v5`.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(self, *, observation: str = "pixels", reward: str = "sparse", render_mode: str | None = None) -> None:
        check_choice("observation", observation, OBSERVATIONS)
        check_choice("reward", reward, REWARDS)
        if render_mode is not None:
            check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.sees_pixels, self.is_dense, self.render_mode = observation == "pixels", reward == "dense", render_mode
        self._arm = Arm()
        self._view: TopView | None = None
        if self.sees_pixels:
            find_backend()  # here, so that child processes made from now on need not look for it
            self._view = view()
        image = gym.spaces.Box(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        reach = float(np.ceil(sum(LINKS))) + 1
        place = gym.spaces.Box(-reach, reach, (2,), np.float32)
        high = np.array([1, 1, 1, 1, MAX_SPEED, MAX_SPEED, reach, reach], np.float32)
        seen, goal = (image, image) if self.sees_pixels else (gym.spaces.Box(-high, high), place)
        self.observation_space: Any = gym.spaces.Dict(observation=seen, achieved_goal=goal, desired_goal=goal)
        self.action_space: Any = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(
        self, *, seed: int | np.integer[Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Starts an episode, as ``options`` say: any of ``start`` and ``goal``.

        Raises:
            ValueError: If the seed is not a non-negative integer, or an option is unknown, no finite numbers, or
                beyond the limits of angles and velocities.
        """
        given = check_options(options, ("start", "goal"))
        start = _check_pose("start", given["start"], (2, 4)) if "start" in given else None
        goal = _check_pose("goal", given["goal"], (2,)) if "goal" in given else None
        super().reset(seed=check_seed(seed))
        while start is None or goal is None:
            drawn = sample_poses(self.np_random, 2)
            ends = drawn[0] if start is None else start, drawn[1] if goal is None else goal
            if distance(fingertip(ends[0][:2]), fingertip(ends[1])) >= GOAL_RADIUS:
                start, goal = ends
        self.goal = fingertip(goal)
        if self._view is not None:
            self._arm.reset(np.concatenate([goal, np.zeros(2)]))
            self._goal_image = self._view.draw(self._arm.data)
        self._arm.reset(np.concatenate([start, np.zeros(4 - len(start))]))
        self._trail = [fingertip(self._arm.state[:2])]
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Applies torques for 0.02 s. ``TimeLimit`` truncates, not this.

        Raises:
            ValueError: If the action is not two finite real numbers.
        """
        action = check_actions("action", action, (2,))
        if not np.isfinite(action).all():
            raise ValueError(f"action must be finite, got {action.tolist()}")
        state = self._arm.step(action)
        if self.render_mode is not None:
            self._trail.append(fingertip(state[:2]))
        observation, info = self._observation(), self._info()
        reward = self.compute_reward(observation["achieved_goal"], observation["desired_goal"], info)
        return observation, reward, False, False, info

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """Rewards of achieved goals for desired ones, one or a batch, as hindsight relabelling needs them.

        Args:
            achieved_goal: Images ``(..., 64, 64, 3)`` with pixels, ``(..., 2)`` with state.
            desired_goal: The same.
            info: Not used.

        Returns:
            A float, or float64 of the batch's shape.

        Raises:
            ValueError: If a goal has another shape, or an image shows no fingertip.
        """
        away = distance(self._places("achieved_goal", achieved_goal), self._places("desired_goal", desired_goal))
        rewards = -away / sum(LINKS) if self.is_dense else np.where(away < GOAL_RADIUS, 0.0, -1.0)
        return rewards if rewards.ndim else float(rewards)

    def render(self) -> NDArray[np.uint8] | None:
        """Draws the arm, a ring where the goal is, and the fingertip's trail: an RGB array ``(512, 512, 3)``."""
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render_mode: gym.make(id, render_mode='rgb_array')")
            return None
        return draw_picture(RENDER_SIZE, self._arm.state[:2], self.goal, np.stack(self._trail))

    def close(self) -> None:
        """Closes the camera; other environments that look through it open it again."""
        if self._view is not None:
            self._view.close()

    def _observation(self) -> dict[str, Array]:
        """What the agent sees, in arrays that nobody else holds: check_env forbids shared ones."""
        if self._view is not None:
            image = self._view.draw(self._arm.data)
            return {"observation": image, "achieved_goal": image.copy(), "desired_goal": self._goal_image.copy()}
        angles, speeds = np.split(self._arm.state, 2)
        place = fingertip(angles)
        state = np.concatenate([np.cos(angles), np.sin(angles), speeds, place]).astype(np.float32)
        return {
            "observation": state,
            "achieved_goal": place.astype(np.float32),
            "desired_goal": self.goal.astype(np.float32),
        }

    def _info(self) -> dict[str, Any]:
        angles = self._arm.state[:2]
        position = fingertip(angles)
        away = float(distance(position, self.goal))
        places = {"position": position, "goal": self.goal.copy()}
        return {"is_success": away < GOAL_RADIUS, "distance": away, **places, "angles": angles}

    def _places(self, name: str, goals: Any) -> Array:
        """Where goals are, ``(..., 2)``."""
        goals, shape = np.asarray(goals), self.observation_space[name].shape
        if goals.shape[-len(shape) :] != shape:
            raise ValueError(f"{name} must have shape (..., {', '.join(map(str, shape))}), got {goals.shape}")
        return read_positions(goals) if self.sees_pixels else goals


def _check_pose(name: str, value: Any, lengths: tuple[int, ...]) -> NDArray[np.float64]:
    numbers = real_numbers(value)
    if numbers is None or numbers.shape not in [(length,) for length in lengths] or not np.isfinite(numbers).all():
        what = "two angles, or two angles and their velocities" if 4 in lengths else "two angles"
        raise ValueError(f"{name} must be finite numbers, {what}, got {shown(value)}")
    numbers = numbers.astype(np.float64)
    if abs(numbers[1]) > MAX_ELBOW:
        raise ValueError(f"{name} must have an elbow's angle from {-MAX_ELBOW} to {MAX_ELBOW}, got {numbers[1]}")
    if (np.abs(numbers[2:]) > MAX_SPEED).any():
        raise ValueError(f"{name} must have velocities from {-MAX_SPEED} to {MAX_SPEED}, got {numbers[2:].tolist()}")
    return numbers
