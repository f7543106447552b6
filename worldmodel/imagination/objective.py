"""Learning to reach goals in imagination: the world model acts as environment, and no reward is needed.

::

    state, goal                                 of encoded episodes; goals lie ahead, or anywhere
    action_0 = actor(state, goal), or a random one; then action_k = actor(ŝ_k, goal)
    ŝ_{k+1}  = predictor(ŝ_k, action_k)         a few imagined steps
    Σ γ^k cost(ŝ_{k+1}, goal) + γ^n · critics(ŝ_n, goal)    least over the first actions ──► target of the critics;
                                                            its gradient through ŝ and the actions ──► the actor

As in Dreamer (arXiv 1912.01603) the gradient reaches the actor through the model. Several steps matter: a smooth critic
that learns from single ones leaks through walls a little at each. The world model itself stays as it is.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.jepa import JEPA
from worldmodel.nn.distributed import num_processes, own_share
from worldmodel.nn.randomness import step_generator

CRITIC_WEIGHT = 5.0
"""Weight of the critics' loss beside the actor's."""
CALM = 1e-3
"""Weight of the actor's squared output before it is bounded: at the bounds there is no gradient."""


class Imagination(nn.Module):
    """The loss of an actor and critics that act in a frozen world model.

    Args:
        model: The world model; freeze its parameters while this trains.
        actor_critic: The actor and the critics.
        imagined_steps: Predictor steps before the critics are asked.
        random_actions: Random first actions that compete with the actor's: they keep the critics from believing that
            the actor's action is the best there is.
        target_rate: Polyak rate of the target critics.
        seed: Seed of the random actions.
    """

    def __init__(
        self,
        model: JEPA,
        actor_critic: ActorCritic,
        *,
        imagined_steps: int = 4,
        random_actions: int = 2,
        target_rate: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.actor_critic = actor_critic
        self.target = copy.deepcopy(actor_critic.critics).requires_grad_(False)
        self.imagined_steps = imagined_steps
        self.random_actions = random_actions
        self.target_rate = target_rate
        self.seed = seed

    def forward(
        self, states: Float[Tensor, "b s"], goals: Float[Tensor, "b d"], step: int = 0
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Computes the loss of a batch of states and goals, and lets the target critics follow.

        Args:
            states: Where to start.
            goals: Latents of where to go.
            step: Training step; selects the random actions.

        Returns:
            The loss, and metrics: the losses of both kinds of networks, the mean cost-to-go, and the share of pairs for
            which a random first action was better than the actor's.
        """
        if self.training:
            self._move_target()
        networks = self.actor_critic
        raw = networks.proposal(states, goals)
        acted = self._future_cost(states, goals, networks.bounded(raw))
        best = acted.detach()
        random_better = torch.zeros_like(best)
        if self.random_actions:
            explored = self._explore(states, goals, step)
            random_better = (explored < best).float()
            best = torch.minimum(explored, best)
        logits = networks.logits(states, goals)
        share = (best / networks.max_cost).clamp(0.0, 1.0).expand_as(logits)
        critic_loss = F.binary_cross_entropy_with_logits(logits, share)
        loss = CRITIC_WEIGHT * critic_loss + acted.mean() + CALM * raw.square().mean()
        metrics = {
            "critic": critic_loss,
            "actor": acted.mean(),
            "cost_to_go": networks.max_cost * torch.sigmoid(logits).mean(),
            "random_better": random_better.mean(),
        }
        return loss, {name: value.detach() for name, value in metrics.items()}

    @torch.no_grad()
    def _explore(self, states: Tensor, goals: Tensor, step: int) -> Tensor:
        """Least future cost ``(b,)`` over random first actions."""
        generator = step_generator(states.device, self.seed, step)
        # Those of the joint batch of all processes, of which this process takes its share.
        shape = self.random_actions, num_processes() * len(states), len(self.actor_critic.low)
        raw = own_share(torch.randn(shape, generator=generator, device=states.device), dim=1)
        starts, wanted = (one.expand(self.random_actions, *one.shape).flatten(0, 1) for one in (states, goals))
        cost = self._future_cost(starts, wanted, self.actor_critic.bounded(raw).flatten(0, 1))
        return cost.view(self.random_actions, -1).amin(dim=0)

    def _future_cost(self, states: Tensor, goals: Tensor, actions: Tensor) -> Tensor:
        """Discounted cost of holding ``actions`` for a predictor step and leaving all that follows to the actor."""
        networks, total, discount = self.actor_critic, torch.zeros_like(goals[:, 0]), 1.0
        for k in range(self.imagined_steps):
            if k:
                actions = networks.policy(states, goals)
            states = self.model.predict(states, actions.repeat(1, self.model.frame_skip))
            total = total + discount * networks.step_cost(states, goals)
            discount *= networks.discount
        return total + discount * networks.cost_to_go(states, goals, self.target)

    @torch.no_grad()
    def _move_target(self) -> None:
        for slow, fast in zip(self.target.parameters(), self.actor_critic.critics.parameters(), strict=True):
            slow.lerp_(fast, self.target_rate)
