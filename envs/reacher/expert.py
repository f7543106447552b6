"""The scripted expert of Reacher: it knows the arm, and turns both joints to the nearer pose of the goal."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.reacher.arm import DECAY, MAX_ACCELERATION, poses

Array = NDArray[Any]

GAIN = 15.0
"""Velocity for each radian to go, near the end, in 1/s."""
MAX_SPEED = 12.0
"""Largest angular velocity, in rad/s."""
BRAKING = 0.5
"""Of the largest acceleration, what it plans to brake with."""

_NUMBERS_OF_STATE = 8


class ExpertPolicy:
    """Brings the fingertip to the goal by the pose that is sooner reached, and keeps it there.

    It has Stable-Baselines3's ``predict``, and no memory.
    """

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[NDArray[np.float32], Any]:
        """Actions ``(2,)`` or ``(N, 2)`` for observations of kind "state", one or a batch; ``state`` passes through.

        Raises:
            ValueError: If the observation is of another kind.
        """
        seen, goals = np.asarray(observation["observation"]), np.asarray(observation["desired_goal"])
        if seen.shape[-1] != _NUMBERS_OF_STATE or goals.shape != (*seen.shape[:-1], 2):
            raise ValueError(f"the expert needs observations of kind 'state', got shapes {seen.shape}, {goals.shape}")
        seen = seen.astype(np.float64)
        angles, speeds = np.arctan2(seen[..., 2:4], seen[..., 0:2]), seen[..., 4:6]
        to_go = poses(goals.astype(np.float64)) - angles  # (2, ..., 2)
        to_go[..., 0] = (to_go[..., 0] + np.pi) % (2 * np.pi) - np.pi  # the shoulder turns all the way round
        longest = np.abs(to_go).max(-1)
        to_go = np.where((longest[0] <= longest[1])[..., None], to_go[0], to_go[1])
        size = np.abs(to_go)
        braking = BRAKING * MAX_ACCELERATION
        wanted = np.sign(to_go) * np.minimum(np.minimum(np.sqrt(2 * braking * size), GAIN * size), MAX_SPEED)
        return np.clip(drive(speeds, wanted), -1, 1).astype(np.float32), state


def drive(speeds: Array, wanted: Array) -> NDArray[np.float64]:
    """Actions ``(..., 2)`` that give joints wanted velocities after one step, if they are strong enough."""
    return np.asarray((wanted - DECAY * speeds) / (MAX_ACCELERATION * (1 - DECAY)))
