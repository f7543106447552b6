"""Gymnasium's Pendulum as an environment with goal images."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.inputs import check_actions, check_choice, check_count, check_options, check_seed, real_numbers, shown
from envs.pendulum.drawing import draw, draw_picture, read_angles, tip
from envs.pendulum.physics import MAX_SPEED, MAX_TORQUE, angle_between, step

Array = NDArray[Any]

OBSERVATIONS = ("pixels", "state")
"""What an observation can be."""
REWARDS = ("sparse", "dense")
"""What a reward can be."""
GOALS = ("upright", "any")
"""Which angles are drawn as goals."""
TOLERANCE = 10.0
"""Degrees within which the goal's angle counts as reached."""
RENDER_SIZE = 512
"""Side of rendered frames in pixels."""


class PendulumEnv(gym.Env[dict[str, Array], Array]):
    """A pendulum must be swung to where the goal image shows it, with a torque too weak to lift it, and held there.

    ## Description

    The dynamics are those of Gymnasium's `Pendulum-v1`; the picture too, without the arrow that shows the torque. One
    picture says nothing of the angular velocity.

    ## Action Space

    `Box(-2, 2, (1,), float32)`: the torque in N m, counter-clockwise; what is out of bounds is clipped.

    ## Observation Space

    A `Dict` with the names of Gymnasium-Robotics' goal-conditioned environments.

    | Key             | `observation="pixels"`             | `observation="state"`                      |
    |-----------------|------------------------------------|--------------------------------------------|
    | `observation`   | the picture, RGB, uint8 (64, 64, 3)| cos, sin, angular velocity, float32 (3,)   |
    | `achieved_goal` | the same image                     | cos, sin of the angle, float32 (2,)        |
    | `desired_goal`  | the picture at the goal's angle    | cos, sin of the goal's angle, float32 (2,) |

    ## Rewards

    - `"sparse"`: 0 within 10° of the goal's angle, −1 otherwise.
    - `"dense"`: −angle to the goal / 180°.

    The reward is always `compute_reward(achieved_goal, desired_goal, info)`.

    ## Starting State

    As in `Pendulum-v1`: any angle, an angular velocity from −1 to 1 rad/s. `reset(options=...)` can fix `"start"`
    (angle, angular velocity) and `"goal"` (angle), in radians counter-clockwise from upright.

    ## Episode End

    Truncation after 200 steps (`max_episode_steps` of `gymnasium.make`).

    ## Information

    `is_success` (within 10° of the goal's angle at each of the last `hold` steps), `distance` (degrees), `position`
    (of the tip, lengths of the rod), `angle` and `goal` (radians).

    ## Arguments

    - `observation`: `"pixels"` (default) or `"state"`.
    - `reward`: `"sparse"` (default) or `"dense"`.
    - `goals`: `"upright"` (default) or `"any"` angle.
    - `hold`: steps for which the goal must be kept, 10 by default.
    - `size`: side of the images in pixels, 64 by default.
    - `render_mode`: `None` or `"rgb_array"`.

    ## Version History

    * v0: Initial version.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(
        self,
        *,
        observation: str = "pixels",
        reward: str = "sparse",
        goals: str = "upright",
        hold: int = 10,
        size: int = 64,
        render_mode: str | None = None,
    ) -> None:
        check_choice("observation", observation, OBSERVATIONS)
        check_choice("reward", reward, REWARDS)
        check_choice("goals", goals, GOALS)
        if render_mode is not None:
            check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.sees_pixels, self.is_dense, self.goals = observation == "pixels", reward == "dense", goals
        self.hold, self.size = check_count("hold", hold), check_count("size", size)
        self.render_mode = render_mode
        image = gym.spaces.Box(0, 255, (self.size, self.size, 3), np.uint8)
        place = gym.spaces.Box(-1, 1, (2,), np.float32)
        high = np.array([1, 1, MAX_SPEED], np.float32)
        seen, goal = (image, image) if self.sees_pixels else (gym.spaces.Box(-high, high), place)
        self.observation_space: Any = gym.spaces.Dict(observation=seen, achieved_goal=goal, desired_goal=goal)
        self.action_space: Any = gym.spaces.Box(-MAX_TORQUE, MAX_TORQUE, (1,), np.float32)

    def reset(
        self, *, seed: int | np.integer[Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Starts an episode, as ``options`` say: any of ``start`` (angle, angular velocity) and ``goal`` (angle).

        Raises:
            ValueError: If the seed is not a non-negative integer, or an option is unknown or no finite number.
        """
        given = check_options(options, ("start", "goal"))
        super().reset(seed=check_seed(seed))
        drawn = self.np_random.uniform((-np.pi, -1.0, -np.pi), (np.pi, 1.0, np.pi))
        self.state = _numbers("start", given["start"], (2,)) if "start" in given else drawn[:2]
        goal = float(drawn[2]) if self.goals == "any" else 0.0
        self.goal = float(_numbers("goal", given["goal"], ())) if "goal" in given else goal
        self._goal_image = draw(self.goal, self.size)
        self._trail = [tip(self.state[0])]
        self._num_held = 0
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Applies a torque for 0.05 s. ``TimeLimit`` truncates, not this.

        Raises:
            ValueError: If the action is not one finite real number.
        """
        action = check_actions("action", action, (1,))
        if not np.isfinite(action).all():
            raise ValueError(f"action must be finite, got {action.tolist()}")
        self.state = step(self.state, action[0])
        if self.render_mode is not None:
            self._trail.append(tip(self.state[0]))
        observation, info = self._observation(), self._info()
        reward = self.compute_reward(observation["achieved_goal"], observation["desired_goal"], info)
        return observation, reward, False, False, info

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """Rewards of achieved goals for desired ones, one or a batch, as hindsight relabelling needs them.

        Args:
            achieved_goal: Images ``(..., S, S, 3)`` with pixels, ``(..., 2)`` with state.
            desired_goal: The same.
            info: Not used.

        Returns:
            A number, or float64 ``(...)`` for batches.
        """
        away = np.degrees(angle_between(self._angles(achieved_goal), self._angles(desired_goal)))
        rewards = -away / 180 if self.is_dense else np.where(away < TOLERANCE, 0.0, -1.0)
        return rewards if rewards.ndim else float(rewards)

    def render(self) -> NDArray[np.uint8] | None:
        """Draws the pendulum, its tip's trail and the goal: an RGB array ``(512, 512, 3)``."""
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render_mode: gym.make(id, render_mode='rgb_array')")
            return None
        return draw_picture(RENDER_SIZE, self.state[0], self.goal, np.stack(self._trail))

    def _observation(self) -> dict[str, Array]:
        """What the agent sees, in arrays that nobody else holds: check_env forbids shared ones."""
        if self.sees_pixels:
            image = draw(self.state[0], self.size)
            return {"observation": image, "achieved_goal": image.copy(), "desired_goal": self._goal_image.copy()}
        place, goal = (np.array([np.cos(angle), np.sin(angle)], np.float32) for angle in (self.state[0], self.goal))
        seen = np.append(place, np.float32(self.state[1]))
        return {"observation": seen, "achieved_goal": place, "desired_goal": goal}

    def _info(self) -> dict[str, Any]:
        """The info of the present state; each call counts it as one more step."""
        away = float(np.degrees(angle_between(self.state[0], self.goal)))
        self._num_held = self._num_held + 1 if away < TOLERANCE else 0
        places = {"position": tip(self.state[0]), "angle": float(self.state[0]), "goal": self.goal}
        return {"is_success": self._num_held >= self.hold, "distance": away, **places}

    def _angles(self, goals: Any) -> Any:
        goals = np.asarray(goals)
        return read_angles(goals) if self.sees_pixels else np.arctan2(goals[..., 1], goals[..., 0], dtype=np.float64)


def _numbers(name: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    numbers = real_numbers(value)
    if numbers is None or numbers.shape != shape or not np.isfinite(numbers).all():
        what = "a finite angle" if shape == () else "a finite angle and angular velocity"
        raise ValueError(f"{name} must be {what}, got {shown(value)}")
    return numbers.astype(np.float64)
