"""The planning agent's memory from step to step, which travels in the ``state`` of its ``predict``."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.planning import Plan


@dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """A plan and what the model imagines of it; for pictures.

    Attributes:
        plan: The plan of one environment (batch dimension 1), with all candidates in its trace.
        start: State planned from, ``(s,)``.
        goal: Latent of the goal, ``(d,)``.
        states: Imagined states after each step of the plan, ``(t, s)``.
        candidate_states: Those of the candidates of each iteration, ``(n, t, s)``.
    """

    plan: Plan
    start: Tensor
    goal: Tensor
    states: Tensor
    candidate_states: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class EnvState:
    """The agent's memory of one environment.

    Attributes:
        episode: Episodes before this one.
        num_plans: Plans made in this episode.
        pending: Actions planned and not yet executed, ``(m, action_dim)``.
        init: Where the next search starts, ``(k, t, a)``; None at an episode's start.
        latents: Latents of the episode's last images, oldest first, as far back as a state reaches.
        taken: The actions taken since the first of them, each ``(action_dim,)``; behind the last image there is one.
        goal_image: The goal image last encoded, for which ``pending`` and ``init`` were planned.
        goal: Its latent, ``(d,)``.
        record: The plan being executed; None unless the agent records.
    """

    episode: int = 0
    num_plans: int = 0
    pending: NDArray[np.float32]
    init: Tensor | None = None
    latents: tuple[Tensor, ...] = ()
    taken: tuple[NDArray[np.float32], ...] = ()
    goal_image: NDArray[np.uint8] | None = None
    goal: Tensor | None = None
    record: PlanRecord | None = None

    def is_towards(self, goal_image: NDArray[np.uint8]) -> bool:
        """Whether this is the goal image last encoded."""
        return self.goal_image is not None and np.array_equal(self.goal_image, goal_image)

    def recent(self, context: int, frame_skip: int, idle: NDArray[np.float32]) -> tuple[Tensor, NDArray[np.float32]]:
        """The last latents of which a state is made, and the blocks of actions between them.

        Before the beginning of an episode nothing moved: its first latent stands for what is missing.

        Args:
            context: How many latents.
            frame_skip: Environment steps between two of them.
            idle: The action that stands for those before the beginning, ``(action_dim,)``.

        Returns:
            ``(context, d)`` and ``(context − 1, frame_skip · action_dim)``.
        """
        now, length = len(self.latents) - 1, (context - 1) * frame_skip
        latents = torch.stack([self.latents[max(0, now - i * frame_skip)] for i in reversed(range(context))])
        actions = np.stack([*[idle] * (length - now), *self.taken[-min(now, length) :]])
        return latents, actions.reshape(context - 1, -1)

    def remember(self, action: NDArray[np.float32], length: int) -> "EnvState":
        """The memory behind one more action, the next of the plan, as far back as ``length`` steps."""
        if length == 0:
            return replace(self, pending=self.pending[1:])
        taken = (*self.taken, action)[-length:]
        return replace(self, pending=self.pending[1:], latents=self.latents[-length:], taken=taken)


@dataclass(frozen=True)
class PlanningState:
    """The agent's recurrent state, one entry an environment; never changed in place."""

    envs: tuple[EnvState, ...]


def continue_episodes(state: Any, starts: NDArray[np.bool_], action_dim: int) -> list[EnvState]:
    """The memory of each environment, blank where an episode starts.

    Args:
        state: A :class:`PlanningState`; None begins an episode in every environment.
        starts: Which environments begin an episode, ``(n,)``.
        action_dim: Dimension of an environment's action.

    Returns:
        One entry for each environment.

    Raises:
        ValueError: If ``state`` is anything else, or has another number of environments.
    """
    blank = EnvState(pending=np.zeros((0, action_dim), np.float32))
    if state is None:
        return [blank] * len(starts)
    if not isinstance(state, PlanningState):
        raise ValueError(f"state must be a PlanningState, as predict returns it, or None, got {type(state).__name__}")
    if len(state.envs) != len(starts):
        raise ValueError(f"state must have {len(starts)} environments, as the observation has, got {len(state.envs)}")
    return [
        # The goal's latent stays: it belongs to the image, and is made anew if that changes.
        replace(blank, episode=env.episode + 1, goal_image=env.goal_image, goal=env.goal) if begins else env
        for env, begins in zip(state.envs, starts, strict=True)
    ]
