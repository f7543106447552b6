"""Two Rooms as a native Gymnasium vector environment: the physics and the drawing of all episodes in single calls."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from envs.inputs import shown
from envs.two_rooms import physics
from envs.two_rooms.env import RENDER_FPS, RENDER_SIZE
from envs.two_rooms.physics import Layout
from envs.two_rooms.rooms import Rooms
from envs.two_rooms.task import EPISODE_OPTIONS, MAX_EPISODE_STEPS, Settings, action_space, sample_episode
from envs.vector import Infos, Mask, Observation, Places, StepResult, declare, values_of_places


class TwoRoomsVectorEnv(VectorEnv[Observation, NDArray[np.float32], NDArray[Any]]):
    """``num_envs`` episodes of :class:`~envs.two_rooms.env.TwoRoomsEnv` at once.

    Reached by ``gym.make_vec("envs:TwoRooms-v0", num_envs=64)``. With the same seeds and actions it gives exactly what
    ``num_envs`` scalar environments in a ``SyncVectorEnv`` give: each place has its own random numbers.

    Args:
        num_envs: Number of episodes at once.
        max_episode_steps: Steps after which an episode is truncated; None or −1: never.
        autoreset_mode: What happens when an episode ends, an ``AutoresetMode`` or its value:
            "NextStep": the next step starts a new one and ignores the action; "SameStep": the same step starts a new
            one, the last observation and info are in ``infos["final_obs"]`` and ``infos["final_info"]``; "Disabled":
            nothing, call ``reset(options={"reset_mask": mask})``.
        render_mode: None or "rgb_array".
        **settings: The other keywords of :class:`~envs.two_rooms.env.TwoRoomsEnv`, for all episodes.

    Raises:
        ValueError: If a setting is not one of its choices, or ``num_envs`` episodes do not fit into memory.
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
        observations, actions = self.task.observation_space(), action_space()
        declare(self, num_envs, observations, actions, autoreset_mode=autoreset_mode, render_mode=render_mode)
        self._rooms = Rooms(self.task, self.num_envs, keep_trails=render_mode is not None)
        self._places = Places(
            self,
            self._rooms,
            partial(sample_episode, self.task),
            max_episode_steps=max_episode_steps,
            terminates=self.task.terminate_on_success,
            told_of_steps=("action", "blocked"),
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
            options: Any of ``layout`` ``(wall, door)`` or ``(num_envs, 2)``, ``start`` and ``goal`` ``(x, y)`` or
                ``(num_envs, 2)``, and ``reset_mask``: bool ``(num_envs,)``, the places to reset; by default all.

        Returns:
            Observations of all places, and infos of those that were reset.

        Raises:
            ValueError: If a seed or an option is unknown or impossible, or there is not one a place.
            TypeError: If ``reset_mask`` is not an array of bool.
        """
        return self._places.reset(seed, options, EPISODE_OPTIONS, _layouts_of_places)

    def step(self, actions: Any) -> StepResult:
        """Moves the agents.

        Args:
            actions: Displacements in pixels, ``(num_envs, 2)``.

        Returns:
            Observations, rewards, terminations, truncations, infos.

        Raises:
            ValueError: If the actions are not finite real numbers ``(num_envs, 2)``.
            gymnasium.error.ResetNeeded: Before the first reset, or with autoreset "Disabled" when an episode ended.
        """
        return self._places.step(actions, self._move)

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """Rewards of achieved goals for desired ones; see :meth:`envs.two_rooms.env.TwoRoomsEnv.compute_reward`."""
        return self.task.compute_reward(achieved_goal, desired_goal)

    def optimal_path_length(self) -> NDArray[np.float64]:
        """Lengths of the shortest paths from the agents to the discs around their goals, in pixels, ``(num_envs,)``.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset.
        """
        return self._rooms.shortest_paths()

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Draws each scene with the agent's trail: RGB arrays ``(520, 520, 3)``.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset.
        """
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render_mode: gym.make_vec(id, render_mode='rgb_array')")
            return None
        return self._rooms.pictures(RENDER_SIZE)

    def _move(self, actions: NDArray[np.float32], resting: Mask) -> physics.Step:
        """Moves the agents; landing noise is of each place's own generator, and resting places draw none."""
        if self.task.collision != "bounce":
            return self._rooms.step(actions, None)
        places = zip(self._places.generators, resting.tolist(), strict=True)
        noise = [(0.0, 0.0) if rests else generator.standard_normal(2) for generator, rests in places]
        return self._rooms.step(actions, np.array(noise))


def _layouts_of_places(value: Any) -> Sequence[Any] | NDArray[Any] | None:
    """What :func:`envs.vector.values_of_places` says, also of layouts whose fields are arrays."""
    if not isinstance(value, Layout):
        return values_of_places(value)
    shapes = {np.shape(field) for field in value} - {()}
    if not shapes:
        return None
    try:
        return np.stack(value.broadcast(np.broadcast_shapes(*shapes)), -1)
    except ValueError as error:
        raise ValueError(f"layout must have as many walls as doors, got {shown(value)}") from error
