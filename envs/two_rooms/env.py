"""Two Rooms as a Gymnasium environment."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.inputs import check_actions, check_choice, check_options, check_seed
from envs.two_rooms.rooms import Rooms
from envs.two_rooms.task import EPISODE_OPTIONS, Settings, action_space, sample_episode

RENDER_FPS = 30
"""Frames a second of human rendering and of recorded videos."""
RENDER_SIZE = 520
"""Side of rendered frames in pixels."""


class TwoRoomsEnv(gym.Env[dict[str, NDArray[Any]], NDArray[np.float32]]):
    """A point agent must pass a door to reach a goal in the other room, and stay there.

    ## Description

    A square arena is divided into two rooms by a wall with one door. Wall and door are elsewhere in each episode. The
    agent is a point that moves by small displacements; a step whose straight segment meets a wall is blocked.

    Coordinates are pixels of a 65 × 65 image: x is the column, y the row, growing downwards. Free space is 4 < x < 60
    and 4 < y < 60 minus the wall |x − wall| ≤ 1 wherever |y − door| > 4; with a horizontal wall, the same with x
    and y exchanged. The wall is an integer in [20, 44], the door an integer in [10, 54].

    ## Action Space

    `Box(-2.45, 2.45, (2,), float32)`: the displacement in pixels.

    | Num | Action       | Min   | Max  |
    |-----|--------------|-------|------|
    | 0   | x (to right) | -2.45 | 2.45 |
    | 1   | y (downward) | -2.45 | 2.45 |

    A displacement longer than 2.45 (Euclidean norm) is scaled back to 2.45; `info["action"]` is what was executed.

    ## Observation Space

    A `Dict` with the names of Gymnasium-Robotics' goal-conditioned environments.

    | Key             | `observation="pixels"`                  | `observation="state"`        |
    |-----------------|-----------------------------------------|------------------------------|
    | `observation`   | the scene, uint8 (2, 65, 65)            | x, y, wall, door, float32 (4,) |
    | `achieved_goal` | the same image                          | x, y of the agent, float32 (2,) |
    | `desired_goal`  | the scene with the agent at the goal    | x, y of the goal, float32 (2,)  |

    Channel 0 of an image shows the agent as a Gaussian blob, floor(255 · exp(−d² / (2 · 1.3²))), channel 1 the walls.

    ## Rewards

    - `"sparse"`: 0 closer than 4.5 px to the goal, −1 otherwise.
    - `"dense"`: −distance / 65.

    The reward is always `compute_reward(achieved_goal, desired_goal, info)`. With pixels that reads positions off the
    images as centroids, within 0.01 px; `info["is_success"]` and `info["distance"]` are of the true positions.

    ## Starting State

    Start and goal are drawn uniformly in different rooms, 6.6 ≤ x, y ≤ 57.4 and at least 3.6 px from the wall's centre
    line, so that no goal is reached through the wall. `reset(options=...)` can fix `"layout"` `(wall, door)`,
    `"start"` `(x, y)` and `"goal"` `(x, y)`; points may then be in one room. If just one point is given, the other is
    drawn in the room across the wall.

    ## Episode End

    - Truncation: after 200 steps (`max_episode_steps` of `gymnasium.make`).
    - Termination: when the goal is reached, with `terminate_on_success=True` only.

    ## Information

    `is_success`, `distance` (px), `position`, `goal`, `layout` (wall and door; for a horizontal wall a 1 behind them,
    so that `Layout(*info["layout"])` is the layout), and after a step `action` (as executed) and `blocked`.

    ## Arguments

    - `observation`: `"pixels"` (default) or `"state"`.
    - `reward`: `"sparse"` (default) or `"dense"`.
    - `collision`: `"stay"` (default; a blocked agent does not move) or `"bounce"` (it lands near the first contact).
    - `wall_orientation`: `"vertical"` (default) or `"horizontal"`.
    - `layout_set`: what layouts are drawn from: `"train"` (default), `"validation"`, `"held-out"` or `"all"`.
    - `layout`: a fixed layout `(wall, door)`; overrides `layout_set`.
    - `terminate_on_success`: `False` by default.
    - `goal_radius`: an agent closer than this to the goal has reached it; 4.5 px (default) or less.
    - `render_mode`: `None`, `"rgb_array"` or `"human"`.

    ```python
    >>> import gymnasium as gym
    >>> env = gym.make("envs:TwoRooms-v0", observation="state")
    >>> obs, info = env.reset(seed=0, options={"layout": (32, 18), "start": (10, 30), "goal": (50, 30)})
    >>> obs["observation"].tolist()
    [10.0, 30.0, 32.0, 18.0]
    >>> obs, reward, terminated, truncated, info = env.step([1.0, -1.0])
    >>> obs["achieved_goal"].tolist(), reward
    ([11.0, 29.0], -1.0)

    ```

    ## Version History

    * v0: Initial version.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (declared by the base class as an instance attribute)
        "render_modes": ["human", "rgb_array"],
        "render_fps": RENDER_FPS,
    }

    def __init__(self, *, render_mode: str | None = None, **settings: Any) -> None:
        self.task = Settings(**settings)
        if render_mode is not None:
            check_choice("render_mode", render_mode, ("human", "rgb_array"))
        self.render_mode = render_mode
        self.observation_space = self.task.observation_space()
        self.action_space: Any = action_space()
        self._rooms = Rooms(self.task, 1, keep_trails=render_mode is not None)
        self._window: Any = None

    def reset(
        self, *, seed: int | np.integer[Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: Seeds the environment's random numbers; a non-negative integer.
            options: Any of ``layout`` ``(wall, door)``, ``start`` ``(x, y)`` and ``goal`` ``(x, y)``.

        Returns:
            The observation and the info.

        Raises:
            ValueError: If the seed is not a non-negative integer, an option is unknown, the layout is impossible or a
                point is not in free space.
        """
        given = check_options(options, EPISODE_OPTIONS)
        super().reset(seed=check_seed(seed))
        self._rooms.begin([0], [sample_episode(self.task, self.np_random, given)])
        observation, _, info = self._rooms.view()
        if self.render_mode == "human":
            if self._window is not None and not self._window.is_open:
                self._window = None  # a person closed it; the new episode is shown again
            self.render()
        return _single(observation), _single(info)

    def step(self, action: Any) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Moves the agent.

        Args:
            action: Displacement in pixels, ``(2,)``.

        Returns:
            Observation, reward, terminated, truncated (always False: ``TimeLimit`` truncates), info.

        Raises:
            ValueError: If the action is not two finite real numbers.
            gymnasium.error.ResetNeeded: Before the first reset.
        """
        self._rooms.check_begun("step")
        actions = check_actions("action", action, (2,))[None]
        noise = self.np_random.standard_normal((1, 2)) if self.task.collision == "bounce" else None
        moved = self._rooms.step(actions, noise)
        observation, rewards, infos = self._rooms.view(moved)
        info = _single(infos)
        terminated = self.task.terminate_on_success and info["is_success"]
        if self.render_mode == "human":
            self.render()
        return _single(observation), float(rewards[0]), terminated, False, info

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """Rewards of achieved goals for desired ones, one or a batch, as hindsight relabelling needs them.

        Args:
            achieved_goal: ``(..., 2, 65, 65)`` images with pixels, ``(..., 2)`` with state.
            desired_goal: The same.
            info: Not used.

        Returns:
            A float, or float64 of the batch's shape.

        Raises:
            ValueError: If the goals are not uint8 images or finite numbers of the right shape, their batches do not
                match, or an image shows no agent.
        """
        return self.task.compute_reward(achieved_goal, desired_goal)

    def optimal_path_length(self) -> float:
        """Length of the shortest path from the agent to the disc around the goal, in pixels: what SPL compares with.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset.
        """
        return float(self._rooms.shortest_paths()[0])

    def render(self) -> NDArray[np.uint8] | None:
        """Draws the scene with the agent's trail: returns an RGB array ``(520, 520, 3)``, or shows it in a window.

        A window that a person closes stays closed until the next episode.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset.
        """
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render_mode: gym.make(id, render_mode='rgb_array')")
            return None
        if self._window is not None and not self._window.is_open:
            return None
        (frame,) = self._rooms.pictures(RENDER_SIZE)
        if self.render_mode == "rgb_array":
            return frame
        if self._window is None:
            from envs.two_rooms.pictures.viewer import Window  # pygame is slow to import and needed for pictures only

            self._window = Window(RENDER_SIZE, "Two Rooms")
        self._window.show(frame, fps=RENDER_FPS)
        return None

    def close(self) -> None:
        """Closes the window, if there is one."""
        if self._window is not None:
            self._window.close()
            self._window = None


def _single(batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Observation or info of a batch of one: arrays without the batch dimension, plain numbers for scalars."""
    return {key: value[0] if value.ndim > 1 else value.item() for key, value in batch.items()}
