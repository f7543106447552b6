"""Pillars as a Gymnasium environment."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.inputs import (
    check_actions,
    check_choice,
    check_flag,
    check_options,
    check_seed,
    is_integer,
    real_numbers,
    shown,
)
from envs.pillars.drawing import draw_agent, draw_floor, draw_picture, read_positions
from envs.pillars.scene import (
    GOAL_RADIUS,
    LAYOUT_SETS,
    MAX_STEP,
    NUM_PILLARS,
    SIZE,
    distance,
    is_blocked,
    is_free,
    pillars_of,
    sample_endpoints,
)

Array = NDArray[Any]

OBSERVATIONS = ("pixels", "state")
"""What an observation can be."""
REWARDS = ("sparse", "dense")
"""What a reward can be."""
RENDER_SIZE = 512
"""Side of rendered frames in pixels."""


class PillarsEnv(gym.Env[dict[str, Array], Array]):
    """A disc must find its way among pillars to a goal, and stay there.

    ## Description

    The agent is a disc of radius 2 on a square floor of 64 × 64 px with four round pillars of radius 6, which stand
    elsewhere in each layout. It fits between any two of them, and between a pillar and the border. A step whose
    straight segment would make it overlap a pillar or the border is not taken: the agent stays where it is.

    Coordinates are pixels from the upper left corner of the image: x to the right, y downwards.

    ## Action Space

    `Box(-1, 1, (2,), float32)`: the displacement in units of 2.5 px; what is out of bounds is clipped.

    | Num | Action       | Min | Max |
    |-----|--------------|-----|-----|
    | 0   | x (to right) | -1  | 1   |
    | 1   | y (downward) | -1  | 1   |

    ## Observation Space

    A `Dict` with the names of Gymnasium-Robotics' goal-conditioned environments.

    | Key             | `observation="pixels"`               | `observation="state"`                     |
    |-----------------|--------------------------------------|-------------------------------------------|
    | `observation`   | the scene, RGB, uint8 (64, 64, 3)    | x, y, x, y of the pillars, float32 (10,)  |
    | `achieved_goal` | the same image                       | x, y of the agent, float32 (2,)           |
    | `desired_goal`  | the scene with the agent at the goal | x, y of the goal, float32 (2,)            |

    ## Rewards

    - `"sparse"`: 0 closer than 4 px to the goal, −1 otherwise.
    - `"dense"`: −distance / 64.

    The reward is always `compute_reward(achieved_goal, desired_goal, info)`. With pixels that reads positions off the
    images, within 0.05 px; `info["is_success"]` and `info["distance"]` are of the true positions.

    ## Starting State

    A layout is drawn from the layout set, then start and goal uniformly from free space, at least 24 px apart; in
    about 70 % of episodes a pillar stands in the straight way. `reset(options=...)` can fix any of `"layout"` (an
    integer), `"start"` `(x, y)` and `"goal"` `(x, y)`; if both points are given, they may be close to each other.

    ## Episode End

    - Truncation: after 100 steps (`max_episode_steps` of `gymnasium.make`).
    - Termination: when the goal is reached, with `terminate_on_success=True` only.

    ## Information

    `is_success`, `distance` (px), `position`, `goal` and `layout`.

    ## Arguments

    - `observation`: `"pixels"` (default) or `"state"`.
    - `reward`: `"sparse"` (default) or `"dense"`.
    - `layout_set`: what layouts are drawn from: `"train"` (default, 0–799), `"validation"` (800–899), `"held-out"`
      (900–999) or `"all"`.
    - `layout`: a fixed layout, an integer from 0 to 999; overrides `layout_set`.
    - `terminate_on_success`: `False` by default.
    - `render_mode`: `None` or `"rgb_array"`.

    ```python
    >>> import gymnasium as gym
    >>> env = gym.make("envs:Pillars-v0", observation="state")
    >>> obs, info = env.reset(seed=0, options={"start": (4, 4), "goal": (60, 4)})
    >>> obs, reward, terminated, truncated, info = env.step([1.0, 0.0])
    >>> obs["achieved_goal"].tolist(), reward, info["distance"]
    ([6.5, 4.0], -1.0, 53.5)

    ```

    ## Version History

    * v0: Initial version.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(
        self,
        *,
        observation: str = "pixels",
        reward: str = "sparse",
        layout_set: str = "train",
        layout: int | None = None,
        terminate_on_success: bool = False,
        render_mode: str | None = None,
    ) -> None:
        check_choice("observation", observation, OBSERVATIONS)
        check_choice("reward", reward, REWARDS)
        check_choice("layout_set", layout_set, LAYOUT_SETS)
        if render_mode is not None:
            check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.sees_pixels, self.is_dense = observation == "pixels", reward == "dense"
        self.layouts = LAYOUT_SETS[layout_set] if layout is None else [_check_layout(layout)]
        self.terminate_on_success = check_flag("terminate_on_success", terminate_on_success)
        self.render_mode = render_mode
        image = gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        place = gym.spaces.Box(0, SIZE, (2,), np.float32)
        state = gym.spaces.Box(0, SIZE, (2 + 2 * NUM_PILLARS,), np.float32)
        seen, goal = (image, image) if self.sees_pixels else (state, place)
        self.observation_space: Any = gym.spaces.Dict(observation=seen, achieved_goal=goal, desired_goal=goal)
        self.action_space: Any = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(
        self, *, seed: int | np.integer[Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Starts an episode, as ``options`` say: any of ``layout``, ``start`` ``(x, y)`` and ``goal`` ``(x, y)``.

        Raises:
            ValueError: If the seed is not a non-negative integer, an option is unknown, there is no such layout or a
                point is not in free space.
        """
        given = check_options(options, ("layout", "start", "goal"))
        super().reset(seed=check_seed(seed))
        drawn = self.layouts[self.np_random.integers(len(self.layouts))]
        layout = _check_layout(given["layout"]) if "layout" in given else drawn
        pillars = pillars_of(layout)
        points = {name: _check_point(name, given[name], pillars) for name in ("start", "goal") if name in given}
        self.layout, self.pillars = layout, pillars
        self.position, self.goal = sample_endpoints(self.np_random, pillars, **points)
        self._trail = [self.position]
        self._floor = draw_floor(self.pillars)
        self._goal_image = draw_agent(self._floor, self.goal)
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Moves the agent, unless a pillar or the border is in the way. ``TimeLimit`` truncates, not this.

        Raises:
            ValueError: If the action is not two finite real numbers.
        """
        action = check_actions("action", action, (2,))
        if not np.isfinite(action).all():
            raise ValueError(f"action must be finite, got {action.tolist()}")
        end = self.position + np.float32(MAX_STEP) * np.clip(action, -1, 1)
        if not is_blocked(self.position, end, self.pillars):
            self.position = end
        if self.render_mode is not None:
            self._trail.append(self.position)
        observation, info = self._observation(), self._info()
        reward = self.compute_reward(observation["achieved_goal"], observation["desired_goal"], info)
        return observation, reward, self.terminate_on_success and info["is_success"], False, info

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """Rewards of achieved goals for desired ones, one or a batch, as hindsight relabelling needs them.

        Args:
            achieved_goal: Images ``(..., 64, 64, 3)`` with pixels, ``(..., 2)`` with state.
            desired_goal: The same.
            info: Not used.

        Returns:
            A float, or float64 of the batch's shape.

        Raises:
            ValueError: If a goal has another shape, or an image shows no agent.
        """
        away = distance(self._places("achieved_goal", achieved_goal), self._places("desired_goal", desired_goal))
        rewards = -away / SIZE if self.is_dense else np.where(away < GOAL_RADIUS, 0.0, -1.0)
        return rewards if rewards.ndim else float(rewards)

    def render(self) -> NDArray[np.uint8] | None:
        """Draws the scene, a ring where the goal is, and the trail: an RGB array ``(512, 512, 3)``."""
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render_mode: gym.make(id, render_mode='rgb_array')")
            return None
        return draw_picture(RENDER_SIZE, self.pillars, self.position, self.goal, np.stack(self._trail))

    def _observation(self) -> dict[str, Array]:
        """What the agent sees, in arrays that nobody else holds: check_env forbids shared ones."""
        if self.sees_pixels:
            image = draw_agent(self._floor, self.position)
            return {"observation": image, "achieved_goal": image.copy(), "desired_goal": self._goal_image.copy()}
        scene = np.concatenate([self.position, self.pillars.ravel()])
        return {"observation": scene, "achieved_goal": self.position.copy(), "desired_goal": self.goal.copy()}

    def _info(self) -> dict[str, Any]:
        away = float(distance(self.position, self.goal))
        places = {"position": self.position.copy(), "goal": self.goal.copy()}
        return {"is_success": away < GOAL_RADIUS, "distance": away, **places, "layout": self.layout}

    def _places(self, name: str, goals: Any) -> Array:
        """Where goals are, ``(..., 2)``."""
        goals, shape = np.asarray(goals), self.observation_space[name].shape
        if goals.shape[-len(shape) :] != shape:
            raise ValueError(f"{name} must have shape (..., {', '.join(map(str, shape))}), got {goals.shape}")
        return read_positions(goals) if self.sees_pixels else goals


def _check_layout(layout: Any) -> int:
    if not is_integer(layout) or layout not in LAYOUT_SETS["all"]:
        raise ValueError(f"layout must be an integer from 0 to {len(LAYOUT_SETS['all']) - 1}, got {shown(layout)}")
    return int(layout)


def _check_point(name: str, point: Any, pillars: Array) -> NDArray[np.float32]:
    numbers = real_numbers(point)
    if numbers is None or numbers.shape != (2,) or not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be a pair of finite numbers (x, y), got {shown(point)}")
    place = numbers.astype(np.float32)
    if not is_free(place, pillars):
        raise ValueError(f"{name} must lie in free space (clear of pillars and border), got {place.tolist()}")
    return place
