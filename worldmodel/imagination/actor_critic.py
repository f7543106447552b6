"""An actor and two critics on a world model: which way to go, and how far a goal is.

Distances between latents are straight lines; walls bend the way. Small networks on a state and the latent of a goal
learn the way itself, by acting in imagination (:mod:`worldmodel.imagination.objective`):

::

    state, goal ──► critics ──► cost-to-go: discounted cost until the goal is reached, were the actor to act
    state, goal ──► actor ────► action

A planner uses the cost-to-go as terminal cost, so that short horizons suffice, and the actor's plan as a proposal
(TD-MPC, arXiv 2203.04955); the actor alone is a policy that costs one forward pass.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.jepa import state_dim
from worldmodel.nn.layers import perceptron

NUM_CRITICS = 2
"""Critics; what either of them thinks is far counts as far (twin critics of TD3, arXiv 1802.09477)."""
NEARNESS = (0.3, 1.0, 5.0)
"""Widths, in squared distances at which the cost of a step saturates, of the features that tell near from far."""
PESSIMISM = 3.0
"""Logit of the cost-to-go that critics begin with: all that was never seen to be near is far."""


class ActorCritic(nn.Module):
    """Goal-conditioned actor and critics on the states of a world model.

    The cost of a predictor step is ``1 − exp(−d / s)`` with ``d`` the mean squared difference between the latent it
    leads to and the goal's: 1 anywhere far from the goal, 0 at it. The sum of such costs, discounted, is a temporal
    distance below ``1 / (1 − discount)``, which the critics' sigmoid spans. The scale ``s`` is in proportion to how far
    a latent moves in a predictor step, which is measured (:meth:`fit`).

    Args:
        latent_dim: Number of latent features ``D``.
        block_dim: Components of a block of actions.
        action_low: Lower bounds of an environment action's components ``A``.
        action_high: Upper bounds.
        action_max_norm: Largest Euclidean norm of an action; None where only the box bounds it.
        context: Latents of a state.
        hidden_dim: Width of the networks' two hidden layers.
        discount: Discount of a predictor step.
        relative_scale: Squared distance at which the cost of a step saturates, in squared steps.

    Raises:
        ValueError: If the discount is not in (0, 1), the scale is not positive, or the actions have no bounds.
    """

    constants = ("low", "high")
    """Buffers that follow from the configuration."""
    low: Tensor
    high: Tensor
    step_size: Tensor

    def __init__(
        self,
        latent_dim: int,
        block_dim: int,
        action_low: Sequence[float],
        action_high: Sequence[float],
        action_max_norm: float | None = None,
        *,
        context: int = 1,
        hidden_dim: int = 256,
        discount: float = 0.95,
        relative_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < discount < 1:
            raise ValueError(f"discount must be in (0, 1), got {discount}")
        if not relative_scale > 0:
            raise ValueError(f"relative_scale must be positive, got {relative_scale}")
        self.discount = discount
        self.relative_scale = relative_scale
        self.max_norm = action_max_norm
        self.register_buffer("low", torch.tensor(action_low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(action_high, dtype=torch.float32))
        if action_max_norm is None and not all(map(math.isfinite, (*action_low, *action_high))):
            raise ValueError(f"actions must be bounded for an actor, got {list(action_low)} to {list(action_high)}")
        self.register_buffer("step_size", torch.ones(latent_dim))
        self.latent_dim = latent_dim
        self.context = context
        width = state_dim(latent_dim, block_dim, context) + 2 * latent_dim + 1 + len(NEARNESS)
        hidden = [hidden_dim] * 2
        self.critics = nn.ModuleList(perceptron(width, hidden, 1, normalized=True) for _ in range(NUM_CRITICS))
        self.actor = perceptron(width, hidden, len(self.low), normalized=True)

    @property
    def max_cost(self) -> float:
        """Cost-to-go of what is never reached."""
        return 1.0 / (1.0 - self.discount)

    @property
    def distance_scale(self) -> Float[Tensor, ""]:
        """Squared distance (mean over features) at which the cost of a step saturates."""
        return self.relative_scale * self.step_size.square().mean()

    @torch.no_grad()
    def fit(self, step_size: Float[Tensor, "d"]) -> None:
        """Takes how far each feature moves in a predictor step, its root mean square, as the unit of distances."""
        self.step_size.copy_(step_size.clamp_min(1e-6))

    def policy(self, states: Float[Tensor, "*b s"], goals: Float[Tensor, "*b d"]) -> Float[Tensor, "*b a"]:
        """The actor's actions, in the environment's units and within the bounds."""
        return self.bounded(self.proposal(states, goals))

    def proposal(self, states: Float[Tensor, "*b s"], goals: Float[Tensor, "*b d"]) -> Float[Tensor, "*b a"]:
        """The actor's actions before they are bounded."""
        with torch.autocast(states.device.type, enabled=False):
            features = self._features(states.float(), goals.float())
        return self.actor(features).float()

    def cost_to_go(
        self, states: Float[Tensor, "*b s"], goals: Float[Tensor, "*b d"], critics: nn.ModuleList | None = None
    ) -> Float[Tensor, "*b"]:
        """The critics' estimate of the discounted cost from states to goals: the larger of theirs.

        Args:
            states: Where to start.
            goals: Latents of where to go.
            critics: Others in place of the own, such as slowly moving copies of them.
        """
        return self.max_cost * torch.sigmoid(self.logits(states, goals, critics).amax(dim=0))

    def logits(
        self, states: Float[Tensor, "*b s"], goals: Float[Tensor, "*b d"], critics: nn.ModuleList | None = None
    ) -> Float[Tensor, "q *b"]:
        """What each critic says, as the logit of the share of :attr:`max_cost`; see :meth:`cost_to_go`."""
        # In float32 even under autocast: differences of costs-to-go are small.
        with torch.autocast(states.device.type, enabled=False):
            features = self._features(states.float(), goals.float())
            return PESSIMISM + torch.stack([critic(features).squeeze(-1) for critic in critics or self.critics])

    def step_cost(self, states: Float[Tensor, "*b s"], goals: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
        """Cost of a predictor step that leads to ``states``: from 0 at the goal to 1 far from it."""
        return -torch.expm1(self._distance(states, goals) / -self.distance_scale)

    def trajectory_cost(self, states: Float[Tensor, "b t s"], goals: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
        """Cost of imagined trajectories: discounted costs of their steps, and the cost-to-go from where they end."""
        horizon = states.shape[1]
        discounts = self.discount ** torch.arange(horizon, device=states.device)
        costs = (discounts * self.step_cost(states, goals[:, None].expand(-1, horizon, -1))).sum(-1)
        return costs + self.discount**horizon * self.cost_to_go(states[:, -1], goals)

    def bounded(self, raw: Float[Tensor, "*b a"]) -> Float[Tensor, "*b a"]:
        """Smoothly maps any numbers into the bounds of the actions."""
        if self.max_norm is None:
            return self.low + (self.high - self.low) * torch.sigmoid(2.0 * raw)
        norm = torch.linalg.vector_norm(raw, dim=-1, keepdim=True).clamp_min(1e-6)
        return (raw * (self.max_norm * torch.tanh(norm) / norm)).clamp(self.low, self.high)

    def _features(self, states: Tensor, goals: Tensor) -> Tensor:
        """What the networks see: latents, motion in typical steps, past actions, the goal, and how far it is."""
        past = states.shape[-1] - self.context * self.latent_dim
        latents = states[..., past:].unflatten(-1, (self.context, self.latent_dim))
        motion = (latents.diff(dim=-2) / self.step_size).flatten(-2)
        newest = latents[..., -1, :]
        distance = self._distance(states, goals)[..., None]
        near = [2.0 * torch.exp(-distance / (width * self.distance_scale)) for width in NEARNESS]
        seen = newest, motion, states[..., :past], goals, newest - goals
        return torch.cat([*seen, (distance + 1e-6).sqrt(), *near], dim=-1)

    def _distance(self, states: Tensor, goals: Tensor) -> Tensor:
        return (states[..., -self.latent_dim :] - goals).square().mean(-1)
