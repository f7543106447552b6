"""Gymnasium's Pendulum-v1 as arithmetic on arrays, for one state or a batch: a state is angle and angular velocity."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Numbers = NDArray[Any] | np.generic | float

MAX_SPEED = 8.0
"""Largest angular velocity, rad/s."""
MAX_TORQUE = 2.0
"""Largest torque, N m."""
STEP_SECONDS = 0.05
GRAVITY = 10.0
"""m/s²; the rod has a mass of 1 kg and a length of 1 m."""


def step(states: Array, torques: Numbers) -> NDArray[np.float64]:
    """States ``(..., 2)`` after torques ``(...)``, which are clipped to the bounds."""
    angle, speed = states[..., 0], states[..., 1]
    pull = 1.5 * GRAVITY * np.sin(angle) + 3.0 * np.clip(torques, -MAX_TORQUE, MAX_TORQUE)
    speed = np.clip(speed + pull * STEP_SECONDS, -MAX_SPEED, MAX_SPEED)
    return np.stack([angle + speed * STEP_SECONDS, speed], -1)


def angle_between(angle: Numbers, other: Numbers) -> Any:
    """Absolute difference of angles, from 0 to π."""
    return np.abs((np.asarray(angle) - other + np.pi) % (2 * np.pi) - np.pi)
