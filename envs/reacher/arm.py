"""The arm: where its fingertip is, which angles bring it where, and MuJoCo's simulation of it from any state.

Angles are radians, counter-clockwise: of the shoulder from the x axis, of the elbow from the first link. Places are in
centimetres from the shoulder, x to the right and y upwards.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.offscreen import import_extra

Array = NDArray[Any]

LINKS = (10.0, 11.0)
"""Lengths of the links in cm; the second one ends in the middle of the fingertip."""
MAX_ELBOW = 3.0
"""Largest angle of the elbow, to both sides."""
GOAL_RADIUS = 2.0
"""A goal counts as reached when the fingertip is closer than this, in cm."""
STEP_SECONDS = 0.02
"""Duration of a step."""
MAX_ACCELERATION = 200.0
"""Of a joint at an action of 1, in rad/s²: links weigh nothing beside the inertia of their motors."""
MAX_SPEED = 200.0
"""Angular velocity at which damping cancels the largest torque, in rad/s: no joint turns faster."""
DECAY = float(np.exp(-STEP_SECONDS))
"""What damping leaves of an angular velocity after a step."""


def fingertip(angles: Array) -> NDArray[np.float64]:
    """Where the fingertip is, ``(..., 2)`` in cm, at angles ``(..., 2)``."""
    return elbow(angles) + LINKS[1] * _unit(angles[..., 0] + angles[..., 1])


def elbow(angles: Array) -> NDArray[np.float64]:
    """Where the elbow is, ``(..., 2)`` in cm, at angles ``(..., 2)``."""
    return LINKS[0] * _unit(angles[..., 0])


def _unit(angle: Array | float) -> NDArray[np.float64]:
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def poses(places: Array) -> NDArray[np.float64]:
    """The two poses ``(2, ..., 2)`` that bring the fingertip to places ``(..., 2)``: elbow to the left, to the right.

    Where the arm does not reach, they come as close as it can.
    """
    first, second = LINKS
    x, y = places[..., 0], places[..., 1]
    bend = np.arccos(np.clip((x**2 + y**2 - first**2 - second**2) / (2 * first * second), -1, 1))
    elbows = np.minimum(bend, MAX_ELBOW) * np.array([1, -1]).reshape(2, *(1,) * np.ndim(x))
    shoulders = np.arctan2(y, x) - np.arctan2(second * np.sin(elbows), first + second * np.cos(elbows))
    return np.stack([shoulders, elbows], -1)


def sample_poses(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Uniform angles ``(count, 2)`` within the joints' limits; their four decimals make small manifests."""
    return rng.uniform((-np.pi, -MAX_ELBOW), (np.pi, MAX_ELBOW), (count, 2)).round(4)


def distance(a: Any, b: Any) -> NDArray[np.float64]:
    """Distances ``(...)`` between places ``(..., 2)``."""
    difference = np.subtract(a, b, dtype=np.float64)
    return np.asarray(np.hypot(difference[..., 0], difference[..., 1]))


@lru_cache
def load() -> Any:
    """Gymnasium's Reacher-v5, one a process.

    Raises:
        gymnasium.error.DependencyNotInstalled: If MuJoCo is missing.
    """
    import_extra("mujoco", "Reacher")
    return import_extra("gymnasium.envs.mujoco.reacher_v5", "Reacher").ReacherEnv()


class Arm:
    """An arm that torques move.

    The original environment is held, and nothing of it used but its simulation. All arms share it; each has data of its
    own.

    Attributes:
        data: MuJoCo's data.

    Raises:
        gymnasium.error.DependencyNotInstalled: If MuJoCo is missing.
    """

    def __init__(self) -> None:
        self._mujoco, self._shared = import_extra("mujoco", "Reacher"), load()
        self.data = self._mujoco.MjData(self._shared.model)

    @property
    def state(self) -> NDArray[np.float64]:
        """The two angles and their velocities: ``(4,)`` in rad and rad/s."""
        return np.concatenate([self.data.qpos[:2], self.data.qvel[:2]])

    def reset(self, state: NDArray[Any]) -> None:
        """Puts the arm into a state ``(4,)``; what follows depends on nothing that was before."""
        self._mujoco.mj_resetData(self._shared.model, self.data)  # all of it, with what the solver remembers
        places, speeds = self._shared.init_qpos.copy(), self._shared.init_qvel.copy()
        places[:2], speeds[:2] = state[:2], state[2:]
        self._inner.set_state(places, speeds)

    def step(self, action: NDArray[Any]) -> NDArray[np.float64]:
        """Applies torques ``(2,)``, clipped to [-1, 1], for 0.02 s, and returns the new state ``(4,)``."""
        self._inner.do_simulation(np.clip(action, -1, 1), self._shared.frame_skip)
        return self.state

    @property
    def _inner(self) -> Any:
        """The shared environment, at work on the data of this arm."""
        self._shared.data = self.data
        return self._shared
