"""A scripted expert for Push-T, the ceiling in comparisons: it knows the physics and tries each push before it does it.

::

    walk to a contact ──► push ──► choose the next contact ──► … ──► walk to the agent's own place, and stay

The push is chosen that brings the block nearer to its goal fastest, the way to it included; when the agent stands where
it begins, its length is tried once more from the true state. When the block is where it should be, the agent goes
around it to its own place; should the block lie on the way of that, it is put right more exactly.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.inputs import check_choice, read_starts
from envs.push_t.geometry import SIZE, Array, to_poses
from envs.push_t.physics import REACH
from envs.push_t.policies.pushing import choose, contacts, error_of, push_from
from envs.push_t.policies.walking import STANDOFF, from_frame, leave, path_to, step_along
from envs.push_t.task import CONTROLS

CLOSE = 14.0
"""The block counts as put right when it is nearer to its goal than this, in pixels (``pushing.error_of``): whatever
shift and turn that is made of, its position is then less than 18.2 px off, and its angle less than 14.7°."""
_GOOD_ENOUGH = 1.2 * CLOSE  # where no push makes it better by the least gain, in pixels
_LEAST_GAIN = 0.3
_ARRIVED, _SLOW = 3.0, 120.0  # pixels from a contact, and pixels per second, when a push begins
_NEAR = 12.0  # pixels from its goal at which the agent counts as being there
_PATIENCE = 40  # steps after which it gives up walking to a contact
_PLACE, _WALK, _PUSH = "place", "walk", "push"


class Memory(NamedTuple):
    """What the expert remembers of an episode between two steps.

    Attributes:
        phase: "walk" to a contact, "push", or "place": going to the agent's own goal.
        contact: Which contact it walks to.
        length: How long the push there is to be, in pixels.
        target: Where a push draws the agent, ``(2,)``.
        steps: Steps left of a push; steps since a walk began.
        plans: How many pushes it has planned.
        content: Whether it found the block near enough to its goal, and no push that would make it nearer.
    """

    phase: str
    contact: int = 0
    length: float = 0.0
    target: Any = None
    steps: int = 0
    plans: int = 0
    content: bool = False


class ExpertPolicy:
    """Pushes the block to its goal, then goes to the agent's, with Stable-Baselines3's ``predict``.

    What it remembers travels in ``state``, a tuple with a :class:`Memory` for each environment.

    Args:
        control: What actions are, "relative" or "absolute".
        seed: For what it tries when no push helps.

    Raises:
        ValueError: If the control is neither.
    """

    def __init__(self, control: str = "relative", seed: int = 0) -> None:
        self.control = check_choice("control", control, CONTROLS)
        self.seed = seed

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[NDArray[np.float32], Any]:
        """Actions ``(2,)`` or ``(N, 2)`` for observations of kind "state", one or a batch, and the next ``state``.

        Raises:
            ValueError: If the observation is of another kind, or ``state`` or ``episode_start`` are of another number
                of environments.
        """
        seen, goals = read_state(observation)
        rows, goal_rows = np.atleast_2d(seen), np.atleast_2d(goals)
        begins = np.ones(len(rows), dtype=bool) if state is None else read_starts(episode_start, len(rows))
        memories = [None] * len(rows) if state is None else list(state)
        if len(memories) != len(rows):
            raise ValueError(f"state must have an entry for each of {len(rows)} environments, got {len(memories)}")
        targets, kept = [], []
        for row, goal, memory, begin in zip(rows, goal_rows, memories, begins, strict=True):
            target, memory = decide(row, goal, None if begin else memory, self.seed)
            targets.append(target)
            kept.append(memory)
        actions = to_actions(np.stack(targets), rows[:, :2], self.control)
        return actions.reshape((*goals.shape[:-1], 2)), tuple(kept)


def read_state(observation: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Observations ``(..., 8)`` and goals ``(..., 6)`` of kind "state".

    Raises:
        ValueError: If they are of another kind.
    """
    if not isinstance(observation, Mapping) or not {"observation", "desired_goal"} <= set(observation):
        raise ValueError("the expert needs a dictionary with 'observation' and 'desired_goal', of kind 'state'")
    seen, goals = (np.asarray(observation[key], dtype=np.float64) for key in ("observation", "desired_goal"))
    if seen.ndim > 2 or seen.shape[-1:] != (8,) or goals.shape != (*seen.shape[:-1], 6):
        raise ValueError(f"the expert needs observations of kind 'state', got shapes {seen.shape}, {goals.shape}")
    return seen, goals


def to_actions(targets: Array, positions: Array, control: str) -> NDArray[np.float32]:
    """Actions ``(N, 2)`` that draw agents at positions ``(N, 2)`` to targets ``(N, 2)``."""
    reach = np.clip(targets - positions, -REACH, REACH)
    if control == "relative":
        return (reach / REACH).astype(np.float32)
    return np.clip(positions + reach, 0, SIZE).astype(np.float32)


def decide(seen: Array, goal: Array, memory: Memory | None, seed: int = 0) -> tuple[NDArray[np.float64], Memory]:
    """The agent's next target ``(2,)``, from an observation ``(8,)``, a goal ``(6,)`` and what is remembered."""
    pose, velocity, aim = to_poses(seen[:6]), seen[6:], to_poses(goal)
    memory = memory or Memory(_PLACE)
    if memory.phase == _PUSH and memory.steps <= 0:
        memory = memory._replace(phase=_PLACE)
    if memory.phase == _PLACE and not (memory.content and _error(pose, aim) < _GOOD_ENOUGH):
        memory = _plan(pose, velocity, aim, memory, seed)
    if memory.phase == _WALK:
        stand = from_frame(contacts().stands[memory.contact], pose[2:])
        arrived = np.hypot(*(stand - pose[:2])) < _ARRIVED and np.hypot(*velocity) < _SLOW
        if not arrived and memory.steps < _PATIENCE:
            path = path_to(pose[:2], stand, pose[2:])
            return step_along(path, pose[:2], velocity, pose[2:]), memory._replace(steps=memory.steps + 1)
        push = push_from(pose, velocity, memory.contact, memory.length, aim[2:])
        memory = memory._replace(phase=_PUSH, target=push.target, steps=push.steps - 1)
        return push.target, memory
    if memory.phase == _PUSH:
        return memory.target, memory._replace(steps=memory.steps - 1)
    place = leave(aim[:2], pose[2:], STANDOFF)
    return step_along(path_to(pose[:2], place, pose[2:]), pose[:2], velocity, pose[2:]), memory


def _error(pose: Array, aim: Array) -> float:
    return float(np.sqrt((error_of(pose[2:], aim[2:]) ** 2).sum()))


def _plan(pose: Array, velocity: Array, aim: Array, memory: Memory, seed: int) -> Memory:
    """Chooses a push, or to go to the agent's place if the block is put right."""
    error = _error(pose, aim)
    is_in_the_way = np.hypot(*(leave(aim[:2], pose[2:], STANDOFF) - aim[:2])) > _NEAR
    if error < CLOSE * (0.5 if is_in_the_way else 1.0):
        return memory._replace(phase=_PLACE)
    choice = choose(pose, velocity, aim[2:])
    if choice is not None and choice.gain > _LEAST_GAIN:
        return Memory(_WALK, choice.contact, choice.length, plans=memory.plans + 1)
    if error < _GOOD_ENOUGH:
        return memory._replace(phase=_PLACE, content=True)
    rng = np.random.default_rng([seed, memory.plans, *np.abs(pose[:4]).astype(int)])
    return Memory(_WALK, int(rng.integers(len(contacts().stands))), float(rng.uniform(20, 80)), plans=memory.plans + 1)
