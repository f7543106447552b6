"""Goal-conditioned implicit value learning: implicit Q-learning without actions (as in OGBench, arXiv 2410.20092).

::

    value     V(s, g) ≈ expectile of  r + γ V̄(s', g)      r = −1 until the goal is reached, then 0 and the end
    policy    π(a | s, g) imitates a, the more the better it was: weight exp(α (V(s', g) − V(s, g)))

Values are learned from the data alone: an expectile above one half leans to the best that followed, as a maximum would,
without asking for actions that nobody took (arXiv 2110.06169).
"""

import copy

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from agents.goal_encoder import GoalEncoder
from worldmodel.layers import perceptron


class GCIVL(nn.Module):
    """A value of goals, and a policy that imitates what raised it.

    Args:
        encoder: Encodes images and goals; trained by the value.
        hidden_dim: Width of hidden layers.
        num_layers: Number of these.
        discount: γ, of a block of actions.
        expectile: Which expectile of what followed the value is.
        temperature: α, how much more good actions are imitated than bad ones.
        max_weight: Largest weight of an action.
        target_rate: How fast the target value V̄ follows the value.
    """

    def __init__(
        self,
        encoder: GoalEncoder,
        *,
        hidden_dim: int = 512,
        num_layers: int = 3,
        discount: float = 0.97,
        expectile: float = 0.9,
        temperature: float = 3.0,
        max_weight: float = 100.0,
        target_rate: float = 0.005,
    ) -> None:
        super().__init__()
        hidden, in_dim = [hidden_dim] * num_layers, 2 * encoder.latent_dim
        self.encoder = encoder
        self.value = perceptron(in_dim, hidden, 1, normalized=True)
        self.policy = perceptron(in_dim, hidden, encoder.action_dim, normalized=True)
        self.target = copy.deepcopy(self.value).requires_grad_(False)
        self.discount = discount
        self.expectile = expectile
        self.temperature = temperature
        self.max_weight = max_weight
        self.target_rate = target_rate

    def forward(
        self, pixels: UInt8[Tensor, "b t c h w"], actions: Float[Tensor, "b s a"], goals: Int[Tensor, "b s"], step: int
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Loss and metrics of a batch of trajectories; see :meth:`agents.gcbc.GCBC.forward`.

        The value also learns from goals that are not reached: those of the next trajectory of the batch.
        """
        self._follow()
        latents = self.encoder(pixels)
        wanted = latents.gather(1, goals[..., None].expand(-1, -1, latents.shape[-1]))
        now, then = latents[:, :-1], latents[:, 1:]
        reached = goals == torch.arange(1, pixels.shape[1], device=goals.device)
        value_loss, advantage, mean = self._value_loss(now, then, wanted, reached)
        other_loss, _, _ = self._value_loss(now, then, wanted.roll(1, dims=0), torch.zeros_like(reached))
        weight = (self.temperature * advantage).exp().clamp_max(self.max_weight)
        # The policy trains no encoder: its weighted loss is noisy.
        done = self.policy(torch.cat([now, wanted], dim=-1).detach())
        error = (done - self.encoder.normalizer.actions(actions)).square().mean(dim=-1)
        policy_loss = (weight * error).mean()
        loss = value_loss + other_loss + policy_loss
        metrics = {"value": value_loss, "policy": policy_loss, "mean_value": mean, "weight": weight.mean()}
        return loss, {"loss": loss.detach()} | {name: term.detach() for name, term in metrics.items()}

    def _value_loss(self, now: Tensor, then: Tensor, goals: Tensor, reached: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Expectile regression of values; the advantage of what was done; the mean value."""
        with torch.no_grad():
            following = self.target(torch.cat([then, goals], dim=-1)).squeeze(-1)
            following = torch.where(reached, 0.0, -1.0 + self.discount * following)
        value = self.value(torch.cat([now, goals], dim=-1)).squeeze(-1)
        advantage = following - value.detach()
        lean = torch.where(advantage > 0, self.expectile, 1.0 - self.expectile)
        return (lean * (following - value).square()).mean(), advantage, value.mean()

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the target value towards the value."""
        if not self.training:
            return
        for slow, fast in zip(self.target.parameters(), self.value.parameters(), strict=True):
            slow.lerp_(fast, self.target_rate)

    def act(self, pixels: UInt8[Tensor, "b c h w"], goals: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b a"]:
        """Actions towards goals, in the environment's units."""
        return self.encoder.to_env(self.policy(self.encoder.pair(pixels, goals)))
