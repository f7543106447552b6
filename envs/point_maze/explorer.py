"""An explorer of PointMaze that gets around: forces at random mostly push the ball against the nearest wall."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.explorers import SMOOTHNESS, Explorer
from envs.point_maze.drawing import find_mazes, find_positions
from envs.point_maze.expert import follow, head, maze_of
from envs.point_maze.mazes import MAPS, distance, sample_places
from envs.point_maze.physics import BALL_MASS, DAMPING, MAX_FORCE, MAX_SPEED, STEP_SECONDS

Array = NDArray[Any]

LEAST_SPEED = 1.0
"""Each target has a largest speed of its own, from this to that of the ball, in m/s."""
MOST_NOISE = 0.8
"""Standard deviation of the noise on its forces: each target has its own, from 0 to this."""
ARRIVED = 0.3
"""Distance from a target, in metres, at which it takes the next one."""
PHASES = ("path", "straight", "rest")
"""What it does until the next target: follow the shortest path, head straight into what is in the way, stay."""
WANDERING = (0.55, 150), (0.3, 50), (0.15, 25)
"""How often each of :data:`PHASES` is chosen, and steps after which it takes the next target anyway."""
BUMPING = (0.4, 150), (0.5, 100), (0.1, 25)
"""The same of one who is held up by walls most of the time."""

_POSITION_GAIN, _VELOCITY_GAIN = 0.6, 0.15  # of the filter that follows what images show


class Wandering(NamedTuple):
    """What the explorer remembers between steps, of N balls.

    Attributes:
        position: Where they are, ``(N, 2)``.
        velocity: Their velocities, ``(N, 2)``.
        action: What they did last, ``(N, 2)``.
        phase: Indices into :data:`PHASES`, ``(N,)``.
        target: Where they go, ``(N, 2)``.
        max_speed: Largest speed on the way, ``(N,)``.
        noise_std: Standard deviation of the noise on the way, ``(N,)``.
        noise: The noise, an autoregressive process of standard deviation 1, ``(N, 2)``.
        steps_left: Steps until the next target, ``(N,)``.
    """

    position: Array
    velocity: Array
    action: Array
    phase: Array
    target: Array
    max_speed: Array
    noise_std: Array
    noise: Array
    steps_left: Array


class WanderExplorer(Explorer):
    """Goes from one random place of the maze to the next, at various speeds, with various noise.

    At times it heads straight for a place, so that data show what walls do, and at times it rests.

    It sees states, or images, of which it reads the position alone; it then filters the velocity from these.

    Args:
        observation_space: Of PointMaze.
        action_space: Of PointMaze.
        seed: Seed of the walk.
        phases: How often each phase is chosen, and its steps: :data:`WANDERING` or :data:`BUMPING`.

    Raises:
        ValueError: If the spaces are others.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.spaces.Box,
        seed: int = 0,
        phases: Sequence[tuple[float, int]] = WANDERING,
    ) -> None:
        shape = observation_space["observation"].shape if isinstance(observation_space, gym.spaces.Dict) else None
        if shape not in ((5,), (64, 64, 3)) or action_space.shape != (2,):
            spaces = f"observations {observation_space} and actions {action_space}"
            raise ValueError(f"the wandering explorer needs PointMaze, got {spaces}")
        super().__init__(observation_space, action_space, seed)
        self.sees_pixels = len(shape) == 3
        self._probabilities, self._steps = zip(*phases, strict=True)

    def _move(self, observation: Any, state: Wandering | None, begins: Array) -> tuple[Array, Wandering]:
        seen, count = np.asarray(observation["observation"]), len(begins)
        seen = seen.reshape(count, *seen.shape[-3 if self.sees_pixels else -1 :])
        if self.sees_pixels:
            names = list(MAPS)
            mazes = [names[index] for index in find_mazes(seen)]
            position, velocity = _filter(find_positions(seen), state, begins)
        else:
            mazes = [maze_of(one) for one in seen]
            position, velocity = seen[:, :2].astype(np.float64), seen[:, 2:4].astype(np.float64)
        state = self._choose(mazes, position, velocity, state, begins)
        balls = zip(mazes, position, velocity, state.target, state.max_speed, strict=True)
        moves = [head(*ball[1:]) if phase else follow(*ball) for phase, ball in zip(state.phase, balls, strict=True)]
        actions = np.clip(np.stack(moves) + state.noise_std[:, None] * state.noise, -1, 1)
        return actions, state._replace(action=actions, steps_left=state.steps_left - 1)

    def _choose(
        self, mazes: list[str], position: Array, velocity: Array, state: Wandering | None, begins: Array
    ) -> Wandering:
        """The targets of this step: the old ones, or new ones where these are done with."""
        rng, count = self._rng, len(mazes)
        places = np.concatenate([sample_places(maze, rng, 1) for maze in mazes])
        phase = rng.choice(len(PHASES), count, p=self._probabilities)
        rests = phase == PHASES.index("rest")
        fresh = Wandering(
            position,
            velocity,
            np.zeros((count, 2)),
            phase,
            np.where(rests[:, None], position, places),
            rng.uniform(LEAST_SPEED, MAX_SPEED, count),
            rng.uniform(0, MOST_NOISE, count),
            rng.standard_normal((count, 2)),
            np.array(self._steps)[phase],
        )
        if state is None:
            return fresh
        arrived = (distance(position, state.target) < ARRIVED) & (state.phase != PHASES.index("rest"))
        done = begins | arrived | (state.steps_left <= 0)
        noise = SMOOTHNESS * state.noise + np.sqrt(1 - SMOOTHNESS**2) * fresh.noise
        old = state._replace(position=position, velocity=velocity, noise=noise)
        chosen = [
            np.where(done.reshape(-1, *(1,) * (new.ndim - 1)), new, kept) for new, kept in zip(fresh, old, strict=True)
        ]
        return Wandering(*chosen)


def _filter(seen: Array, state: Wandering | None, begins: Array) -> tuple[Array, Array]:
    """Positions and velocities ``(N, 2)`` by an alpha-beta filter: what was expected, moved towards what is seen."""
    if state is None:
        return seen, np.zeros_like(seen)
    expected = (1 - DAMPING * STEP_SECONDS / BALL_MASS) * state.velocity
    expected = expected + MAX_FORCE * STEP_SECONDS / BALL_MASS * state.action
    surprise = seen - (state.position + STEP_SECONDS * expected)
    position = seen - (1 - _POSITION_GAIN) * surprise
    velocity = np.clip(expected + _VELOCITY_GAIN / STEP_SECONDS * surprise, -MAX_SPEED, MAX_SPEED)
    return np.where(begins[:, None], seen, position), np.where(begins[:, None], 0.0, velocity)
