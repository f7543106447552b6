"""Unfamiliar looks: images whose colours are not those of the training data, brought closer to them.

An encoder knows a scene as it was drawn in training. Under another light, on another ground, its latents mean nothing.
What training images look like takes few statistics to say; where an image does not fit them, it is redrawn::

    levels    the share of pixels at each level of each channel    ──► histogram matching: light, contrast, tint
    colours   which colours there are at all                       ──► an unknown one is not part of the scene:
    usual     the commonest value of each pixel                        there is what is usually there

Both are tried, alone and one after the other; what then fits best is taken. A familiar image stays as it is.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

BIN = 16
"""Levels of a channel that count as one colour."""
MAX_CHANNELS = 3
"""Most channels for which colours can be told apart: with more, there are too many."""
MARGIN = 1.1
"""How much further from the training images than the furthest of them an image is familiar."""
UNKNOWN = 1e-3
"""Share of pixels of unknown colours up to which an image is familiar."""
SEEN = 0.95
"""Share of an image's pixels, those nearest to what is usual, that tell how well it fits: the others are what moves."""


class Looks(nn.Module):
    """What training images look like, and how others are redrawn.

    Args:
        pixel_shape: ``(C, H, W)`` of the images, of at most three channels.

    Raises:
        ValueError: If there are more channels.
    """

    usual: Tensor
    levels: Tensor
    known: Tensor
    furthest: Tensor

    def __init__(self, pixel_shape: Sequence[int]) -> None:
        super().__init__()
        channels = pixel_shape[0]
        if channels > MAX_CHANNELS:
            raise ValueError(f"images must have at most {MAX_CHANNELS} channels, got {channels}")
        self.register_buffer("usual", torch.zeros(tuple(pixel_shape), dtype=torch.uint8))
        self.register_buffer("levels", torch.ones(channels, 256))
        self.register_buffer("known", torch.ones((256 // BIN) ** channels, dtype=torch.uint8))
        self.register_buffer("furthest", torch.full((channels,), 256.0))  # of 256 levels nothing is so far

    @torch.no_grad()
    def fit(self, images: UInt8[Tensor, "n c h w"]) -> None:
        """Learns what images look like from a sample."""
        self.usual.copy_(images.median(dim=0).values)
        shares = _shares(images)
        self.levels.copy_(shares.mean(dim=0).cumsum(dim=-1))
        self.furthest.copy_(MARGIN * self._levels_off(shares).amax(dim=0) + 0.05)
        count = torch.bincount(_colours(images).flatten(), minlength=len(self.known))
        channels = len(self.levels)
        seen = (count > 0).float().view(1, 1, *[256 // BIN] * channels)
        pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[channels - 1]
        # Neighbouring colours are known as well: edges are blended, and samples are small.
        self.known.copy_(pool(seen, 3, stride=1, padding=1).flatten().to(torch.uint8))

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "n c h w"]) -> UInt8[Tensor, "n c h w"]:
        """Redraws what is unfamiliar; each image is treated for itself."""
        off = self._levels_off(_shares(images)) > self.furthest
        strange = off.any(dim=1) | (self._unknown(images).float().mean(dim=(1, 2)) > UNKNOWN)
        if not bool(strange.any()):
            return images
        chosen = images[strange]
        matched, replaced = self._match(chosen), self._replace(chosen)
        candidates = torch.stack([chosen, matched, replaced, self._match(replaced), self._replace(matched)])
        best = torch.stack([self._misfit(candidate) for candidate in candidates]).argmin(dim=0)
        redrawn = images.clone()
        redrawn[strange] = candidates[best, torch.arange(len(chosen), device=best.device)]
        return redrawn

    def _levels_off(self, shares: Float[Tensor, "n c 256"]) -> Float[Tensor, "n c"]:
        """How many levels pixels are off on average: the Wasserstein distance to the training images' levels."""
        return (shares.cumsum(dim=-1) - self.levels).abs().sum(dim=-1)

    def _unknown(self, images: UInt8[Tensor, "n c h w"]) -> Tensor:
        return self.known[_colours(images)] == 0

    def _match(self, images: UInt8[Tensor, "n c h w"]) -> UInt8[Tensor, "n c h w"]:
        """Maps the levels of channels that are off so that their shares are those of the training images."""
        shares = _shares(images)
        ranks = shares.cumsum(dim=-1) - shares / 2
        levels = self.levels.expand(len(images), -1, -1).contiguous()
        targets = torch.searchsorted(levels, ranks).clamp(max=255).to(torch.uint8)
        off = (self._levels_off(shares) > self.furthest)[..., None]
        targets = torch.where(off, targets, torch.arange(256, dtype=torch.uint8, device=images.device))
        return targets.gather(-1, images.flatten(2).long()).view_as(images)

    def _replace(self, images: UInt8[Tensor, "n c h w"]) -> UInt8[Tensor, "n c h w"]:
        """Gives pixels of unknown colours their usual value."""
        return torch.where(self._unknown(images)[:, None], self.usual, images)

    def _misfit(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
        """How far images are from the training images, in levels: as a whole, and pixel by pixel."""
        away = (images.float() - self.usual.float()).abs().mean(dim=1).flatten(1)
        nearest = away.sort(dim=-1).values[:, : max(1, int(SEEN * away.shape[1]))]
        return nearest.mean(dim=-1) + self._levels_off(_shares(images)).mean(dim=-1)


def _shares(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c 256"]:
    """The share of an image's pixels at each level of each channel."""
    count, channels, height, width = images.shape
    rows = 256 * torch.arange(count * channels, device=images.device)[:, None]
    found = torch.bincount((images.reshape(count * channels, -1) + rows).flatten(), minlength=256 * count * channels)
    return found.view(count, channels, 256).float() / (height * width)


def _colours(images: UInt8[Tensor, "n c h w"]) -> Tensor:
    """The number ``(n, h, w)`` of each pixel's colour."""
    bins = (images // BIN).long()
    number = bins[:, 0]
    for channel in range(1, images.shape[1]):
        number = number * (256 // BIN) + bins[:, channel]
    return number
