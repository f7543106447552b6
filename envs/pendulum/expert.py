"""The scripted expert of Pendulum: it knows the dynamics, tries torques in them and takes what ends closest."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.pendulum.physics import GRAVITY, MAX_TORQUE, angle_between, step

Array = NDArray[Any]

HORIZON = 25
"""Steps that it looks ahead."""
NUM_PLANS = 256
"""Plans that it tries."""
NEAR_UPRIGHT = 0.35
"""Radians from upright, at low speed, from which it balances."""


class ExpertPolicy:
    """Swings up by pumping energy and balances; to other goals it goes by the best of random plans.

    It has Stable-Baselines3's ``predict``, and no memory.

    Args:
        seed: Seed of the plans that it tries.
    """

    def __init__(self, seed: int = 0) -> None:
        self.set_random_seed(seed)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Starts the random stream anew."""
        self._rng = np.random.default_rng(seed)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[NDArray[np.float32], Any]:
        """Actions ``(1,)`` or ``(N, 1)`` for observations of kind "state", one or a batch; ``state`` passes through.

        Raises:
            ValueError: If the observation is of another kind.
        """
        seen, goals = np.asarray(observation["observation"]), np.asarray(observation["desired_goal"])
        if seen.shape[-1] != 3 or goals.shape != (*seen.shape[:-1], 2):
            raise ValueError(f"the expert needs observations of kind 'state', got shapes {seen.shape}, {goals.shape}")
        angles, targets = np.arctan2(seen[..., 1], seen[..., 0]), np.arctan2(goals[..., 1], goals[..., 0])
        states = np.stack([angles, seen[..., 2]], -1).astype(np.float64)
        torques = [
            self._torque(one, float(target))
            for one, target in zip(states.reshape(-1, 2), np.ravel(targets), strict=True)
        ]
        return np.array(torques, np.float32).reshape(*seen.shape[:-1], 1), state

    def _torque(self, state: Array, target: float) -> float:
        if abs(target) < 1e-3:
            return swing_up(state)
        plans = self._rng.uniform(-MAX_TORQUE, MAX_TORQUE, (NUM_PLANS, HORIZON // 5)).repeat(5, axis=1)
        plans[0], plans[1], plans[2] = -MAX_TORQUE, 0.0, MAX_TORQUE
        states, closest = np.tile(state, (NUM_PLANS, 1)), np.full(NUM_PLANS, np.inf)
        for number in range(HORIZON):
            states = step(states, plans[:, number])
            # A little time counts, so that of plans that get there the quickest is taken.
            closest = np.minimum(closest, angle_between(states[:, 0], target) + 0.01 * number)
        return float(plans[closest.argmin(), 0])


def swing_up(state: Array) -> float:
    """The torque that swings a state up: energy shaping (Åström & Furuta, 2000), a linear feedback near upright."""
    angle, speed = state
    if abs(angle) < NEAR_UPRIGHT and abs(speed) < 2.5:
        return float(np.clip(-(10.0 * angle + 2.5 * speed), -MAX_TORQUE, MAX_TORQUE))
    missing = 1.5 * GRAVITY * (1 - np.cos(angle)) - 0.5 * speed**2
    direction = speed if abs(speed) > 1e-3 else 1.0
    return float(np.clip(2.0 * missing * direction, -MAX_TORQUE, MAX_TORQUE))
