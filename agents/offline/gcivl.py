"""Goal-conditioned implicit value learning: implicit Q-learning without actions (as in OGBench, arXiv 2410.20092).

::

    value     V(s, g) ≈ expectile of  −1 + γ V̄(s', g)     a step costs 1; V(g, g) = 0; V̄: target networks, slower
    policy    π(a | s, g) imitates a, good actions more than bad ones: weight exp(α (V(s', g) − V(s, g)))

Values are learned from the data alone: an expectile above one half leans to the best that followed, as a maximum would,
without asking for actions that nobody took (arXiv 2110.06169). Goals lie ahead on the same trajectory or on another
one, so that the value joins several trajectories.
"""

import copy

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from agents.offline.imitation import act, encode_frames, goal_latents, pair_dim
from worldmodel.jepa import JEPA
from worldmodel.nn.distributed import gather_batch, own_share
from worldmodel.nn.layers import perceptron

MAX_WEIGHT = 100.0
"""Largest weight of an action that is imitated."""


class GoalValue(nn.Module):
    """Two estimates of the value of goals, on the features of one encoder.

    Args:
        encoder: Encodes images and goals.
        hidden_dims: Widths of each estimate's hidden layers.
    """

    def __init__(self, encoder: JEPA, hidden_dims: list[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(perceptron(pair_dim(encoder), hidden_dims, 1, normalized=True) for _ in range(2))

    def forward(self, latents: Float[Tensor, "*n d"], goals: Float[Tensor, "*n d"]) -> Float[Tensor, "2 *n"]:
        """Both estimates, from features of images and of goals."""
        pairs = torch.cat([latents, goals], dim=-1)
        return torch.stack([head(pairs).squeeze(-1) for head in self.heads])


class GCIVL(nn.Module):
    """A value of goals, and a policy that imitates the actions that raised it.

    Args:
        encoder: Encodes images and goals; trained by the value. It predicts nothing.
        hidden_dim: Width of hidden layers.
        num_layers: Number of hidden layers.
        discount: γ, of a block of actions.
        expectile: The value is this expectile of the returns in the data.
        temperature: α, how much more good actions are imitated than bad ones.
        target_rate: Polyak rate of the target networks V̄.
    """

    def __init__(
        self,
        encoder: JEPA,
        *,
        hidden_dim: int,
        num_layers: int,
        discount: float,
        expectile: float,
        temperature: float,
        target_rate: float = 0.005,
    ) -> None:
        super().__init__()
        hidden_dims = [hidden_dim] * num_layers
        self.value = GoalValue(encoder, hidden_dims)
        self.target = copy.deepcopy(self.value).requires_grad_(False)
        self.policy = perceptron(pair_dim(encoder), hidden_dims, encoder.action_dim, normalized=True)
        self.discount = discount
        self.expectile = expectile
        self.temperature = temperature
        self.target_rate = target_rate

    @torch.no_grad()
    def fit_normalization(self, pixels: UInt8[Tensor, "b f c h w"], actions: Float[Tensor, "*n a"]) -> None:
        """Fits normalisation on a sample of training data, for the target networks too."""
        self.value.encoder.fit_normalization(pixels, actions)
        self.target.load_state_dict(self.value.state_dict())

    def forward(
        self, pixels: UInt8[Tensor, "b f c h w"], actions: Float[Tensor, "b s a"], goals: Int[Tensor, "b s"], step: int
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Loss and metrics of a batch of trajectories; see :meth:`agents.offline.gcbc.GCBC.forward`.

        Each image has two goals: its own, and one of the previous trajectory in the batch, which it does not reach.
        """
        self._follow()
        latents, stills = encode_frames(self.value.encoder, pixels)
        now, then, wanted = _transitions(latents, stills, goals)
        with torch.no_grad():
            target_now, target_then, target_wanted = _transitions(*encode_frames(self.target.encoder, pixels), goals)
        reached = goals == torch.arange(1, latents.shape[1], device=goals.device)
        reached = torch.cat([reached, torch.zeros_like(reached)])
        values = self.value(now, wanted)
        with torch.no_grad():
            targets = -1.0 + self.discount * self.target(target_then, target_wanted).masked_fill(reached, 0.0)
            better = targets.amin(dim=0) > self.target(target_now, target_wanted).mean(dim=0)
            gain = self.value(then, wanted).mean(dim=0).masked_fill(reached, 0.0) - values.mean(dim=0)
            weight = (self.temperature * gain).exp().clamp_max(MAX_WEIGHT)
        lean = torch.where(better, self.expectile, 1.0 - self.expectile)
        value_loss = (lean * (targets - values).square()).mean(dim=(1, 2)).sum()
        some, there = latents[:, ::4], stills[:, ::4]  # each is its own goal, and there already
        value_loss = value_loss + self.value(some, there).square().mean(dim=(1, 2)).sum()
        # The policy trains no encoder: its weighted loss is noisy.
        proposed = self.policy(torch.cat([now, wanted], dim=-1).detach())
        taken = self.value.encoder.normalizer.actions(actions).repeat(2, 1, 1)
        policy_loss = (weight * (proposed - taken).square().mean(dim=-1)).mean()
        loss = value_loss + policy_loss
        metrics = {"value": value_loss, "policy": policy_loss, "mean_value": values.mean(), "weight": weight.mean()}
        return loss, {"loss": loss.detach()} | {name: term.detach() for name, term in metrics.items()}

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the target networks towards those that are trained."""
        if not self.training:
            return
        for slow, fast in zip(self.target.parameters(), self.value.parameters(), strict=True):
            slow.lerp_(fast, self.target_rate)

    def act(self, pixels: UInt8[Tensor, "b k x y z"], goals: UInt8[Tensor, "b x y z"]) -> Float[Tensor, "b a"]:
        """Actions towards goals, in the environment's units, from the ``k`` frames that are seen at once."""
        return act(self.value.encoder, self.policy, pixels, goals)


def _transitions(latents: Tensor, stills: Tensor, goals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features of images, of those that follow and of the goals, ``(2 B, S, D)``: of own goals, then of others'."""
    wanted = goal_latents(stills, goals)
    now, then = latents[:, :-1].repeat(2, 1, 1), latents[:, 1:].repeat(2, 1, 1)
    previous = own_share(gather_batch(wanted).roll(1, dims=0))  # in the batch of all processes
    return now, then, torch.cat([wanted, previous])
