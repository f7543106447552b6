"""What the planning agent carries from step to step, in the ``state`` of its ``predict``."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.planning import Plan


@dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """A plan with what the model imagined of it; for pictures.

    Attributes:
        plan: The plan of one environment (batch dimension 1), with all candidates in its trace.
        start: Latent of the observation planned from, ``(d,)``.
        goal: Latent of the goal, ``(d,)``.
        latents: What the plan is imagined to lead to, ``(t, d)``.
        candidate_latents: The same of the candidates of each iteration, ``(n, t, d)``.
    """

    plan: Plan
    start: Tensor
    goal: Tensor
    latents: Tensor
    candidate_latents: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class EnvState:
    """What the agent carries from step to step for one environment.

    Attributes:
        episode: Episodes begun before this one.
        num_plans: Plans made in this episode.
        pending: Actions planned and not yet executed, ``(m, action_dim)``.
        init: Where the next search starts, ``(k, t, a)``; None at an episode's start.
        goal_image: The goal image last encoded.
        goal: Its latent, ``(d,)``.
        record: The plan being executed; None unless the agent records.
    """

    episode: int = 0
    num_plans: int = 0
    pending: NDArray[np.float32]
    init: Tensor | None = None
    goal_image: NDArray[np.uint8] | None = None
    goal: Tensor | None = None
    record: PlanRecord | None = None


@dataclass(frozen=True)
class PlanningState:
    """The agent's recurrent state, one entry an environment; never changed in place."""

    envs: tuple[EnvState, ...]
