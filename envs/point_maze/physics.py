"""The ball: MuJoCo's simulation as Gymnasium-Robotics' PointMaze sets it up, from any state."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.offscreen import import_extra
from envs.point_maze.mazes import MAPS

STEP_SECONDS = 0.01
"""Duration of a step."""
MAX_SPEED = 5.0
"""Largest speed along an axis, in m/s, at the beginning of a step; a step can add 0.24 m/s."""
SPEED_BOUND = 6.0
"""No velocity along an axis is larger than this, in m/s."""
MAX_FORCE = 100.0
"""Force along an axis at an action of 1, in N."""
BALL_MASS = 4.19
"""In kg."""
DAMPING = 1.0
"""Of the ball's velocity, in N s/m."""


@lru_cache
def load(maze: str) -> Any:
    """Gymnasium-Robotics' environment of a maze, one a process: its model takes time and 30 MB.

    Raises:
        gymnasium.error.DependencyNotInstalled: If MuJoCo or Gymnasium-Robotics is missing.
    """
    original = import_extra("gymnasium_robotics.envs.maze.point_maze", "PointMaze")
    loaded = original.PointMazeEnv(maze_map=[[int(cell == "#") for cell in row] for row in MAPS[maze]])
    Path(loaded.tmp_xml_file_path).unlink(missing_ok=True)  # read already, and left behind
    return loaded


class Ball:
    """A ball that forces move through a maze.

    The original environment is held, and of it only the inner one that steps: it knows no goals. All balls in a maze
    share it; each has data of its own.

    Args:
        maze: Name of the maze.

    Attributes:
        data: MuJoCo's data.

    Raises:
        gymnasium.error.DependencyNotInstalled: If MuJoCo or Gymnasium-Robotics is missing.
    """

    def __init__(self, maze: str) -> None:
        self._shared = load(maze).point_env
        self.data = import_extra("mujoco", "PointMaze").MjData(self._shared.model)

    @property
    def state(self) -> NDArray[np.float64]:
        """x, y, and the velocity along x and y: ``(4,)`` in m and m/s."""
        return np.concatenate([self.data.qpos, self.data.qvel])

    def reset(self, state: NDArray[Any]) -> None:
        """Puts the ball into a state ``(4,)``; what follows depends on nothing that was before."""
        self._inner.init_qpos[:], self._inner.init_qvel[:] = state[:2], state[2:]
        self._inner.reset()  # all of MuJoCo's data, with what its solver remembers

    def step(self, action: NDArray[Any]) -> NDArray[np.float64]:
        """Applies a force ``(2,)`` in units of 100 N for 0.01 s, and returns the new state ``(4,)``."""
        self._inner.step(action)
        return self.state

    @property
    def _inner(self) -> Any:
        """The shared environment, at work on the data of this ball."""
        self._shared.data = self.data
        return self._shared
