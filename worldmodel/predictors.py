"""Predictors: from a latent ``(B, D)`` and an action ``(B, A)`` to the next latent ``(B, D)``."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.layers import perceptron


class GRUPredictor(nn.Module):
    """One GRU cell whose hidden state is the latent and whose input is the action, as in EB-JEPA.

    Args:
        latent_dim: Number of latent features ``D``.
        action_dim: Number of action inputs ``A`` (a block of actions counts whole).
    """

    def __init__(self, latent_dim: int, action_dim: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(action_dim, latent_dim)

    def forward(self, latents: Float[Tensor, "b d"], actions: Float[Tensor, "b a"]) -> Float[Tensor, "b d"]:
        """Predicts the next latents."""
        return self.cell(actions, latents)


class MLPPredictor(nn.Module):
    """A residual multilayer perceptron: ``z + f(z, a)``.

    Args:
        latent_dim: Number of latent features ``D``.
        action_dim: Number of action inputs ``A`` (a block of actions counts whole).
        hidden_dim: Width of the hidden layers.
        num_layers: Number of hidden layers.
    """

    def __init__(self, latent_dim: int, action_dim: int, hidden_dim: int = 512, num_layers: int = 2) -> None:
        super().__init__()
        self.net = perceptron(latent_dim + action_dim, [hidden_dim] * num_layers, latent_dim)

    def forward(self, latents: Float[Tensor, "b d"], actions: Float[Tensor, "b a"]) -> Float[Tensor, "b d"]:
        """Predicts the next latents."""
        return latents + self.net(torch.cat([latents, actions], dim=-1))
