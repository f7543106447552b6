"""What native vector environments share: places, each with its own random numbers, options and end of an episode.

A native vector environment moves many episodes in single calls, and gives bit for bit what as many scalar environments
in a ``SyncVectorEnv`` give. Three things make it up::

    a Batch     the environment's own: N episodes in progress; the scalar environment has one of a single episode
    Places      of this module: seeds, options and masks of reset, who starts a new episode and when, infos
    a facade    the VectorEnv that Gymnasium makes: its settings and spaces, and calls of the other two

With a batch ``Dots``, its spaces, and a function ``draw(generator, options)`` of how an episode starts, this is all::

    class DotsVectorEnv(VectorEnv):
        metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

        def __init__(self, num_envs=1, *, max_episode_steps=100, autoreset_mode=AutoresetMode.NEXT_STEP):
            super().__init__()
            declare(self, num_envs, OBSERVATIONS, ACTIONS, autoreset_mode=autoreset_mode)
            self._dots = Dots(self.num_envs)
            self._places = Places(self, self._dots, draw, max_episode_steps=max_episode_steps)

        np_random = property(lambda self: self._places.generators)
        np_random_seed = property(lambda self: self._places.seeds)

        def reset(self, *, seed=None, options=None):
            return self._places.reset(seed, options, names=("start",))

        def step(self, actions):
            return self._places.step(actions, self._dots.step)

The domain names it: ``"vector_entry_point"`` among the environment's keywords, and ``has_vector=True``. Its tests hold
it against scalar environments in every autoreset mode, as ``tests/envs/test_vector.py`` does with this example.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

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
    shown,
    spread_options,
)

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Observation = dict[str, Array]
Infos = dict[str, Any]
StepResult = tuple[Observation, NDArray[np.float64], Mask, Mask, Infos]
"""Observations, rewards, terminations, truncations and infos, as ``VectorEnv.step`` returns them."""


@runtime_checkable
class Batch(Protocol):
    """``N`` episodes in progress, which the environment moves in a way of its own.

    Attributes:
        begun: In which places an episode has ever begun, bool ``(N,)``.
    """

    begun: Mask

    def begin(self, which: Sequence[int], episodes: Sequence[Any]) -> None:
        """Starts new episodes in the places ``which``, each as it was drawn."""
        ...

    def view(self, moved: Any = None, /) -> tuple[Observation, NDArray[np.float64], dict[str, Array]]:
        """Observations, rewards ``(N,)`` and infos as they are now, in arrays ``(N, ...)`` that are all new.

        Infos hold ``is_success``, and after a step, which ``moved`` tells of, what it did.
        """
        ...

    def check_begun(self, method: str) -> None:
        """Raises :class:`gymnasium.error.ResetNeeded` in a method before the first reset."""
        ...


def declare(
    env: VectorEnv[Any, Any, Any],
    num_envs: int,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    *,
    autoreset_mode: str | AutoresetMode,
    render_mode: str | None = None,
) -> None:
    """Gives a vector environment the attributes that Gymnasium asks for: sizes, spaces, and modes in its metadata.

    Args:
        env: The environment; ``render_modes`` of its class's metadata are those that it may have.
        num_envs: Number of episodes at once.
        observation_space: Space of one observation.
        action_space: Space of one action.
        autoreset_mode: An ``AutoresetMode`` or its value.
        render_mode: How it is drawn; None: not at all.

    Raises:
        ValueError: If a setting is not one of its choices, or ``num_envs`` episodes do not fit into memory.
    """
    env.num_envs = num_envs = check_count("num_envs", num_envs)
    if render_mode is not None:
        check_choice("render_mode", render_mode, type(env).metadata["render_modes"])
    env.render_mode = render_mode
    if not isinstance(autoreset_mode, AutoresetMode):
        modes = [mode.value for mode in AutoresetMode]
        autoreset_mode = AutoresetMode(check_choice("autoreset_mode", autoreset_mode, modes))
    env.metadata = type(env).metadata | {"autoreset_mode": autoreset_mode}
    env.autoreset_mode = autoreset_mode  # type: ignore[attr-defined]  # as Gymnasium's own have; TorchRL reads it
    _check_memory(num_envs, observation_space)
    env.single_observation_space, env.observation_space = observation_space, batch_space(observation_space, num_envs)
    env.single_action_space, env.action_space = action_space, batch_space(action_space, num_envs)


def values_of_places(value: Any) -> Sequence[Any] | Array | None:
    """The values of an option that has one for each place; None if it has one for all, or is nothing of the kind."""
    if isinstance(value, list | tuple):
        return value if any(is_listed(item) or isinstance(item, Mapping) for item in value) else None
    return value if is_listed(value) and value.ndim > 1 else None


class Places:
    """The places of a batch: when each starts a new episode, with which random numbers, and what is told of it.

    Args:
        env: The vector environment, already declared (:func:`declare`).
        batch: Its episodes.
        draw: From a place's generator and its options of ``reset``, how an episode starts.
        max_episode_steps: Steps after which an episode is truncated; None or −1: never.
        terminates: Whether success ends an episode.
        told_of_steps: Infos that tell of a step, so that places in which a new episode starts have none.

    Attributes:
        max_episode_steps: The limit; None where there is none.

    Raises:
        ValueError: If the limit is not one.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        batch: Batch,
        draw: Callable[[np.random.Generator, Mapping[str, Any]], Any],
        *,
        max_episode_steps: int | None,
        terminates: bool = False,
        told_of_steps: Sequence[str] = ("action",),
    ) -> None:
        if max_episode_steps is not None:
            forever = is_integer(max_episode_steps) and max_episode_steps == -1
            max_episode_steps = None if forever else check_count("max_episode_steps", max_episode_steps)
        self.max_episode_steps = max_episode_steps
        self._num, self._mode = env.num_envs, env.metadata["autoreset_mode"]
        self._actions_shape = env.action_space.shape or ()
        self._batch, self._draw = batch, draw
        self._terminates, self._told_of_steps = terminates, told_of_steps
        self._generators: list[tuple[np.random.Generator, int] | None] = [None] * self._num
        self._elapsed = np.zeros(self._num, dtype=np.int64)
        self._ended = np.zeros(self._num, dtype=bool)  # episodes that ended and were not yet reset

    @property
    def generators(self) -> tuple[np.random.Generator, ...]:
        """The random number generator of each place."""
        return tuple(self._seeded(i)[0] for i in range(self._num))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each place, which is random if none was given."""
        return tuple(self._seeded(i)[1] for i in range(self._num))

    def reset(
        self,
        seed: Any,
        options: Mapping[str, Any] | None,
        names: Sequence[str],
        batched: Callable[[Any], Sequence[Any] | Array | None] = values_of_places,
    ) -> tuple[Observation, Infos]:
        """Starts episodes.

        Args:
            seed: Seeds of the places, non-negative integers; a single one stands for ``seed, seed + 1, …``.
            options: Any of ``names``, once for all places or with a value for each, and ``reset_mask``: bool ``(N,)``,
                the places to reset; by default all.
            names: The environment's own options.
            batched: The values of an option that has one for each place; None if it has one for all.

        Returns:
            Observations of all places, and infos of those that were reset.

        Raises:
            ValueError: If a seed or an option is unknown or impossible, or there is not one a place.
            TypeError: If ``reset_mask`` is not an array of bool.
            gymnasium.error.ResetNeeded: If the first reset leaves places out.
        """
        given = check_options(options, (*names, "reset_mask"))
        mask = check_mask(given.pop("reset_mask", None), self._num)
        seeds = check_seeds(seed, self._num)
        rows = spread_options(given, self._num, batched)
        if not (self._batch.begun | mask).all():
            raise ResetNeeded("the first reset must reset all environments, got a reset_mask that leaves some out")
        for i in np.flatnonzero(mask).tolist():
            if seeds[i] is not None:
                self._generators[i] = seeding.np_random(seeds[i])
        self._begin(mask, rows)
        observation, _, info = self._batch.view()
        return observation, with_masks(info, mask)

    def step(self, actions: Any, move: Callable[[NDArray[np.float32], Mask], Any]) -> StepResult:
        """Moves all episodes, and starts new ones where they ended, as the autoreset mode says.

        Args:
            actions: Real numbers ``(N, ...)``.
            move: Moves the batch by actions, float32 ``(N, ...)``, except in places ``(N,)`` that start a new episode
                instead, where actions are 0. What it returns is handed to :meth:`Batch.view`.

        Returns:
            Observations, rewards, terminations, truncations, infos.

        Raises:
            ValueError: If the actions are not real numbers of the right shape.
            gymnasium.error.ResetNeeded: Before the first reset, or with autoreset "Disabled" when an episode ended.
        """
        self._batch.check_begun("step")
        actions = check_actions("actions", actions, self._actions_shape)
        resetting = self._ended.copy()  # with "SameStep" none
        any_resetting = bool(resetting.any())
        if any_resetting:
            if self._mode == AutoresetMode.DISABLED:
                raise ResetNeeded(
                    f"episodes {np.flatnonzero(resetting).tolist()} ended and must be reset before the next step: "
                    "reset(options={'reset_mask': mask})"
                )
            actions = np.where(_spread(resetting, actions), np.float32(0), actions)
        moved = move(actions, resetting)
        self._elapsed += 1
        if any_resetting:
            self._begin(resetting)
        observation, rewards, info = self._batch.view(moved)
        terminations = info["is_success"] & ~resetting if self._terminates else np.zeros_like(resetting)
        truncations = self._elapsed >= (self.max_episode_steps or np.inf)
        if any_resetting:
            rewards[resetting] = 0.0
        self._ended = terminations | truncations
        infos = self._step_infos(info, ~resetting)
        if self._mode == AutoresetMode.SAME_STEP and self._ended.any():
            observation, infos = self._reset_ended(observation, infos)
        return observation, rewards, terminations, truncations, infos

    def _seeded(self, i: int) -> tuple[np.random.Generator, int]:
        """The generator of a place and its seed."""
        made = self._generators[i]
        if made is None:
            made = self._generators[i] = seeding.np_random()
        return made

    def _begin(self, mask: Mask, rows: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Starts new episodes in some places, with the options of each."""
        places = np.flatnonzero(mask).tolist()
        episodes = []
        for i in places:
            try:
                episodes.append(self._draw(self._seeded(i)[0], rows[i] if rows else {}))
            except ValueError as error:
                raise ValueError(f"environment {i}: {error}") from error
        self._batch.begin(places, episodes)
        self._elapsed[mask] = 0
        self._ended[mask] = False

    def _reset_ended(self, observation: Observation, infos: Infos) -> tuple[Observation, Infos]:
        """With "SameStep": starts new episodes, and puts aside how the old ones ended."""
        ended = self._ended.copy()
        final_observation = np.full(self._num, None, dtype=object)
        for i in np.flatnonzero(ended).tolist():
            final_observation[i] = {key: value[i].copy() for key, value in observation.items()}
        final_info = with_masks({key: value for key, value in infos.items() if not key.startswith("_")}, ended)
        self._begin(ended)
        observation, _, info = self._batch.view()
        infos = self._step_infos(info | {key: infos[key] for key in self._told_of_steps}, ~ended)
        infos |= with_masks({"final_obs": final_observation}, ended)
        infos |= {"final_info": final_info, "_final_info": ended.copy()}
        return observation, infos

    def _step_infos(self, info: dict[str, Array], moved: Mask) -> Infos:
        """Infos of a step: what was done is known for the places that moved, everything else for all places."""
        done = {key: info.pop(key) for key in self._told_of_steps}
        infos = with_masks(info, np.ones_like(moved))
        return infos | with_masks(done, moved) if moved.any() else infos


def with_masks(info: Mapping[str, Array], mask: Mask) -> Infos:
    """Gymnasium's vector info: each entry with zeros where the mask is False, and the mask as ``_entry``."""
    everything = bool(mask.all())
    infos: Infos = {}
    for key, value in info.items():
        if not everything and value.dtype != object:
            value = np.where(_spread(mask, value), value, value.dtype.type(0))
        infos[key] = value
        infos[f"_{key}"] = mask.copy()
    return infos


def _spread(mask: Mask, values: Array) -> Mask:
    """A mask ``(N,)`` in a shape that goes with values ``(N, ...)``."""
    return mask.reshape(-1, *(1,) * (values.ndim - 1))


def _check_memory(num_envs: int, observation_space: gym.Space[Any]) -> None:
    """Refuses more episodes than fit into memory: allocating them fails late or takes the machine down.

    The batched space keeps four arrays as large as an observation (bounds, and which there are), the images that each
    episode keeps and the observations that are returned are about two more.
    """
    parts = observation_space.spaces.values() if isinstance(observation_space, gym.spaces.Dict) else [observation_space]
    observation_bytes = sum(int(np.prod(part.shape or ())) * np.dtype(part.dtype).itemsize for part in parts)
    needed = num_envs * (6 * observation_bytes + 1500)
    if needed < 10**9:
        return
    import psutil  # for large batches only

    available = psutil.virtual_memory().available
    if needed > available:
        raise ValueError(
            f"num_envs must fit into memory, got {shown(num_envs)}: about {shown(needed // 10**9)} GB, "
            f"{available // 10**9} GB are free"
        )
