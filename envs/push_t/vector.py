"""Push-T as a native Gymnasium vector environment: boards of their own, drawn in single calls."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from envs.push_t.boards import Boards
from envs.push_t.env import RENDER_FPS, RENDER_SIZE
from envs.push_t.task import EPISODE_OPTIONS, MAX_EPISODE_STEPS, Settings, set_up
from envs.vector import Infos, Observation, Places, StepResult, declare


class PushTVectorEnv(VectorEnv[Observation, NDArray[np.float32], NDArray[Any]]):
    """``num_envs`` episodes of :class:`~envs.push_t.env.PushTEnv` at once.

    Reached by ``gym.make_vec("envs:PushT-v0", num_envs=64)``. With the same seeds and actions it gives exactly what
    ``num_envs`` scalar environments in a ``SyncVectorEnv`` give: each place has its own random numbers.

    Args:
        num_envs: Number of episodes at once.
        max_episode_steps: Steps after which an episode is truncated; None or −1: never.
        autoreset_mode: What happens when an episode ends, an ``AutoresetMode`` or its value:
            "NextStep": the next step starts a new one and ignores the action; "SameStep": the same step starts a new
            one, the last observation and info are in ``infos["final_obs"]`` and ``infos["final_info"]``; "Disabled":
            nothing, call ``reset(options={"reset_mask": mask})``.
        render_mode: None or "rgb_array".
        **settings: The other keywords of :class:`~envs.push_t.env.PushTEnv`, for all episodes.

    Raises:
        ValueError: If a setting is not one of its choices, or ``num_envs`` episodes do not fit into memory.
        ImportError: If pymunk is not installed.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (declared by the base class as an instance attribute)
        "render_modes": ["rgb_array"],
        "render_fps": RENDER_FPS,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = MAX_EPISODE_STEPS,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.task = Settings(**settings)
        observations, actions = self.task.observation_space(), self.task.action_space()
        declare(self, num_envs, observations, actions, autoreset_mode=autoreset_mode, render_mode=render_mode)
        self._boards = Boards(self.task, self.num_envs, keep_trails=render_mode is not None)
        self._places = Places(
            self,
            self._boards,
            set_up,
            max_episode_steps=max_episode_steps,
            terminates=self.task.terminate_on_success,
        )
        self.max_episode_steps = self._places.max_episode_steps

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The random number generator of each place."""
        return self._places.generators

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each place."""
        return self._places.seeds

    def reset(
        self,
        *,
        seed: int | np.integer[Any] | Sequence[int | None] | NDArray[Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Observation, Infos]:
        """Starts episodes.

        Args:
            seed: Seeds of the places, non-negative integers; a single one stands for ``seed, seed + 1, …``.
            options: Any of ``start``, ``goal`` and ``start_velocity``, once as for the scalar environment or with one
                for each place, and ``reset_mask``: bool ``(num_envs,)``, the places to reset; by default all.

        Returns:
            Observations of all places, and infos of those that were reset.

        Raises:
            ValueError: If a seed or an option is unknown or impossible, or there is not one a place.
            TypeError: If ``reset_mask`` is not an array of bool.
        """
        return self._places.reset(seed, options, EPISODE_OPTIONS)

    def step(self, actions: Any) -> StepResult:
        """Moves agents and blocks for a tenth of a second.

        Args:
            actions: ``(num_envs, 2)``.

        Returns:
            Observations, rewards, terminations, truncations, infos.

        Raises:
            ValueError: If the actions are not finite real numbers ``(num_envs, 2)``.
            gymnasium.error.ResetNeeded: Before the first reset, or with autoreset "Disabled" when an episode ended.
        """
        return self._places.step(actions, self._boards.step)

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """Rewards of achieved goals for desired ones; see :meth:`envs.push_t.env.PushTEnv.compute_reward`."""
        return self.task.compute_reward(achieved_goal, desired_goal)

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Draws each board with the agent's trail: RGB arrays ``(512, 512, 3)``.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset.
        """
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render_mode: gym.make_vec(id, render_mode='rgb_array')")
            return None
        return self._boards.pictures(RENDER_SIZE)
