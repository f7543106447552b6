"""Policies that gather data: each moves through an environment without a goal, with Stable-Baselines3's ``predict``.

An explorer is deterministic given its seed: :meth:`set_random_seed` starts its random stream anew, and everything
that must survive between two steps travels in ``state``. Observations may be single or batched over environments.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agents.actions import to_space
from agents.observations import read_starts
from envs.two_rooms.physics import MAX_STEP
from envs.two_rooms.physics import SIZE as TWO_ROOMS_SIZE

HEADING_CONCENTRATION = 5.0
"""Concentration of the von Mises distribution of a walk's turns (REFERENCE.md §2)."""
STEP_MEAN, STEP_STD, STEP_MIN, STEP_MAX = 1.0, 0.4, 0.2, 1.8
"""Truncated normal distribution of a walk's step lengths, in pixels of Two Rooms."""
SMOOTHNESS = 0.9
"""Correlation of consecutive actions of the smooth walk."""
PHASES = ("door", "wall", "wander")
"""What the wall-seeking explorer does for a while: go through the door, push at the wall, walk around."""
PHASE_PROBABILITIES = (0.4, 0.4, 0.2)
"""How often each of :data:`PHASES` is chosen."""

Array = NDArray[Any]


@runtime_checkable
class Policy(Protocol):
    """What collection needs of a policy: Stable-Baselines3's ``predict``."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, Any]:
        """Returns the action for an observation, and the state for the next call."""


def num_observations(observation: Any, space: gym.Space[Any]) -> int | None:
    """How many environments an observation is of: ``None`` for a single one, else the size of the batch.

    Raises:
        ValueError: If the shape is neither the space's nor a batch of it.
    """
    if isinstance(space, gym.spaces.Dict):
        key = next(iter(space.spaces))
        observation, space = observation[key], space.spaces[key]
    shape, expected = np.shape(observation), space.shape
    if shape == expected:
        return None
    if shape[1:] == expected:
        return shape[0]
    raise ValueError(
        f"observation must have shape {expected} or (N, {', '.join(map(str, expected or ()))}), got {shape}"
    )


class HeadingWalk:
    """A walk in the plane whose heading drifts: for two-dimensional actions that are something like displacements.

    The first heading is uniform; each next one adds a turn from a von Mises distribution of concentration 5. Step
    lengths are N(1, 0.4²) truncated to [0.2, 1.8] pixels of Two Rooms, whose largest step is 2.45; in another action
    space they keep their ratio to the largest step, axis by axis.

    Args:
        observation_space: Of a single environment.
        action_space: Of a single environment, bounded, of shape ``(2,)``.
        seed: Seed of the walk.

    Raises:
        ValueError: If the action space is unbounded or has another shape.
    """

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.spaces.Box, seed: int = 0) -> None:
        if action_space.shape != (2,):
            raise ValueError(f"a heading walk needs actions of shape (2,), got {action_space.shape}")
        self.observation_space = observation_space
        self.action_space = _bounded(action_space)
        self.set_random_seed(seed)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Starts the random stream anew."""
        self._rng = np.random.default_rng(seed)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Array | None = None, deterministic: bool = False
    ) -> tuple[Array, Any]:
        """Turns a little and steps; ``state`` holds the headings ``(N,)`` in radians. See :class:`Policy`."""
        n = num_observations(observation, self.observation_space)
        count = 1 if n is None else n
        turned = self._rng.uniform(-np.pi, np.pi, count), self._rng.vonmises(0.0, HEADING_CONCENTRATION, count)
        heading = np.where(_starts(state, episode_start, count), turned[0], 0.0 if state is None else state + turned[1])
        steps = _direction(heading) * _step_lengths(self._rng, count)[:, None]
        return _unbatch(_scale(steps / MAX_STEP, self.action_space), n), heading


class SmoothWalk:
    """A smooth random walk within the bounds, for actions of any shape.

    An autoregressive process of order one with correlation 0.9 and standard deviation 0.5, in units of half the range
    of the action space, clipped to it.

    Args:
        observation_space: Of a single environment.
        action_space: Of a single environment, bounded.
        seed: Seed of the walk.

    Raises:
        ValueError: If the action space is unbounded.
    """

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.spaces.Box, seed: int = 0) -> None:
        self.observation_space = observation_space
        self.action_space = _bounded(action_space)
        self.set_random_seed(seed)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Starts the random stream anew."""
        self._rng = np.random.default_rng(seed)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Array | None = None, deterministic: bool = False
    ) -> tuple[Array, Any]:
        """Moves on by one step; ``state`` holds the process, ``(N, ...)``. See :class:`Policy`."""
        n = num_observations(observation, self.observation_space)
        count = 1 if n is None else n
        noise = self._rng.standard_normal((count, *self.action_space.shape))
        starts = _starts(state, episode_start, count).reshape(-1, *(1,) * len(self.action_space.shape))
        moved = noise if state is None else SMOOTHNESS * state + np.sqrt(1 - SMOOTHNESS**2) * noise
        process = np.where(starts, noise, moved)
        return _unbatch(_scale(np.clip(0.5 * process, -1, 1), self.action_space), n), process


def random_walk(
    observation_space: gym.Space[Any], action_space: gym.spaces.Box, seed: int = 0
) -> "HeadingWalk | SmoothWalk":
    """The random-walk explorer: :class:`HeadingWalk` for two-dimensional actions, :class:`SmoothWalk` for others."""
    walk = HeadingWalk if action_space.shape == (2,) else SmoothWalk
    return walk(observation_space, action_space, seed)


class WallSeekingState(NamedTuple):
    """What the wall-seeking explorer remembers between steps; each field of shape ``(N,)``.

    Attributes:
        phase: Index into :data:`PHASES`.
        side: Side of the wall to go to in phase "door": +1 or −1 across the wall.
        along: Where along the wall it aims, in pixels.
        speed: Step length in phases "door" and "wall", in pixels.
        turn: Concentration of the noise on its heading; infinite: none.
        heading: Heading of phase "wander", in radians.
        steps_left: Steps until the next phase.
    """

    phase: Array
    side: Array
    along: Array
    speed: Array
    turn: Array
    heading: Array
    steps_left: Array


class WallSeekingExplorer:
    """Two Rooms' explorer for what a random walk rarely meets: the inner wall and its door.

    It alternates between going through the door, pushing at a random place of the wall (until some steps after it
    arrived there), and walking around; half of the approaches are straight, half noisy.

    Args:
        observation_space: Of ``TwoRooms`` with ``observation="state"``.
        action_space: Of ``TwoRooms``.
        seed: Seed of the walk.
        horizontal: Whether the environment's walls are horizontal.

    Raises:
        ValueError: If the observation space is another.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.spaces.Box,
        seed: int = 0,
        *,
        horizontal: bool = False,
    ) -> None:
        if not self.accepts(observation_space) or action_space.shape != (2,):
            raise ValueError(
                "the wall-seeking explorer needs Two Rooms with observation='state' (pixels are rendered when the "
                f"dataset is loaded), got observations {observation_space} and actions {action_space}"
            )
        self.observation_space = observation_space
        self.action_space = action_space
        self.horizontal = horizontal
        self.set_random_seed(seed)

    @staticmethod
    def accepts(observation_space: gym.Space[Any]) -> bool:
        """Whether observations have the form of Two Rooms states."""
        return isinstance(observation_space, gym.spaces.Dict) and observation_space["observation"].shape == (4,)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Starts the random stream anew."""
        self._rng = np.random.default_rng(seed)

    def predict(
        self,
        observation: Any,
        state: WallSeekingState | None = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, Any]:
        """Steps towards the wall, the door, or anywhere; see :class:`Policy`."""
        n = num_observations(observation, self.observation_space)
        scene = np.atleast_2d(np.asarray(observation["observation"], dtype=np.float64))  # (N, 4)
        position = scene[:, 1::-1] if self.horizontal else scene[:, :2]  # across the wall, along it
        wall, door = scene[:, 2], scene[:, 3]
        starts = _starts(state, episode_start, len(scene))
        fresh = self._draw_phases(position, wall, door)
        if state is not None:
            done = starts | (state.steps_left <= 0)
            fresh = WallSeekingState(*(np.where(done, new, old) for new, old in zip(fresh, state, strict=True)))
        steps, heading = self._steps(fresh, position, wall, door)
        if self.horizontal:
            steps = steps[:, ::-1]
        actions = _unbatch(to_space(steps, self.action_space), n)
        return actions, fresh._replace(steps_left=fresh.steps_left - 1, heading=heading)

    def _draw_phases(self, position: Array, wall: Array, door: Array) -> WallSeekingState:
        """Draws a new phase for each of ``N`` agents."""
        rng, n = self._rng, len(position)
        phase = rng.choice(len(PHASES), size=n, p=PHASE_PROBABILITIES)
        door_phase, wall_phase = phase == 0, phase == 1
        along = np.where(door_phase, door + rng.uniform(-3.0, 3.0, n), rng.uniform(6.6, TWO_ROOMS_SIZE - 7.6, n))
        speed = rng.uniform(0.8, MAX_STEP, n)
        distance = np.hypot(position[:, 0] - wall, position[:, 1] - along)
        approach = np.ceil(distance / speed) + rng.integers(2, 9, n)
        steps = np.where(door_phase | wall_phase, approach, rng.integers(10, 31, n)).astype(np.int64)
        side = np.where(position[:, 0] < wall, 1.0, -1.0)
        turn = np.where(rng.random(n) < 0.5, np.inf, 10.0)
        return WallSeekingState(phase, side, along, speed, turn, rng.uniform(-np.pi, np.pi, n), steps)

    def _steps(self, state: WallSeekingState, position: Array, wall: Array, door: Array) -> tuple[Array, Array]:
        """Displacements across and along the wall ``(N, 2)``, and the headings of those that wander ``(N,)``."""
        rng, n = self._rng, len(position)
        across, along = position.T
        # Line up with the door before walking into it, else most approaches end at the wall beside it.
        lined_up = (np.abs(along - door) < 3.5) | (state.side * (across - wall) > 0)
        door_across = np.where(lined_up, wall + 6.0 * state.side, wall - 3.0 * state.side)
        target = np.stack([np.where(state.phase == 0, door_across, wall), state.along], -1)
        # At the wall there is nowhere nearer to go: push against it.
        towards = target - position
        pushes = (state.phase == 1) & (np.abs(towards[:, 0]) < 2.5)
        towards[pushes] = np.stack([state.side, np.zeros(n)], -1)[pushes]
        straight = np.arctan2(towards[:, 1], towards[:, 0])
        noise = rng.vonmises(0.0, 10.0, n)
        wandering = state.heading + rng.vonmises(0.0, HEADING_CONCENTRATION, n)
        heading = np.where(state.phase == 2, wandering, straight + np.where(np.isinf(state.turn), 0.0, noise))
        length = np.where(state.phase == 2, _step_lengths(rng, n), state.speed)
        # Stop short of overshooting the aim, except when pushing.
        length = np.where((state.phase == 2) | pushes, length, np.minimum(length, np.hypot(*towards.T) + 0.5))
        return _direction(heading) * length[:, None], wandering


def _bounded(space: gym.spaces.Box) -> gym.spaces.Box:
    if not space.is_bounded():
        raise ValueError(f"an explorer needs a bounded action space, got {space}")
    return space


def _starts(state: Any, episode_start: Array | None, count: int) -> Array:
    """Which environments begin an episode, bool ``(N,)``."""
    if state is None:
        return np.ones(count, dtype=bool)
    return read_starts(episode_start, count)


def _direction(heading: Array) -> Array:
    """Unit vectors ``(N, 2)`` of headings ``(N,)``."""
    return np.stack([np.cos(heading), np.sin(heading)], -1)


def _step_lengths(rng: np.random.Generator, n: int) -> Array:
    """Lengths of steps from the truncated normal distribution, by rejection, ``(N,)``."""
    lengths = rng.normal(STEP_MEAN, STEP_STD, n)
    while (outside := (lengths < STEP_MIN) | (lengths > STEP_MAX)).any():
        lengths[outside] = rng.normal(STEP_MEAN, STEP_STD, int(outside.sum()))
    return lengths


def _scale(unit: Array, space: gym.spaces.Box) -> Array:
    """Maps ``[-1, 1]`` to the bounds of a space, axis by axis."""
    low, high = space.low.astype(np.float64) / 2, space.high.astype(np.float64) / 2  # half, for a sum may overflow
    return to_space((low + high) + unit * (high - low), space)


def _unbatch(actions: Array, n: int | None) -> Array:
    return actions[0, ...] if n is None else actions
