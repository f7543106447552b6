"""Goal-conditioned behavioural cloning: do what was done on the way to this goal (Ghosh et al., arXiv 1912.06088).

::

    image t ──► encoder ──┐
                          ├──► policy ──► action t           goal: a later image of the same trajectory
    goal    ──► encoder ──┘
"""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from agents.offline.goal_encoder import GoalEncoder
from worldmodel.nn.layers import perceptron


class GCBC(nn.Module):
    """Imitates the actions of trajectories, given one of the images that followed as the goal.

    Args:
        encoder: Encodes images and goals; trained with the policy.
        hidden_dim: Width of the policy's hidden layers.
        num_layers: Number of hidden layers.
    """

    def __init__(self, encoder: GoalEncoder, *, hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.policy = perceptron(2 * encoder.latent_dim, [hidden_dim] * num_layers, encoder.action_dim, normalized=True)

    def fit_normalization(self, pixels: UInt8[Tensor, "*b c h w"], actions: Float[Tensor, "*n a"]) -> None:
        """Fits normalisation on a sample of training data."""
        self.encoder.fit_normalization(pixels, actions)

    def forward(
        self, pixels: UInt8[Tensor, "b t c h w"], actions: Float[Tensor, "b s a"], goals: Int[Tensor, "b s"], step: int
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Loss and metrics of a batch of trajectories.

        Args:
            pixels: Images.
            actions: Actions between them.
            goals: For each image but the last, which later image is its goal.
            step: Training step; nothing here depends on it.
        """
        latents = self.encoder(pixels)
        wanted = latents.gather(1, goals[..., None].expand(-1, -1, latents.shape[-1]))
        done = self.policy(torch.cat([latents[:, :-1], wanted], dim=-1))
        loss = F.mse_loss(done, self.encoder.normalizer.actions(actions))
        return loss, {"loss": loss.detach()}

    def act(self, pixels: UInt8[Tensor, "b c h w"], goals: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b a"]:
        """Actions towards goals, in the environment's units."""
        return self.encoder.to_env(self.policy(self.encoder.pair(pixels, goals)))
