"""Actions that are held for several steps, in training and in acting, as a world model's blocks of actions are.

Decisions are fewer, exploration reaches farther, and what was decided is seen more clearly.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from agents.actions import to_space
from envs.domain import Policy
from envs.inputs import read_starts


class RepeatedActions(VectorWrapper):
    """A vector environment in which each action is taken several times.

    Observations, rewards and infos are those after the last time, so that a reward remains one of the goal that was
    achieved, as hindsight needs it; where an episode ends, all environments take a new action.

    Args:
        env: The vector environment.
        repeats: How often each action is taken.

    Raises:
        ValueError: If that is less than once.
    """

    def __init__(self, env: VectorEnv, repeats: int) -> None:
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {repeats}")
        super().__init__(env)
        self.repeats = repeats

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Takes the actions; returns what the last time gave."""
        for _ in range(self.repeats):
            observations, rewards, terminated, truncated, infos = self.env.step(actions)
            if (terminated | truncated).any():
                break
        return observations, rewards, terminated, truncated, infos


@dataclass(frozen=True)
class HeldState:
    """What a policy that holds its actions carries from step to step.

    Attributes:
        actions: Held actions ``(n, ...)``, or ``(...)`` of a single environment.
        steps_left: For how many more steps each is held, ``(n,)``.
        inner: The state of the policy itself: None, or a tuple of arrays ``(layers, n, features)``.
        goals: The goals that the actions were decided for, ``(n, ...)`` or ``(...)``; None of observations without any.
    """

    actions: NDArray[Any]
    steps_left: NDArray[np.int64]
    inner: Any
    goals: NDArray[Any] | None = None


class HeldPolicy:
    """A policy that decides at every so many steps of an episode, and holds its actions in between.

    A goal (``desired_goal`` of an observation that is a dict) which changes while an action is held is decided for at
    once.

    Args:
        policy: What decides.
        repeats: Steps that an action is held.
        action_space: Actions are in it; None: in the policy's ``action_space``, where it says what that is, a ``Box``.

    Attributes:
        timings: Seconds of each decision.
        steps_per_plan: Steps that a decision serves.

    Raises:
        ValueError: If that is less than one.
    """

    def __init__(self, policy: Policy, repeats: int, action_space: spaces.Box | None = None) -> None:
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {repeats}")
        self.policy = policy
        self.action_space = action_space or getattr(policy, "action_space", None)
        self.steps_per_plan = repeats
        self.timings: list[float] = []

    def set_random_seed(self, seed: int) -> None:
        """Starts the randomness of what decides anew, where it has any."""
        set_seed = getattr(self.policy, "set_random_seed", None)
        if set_seed is not None:
            set_seed(seed)

    def predict(
        self, observation: Any, state: HeldState | None = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[NDArray[Any], HeldState]:
        """The actions, and the state for the next call; None begins an episode in every environment.

        Raises:
            ValueError: If the state or the flags do not fit.
        """
        has_goals = isinstance(observation, Mapping) and "desired_goal" in observation
        goals = np.asarray(observation["desired_goal"]) if has_goals else None
        if state is not None:
            due = _due(state, episode_start, goals)
            if not due.any():
                return state.actions, replace(state, steps_left=state.steps_left - 1)
        began = time.perf_counter()
        actions, inner = self.policy.predict(
            observation, None if state is None else state.inner, episode_start, deterministic
        )
        self.timings.append(time.perf_counter() - began)
        actions, each = self._each(actions)  # each: (n, ...)
        if state is None:
            due = np.ones(len(each), dtype=bool)
        else:
            # Those that did not decide go on, and remember nothing of this step.
            chosen = due.reshape(-1, *[1] * (each.ndim - 1))
            actions = np.where(chosen, each, state.actions.reshape(each.shape)).reshape(actions.shape)
            if inner is not None:
                inner = tuple(np.where(due[:, None], *pair) for pair in zip(inner, state.inner, strict=True))
        steps_left = np.where(due, self.steps_per_plan, 0 if state is None else state.steps_left) - 1
        # A copy, since environments may draw the next goal into the same array.
        return actions, HeldState(actions, steps_left, inner, None if goals is None else goals.copy())

    def _each(self, actions: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Actions as they came, in the action space where that is known, and the same ``(n, ...)``."""
        if not isinstance(self.action_space, spaces.Box):
            return actions, np.atleast_2d(actions)
        each = to_space(actions, self.action_space)
        return each.reshape(np.shape(actions)), each


def _due(state: Any, episode_start: Any, goals: NDArray[Any] | None) -> NDArray[np.bool_]:
    """Which environments decide: where an action is over, an episode begins, or the goal is another; ``(n,)``."""
    if not isinstance(state, HeldState):
        raise ValueError(f"state must be a HeldState, as predict returns it, or None, got {type(state).__name__}")
    count = len(state.steps_left)
    due = (state.steps_left == 0) | read_starts(episode_start, count)
    if goals is None or state.goals is None:
        return due
    if goals.shape != state.goals.shape:
        raise ValueError(f"desired_goal must have shape {state.goals.shape} as in the step before, got {goals.shape}")
    return due | (goals != state.goals).reshape(count, -1).any(1)
