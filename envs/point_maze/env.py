"""Gymnasium-Robotics' PointMaze as an environment with goal images."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.inputs import check_actions, check_choice, check_options, check_seed, real_numbers, shown
from envs.offscreen import TopView, find_backend
from envs.point_maze.drawing import IMAGE_SIZE, draw_picture, read_positions, side_of, view_of
from envs.point_maze.mazes import BALL_RADIUS, GOAL_RADIUS, MAPS, distance, is_free, sample_places
from envs.point_maze.physics import SPEED_BOUND, Ball

Array = NDArray[Any]

OBSERVATIONS = ("pixels", "state")
"""What an observation can be."""
REWARDS = ("sparse", "dense")
"""What a reward can be."""
RENDER_SIZE = 512
"""Side of rendered frames in pixels."""


class PointMazeEnv(gym.Env[dict[str, Array], Array]):
    """A ball must be pushed through a maze to where the goal image shows it.

    ## Description

    Maze and dynamics are those of Gymnasium-Robotics' `PointMaze_UMaze-v3` and `PointMaze_Medium-v3`, simulated by
    MuJoCo in steps of 0.01 s: the ball (4.2 kg) has inertia, and its velocity is clipped to 5 m/s along each axis. The
    goal stays for a whole episode. One picture says nothing of the velocity.

    Coordinates are metres from the middle of the maze: x to the right, y upwards.

    ## Action Space

    `Box(-1, 1, (2,), float32)`: the force in units of 100 N; what is out of bounds is clipped.

    | Num | Action       | Min | Max |
    |-----|--------------|-----|-----|
    | 0   | x (to right) | -1  | 1   |
    | 1   | y (upward)   | -1  | 1   |

    ## Observation Space

    A `Dict` with the names of Gymnasium-Robotics' goal-conditioned environments.

    | Key             | `observation="pixels"`                 | `observation="state"`                            |
    |-----------------|----------------------------------------|--------------------------------------------------|
    | `observation`   | the maze, RGB, uint8 (64, 64, 3)       | x, y, velocity along x, y, maze, float32 (5,)    |
    | `achieved_goal` | the same image                         | x, y of the ball, float32 (2,)                   |
    | `desired_goal`  | the maze with the ball at the goal     | x, y of the goal, float32 (2,)                   |

    Images are MuJoCo's, from straight above, without the original's red goal. In a state, the last number is the side
    of the maze in metres, 5 or 8: so it says which one it is.

    ## Rewards

    - `"sparse"`: 0 closer than 0.45 m to the goal, −1 otherwise.
    - `"dense"`: −distance / side of the maze.

    The reward is always `compute_reward(achieved_goal, desired_goal, info)`. With pixels that reads positions off the
    images, within 0.01 m; `info["is_success"]` and `info["distance"]` are of the true positions.

    ## Starting State

    Start and goal are drawn as in the original: a free cell, uniformly within 0.25 m of its middle along each axis; the
    ball rests. They are drawn again if the start is closer than 0.45 m to the goal. `reset(options=...)` can fix
    `"start"` (x, y or x, y and the velocity along both) and `"goal"` (x, y), which may then be close to each other. The
    ball may touch walls there.

    ## Episode End

    Truncation after 300 steps (`max_episode_steps` of `gymnasium.make`).

    ## Information

    `is_success`, `distance` (m), `position`, `goal` and `maze`.

    ## Arguments

    - `maze`: `"umaze"` (default) or `"medium"`.
    - `observation`: `"pixels"` (default) or `"state"`.
    - `reward`: `"sparse"` (default) or `"dense"`.
    - `render_mode`: `None` or `"rgb_array"`.

    ## Version History

    * v0: Initial version, with the dynamics of `PointMaze_UMaze-v3`.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(
        self,
        *,
        maze: str = "umaze",
        observation: str = "pixels",
        reward: str = "sparse",
        render_mode: str | None = None,
    ) -> None:
        self.maze = check_choice("maze", maze, MAPS)
        check_choice("observation", observation, OBSERVATIONS)
        check_choice("reward", reward, REWARDS)
        if render_mode is not None:
            check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.sees_pixels, self.is_dense, self.render_mode = observation == "pixels", reward == "dense", render_mode
        self.side = len(MAPS[maze])
        self._ball = Ball(maze)
        self._view: TopView | None = None
        if self.sees_pixels:
            find_backend()  # here, so that child processes made from now on need not look for it
            self._view = view_of(maze)
        image = gym.spaces.Box(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        place = gym.spaces.Box(-self.side / 2, self.side / 2, (2,), np.float32)
        sides = [len(rows) for rows in MAPS.values()]
        high = np.array([self.side / 2, self.side / 2, SPEED_BOUND, SPEED_BOUND, max(sides)], np.float32)
        low = np.array([*-high[:4], min(sides)], np.float32)
        seen, goal = (image, image) if self.sees_pixels else (gym.spaces.Box(low, high), place)
        self.observation_space: Any = gym.spaces.Dict(observation=seen, achieved_goal=goal, desired_goal=goal)
        self.action_space: Any = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(
        self, *, seed: int | np.integer[Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Starts an episode, as ``options`` say: any of ``start`` and ``goal``.

        Raises:
            ValueError: If the seed is not a non-negative integer, or an option is unknown, no finite numbers, in a
                wall, or too fast.
        """
        given = check_options(options, ("start", "goal"))
        start = self._check_place("start", given["start"], (2, 4)) if "start" in given else None
        goal = self._check_place("goal", given["goal"], (2,)) if "goal" in given else None
        super().reset(seed=check_seed(seed))
        while start is None or goal is None:
            drawn = sample_places(self.maze, self.np_random, 2)
            ends = drawn[0] if start is None else start, drawn[1] if goal is None else goal
            if distance(ends[0][:2], ends[1]) >= GOAL_RADIUS:
                start, goal = ends
        self.goal = goal
        if self._view is not None:
            self._ball.reset(np.concatenate([goal, np.zeros(2)]))
            self._goal_image = self._view.draw(self._ball.data)
        self._ball.reset(np.concatenate([start, np.zeros(4 - len(start))]))
        self._trail = [self._ball.state[:2]]
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Applies a force for 0.01 s. ``TimeLimit`` truncates, not this.

        Raises:
            ValueError: If the action is not two finite real numbers.
        """
        action = check_actions("action", action, (2,))
        if not np.isfinite(action).all():
            raise ValueError(f"action must be finite, got {action.tolist()}")
        state = self._ball.step(action)
        if self.render_mode is not None:
            self._trail.append(state[:2])
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
            ValueError: If a goal has another shape, or an image shows no ball.
        """
        away = distance(self._places("achieved_goal", achieved_goal), self._places("desired_goal", desired_goal))
        rewards = -away / self.side if self.is_dense else np.where(away < GOAL_RADIUS, 0.0, -1.0)
        return rewards if rewards.ndim else float(rewards)

    def render(self) -> NDArray[np.uint8] | None:
        """Draws the maze, a ring where the goal is, and the trail: an RGB array ``(512, 512, 3)``."""
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render_mode: gym.make(id, render_mode='rgb_array')")
            return None
        trail, position = np.stack(self._trail), self._ball.state[:2]
        return draw_picture(RENDER_SIZE, self.maze, position, self.goal, trail, side_of(self.maze))

    def close(self) -> None:
        """Closes the camera; other environments that look through it open it again."""
        if self._view is not None:
            self._view.close()

    def _observation(self) -> dict[str, Array]:
        """What the agent sees, in arrays that nobody else holds: check_env forbids shared ones."""
        if self._view is not None:
            image = self._view.draw(self._ball.data)
            return {"observation": image, "achieved_goal": image.copy(), "desired_goal": self._goal_image.copy()}
        state = np.array([*self._ball.state, self.side], np.float32)
        return {"observation": state, "achieved_goal": state[:2].copy(), "desired_goal": self.goal.astype(np.float32)}

    def _info(self) -> dict[str, Any]:
        position = self._ball.state[:2]
        away = float(distance(position, self.goal))
        places = {"position": position, "goal": self.goal.copy()}
        return {"is_success": away < GOAL_RADIUS, "distance": away, **places, "maze": self.maze}

    def _places(self, name: str, goals: Any) -> Array:
        """Where goals are, ``(..., 2)``."""
        goals, shape = np.asarray(goals), self.observation_space[name].shape
        if goals.shape[-len(shape) :] != shape:
            raise ValueError(f"{name} must have shape (..., {', '.join(map(str, shape))}), got {goals.shape}")
        return read_positions(goals, self.maze) if self.sees_pixels else goals

    def _check_place(self, name: str, value: Any, lengths: tuple[int, ...]) -> NDArray[np.float64]:
        numbers = real_numbers(value)
        if numbers is None or numbers.shape not in [(length,) for length in lengths] or not np.isfinite(numbers).all():
            what = "(x, y) or (x, y, velocity along x, along y)" if 4 in lengths else "(x, y)"
            raise ValueError(f"{name} must be finite numbers {what}, got {shown(value)}")
        numbers = numbers.astype(np.float64)
        if not is_free(self.maze, numbers[:2]):
            rule = f"must lie in the maze, {BALL_RADIUS} m clear of its walls"
            raise ValueError(f"{name} {rule}, got {numbers[:2].tolist()}")
        if (np.abs(numbers[2:]) > SPEED_BOUND).any():
            rule = f"must have velocities from {-SPEED_BOUND} to {SPEED_BOUND}"
            raise ValueError(f"{name} {rule}, got {numbers[2:].tolist()}")
        return numbers
