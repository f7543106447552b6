"""Policies that learn nothing: the floor of every table."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from agents.actions import to_space


class RandomPolicy:
    """Actions uniform in the action space's box, with Stable-Baselines3's ``predict``.

    Each environment of a vector has its own generator, seeded from ``(seed, index)``: it gets the same actions in a
    vector of any size. The generators live on the policy and run on, so that callers may ignore ``state``.

    Args:
        action_space: The action space of one environment, a bounded ``Box``.
        seed: Seed of the actions.

    Raises:
        ValueError: If the action space is not a bounded ``Box``.
    """

    def __init__(self, action_space: spaces.Space[Any], seed: int = 0) -> None:
        if not isinstance(action_space, spaces.Box) or not action_space.is_bounded():
            raise ValueError(f"action_space must be a bounded Box, got {action_space}")
        self.action_space = action_space
        self.set_random_seed(seed)

    def set_random_seed(self, seed: int) -> None:
        """Starts all generators anew."""
        self.seed = seed
        self._generators: list[np.random.Generator] = []

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], Any]:
        """Draws actions.

        Args:
            observation: Vectors ``(d,)`` or images ``(c, h, w)`` of one environment, or batches of them with one more
                dimension; or a dict of such arrays. Only the shape of the first is used.
            state: Returned as it is.
            episode_start: A flag for each environment. With it, observations of one environment, or of several, may
                have any number of dimensions.
            deterministic: Not used.

        Returns:
            An action, or ``(n, …)`` actions for ``n`` environments; and the state.

        Raises:
            ValueError: If the observation has no such shape.
        """
        num_envs = _batch_size(observation, episode_start)
        count = num_envs or 1
        while len(self._generators) < count:
            self._generators.append(np.random.default_rng([self.seed, len(self._generators)]))
        low, high = (corner.astype(np.float64) for corner in (self.action_space.low, self.action_space.high))
        # numpy draws from no range beyond double precision: then from half of it.
        scale = 1.0 if (high / 2 - low / 2 <= np.finfo(np.float64).max / 2).all() else 2.0
        drawn = np.stack([generator.uniform(low / scale, high / scale) for generator in self._generators[:count]])
        actions = to_space(scale * drawn, self.action_space)
        return (actions[0, ...] if num_envs is None else actions), state


def _batch_size(observation: Any, episode_start: Any) -> int | None:
    """Number of environments, or None for the observation of a single one: vectors and images have odd dimensions."""
    while isinstance(observation, Mapping):
        if not observation:
            raise ValueError("observation must hold at least one array, got an empty dict")
        observation = next(iter(observation.values()))
    shape = np.shape(observation)
    if episode_start is not None and np.size(episode_start) > 1:
        return np.size(episode_start)
    if episode_start is not None and shape[:1] != (1,):
        return None
    if len(shape) not in (1, 2, 3, 4):
        raise ValueError(f"observation must have 1 or 3 dimensions, or 2 or 4 in a batch, got shape {shape}")
    return shape[0] if len(shape) % 2 == 0 else None
