"""Explorers of Push-T, for what a random walk rarely does: moving the block.

All see observations of kind "state". "Play" goes to contacts at random and pushes, whatever the goal; the noisy expert
pursues the goal and, once there, others of its own, but loses its way every now and then, so that its data show how to
come back from anywhere; "mixed" is in each episode one of these.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from envs.explorers import HEADING_CONCENTRATION, Explorer, direction
from envs.push_t.geometry import (
    SIZE,
    TOLERANCE,
    Array,
    block_is_inside,
    centre,
    distance,
    distance_to_block,
    sample_episode,
    to_goals,
    to_poses,
)
from envs.push_t.physics import REACH
from envs.push_t.policies.expert import Memory, decide, read_state, to_actions
from envs.push_t.policies.pushing import contacts
from envs.push_t.policies.walking import STANDOFF, from_frame, on_board, path_to, step_along

WANDER = 0.2
"""Share of play's undertakings that are walks to a free place, without a push."""
PUSH_LENGTHS = (20.0, 160.0)
"""Shortest and longest push, in pixels of the agent's way."""
PERTURBATION, PERTURBED_STEPS = 0.04, (4, 20)
"""Chance in each step that the noisy expert begins to lose its way, and for how many steps it does."""

_TARGETS = (60.0, SIZE - 60.0)  # where the block's centre may be pushed to
_PATIENCE = 60  # steps that play takes for one undertaking at most
_TRIES = 20


class StateExplorer(Explorer):
    """What they share: observations of kind "state", two-dimensional actions.

    Args:
        observation_space: Of Push-T with ``observation="state"``.
        action_space: Of Push-T.
        seed: Seed of the random numbers.

    Raises:
        ValueError: If the spaces are others.
    """

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.spaces.Box, seed: int = 0) -> None:
        is_state = isinstance(observation_space, gym.spaces.Dict) and observation_space["observation"].shape == (8,)
        if not is_state or action_space.shape != (2,):
            raise ValueError(
                "this explorer needs Push-T with observation='state', "
                f"got observations {observation_space} and actions {action_space}"
            )
        super().__init__(observation_space, action_space, seed)
        self.control = "relative" if float(action_space.low.min()) < 0 else "absolute"

    def _move(self, observation: Any, state: Any, begins: Array) -> tuple[Array, Any]:
        seen, goals = (np.atleast_2d(part) for part in read_state(observation))
        memories = [None] * len(seen) if state is None else state
        pairs = [
            self._aim(row, goal, None if begin else memory)
            for row, goal, memory, begin in zip(seen, goals, memories, begins, strict=True)
        ]
        targets, kept = zip(*pairs, strict=True)
        return to_actions(np.stack(targets), seen[:, :2], self.control), kept

    def _aim(self, seen: Array, goal: Array, memory: Any) -> tuple[Array, Any]:
        """The next target ``(2,)`` of one agent, and what to remember."""
        raise NotImplementedError


class Undertaking(NamedTuple):
    """What play is about in one environment.

    Attributes:
        contact: Which contact it walks to; −1: none, it walks to ``target``.
        target: Where it walks or pushes to, ``(2,)``.
        length: How far it will push, in pixels.
        vigour: Share of the reach that its targets are away at most.
        pushing: Whether it pushes.
        steps: Steps left.
    """

    contact: int
    target: Array
    length: float
    vigour: float
    pushing: bool
    steps: int


class PlayExplorer(StateExplorer):
    """Pushes the block about: goes to a random contact, pushes a random distance, goes on to the next.

    Pushes lead towards the inner part of the board. One in five undertakings is a walk to a free place instead.
    """

    def _aim(self, seen: Array, goal: Array, memory: Undertaking | None) -> tuple[Array, Undertaking]:
        pose, velocity = to_poses(seen[:6]), seen[6:]
        if memory is None or memory.steps <= 0:
            memory = self._undertake(pose)
        memory = memory._replace(steps=memory.steps - 1)
        if not memory.pushing:
            aim = from_frame(contacts().stands[memory.contact], pose[2:]) if memory.contact >= 0 else memory.target
            if np.hypot(*(aim - pose[:2])) > 4:
                target = step_along(path_to(pose[:2], aim, pose[2:]), pose[:2], velocity, pose[2:])
                return pose[:2] + memory.vigour * (target - pose[:2]), memory
            if memory.contact < 0:
                return aim, memory._replace(steps=0)
            ahead = from_frame(contacts().directions[memory.contact], np.array([0.0, 0.0, pose[4]]))
            steps = int(memory.length / (25 * memory.vigour)) + 5
            memory = memory._replace(pushing=True, target=pose[:2] + memory.length * ahead, steps=steps)
        elif not block_is_inside(pose[2:]):
            return pose[:2], memory._replace(steps=0)  # before it is pressed through a wall
        reach = REACH * memory.vigour
        return pose[:2] + np.clip(memory.target - pose[:2], -reach, reach), memory

    def _undertake(self, pose: Array) -> Undertaking:
        rng, touch = self._rng, contacts()
        vigour = float(rng.uniform(0.4, 1.0))
        if rng.random() >= WANDER:
            for _ in range(_TRIES):
                contact, length = int(rng.integers(len(touch.stands))), float(rng.uniform(*PUSH_LENGTHS))
                stand = from_frame(touch.stands[contact], pose[2:])
                shift = from_frame(touch.directions[contact], np.array([0.0, 0.0, pose[4]])) * length / 2
                end = centre(pose[2:]) + shift
                inner = (end >= _TARGETS[0]).all() and (end <= _TARGETS[1]).all()
                if on_board(stand) and (inner or np.hypot(*(end - SIZE / 2)) < np.hypot(*(end - shift - SIZE / 2))):
                    return Undertaking(contact, stand, length, vigour, False, _PATIENCE)
        for _ in range(_TRIES):
            place = rng.uniform(20, SIZE - 20, 2)
            if distance_to_block(place, pose[2:]) > STANDOFF:
                break
        return Undertaking(-1, place, 0.0, vigour, False, _PATIENCE)


class Distraction(NamedTuple):
    """What the noisy expert remembers in one environment.

    Attributes:
        expert: What the expert does.
        steps: Steps left in which it has lost its way.
        heading: Where it goes meanwhile, in radians.
        goal: What it pursues, ``(6,)``; None: the episode's goal.
    """

    expert: Memory | None
    steps: int
    heading: float
    goal: Array | None = None


class NoisyExpert(StateExplorer):
    """The expert, which now and then walks about at random for some steps and then begins anew from where it is.

    Where the goal is reached it draws another, so that no part of an episode is spent waiting there.
    """

    def _aim(self, seen: Array, goal: Array, memory: Distraction | None) -> tuple[Array, Distraction]:
        rng = self._rng
        expert, steps, heading, own = memory or Distraction(None, 0, 0.0)
        goal = goal if own is None else own
        if distance(seen[:6], goal) < TOLERANCE:
            goal = own = to_goals(sample_episode(rng, start=to_poses(seen[:6]))[1]).astype(np.float64)
            expert = None
        if steps == 0 and rng.random() < PERTURBATION:
            steps, heading = int(rng.integers(*PERTURBED_STEPS)), float(rng.uniform(-np.pi, np.pi))
        if steps == 0:
            target, expert = decide(seen, goal, expert)
            return target, Distraction(expert, 0, heading, own)
        heading += float(rng.vonmises(0.0, HEADING_CONCENTRATION))
        target = seen[:2] + rng.uniform(0.2, 1.0) * REACH * direction(np.array(heading))
        return target, Distraction(None, steps - 1, heading, own)


class MixedExplorer(StateExplorer):
    """In one of three episodes play, in the others the noisy expert; for data of both."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.spaces.Box, seed: int = 0) -> None:
        play, expert = (kind(observation_space, action_space) for kind in (PlayExplorer, NoisyExpert))
        self._others = [play, expert, expert]
        super().__init__(observation_space, action_space, seed)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Starts the random streams anew."""
        super().set_random_seed(seed)
        for other in self._others[:2]:
            other.set_random_seed(int(self._rng.integers(2**31)))

    def _aim(self, seen: Array, goal: Array, memory: tuple[int, Any] | None) -> tuple[Array, tuple[int, Any]]:
        who, remembered = (int(self._rng.integers(len(self._others))), None) if memory is None else memory
        target, remembered = self._others[who]._aim(seen, goal, remembered)
        return target, (who, remembered)


def mixed(
    observation_space: gym.Space[Any], action_space: gym.spaces.Box, env_kwargs: Mapping[str, Any]
) -> MixedExplorer:
    """The explorer "mixed"."""
    return MixedExplorer(observation_space, action_space)


def play(
    observation_space: gym.Space[Any], action_space: gym.spaces.Box, env_kwargs: Mapping[str, Any]
) -> PlayExplorer:
    """The explorer "play"."""
    return PlayExplorer(observation_space, action_space)


def noisy_expert(
    observation_space: gym.Space[Any], action_space: gym.spaces.Box, env_kwargs: Mapping[str, Any]
) -> NoisyExpert:
    """The explorer "noisy-expert"."""
    return NoisyExpert(observation_space, action_space)
