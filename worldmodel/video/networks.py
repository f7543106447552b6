"""Networks of Video-JEPA: latents keep their place in the image, and there are no actions.

The encoder turns normalised images ``(B, C, h, w)`` into latents ``(B, D, H, W)``; the predictor turns the last latents
``(B, K, D, H, W)``, oldest first, into the next ``(B, D, H, W)``.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.nn.layers import ResidualBlock

MAX_PATCH = 4
"""Longest side of a patch of the encoder, in pixels, if it can be halved."""


class ResidualEncoder(nn.Module):
    """A residual network whose latents keep their place in the image.

    ::

        image ──► patches ──► blocks ──► half size, twice the channels ──► blocks ──► … ──► 1 × 1 ──► latent

    With a stride of 1 it is the shallow network that EB-JEPA uses on Moving MNIST.

    Args:
        in_channels: Channels ``C`` of the images.
        latent_channels: Channels ``D`` of the latents.
        hidden_channels: Channels of the first blocks.
        num_blocks: Residual blocks of two 3 × 3 convolutions each, at each size.
        stride: Pixels of the image for each position of the latent; patches take ``MAX_PATCH`` of them at most where
            the rest can be halved.
    """

    def __init__(
        self,
        in_channels: int,
        latent_channels: int = 16,
        *,
        hidden_channels: int = 32,
        num_blocks: int = 2,
        stride: int = 1,
    ) -> None:
        super().__init__()
        patch, channels = stride, hidden_channels
        while patch > MAX_PATCH and patch % 2 == 0:
            patch //= 2
        # Patches overlap by half, so that nothing is lost at their borders.
        layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, 2 * patch + 1, stride=patch, padding=patch)]
        layers += [ResidualBlock(channels) for _ in range(num_blocks)]
        while patch < stride:
            layers += [nn.ReLU(), nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)]
            patch, channels = 2 * patch, 2 * channels
            layers += [ResidualBlock(channels) for _ in range(num_blocks)]
        self.net = nn.Sequential(*layers, nn.ReLU())
        self.head = nn.Conv2d(channels, latent_channels, 1)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d y x"]:
        """Encodes normalised images."""
        return self.head(self.net(images))


class UNetPredictor(nn.Module):
    """A residual U-Net (arXiv 1505.04597): the next latent is the last one plus the network's output.

    ::

        last latents ──► conv ──────────────────────────────────────► join ──► conv ──► 1 × 1 ──► + last latent
                          └─► half size ─► conv ─► … ─► blocks ─► … ─► twice the size ─┘

    Args:
        latent_channels: Channels ``D`` of a latent.
        context: How many latents ``K`` it sees.
        channels: Channels at each size; every further one is half as large, so sides should be divisible accordingly.
        blocks: Residual blocks of two 3 × 3 convolutions each, at the smallest size.
    """

    def __init__(
        self, latent_channels: int, context: int = 2, channels: Sequence[int] = (32, 64, 64), blocks: int = 0
    ) -> None:
        super().__init__()
        first = channels[0]
        self.entry = _convolutions(context * latent_channels, first)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 2, stride=2), nn.ReLU(), _convolutions(b, b)) for a, b in pairwise(channels)
        )
        self.blocks = nn.Sequential(*(ResidualBlock(channels[-1]) for _ in range(blocks)))
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
        x = self.blocks(x)
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


ENCODERS: dict[str, type[nn.Module]] = {"residual": ResidualEncoder}
"""Encoders by name; the last layer of each is a convolution ``head``. One is built from ``in_channels`` and
``latent_channels``, and from fields of :class:`worldmodel.video.build.VideoModelConfig` with the names of its further
keywords."""
PREDICTORS: dict[str, type[nn.Module]] = {"unet": UNetPredictor}
"""Predictors by name. One is built from ``latent_channels`` and ``context``, and from such fields
(``predictor_channels`` for ``channels``)."""
