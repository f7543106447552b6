"""Probes: read quantities off latents, for metrics and pictures; they never send gradients into the model."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.nn.layers import perceptron


class Probe(nn.Module):
    """A small perceptron from the newest latent of a state to a quantity in known units, such as a position in pixels.

    Latents are detached: training a probe changes nothing but the probe.

    Args:
        latent_dim: Number of latent features ``D``.
        low: Lower end of the quantity's range; also fixes the number of outputs.
        high: Upper end of the quantity's range.
        hidden_dim: Width of the hidden layer; 0 makes the probe linear.
    """

    constants = ("low", "high")
    """Buffers that follow from the configuration."""
    low: Tensor
    high: Tensor

    def __init__(self, latent_dim: int, low: Sequence[float], high: Sequence[float], hidden_dim: int = 0) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(high, dtype=torch.float32))
        self.latent_dim = latent_dim
        self.net = perceptron(latent_dim, [hidden_dim] if hidden_dim else [], len(low))

    def forward(self, states: Float[Tensor, "*b s"]) -> Float[Tensor, "*b q"]:
        """Reads the quantity off the states, in its own units."""
        centre, half_range = (self.low + self.high) / 2, (self.high - self.low) / 2
        return centre + half_range * self.net(states[..., -self.latent_dim :].detach())
