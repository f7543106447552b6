"""Predictors: from a latent ``(B, D)`` and an action ``(B, A)`` to the next latent ``(B, D)``."""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.config import Depth, Name, Width, config
from worldmodel.nn.layers import perceptron


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
        layers: Number of hidden layers.
    """

    def __init__(self, latent_dim: int, action_dim: int, hidden_dim: int, layers: int) -> None:
        super().__init__()
        self.net = perceptron(latent_dim + action_dim, [hidden_dim] * layers, latent_dim)

    def forward(self, latents: Float[Tensor, "b d"], actions: Float[Tensor, "b a"]) -> Float[Tensor, "b d"]:
        """Predicts the next latents."""
        return latents + self.net(torch.cat([latents, actions], dim=-1))


PREDICTORS: dict[str, type[nn.Module]] = {"gru": GRUPredictor, "mlp": MLPPredictor}
"""Predictors by name. One is built from ``latent_dim`` and ``action_dim``, and from fields of :class:`PredictorConfig`
with the names of its further keywords (``predictor_hidden_dim`` for ``hidden_dim``)."""


@config
class PredictorConfig:
    """The predictor, and the options of all predictors."""

    predictor: Annotated[str, Name(PREDICTORS)] = "mlp"
    """gru: one GRU cell, the reference's. mlp: a residual perceptron."""
    predictor_hidden_dim: Width = 512
    """Width of the mlp predictor's hidden layers."""
    predictor_layers: Depth = 2
    """Number of the mlp predictor's hidden layers."""
