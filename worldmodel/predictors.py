"""Predictors: from a state ``(B, S)``, which ends in a latent, and actions ``(B, A)`` to the next latent ``(B, D)``."""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.config import Depth, Name, Width, config
from worldmodel.nn.layers import perceptron


class GRUPredictor(nn.Module):
    """One GRU cell whose hidden state is the newest latent, as in EB-JEPA; its input is the action, and what is older.

    Args:
        latent_dim: Number of latent features ``D``.
        action_dim: Number of action inputs ``A`` (a block of actions counts whole).
        state_dim: Numbers of a state ``S``.
    """

    def __init__(self, latent_dim: int, action_dim: int, state_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.cell = nn.GRUCell(action_dim + state_dim - latent_dim, latent_dim)

    def forward(self, states: Float[Tensor, "b s"], actions: Float[Tensor, "b a"]) -> Float[Tensor, "b d"]:
        """Predicts the next latents."""
        older, newest = states[:, : -self.latent_dim], states[:, -self.latent_dim :]
        return self.cell(torch.cat([actions, older], dim=-1), newest)


class MLPPredictor(nn.Module):
    """A residual multilayer perceptron: ``z + f(s, a)`` with the newest latent ``z`` of the state ``s``.

    Args:
        latent_dim: Number of latent features ``D``.
        action_dim: Number of action inputs ``A`` (a block of actions counts whole).
        state_dim: Numbers of a state ``S``.
        hidden_dim: Width of the hidden layers.
        layers: Number of hidden layers.
    """

    def __init__(self, latent_dim: int, action_dim: int, state_dim: int, hidden_dim: int, layers: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.net = perceptron(state_dim + action_dim, [hidden_dim] * layers, latent_dim)

    def forward(self, states: Float[Tensor, "b s"], actions: Float[Tensor, "b a"]) -> Float[Tensor, "b d"]:
        """Predicts the next latents."""
        return states[:, -self.latent_dim :] + self.net(torch.cat([states, actions], dim=-1))


PREDICTORS: dict[str, type[nn.Module]] = {"gru": GRUPredictor, "mlp": MLPPredictor}
"""Predictors by name. One is built from ``latent_dim``, ``action_dim`` and ``state_dim``, and from fields of
:class:`PredictorConfig` with the names of its further keywords (``predictor_hidden_dim`` for ``hidden_dim``)."""


@config
class PredictorConfig:
    """The predictor, and the options of all predictors."""

    predictor: Annotated[str, Name(PREDICTORS)] = "mlp"
    """gru: one GRU cell, the reference's. mlp: a residual perceptron."""
    predictor_hidden_dim: Width = 512
    """Width of the mlp predictor's hidden layers."""
    predictor_layers: Depth = 2
    """Number of the mlp predictor's hidden layers."""
