"""Learning to reach goals in imagination: the world model acts as environment, and no reward is needed.

::

    images of one scene ──► encoder ──► z, goal (each image is a start, others of its scene its goals)
    action = actor(z, goal), or a random one
    ẑ = predictor(z, action)                    one imagined step
    cost(ẑ, goal) + γ · critic(ẑ, goal)         least over the actions ──► target of the critic;
                                                its gradient through ẑ and the action ──► the actor

As in Dreamer (arXiv 1912.01603) the gradient reaches the actor through the model. Steps start at encoded images only,
so the model is never asked for more than its most precise prediction, one step. The world model itself stays as it is.
"""

import copy

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.jepa import JEPA
from worldmodel.nn.randomness import step_generator


class Imagination(nn.Module):
    """The loss of an actor and a critic that act in a frozen world model.

    Args:
        model: The world model; freeze its parameters while this trains.
        actor_critic: The actor and the critic.
        goals_per_image: Goals that each image is paired with.
        random_actions: Random actions that compete with the actor's, at each image: they keep the critic from
            believing that the actor's action is the best there is.
        imitation_weight: How strongly the actor is drawn to a random action that was better than its own. An actor
            whose actions have come to stand at their bounds has no gradient there: this brings it back.
        target_rate: Polyak rate of the target critic.
        seed: Seed of the random actions.
    """

    def __init__(
        self,
        model: JEPA,
        actor_critic: ActorCritic,
        *,
        goals_per_image: int = 2,
        random_actions: int = 1,
        imitation_weight: float = 0.0,
        target_rate: float = 0.02,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.actor_critic = actor_critic
        self.target = copy.deepcopy(actor_critic.critic).requires_grad_(False)
        self.goals_per_image = goals_per_image
        self.random_actions = random_actions
        self.imitation_weight = imitation_weight
        self.target_rate = target_rate
        self.seed = seed

    def forward(
        self, pixels: UInt8[Tensor, "b m k c h w"], step: int = 0
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Computes the loss of a batch of scenes, and lets the target critic follow.

        Args:
            pixels: ``m`` images of each of ``b`` scenes, each the last of the ``k`` frames that the model sees at once;
                from any of them, any other can be reached. Their order must be random: an image's goals are those that
                follow it.
            step: Training step; selects the random actions.

        Returns:
            The loss, and metrics: the losses of both networks, the mean cost-to-go, and the share of pairs for which a
            random action was better than the actor's.

        Raises:
            ValueError: If a scene has too few images for its goals.
        """
        if pixels.shape[1] <= self.goals_per_image:
            raise ValueError(
                f"a scene must have more images than goals_per_image ({self.goals_per_image}), got {pixels.shape[1]}"
            )
        if self.training:
            self._move_target()
        with torch.no_grad():
            encoded = self.model.encode_states_and_goals(pixels.flatten(0, 1))
        latents, stills = (one.view(*pixels.shape[:2], -1) for one in encoded)  # (B, M, S) and (B, M, D)
        goals = torch.stack([stills.roll(-j, dims=1) for j in range(1, self.goals_per_image + 1)], dim=2)
        starts = latents[:, :, None].expand(*goals.shape[:3], -1)  # (B, M, G, S)
        raw = self.actor_critic.proposal(starts, goals)
        acted = self._future_cost(self._imagine(starts, self.actor_critic.bounded(raw)), goals)
        best = acted.detach()
        random_better, imitation = torch.zeros_like(best), raw.new_zeros(())
        if self.random_actions:
            explored, tried = self._explore(latents, goals, step)
            random_better = (explored < best).float()
            imitation = (random_better * (raw - tried).square().mean(-1)).mean()
            best = torch.minimum(explored, best)
        cost_to_go = self.actor_critic.cost_to_go(starts, goals)
        critic_loss = F.mse_loss(cost_to_go, best)
        actor_loss = acted.mean() + self.imitation_weight * imitation
        metrics = {
            "critic": critic_loss,
            "actor": actor_loss,
            "cost_to_go": cost_to_go.mean(),
            "random_better": random_better.mean(),
        }
        return critic_loss + actor_loss, {name: value.detach() for name, value in metrics.items()}

    @torch.no_grad()
    def _explore(self, latents: Tensor, goals: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Least future cost ``(b, m, g)`` over random actions, and the action before it is bounded ``(b, m, g, a)``.

        An image's are tried for all of its goals.
        """
        shape = (*latents.shape[:2], self.random_actions)
        generator = step_generator(latents.device, self.seed, step)
        raw = torch.randn(*shape, len(self.actor_critic.low), generator=generator, device=latents.device)
        starts = latents[:, :, None].expand(*shape, -1)
        imagined = self._imagine(starts, self.actor_critic.bounded(raw))[:, :, None]  # (B, M, 1, J, D)
        wanted = goals[:, :, :, None]  # (B, M, G, 1, D)
        size = (*goals.shape[:3], self.random_actions, -1)
        cost, place = self._future_cost(imagined.expand(size), wanted.expand(size)).min(-1)
        return cost, raw.gather(2, place[..., None].expand(*place.shape, raw.shape[-1]))

    def _imagine(self, latents: Tensor, actions: Tensor) -> Tensor:
        """The latents one predictor step later, each action held."""
        held = actions.flatten(0, -2).repeat(1, self.model.frame_skip)
        return self.model.predict(latents.flatten(0, -2), held).view(latents.shape)

    def _future_cost(self, latents: Tensor, goals: Tensor) -> Tensor:
        """Cost of a step that leads to ``latents``, and of all that follow."""
        cost_to_go = self.actor_critic.cost_to_go(latents, goals, critic=self.target)
        return self.actor_critic.step_cost(latents, goals) + self.actor_critic.discount * cost_to_go

    @torch.no_grad()
    def _move_target(self) -> None:
        for slow, fast in zip(self.target.parameters(), self.actor_critic.critic.parameters(), strict=True):
            slow.lerp_(fast, self.target_rate)
