"""Predictors: from a latent ``(B, D)`` and an action ``(B, A)`` to the next latent ``(B, D)``.

Of videos there are no actions: from the last latents ``(B, K, D, H, W)``, oldest first, to the next ``(B, D, H, W)``.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

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
        num_layers: Number of hidden layers.
    """

    def __init__(self, latent_dim: int, action_dim: int, hidden_dim: int = 512, num_layers: int = 2) -> None:
        super().__init__()
        self.net = perceptron(latent_dim + action_dim, [hidden_dim] * num_layers, latent_dim)

    def forward(self, latents: Float[Tensor, "b d"], actions: Float[Tensor, "b a"]) -> Float[Tensor, "b d"]:
        """Predicts the next latents."""
        return latents + self.net(torch.cat([latents, actions], dim=-1))


class UNetPredictor(nn.Module):
    """A residual U-Net (arXiv 1505.04597): the next latent is the last one plus what the network makes of the last few.

    ::

        last latents ──► conv ─────────────────────────────► join ──► conv ──► 1 × 1 ──► + last latent
                          └─► half size ─► conv ─► … ─► twice the size ─┘

    Args:
        latent_channels: Channels ``D`` of a latent.
        context: How many latents ``K`` it sees.
        channels: Channels at each size; every further one is half as large, so sides should be divisible accordingly.
    """

    def __init__(self, latent_channels: int, context: int = 2, channels: Sequence[int] = (32, 64, 64)) -> None:
        super().__init__()
        first = channels[0]
        self.entry = _convolutions(context * latent_channels, first)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 2, stride=2), nn.ReLU(), _convolutions(b, b)) for a, b in pairwise(channels)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(channels))
        self.join = nn.ModuleList(_convolutions(2 * a, a) for a, _ in pairwise(channels))
        self.head = nn.Conv2d(first, latent_channels, 1)

    def forward(self, history: Float[Tensor, "b k d h w"]) -> Float[Tensor, "b d h w"]:
        """Predicts the next latents."""
        x = self.entry(history.flatten(1, 2))
        skipped = []
        for down in self.down:
            skipped.append(x)
            x = down(x)
        for up, join, skip in zip(reversed(self.up), reversed(self.join), reversed(skipped), strict=True):
            x = join(torch.cat([up(x), skip], dim=1))
        return history[:, -1] + self.head(x)


def _convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.ReLU(),
    )
