"""A policy that sees the world with another appearance: for measuring what of its success is kept, without retraining.

::

    images ──► envs.appearance.shift ──► the policy ──► actions
                 steps and seeds of the episodes travel in ``state``
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.observations import KEYS, read_images
from envs.appearance import GOAL_STEP, AgentPixels, check_shift, shift
from envs.domain import Policy
from envs.inputs import read_starts

ACHIEVED = "achieved_goal"
"""A further image of the present, which policies of reinforcement learning are given."""


@dataclass(frozen=True)
class ShiftedState:
    """What a policy that sees shifted images carries from step to step.

    Attributes:
        steps: Steps of each episode so far, ``(n,)``.
        seeds: What decides each episode's shift, ``(n,)``.
        goals: The goal images as they are, ``(n, ...)``.
        shown: The same as they are shown.
        inner: The state of the policy itself.
    """

    steps: NDArray[np.int64]
    seeds: NDArray[np.int64]
    goals: NDArray[np.uint8]
    shown: NDArray[np.uint8]
    inner: Any


class ShiftedPolicy:
    """A policy whose images, those of goals too, have another appearance; all else is the policy's own.

    What the shift draws at random is drawn anew for each episode, from its first images: an episode looks the same
    whenever it is played, whatever else is played beside it.

    Args:
        policy: Anything with Stable-Baselines3's ``predict`` that sees images ``observation`` and ``desired_goal``.
        name: The shift, one of :data:`envs.appearance.SHIFTS`.
        agent_pixels: Which pixels are the agent's, where that is known.

    Raises:
        ValueError: If there is no such shift, or it needs to know which pixels are the agent's.
    """

    def __init__(self, policy: Policy, name: str, agent_pixels: AgentPixels | None = None) -> None:
        self.policy = policy
        self.name = check_shift(name, agent_pixels)
        self.agent_pixels = agent_pixels

    def __getattr__(self, name: str) -> Any:
        """What else the policy has, such as ``set_random_seed`` and ``timings``."""
        if name in ("policy", "__setstate__"):  # not there yet, in a copy
            raise AttributeError(name)
        return getattr(self.policy, name)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[NDArray[Any], ShiftedState]:
        """The policy's actions for the shifted images, and the state for the next call; None begins all episodes.

        Raises:
            ValueError: If the observation holds no such images, or state or flags do not fit.
        """
        images, goals, batched = read_images(observation)
        steps, seeds, shown = self._continue(images, goals, state, episode_start)
        seen = self._shift(images, steps, seeds)
        given = {**observation, **dict(zip(KEYS, (seen, shown) if batched else (seen[0], shown[0]), strict=True))}
        if isinstance(observation, Mapping) and ACHIEVED in observation:
            achieved = np.asarray(observation[ACHIEVED]).reshape(images.shape)
            given[ACHIEVED] = self._shift(achieved, steps, seeds).reshape(np.shape(observation[ACHIEVED]))
        inner = None if state is None else state.inner
        actions, inner = self.policy.predict(given, inner, episode_start, deterministic)
        # A copy, since environments may draw the next goal into the same array.
        return actions, ShiftedState(steps, seeds, goals.copy(), shown, inner)

    def _continue(
        self, images: NDArray[np.uint8], goals: NDArray[np.uint8], state: Any, episode_start: Any
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        """Steps and seeds of the episodes, and their goal images as they are shown."""
        count = len(images)
        if state is None:
            starts, steps, seeds = np.ones(count, bool), np.zeros(count, np.int64), np.zeros(count, np.int64)
            new, shown = starts, goals.copy()
        elif not isinstance(state, ShiftedState) or state.goals.shape != goals.shape:
            wanted = f"a ShiftedState of images of shape {goals.shape}, as predict returns it, or None"
            had = f" of images of shape {state.goals.shape}" if isinstance(state, ShiftedState) else ""
            raise ValueError(f"state must be {wanted}, got {type(state).__name__}{had}")
        else:
            starts = read_starts(episode_start, count)
            steps, seeds = np.where(starts, 0, state.steps + 1), state.seeds.copy()
            new, shown = starts | (goals != state.goals).reshape(count, -1).any(1), state.shown.copy()
        for i in np.flatnonzero(starts):
            seeds[i] = zlib.crc32(goals[i].tobytes(), zlib.crc32(images[i].tobytes()))
        if new.any():
            shown[new] = self._shift(goals[new], GOAL_STEP, seeds[new])
        return steps, seeds, shown

    def _shift(self, images: NDArray[np.uint8], steps: Any, seeds: NDArray[np.int64]) -> NDArray[np.uint8]:
        return shift(self.name, images, step=steps, seed=seeds, agent_pixels=self.agent_pixels)
