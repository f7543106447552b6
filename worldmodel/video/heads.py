"""Heads that read spatial latents, for metrics and pictures; called, they send no gradients into the model."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.nn.layers import ResidualBlock

NUM_KINDS = 2
"""Kinds ``K`` of things that a detection head tells apart."""


class DetectionHead(nn.Module):
    """Tells in which cells of a grid something is, from spatial latents.

    Each cell sees the latents within it and half a cell around it and, through residual blocks, its neighbours four
    cells away.

    Args:
        latent_channels: Channels ``D`` of the latents.
        cell: Side of a cell, in positions of the latent.
        hidden_channels: Channels in between.
    """

    def __init__(self, latent_channels: int, cell: int, *, hidden_channels: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(latent_channels, hidden_channels, 2 * cell + 1, stride=cell, padding=cell),
            ResidualBlock(hidden_channels),
            ResidualBlock(hidden_channels),
            nn.ReLU(),
            nn.Conv2d(hidden_channels, NUM_KINDS, 1),
        )

    def forward(self, latents: Float[Tensor, "n d h w"]) -> Float[Tensor, "n k rows columns"]:
        """Returns logits that a thing of each kind is in each cell."""
        return self.logits(latents.detach())

    def logits(self, latents: Float[Tensor, "n d h w"]) -> Float[Tensor, "n k rows columns"]:
        """The same, with gradients to the latents: for models that learn from labels."""
        return self.net(latents).float()


class PixelDecoder(nn.Module):
    """Paints what spatial latents show.

    Args:
        latent_channels: Channels ``D`` of the latents.
        out_channels: Channels ``C`` of the pictures.
        stride: Pixels of a picture for each position of the latent.
        hidden_channels: Channels in between.
    """

    def __init__(
        self, latent_channels: int, out_channels: int = 1, *, stride: int = 1, hidden_channels: int = 64
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(latent_channels, hidden_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden_channels, out_channels * stride**2, 1),
            nn.PixelShuffle(stride),
        )

    def forward(self, latents: Float[Tensor, "n d y x"]) -> Float[Tensor, "n c h w"]:
        """Returns pictures with values in [0, 1]."""
        return torch.sigmoid(self.net(latents.detach()).float())
