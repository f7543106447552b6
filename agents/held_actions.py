"""Actions that are held for several steps, in training and in acting, as a world model's blocks of actions are.

Decisions are fewer, exploration reaches farther, and what was decided is seen more clearly.
"""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from agents.evaluate import Policy


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
        actions: Held actions ``(n, a)``, or ``(a,)`` of a single environment.
        steps_left: For how many more steps each is held, ``(n,)``.
        inner: The state of the policy itself: None, or a tuple of arrays ``(layers, n, features)``.
    """

    actions: NDArray[Any]
    steps_left: NDArray[np.int64]
    inner: Any


class HeldPolicy:
    """A policy that decides at every so many steps of an episode, and holds its actions in between.

    Args:
        policy: What decides.
        repeats: Steps that an action is held.

    Attributes:
        timings: Seconds of each decision.
        steps_per_plan: Steps that a decision serves.

    Raises:
        ValueError: If that is less than one.
    """

    def __init__(self, policy: Policy, repeats: int) -> None:
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {repeats}")
        self.policy = policy
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
        """The actions, and the state for the next call; None begins an episode in every environment."""
        if state is not None:
            due = state.steps_left == 0
            if episode_start is not None:
                due |= np.asarray(episode_start, bool).reshape(-1)
            if not due.any():
                return state.actions, replace(state, steps_left=state.steps_left - 1)
        began = time.perf_counter()
        actions, inner = self.policy.predict(
            observation, None if state is None else state.inner, episode_start, deterministic
        )
        self.timings.append(time.perf_counter() - began)
        if state is None:
            due = np.ones(len(np.atleast_2d(actions)), dtype=bool)
        else:
            # Those that did not decide go on, and remember nothing of this step.
            actions = np.where(due[:, None], actions, state.actions).reshape(actions.shape)
            if inner is not None:
                inner = tuple(np.where(due[:, None], *pair) for pair in zip(inner, state.inner, strict=True))
        return actions, HeldState(
            actions, np.where(due, self.steps_per_plan, 0 if state is None else state.steps_left) - 1, inner
        )
