"""Policies that gather data: each moves through an environment without a goal, with Stable-Baselines3's ``predict``."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from envs.inputs import read_starts
from envs.simulation import Array

HEADING_CONCENTRATION = 5.0
"""Concentration of the von Mises distribution of a walk's turns (EB-JEPA, arXiv 2602.03604)."""
STEP_MEAN, STEP_STD, STEP_MIN, STEP_MAX, LARGEST_STEP = 1.0, 0.4, 0.2, 1.8, 2.45
"""Truncated normal distribution of a walk's step lengths, and the largest step of the environment that it is from."""
SMOOTHNESS = 0.9
"""Correlation of consecutive actions of the smooth walk."""


def num_observations(observation: Any, space: gym.Space[Any]) -> int | None:
    """How many environments an observation is of: ``None`` for a single one, else the size of the batch.

    Raises:
        ValueError: If the shape is neither the space's nor a batch of it.
    """
    if isinstance(space, gym.spaces.Dict):
        key = next(iter(space.spaces))
        observation, space = observation[key], space.spaces[key]
    shape, expected = np.shape(observation), space.shape
    if shape == expected:
        return None
    if shape[1:] == expected:
        return shape[0]
    raise ValueError(
        f"observation must have shape {expected} or (N, {', '.join(map(str, expected or ()))}), got {shape}"
    )


class Explorer:
    """What explorers share: random numbers, and observations that are single or batched over environments.

    An explorer is deterministic given its seed: :meth:`set_random_seed` starts its random stream anew, and everything
    that must survive between two steps travels in ``state``.

    Args:
        observation_space: Of a single environment.
        action_space: Of a single environment, bounded.
        seed: Seed of the walk.

    Raises:
        ValueError: If the action space is unbounded.
    """

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.spaces.Box, seed: int = 0) -> None:
        if not action_space.is_bounded():
            raise ValueError(f"an explorer needs a bounded action space, got {action_space}")
        self.observation_space = observation_space
        self.action_space = action_space
        self.set_random_seed(seed)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Starts the random stream anew."""
        self._rng = np.random.default_rng(seed)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Array | None = None, deterministic: bool = False
    ) -> tuple[Array, Any]:
        """Moves on by one step; see :class:`~envs.domain.Policy`."""
        n = num_observations(observation, self.observation_space)
        count, space = 1 if n is None else n, self.action_space
        begins = np.ones(count, dtype=bool) if state is None else read_starts(episode_start, count)
        actions, state = self._move(observation, state, begins)
        actions = np.clip(actions.reshape(-1, *space.shape), space.low, space.high).astype(space.dtype)
        return actions[0, ...] if n is None else actions, state

    def _move(self, observation: Any, state: Any, begins: Array) -> tuple[Array, Any]:
        """Actions ``(N, ...)``, which are clipped to the space, and the next state.

        Args:
            observation: What ``N`` environments show, or a single one.
            state: What the explorer returned before; None at first.
            begins: Which environments begin an episode, bool ``(N,)``.
        """
        raise NotImplementedError


class HeadingWalk(Explorer):
    """A walk in the plane whose heading drifts: for two-dimensional actions that are something like displacements.

    The first heading is uniform; each next one adds a turn from a von Mises distribution of concentration 5. Step
    lengths are N(1, 0.4²) truncated to [0.2, 1.8], where the largest step is 2.45; in another action space they keep
    their ratio to the largest step, axis by axis. The state holds the headings ``(N,)`` in radians.

    Raises:
        ValueError: If the action space is unbounded or has another shape than ``(2,)``.
    """

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.spaces.Box, seed: int = 0) -> None:
        if action_space.shape != (2,):
            raise ValueError(f"a heading walk needs actions of shape (2,), got {action_space.shape}")
        super().__init__(observation_space, action_space, seed)

    def _move(self, observation: Any, state: Any, begins: Array) -> tuple[Array, Any]:
        count = len(begins)
        first, turn = self._rng.uniform(-np.pi, np.pi, count), self._rng.vonmises(0.0, HEADING_CONCENTRATION, count)
        heading = np.where(begins, first, 0.0 if state is None else state + turn)
        steps = direction(heading) * step_lengths(self._rng, count)[:, None]
        return _scale(steps / LARGEST_STEP, self.action_space), heading


class SmoothWalk(Explorer):
    """A smooth random walk within the bounds, for actions of any shape.

    An autoregressive process of order one with correlation 0.9 and standard deviation 0.5, in units of half the range
    of the action space, clipped to it. The state holds the process, ``(N, ...)``.
    """

    def _move(self, observation: Any, state: Any, begins: Array) -> tuple[Array, Any]:
        noise = self._rng.standard_normal((len(begins), *self.action_space.shape))
        moved = noise if state is None else SMOOTHNESS * state + np.sqrt(1 - SMOOTHNESS**2) * noise
        process = np.where(begins.reshape(-1, *(1,) * len(self.action_space.shape)), noise, moved)
        return _scale(np.clip(0.5 * process, -1, 1), self.action_space), process


def random_walk(
    observation_space: gym.Space[Any], action_space: gym.spaces.Box, env_kwargs: Mapping[str, Any] | None = None
) -> Explorer:
    """The random-walk explorer: :class:`HeadingWalk` for two-dimensional actions, :class:`SmoothWalk` for others."""
    walk = HeadingWalk if action_space.shape == (2,) else SmoothWalk
    return walk(observation_space, action_space)


def direction(heading: Array) -> Array:
    """Unit vectors ``(N, 2)`` of headings ``(N,)``."""
    return np.stack([np.cos(heading), np.sin(heading)], -1)


def step_lengths(rng: np.random.Generator, n: int) -> Array:
    """Lengths of steps from the truncated normal distribution, by rejection, ``(N,)``."""
    lengths = rng.normal(STEP_MEAN, STEP_STD, n)
    while (outside := (lengths < STEP_MIN) | (lengths > STEP_MAX)).any():
        lengths[outside] = rng.normal(STEP_MEAN, STEP_STD, int(outside.sum()))
    return lengths


def _scale(unit: Array, space: gym.spaces.Box) -> Array:
    """Maps ``[-1, 1]`` to the bounds of a space, axis by axis."""
    low, high = space.low.astype(np.float64) / 2, space.high.astype(np.float64) / 2  # half, for a sum may overflow
    return (low + high) + unit * (high - low)
