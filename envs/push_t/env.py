"""Push-T as a Gymnasium environment."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.inputs import check_actions, check_choice, check_options, check_seed
from envs.push_t.boards import Boards
from envs.push_t.task import EPISODE_OPTIONS, Settings, set_up

Array = NDArray[Any]

RENDER_FPS = 10
"""Frames a second of recorded videos: as fast as it acts."""
RENDER_SIZE = 512
"""Side of rendered frames in pixels."""


class PushTEnv(gym.Env[dict[str, Array], Array]):
    """A disc must push a T-shaped block to where the goal shows it, and go to its own place there.

    ## Description

    The task of Diffusion Policy (Chi et al., arXiv 2303.04137) with the goal drawn anew in each episode, as DINO-WM
    (Zhou et al., arXiv 2411.04983) has it. On a walled board of 512 × 512 px, a disc of radius 15 is drawn to a target
    by a PD controller (k_p 100, k_v 20, ten times a second). A T with a bar of 120 × 30 px and a stem of 30 × 90 px is
    moved by the disc alone, without friction: it stops as soon as nothing pushes it.

    Coordinates are pixels from the upper left corner, x to the right and y downwards, angles are in radians, clockwise.
    The block's position is the middle of its bar's outer edge, as in the published environment; at angle 0 the stem
    points down. The walls stop the block, not the disc. A block that is pressed against a wall is pressed through it.

    ## Action Space

    `control="relative"`: `Box(-1, 1, (2,), float32)`: the target, seen from the agent's position, in units of 100 px.
    `control="absolute"`: `Box(0, 512, (2,), float32)`: the target on the board. What is out of bounds is clipped, and
    targets off the board are brought to its border.

    | Num | Action                 | Relative | Absolute |
    |-----|------------------------|----------|----------|
    | 0   | target's x (to right)  | -1 to 1  | 0 to 512 |
    | 1   | target's y (downward)  | -1 to 1  | 0 to 512 |

    ## Observation Space

    A `Dict` with the names of Gymnasium-Robotics' goal-conditioned environments.

    | Key             | `observation="pixels"`            | `observation="state"`                                    |
    |-----------------|-----------------------------------|----------------------------------------------------------|
    | `observation`   | the board, RGB, uint8 (64, 64, 3) | agent x, y, block x, y, cos and sin of the block's angle, |
    |                 |                                   | agent's velocity x, y in px/s, float32 (8,)              |
    | `achieved_goal` | the same image                    | the first six of these, float32 (6,)                     |
    | `desired_goal`  | the board in the goal's pose      | the same six in the goal, float32 (6,)                   |

    ## Rewards

    - `"sparse"`: 0 at success, −1 otherwise.
    - `"dense"`: −distance / 512.

    The distance is the largest of three errors: the agent's and the block's in pixels, and the angle's in degrees.
    Success is a distance below 20: agent and block within 20 px, the angle within 20°.

    The reward is always `compute_reward(achieved_goal, desired_goal, info)`. With pixels that reads the poses off the
    images, on average within 0.3 px and 0.3°; `info["is_success"]` and `info["distance"]` are of the true poses, as
    observations of kind "state" show them.

    ## Starting State

    Start and goal are drawn independently and uniformly: the agent from [50, 450]², the block from [100, 400]² and all
    angles, within the walls and not touching the agent; not yet a success. `reset(options=...)` can fix `"start"` and
    `"goal"`: five numbers (agent x, y, block x, y, angle) or a dictionary `{"agent": (x, y), "block": (x, y),
    "angle": a}`; and `"start_velocity"`, the agent's in px/s, by default (0, 0).

    The same options give the same episode, bit for bit. What they cannot hold of a state in mid-push is how fast the
    block was just moved, which lasts for a hundredth of a second: it starts at rest.

    ## Episode End

    - Truncation: after 300 steps (`max_episode_steps` of `gymnasium.make`).
    - Termination: when the goal is reached, with `terminate_on_success=True` only.

    ## Information

    `is_success`, `distance`, `position` and `velocity` of the agent, `block` (x, y, angle), `goal` (agent x, y,
    block x, y, angle), and after a step `action` (as executed).

    ## Arguments

    - `observation`: `"pixels"` (default) or `"state"`.
    - `control`: `"relative"` (default) or `"absolute"`.
    - `reward`: `"sparse"` (default) or `"dense"`.
    - `size`: side of images, 64 (default) or 96.
    - `terminate_on_success`: `False` by default.
    - `render_mode`: `None` or `"rgb_array"`.

    It needs pymunk: `pip install "worldmodel[pusht]"`.

    ```python
    env = gym.make("envs:PushT-v0", observation="state")
    obs, info = env.reset(seed=0, options={"start": (100, 100, 250, 250, 0.0), "goal": (90, 90, 300, 250, 0.5)})
    obs, reward, terminated, truncated, info = env.step([1.0, 0.0])  # the agent is drawn to (200, 100)
    ```

    ## Version History

    * v0: Initial version.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (declared by the base class as an instance attribute)
        "render_modes": ["rgb_array"],
        "render_fps": RENDER_FPS,
    }

    def __init__(self, *, render_mode: str | None = None, **settings: Any) -> None:
        self.task = Settings(**settings)
        if render_mode is not None:
            check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.observation_space: Any = self.task.observation_space()
        self.action_space: Any = self.task.action_space()
        self._boards = Boards(self.task, 1, keep_trails=render_mode is not None)

    def reset(
        self, *, seed: int | np.integer[Any] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Starts an episode, as ``options`` say: any of ``start``, ``goal`` and ``start_velocity``.

        Raises:
            ValueError: If the seed is not a non-negative integer, an option is unknown or a pose is impossible.
        """
        given = check_options(options, EPISODE_OPTIONS)
        super().reset(seed=check_seed(seed))
        self._boards.begin([0], [set_up(self.np_random, given)])
        observation, _, info = self._boards.view()
        return _single(observation), _single(info)

    def step(self, action: Any) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Moves agent and block for a tenth of a second. ``TimeLimit`` truncates, not this.

        Raises:
            ValueError: If the action is not two finite real numbers.
            gymnasium.error.ResetNeeded: Before the first reset.
        """
        self._boards.check_begun("step")
        observation, rewards, infos = self._boards.view(self._boards.step(check_actions("action", action, (2,))[None]))
        info = _single(infos)
        terminated = self.task.terminate_on_success and info["is_success"]
        return _single(observation), float(rewards[0]), terminated, False, info

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """Rewards of achieved goals for desired ones, one or a batch, as hindsight relabelling needs them.

        Args:
            achieved_goal: Images ``(..., size, size, 3)`` with pixels, ``(..., 6)`` with state.
            desired_goal: The same.
            info: Not used.

        Returns:
            A float, or float64 of the batch's shape.

        Raises:
            ValueError: If the goals are not images or finite numbers of the right shape, or their batches do not match.
        """
        return self.task.compute_reward(achieved_goal, desired_goal)

    def render(self) -> NDArray[np.uint8] | None:
        """Draws the board, the goal's outline and the agent's trail: an RGB array ``(512, 512, 3)``.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset.
        """
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render_mode: gym.make(id, render_mode='rgb_array')")
            return None
        return self._boards.pictures(RENDER_SIZE)[0]


def _single(batch: dict[str, Array]) -> dict[str, Any]:
    """Observation or info of a batch of one: arrays without the batch dimension, plain numbers for scalars."""
    return {key: value[0] if value.ndim > 1 else value.item() for key, value in batch.items()}
