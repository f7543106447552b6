"""An explorer of Reacher with velocities that stay small: torques at random soon spin the arm too fast to see."""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.explorers import Explorer
from envs.reacher.arm import DECAY, MAX_ACCELERATION
from envs.reacher.expert import drive

Array = NDArray[Any]

SPEED = 4.0
"""Standard deviation of the velocities that it turns joints with, in rad/s."""
REST_PROBABILITY = 0.25
"""How often a joint is to rest."""
LEAST_STEPS, MOST_STEPS = 5, 30
"""A joint keeps a velocity for a number of steps between these."""
STRONGEST, NOISE = 0.3, 0.05
"""Largest action with which it changes velocities, and standard deviation of the noise on its actions."""


class Swinging(NamedTuple):
    """What the explorer remembers between steps, of N arms.

    Attributes:
        speeds: What velocities its actions should have given the joints, ``(N, 2)``.
        wanted: Velocities that it turns them with, ``(N, 2)``.
        steps_left: Steps until the next ones, ``(N, 2)``.
    """

    speeds: Array
    wanted: Array
    steps_left: Array


class SwingExplorer(Explorer):
    """Turns each joint for a while with one velocity, then with another, or lets it rest.

    It does not look: it reckons the velocities from what it did, so it works with any observation. At the elbow's limit
    it is wrong for some steps, until damping has set it right.

    Raises:
        ValueError: If the action space is unbounded or has another shape than ``(2,)``.
    """

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.spaces.Box, seed: int = 0) -> None:
        if action_space.shape != (2,):
            raise ValueError(f"the swinging explorer needs actions of shape (2,), got {action_space.shape}")
        super().__init__(observation_space, action_space, seed)

    def _move(self, observation: Any, state: Swinging | None, begins: Array) -> tuple[Array, Swinging]:
        rng, shape = self._rng, (len(begins), 2)
        wanted = np.where(rng.random(shape) < REST_PROBABILITY, 0.0, SPEED * rng.standard_normal(shape))
        steps, noise = rng.integers(LEAST_STEPS, MOST_STEPS, shape, endpoint=True), rng.standard_normal(shape)
        speeds = np.zeros(shape)
        if state is not None:
            done = begins[:, None] | (state.steps_left <= 0)
            wanted, steps = np.where(done, wanted, state.wanted), np.where(done, steps, state.steps_left)
            speeds = np.where(begins[:, None], 0.0, state.speeds)
        actions = np.clip(np.clip(drive(speeds, wanted), -STRONGEST, STRONGEST) + NOISE * noise, -1, 1)
        speeds = DECAY * speeds + MAX_ACCELERATION * (1 - DECAY) * actions
        return actions, Swinging(speeds, wanted, steps - 1)
