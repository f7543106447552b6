"""Layers that several modules share."""

from collections.abc import Sequence

from torch import nn


def perceptron(in_dim: int, hidden_dims: Sequence[int], out_dim: int) -> nn.Sequential:
    """A multilayer perceptron with ReLUs; linear where there are no hidden layers."""
    layers: list[nn.Module] = []
    for hidden_dim in hidden_dims:
        layers += [nn.Linear(in_dim, hidden_dim), nn.ReLU()]
        in_dim = hidden_dim
    return nn.Sequential(*layers, nn.Linear(in_dim, out_dim))
