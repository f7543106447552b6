"""An explorer of Pendulum that sees all of it: with torques at random it is seldom upright and slow."""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.explorers import Explorer
from envs.pendulum.physics import GRAVITY, MAX_TORQUE

Array = NDArray[Any]

LOWEST, HIGHEST = -1.0, 2.0
"""Energies that it swings to: −1 hangs still, 1 is at rest upright, more turns over and over."""
LEAST_STEPS, MOST_STEPS = 20, 80
"""It keeps to an energy for a number of steps between these."""
GAIN, NOISE = 8.0, 0.5
"""Torque for a unit of energy that is missing, and standard deviation of the noise on torques, in N m."""


class Swinging(NamedTuple):
    """What the explorer remembers between steps, of N pendulums.

    Attributes:
        energy: Where it swings to, ``(N,)``.
        steps_left: Steps until the next one, ``(N,)``.
    """

    energy: Array
    steps_left: Array


class SwingExplorer(Explorer):
    """Swings with one energy for a while, then with another, from hanging still to turning over.

    It sees observations of kind "state".

    Raises:
        ValueError: If the action space is unbounded or has another shape than ``(1,)``.
    """

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.spaces.Box, seed: int = 0) -> None:
        if action_space.shape != (1,):
            raise ValueError(f"the swinging explorer needs actions of shape (1,), got {action_space.shape}")
        super().__init__(observation_space, action_space, seed)

    def _move(self, observation: Any, state: Swinging | None, begins: Array) -> tuple[Array, Swinging]:
        rng, count = self._rng, len(begins)
        energy, noise = rng.uniform(LOWEST, HIGHEST, count), rng.standard_normal(count)
        steps = rng.integers(LEAST_STEPS, MOST_STEPS, count, endpoint=True)
        if state is not None:
            done = begins | (state.steps_left <= 0)
            energy, steps = np.where(done, energy, state.energy), np.where(done, steps, state.steps_left)
        cos, _, speed = np.asarray(observation["observation"], np.float64).reshape(count, 3).T
        missing = energy - (cos + 0.5 * speed**2 / (1.5 * GRAVITY))
        # With the motion it adds energy, against it it takes some; at rest it pushes anywhere.
        direction = np.where(np.abs(speed) < 0.1, np.sign(noise), np.sign(speed))
        torques = np.clip(GAIN * missing, -MAX_TORQUE, MAX_TORQUE) * direction + NOISE * noise
        return torques, Swinging(energy, steps - 1)
