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


class ResidualEncoder(nn.Module):
    """A shallow residual network whose latents keep their place in the image, as EB-JEPA uses it on Moving MNIST.

    A convolution with stride, residual blocks, and a 1 × 1 convolution to the latent's channels.

    Args:
        in_channels: Channels ``C`` of the images.
        latent_channels: Channels ``D`` of the latents.
        hidden_channels: Channels in between.
        num_blocks: Residual blocks of two 3 × 3 convolutions each.
        stride: Pixels of the image for each position of the latent.
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
        # Patches overlap by half, so that nothing is lost at their borders.
        self.stem = nn.Conv2d(in_channels, hidden_channels, 2 * stride + 1, stride=stride, padding=stride)
        self.blocks = nn.Sequential(*(ResidualBlock(hidden_channels) for _ in range(num_blocks)))
        self.head = nn.Conv2d(hidden_channels, latent_channels, 1)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d y x"]:
        """Encodes normalised images."""
        return self.head(torch.relu(self.blocks(self.stem(images))))


class UNetPredictor(nn.Module):
    """A residual U-Net (arXiv 1505.04597): the next latent is the last one plus the network's output.

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


ENCODERS: dict[str, type[nn.Module]] = {"residual": ResidualEncoder}
"""Encoders by name. One is built from ``in_channels`` and ``latent_channels``, and from fields of
:class:`worldmodel.video.build.VideoModelConfig` with the names of its further keywords."""
PREDICTORS: dict[str, type[nn.Module]] = {"unet": UNetPredictor}
"""Predictors by name. One is built from ``latent_channels`` and ``context``, and from such fields
(``predictor_channels`` for ``channels``)."""
