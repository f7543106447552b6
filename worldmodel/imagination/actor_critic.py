"""An actor and a critic on a world model: which way to go, and how far a goal is.

Distances between latents are straight lines; walls bend the way. Two small networks on pairs of latents learn the way
itself, by acting in imagination (:mod:`worldmodel.imagination.objective`):

::

    z, goal ──► critic ──► cost-to-go: discounted cost until the goal is reached, were the actor to act
    z, goal ──► actor ───► action

A planner uses the cost-to-go as terminal cost, so that short horizons suffice, and the actor's plan as a proposal
(TD-MPC, arXiv 2203.04955); the actor alone is a policy that costs one forward pass.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.nn.layers import perceptron


class ActorCritic(nn.Module):
    """Goal-conditioned actor and critic on the latents of a world model.

    The cost of a predictor step is ``1 − exp(−d / distance_scale)`` with ``d`` the mean squared difference between the
    latent it leads to and the goal's: 1 anywhere far from the goal, 0 at it. The sum of such costs, discounted, is a
    temporal distance that saturates at ``1 / (1 − discount)``.

    Args:
        latent_dim: Number of latent features ``D``.
        action_low: Lower bounds of an environment action's components ``A``.
        action_high: Upper bounds.
        action_max_norm: Largest Euclidean norm of an action; None where only the box bounds it.
        context: Latents of a state; only the newest is compared with a goal's.
        hidden_dim: Width of both networks' two hidden layers.
        discount: Discount of a predictor step.
        distance_scale: Squared latent distance (mean over features) at which the cost of a step saturates.

    Raises:
        ValueError: If the discount is not in (0, 1), the scale is not positive, or the actions have no bounds.
    """

    constants = ("low", "high")
    """Buffers that follow from the configuration."""
    low: Tensor
    high: Tensor

    def __init__(
        self,
        latent_dim: int,
        action_low: Sequence[float],
        action_high: Sequence[float],
        action_max_norm: float | None = None,
        *,
        context: int = 1,
        hidden_dim: int = 256,
        discount: float = 0.95,
        distance_scale: float = 0.05,
    ) -> None:
        super().__init__()
        if not 0 < discount < 1:
            raise ValueError(f"discount must be in (0, 1), got {discount}")
        if not distance_scale > 0:
            raise ValueError(f"distance_scale must be positive, got {distance_scale}")
        self.discount = discount
        self.distance_scale = distance_scale
        self.max_norm = action_max_norm
        self.register_buffer("low", torch.tensor(action_low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(action_high, dtype=torch.float32))
        if action_max_norm is None and not all(map(math.isfinite, (*action_low, *action_high))):
            raise ValueError(f"actions must be bounded for an actor, got {list(action_low)} to {list(action_high)}")
        hidden = [hidden_dim] * 2
        self.latent_dim = latent_dim
        self.critic = perceptron((2 + context) * latent_dim, hidden, 1, normalized=True)
        self.actor = perceptron((2 + context) * latent_dim, hidden, len(self.low), normalized=True)

    def policy(self, latents: Float[Tensor, "*b d"], goals: Float[Tensor, "*b d"]) -> Float[Tensor, "*b a"]:
        """The actor's actions, in the environment's units and within the bounds; each is held for a predictor step."""
        return self.bounded(self.proposal(latents, goals))

    def proposal(self, latents: Float[Tensor, "*b d"], goals: Float[Tensor, "*b d"]) -> Float[Tensor, "*b a"]:
        """The actor's actions before they are bounded."""
        return self._exactly(self.actor, latents, goals)

    def cost_to_go(
        self, latents: Float[Tensor, "*b d"], goals: Float[Tensor, "*b d"], critic: nn.Module | None = None
    ) -> Float[Tensor, "*b"]:
        """The critic's estimate of the discounted cost from ``latents`` to ``goals``, at least 0.

        Args:
            latents: Where to start.
            goals: Where to go.
            critic: Another critic in place of the own, such as a slowly moving copy of it.
        """
        return F.softplus(self._exactly(critic or self.critic, latents, goals).squeeze(-1))

    def step_cost(self, latents: Float[Tensor, "*b d"], goals: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
        """Cost of a predictor step that leads to ``latents``: from 0 at the goal to 1 far from it."""
        newest, goal = self._newest(latents), self._newest(goals)
        return -torch.expm1((newest - goal).square().mean(-1) / -self.distance_scale)

    def trajectory_cost(self, latents: Float[Tensor, "b t d"], goals: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
        """Cost of imagined trajectories: discounted costs of their steps, and the cost-to-go from where they end."""
        horizon = latents.shape[1]
        discounts = self.discount ** torch.arange(horizon, device=latents.device)
        costs = (discounts * self.step_cost(latents, goals[:, None].expand(-1, horizon, -1))).sum(-1)
        return costs + self.discount**horizon * self.cost_to_go(latents[:, -1], goals)

    def bounded(self, raw: Float[Tensor, "*b a"]) -> Float[Tensor, "*b a"]:
        """Smoothly maps any numbers into the bounds of the actions."""
        if self.max_norm is None:
            return self.low + (self.high - self.low) * torch.sigmoid(2.0 * raw)
        norm = torch.linalg.vector_norm(raw, dim=-1, keepdim=True).clamp_min(1e-6)
        return (raw * (self.max_norm * torch.tanh(norm) / norm)).clamp(self.low, self.high)

    def _exactly(self, network: nn.Module, states: Tensor, goals: Tensor) -> Tensor:
        """Applies a network to pairs in float32 even under autocast: differences of costs-to-go are small."""
        with torch.autocast(states.device.type, enabled=False):
            states, goals = states.float(), goals.float()
            newest, goal = self._newest(states), self._newest(goals)
            return network(torch.cat([states, goal, newest - goal], dim=-1))

    def _newest(self, states: Tensor) -> Tensor:
        return states[..., -self.latent_dim :]
