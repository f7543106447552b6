"""The scripted expert of PointMaze: it knows the maze, and drives the ball along the shortest path."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.point_maze.mazes import MAPS, shortest_path
from envs.point_maze.physics import BALL_MASS, DAMPING, MAX_FORCE, MAX_SPEED, STEP_SECONDS

Array = NDArray[Any]

MARGIN = 0.2
"""How far the path stays from walls, in metres."""
CORNER_SPEED = 2.0
"""Speed at which it goes around corners, in m/s."""
BRAKING = 0.6
"""Of the largest force, what it plans to brake with."""

GAIN = 12.0
"""Speed for each metre to go, near the end, in 1/s."""

_SIDES = {len(rows): maze for maze, rows in MAPS.items()}
_NUMBERS_OF_STATE = 5


class ExpertPolicy:
    """Drives to the goal along the shortest path as fast as it can brake, and stays there.

    It has Stable-Baselines3's ``predict``, and no memory: each call plans from where the ball is.
    """

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[NDArray[np.float32], Any]:
        """Actions ``(2,)`` or ``(N, 2)`` for observations of kind "state", one or a batch; ``state`` passes through.

        Raises:
            ValueError: If the observation is of another kind.
        """
        states, goals = np.asarray(observation["observation"]), np.asarray(observation["desired_goal"])
        if states.shape[-1] != _NUMBERS_OF_STATE or goals.shape != (*states.shape[:-1], 2):
            raise ValueError(f"the expert needs observations of kind 'state', got shapes {states.shape}, {goals.shape}")
        pairs = zip(np.atleast_2d(states), np.atleast_2d(goals), strict=True)
        actions = np.stack([follow(maze_of(seen), seen[:2], seen[2:4], goal) for seen, goal in pairs])
        return actions.reshape(goals.shape).astype(np.float32), state


def maze_of(state: Array) -> str:
    """The maze that a state ``(5,)`` is of.

    Raises:
        ValueError: If its last number is the side of none.
    """
    if state[4] not in _SIDES:
        raise ValueError(f"the last number of a state must be the side of a maze, {list(_SIDES)}, got {state[4]}")
    return _SIDES[state[4]]


def follow(maze: str, position: Array, velocity: Array, goal: Array, max_speed: float = MAX_SPEED) -> Array:
    """The action ``(2,)`` that drives a ball along the shortest path to a goal."""
    path = shortest_path(maze, position, np.asarray(goal, np.float64)[None], MARGIN)[1]
    return head(position, velocity, path[0], max_speed, CORNER_SPEED if len(path) > 1 else 0.0)


def head(
    position: Array, velocity: Array, target: Array, max_speed: float = MAX_SPEED, final_speed: float = 0.0
) -> NDArray[np.float64]:
    """The action ``(2,)`` that drives a ball straight to a target, where it is to have such a speed."""
    to_go = np.subtract(target, position, dtype=np.float64)
    length = float(np.hypot(*to_go))
    braking = BRAKING * MAX_FORCE / BALL_MASS
    # Near the end the speed falls in proportion, or the ball would swing around it.
    speed = min(max_speed, np.sqrt(final_speed**2 + 2 * braking * length), final_speed + GAIN * length)
    wanted = to_go * (speed / max(length, 1e-9))
    force = BALL_MASS * (wanted - velocity) / STEP_SECONDS + DAMPING * velocity
    return np.clip(force / MAX_FORCE, -1, 1)
