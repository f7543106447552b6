"""An explorer of Two Rooms for what a random walk rarely meets: the inner wall and its door."""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from envs.explorers import HEADING_CONCENTRATION, Explorer, direction, step_lengths
from envs.simulation import Array
from envs.two_rooms.physics import MAX_STEP, SIZE

PHASES = ("door", "wall", "wander")
"""What it does for a while: go through the door, push at the wall, walk around."""
PHASE_PROBABILITIES = (0.4, 0.4, 0.2)
"""How often each of :data:`PHASES` is chosen."""


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


class WallSeekingExplorer(Explorer):
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
        is_state = isinstance(observation_space, gym.spaces.Dict) and observation_space["observation"].shape == (4,)
        if not is_state or action_space.shape != (2,):
            raise ValueError(
                "the wall-seeking explorer needs Two Rooms with observation='state' (pixels are rendered when the "
                f"dataset is loaded), got observations {observation_space} and actions {action_space}"
            )
        super().__init__(observation_space, action_space, seed)
        self.horizontal = horizontal

    def _move(self, observation: Any, state: WallSeekingState | None, begins: Array) -> tuple[Array, WallSeekingState]:
        scene = np.atleast_2d(np.asarray(observation["observation"], dtype=np.float64))  # (N, 4)
        position = scene[:, 1::-1] if self.horizontal else scene[:, :2]  # across the wall, along it
        wall, door = scene[:, 2], scene[:, 3]
        fresh = self._draw_phases(position, wall, door)
        if state is not None:
            done = begins | (state.steps_left <= 0)
            fresh = WallSeekingState(*(np.where(done, new, old) for new, old in zip(fresh, state, strict=True)))
        steps, heading = self._steps(fresh, position, wall, door)
        if self.horizontal:
            steps = steps[:, ::-1]
        return steps, fresh._replace(steps_left=fresh.steps_left - 1, heading=heading)

    def _draw_phases(self, position: Array, wall: Array, door: Array) -> WallSeekingState:
        """Draws a new phase for each of ``N`` agents."""
        rng, n = self._rng, len(position)
        phase = rng.choice(len(PHASES), size=n, p=PHASE_PROBABILITIES)
        door_phase, wall_phase = phase == 0, phase == 1
        along = np.where(door_phase, door + rng.uniform(-3.0, 3.0, n), rng.uniform(6.6, SIZE - 7.6, n))
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
        length = np.where(state.phase == 2, step_lengths(rng, n), state.speed)
        # Stop short of overshooting the aim, except when pushing.
        length = np.where((state.phase == 2) | pushes, length, np.minimum(length, np.hypot(*towards.T) + 0.5))
        return direction(heading) * length[:, None], wandering
