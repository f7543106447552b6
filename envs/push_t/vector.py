"""Push-T as a native Gymnasium vector environment: boards of their own, drawn in single calls."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.inputs import (
    check_actions,
    check_choice,
    check_count,
    check_mask,
    check_options,
    check_seeds,
    is_integer,
    is_listed,
    spread_options,
)
from envs.push_t.boards import Boards
from envs.push_t.env import RENDER_FPS, RENDER_SIZE
from envs.push_t.task import EPISODE_OPTIONS, MAX_EPISODE_STEPS, Settings, set_up

Observation = dict[str, NDArray[Any]]


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
        ValueError: If a setting is not one of its choices.
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
        num_envs = check_count("num_envs", num_envs)
        if max_episode_steps is not None:
            forever = is_integer(max_episode_steps) and max_episode_steps == -1
            max_episode_steps = None if forever else check_count("max_episode_steps", max_episode_steps)
        self.task = Settings(**settings)
        if render_mode is not None:
            check_choice("render_mode", render_mode, ("rgb_array",))
        if not isinstance(autoreset_mode, AutoresetMode):
            check_choice("autoreset_mode", autoreset_mode, [mode.value for mode in AutoresetMode])
            autoreset_mode = AutoresetMode(autoreset_mode)
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self.autoreset_mode = autoreset_mode
        self.metadata = type(self).metadata | {"autoreset_mode": autoreset_mode}
        self.render_mode = render_mode
        self.single_observation_space = self.task.observation_space()
        self.single_action_space = self.task.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._boards = Boards(self.task, num_envs, keep_trails=render_mode is not None)
        self._generators: list[tuple[np.random.Generator, int] | None] = [None] * num_envs
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._ended = np.zeros(num_envs, dtype=bool)  # episodes that ended and were not yet reset

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The random number generator of each place."""
        return tuple(self._seeded(i)[0] for i in range(self.num_envs))

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each place."""
        return tuple(self._seeded(i)[1] for i in range(self.num_envs))

    def reset(
        self,
        *,
        seed: int | np.integer[Any] | Sequence[int | None] | NDArray[Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
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
        given = check_options(options, (*EPISODE_OPTIONS, "reset_mask"))
        mask = check_mask(given.pop("reset_mask", None), self.num_envs)
        seeds = check_seeds(seed, self.num_envs)
        rows = spread_options(given, self.num_envs, _batch)
        if not (self._boards.begun | mask).all():
            raise ResetNeeded("the first reset must reset all environments, got a reset_mask that leaves some out")
        places = np.flatnonzero(mask).tolist()
        for i in places:
            if seeds[i] is not None:
                self._generators[i] = seeding.np_random(seeds[i])
        self._begin(places, rows)
        observation, _, info = self._boards.view()
        return observation, _with_masks(info, mask)

    def step(
        self, actions: Any
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Moves agents and blocks for a tenth of a second.

        Args:
            actions: ``(num_envs, 2)``.

        Returns:
            Observations, rewards, terminations, truncations, infos.

        Raises:
            ValueError: If the actions are not finite real numbers ``(num_envs, 2)``.
            gymnasium.error.ResetNeeded: Before the first reset, or with autoreset "Disabled" when an episode ended.
        """
        self._boards.check_begun("step")
        actions = check_actions("actions", actions, (self.num_envs, 2))
        resetting = self._ended.copy()  # with "SameStep" none
        any_resetting = bool(resetting.any())
        if any_resetting:
            if self.autoreset_mode == AutoresetMode.DISABLED:
                raise ResetNeeded(
                    f"episodes {np.flatnonzero(resetting).tolist()} ended and must be reset before the next step: "
                    "reset(options={'reset_mask': mask})"
                )
            actions = np.where(resetting[:, None], np.float32(0), actions)
        executed = self._boards.step(actions, resetting)
        self._elapsed += 1
        if any_resetting:
            self._begin(np.flatnonzero(resetting).tolist())
        observation, rewards, info = self._boards.view(executed)
        terminations = info["is_success"] & ~resetting if self.task.terminate_on_success else np.zeros_like(resetting)
        truncations = self._elapsed >= (self.max_episode_steps or np.inf)
        if any_resetting:
            rewards[resetting] = 0.0
        self._ended = terminations | truncations
        infos = _step_infos(info, ~resetting)
        if self.autoreset_mode == AutoresetMode.SAME_STEP and self._ended.any():
            observation, infos = self._reset_ended(observation, infos)
        return observation, rewards, terminations, truncations, infos

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

    def _seeded(self, i: int) -> tuple[np.random.Generator, int]:
        """The generator of a place and its seed, which is random if none was given."""
        made = self._generators[i]
        if made is None:
            made = self._generators[i] = seeding.np_random()
        return made

    def _begin(self, places: list[int], rows: list[dict[str, Any]] | None = None) -> None:
        """Starts new episodes in some places."""
        episodes = []
        for i in places:
            try:
                episodes.append(set_up(self._seeded(i)[0], rows[i] if rows else None))
            except ValueError as error:
                raise ValueError(f"environment {i}: {error}") from error
        self._boards.begin(places, episodes)
        self._elapsed[places] = 0
        self._ended[places] = False

    def _reset_ended(self, observation: Observation, infos: dict[str, Any]) -> tuple[Observation, dict[str, Any]]:
        """With "SameStep": starts new episodes, and puts aside how the old ones ended."""
        ended = self._ended.copy()
        places = np.flatnonzero(ended).tolist()
        final_observation = np.full(self.num_envs, None, dtype=object)
        for i in places:
            final_observation[i] = {key: value[i].copy() for key, value in observation.items()}
        final_info = _with_masks({key: value for key, value in infos.items() if not key.startswith("_")}, ended)
        self._begin(places)
        observation, _, info = self._boards.view()
        infos = _step_infos(info | {"action": infos["action"]}, ~ended)
        infos |= _with_masks({"final_obs": final_observation}, ended)
        infos |= {"final_info": final_info, "_final_info": ended.copy()}
        return observation, infos


def _batch(value: Any) -> Sequence[Any] | NDArray[Any] | None:
    """The values of an option that has one for each place; None if it has one for all, or is nothing of the kind."""
    if isinstance(value, list | tuple):
        return value if any(is_listed(item) or isinstance(item, Mapping) for item in value) else None
    return value if is_listed(value) and value.ndim > 1 else None


def _with_masks(info: dict[str, Any], mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Gymnasium's vector info: each entry with zeros where the mask is False, and the mask as ``_entry``."""
    everything = bool(mask.all())
    infos: dict[str, Any] = {}
    for key, value in info.items():
        if not everything and value.dtype != object:
            value = np.where(mask.reshape(-1, *(1,) * (value.ndim - 1)), value, value.dtype.type(0))
        infos[key] = value
        infos[f"_{key}"] = mask.copy()
    return infos


def _step_infos(info: dict[str, Any], moved: NDArray[np.bool_]) -> dict[str, Any]:
    """Infos of a step: what was done is known for the places that moved, everything else for all places."""
    done = {"action": info.pop("action")}
    infos = _with_masks(info, np.ones_like(moved))
    return infos | _with_masks(done, moved) if moved.any() else infos
