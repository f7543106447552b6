"""Layers that several modules share."""

from collections.abc import Sequence

from torch import nn


def perceptron(in_dim: int, hidden_dims: Sequence[int], out_dim: int, *, normalized: bool = False) -> nn.Sequential:
    """A multilayer perceptron; linear where there are no hidden layers.

    Args:
        in_dim: Number of inputs.
        hidden_dims: Widths of the hidden layers.
        out_dim: Number of outputs.
        normalized: Hidden layers are LayerNorm and SiLU after the linear map, instead of ReLU: slower, but calmer where
            a network learns from its own predictions.
    """
    layers: list[nn.Module] = []
    for hidden_dim in hidden_dims:
        layers += [nn.Linear(in_dim, hidden_dim)]
        layers += [nn.LayerNorm(hidden_dim), nn.SiLU()] if normalized else [nn.ReLU()]
        in_dim = hidden_dim
    return nn.Sequential(*layers, nn.Linear(in_dim, out_dim))
