"""Encoders: from normalised images ``(B, C, H, W)`` to latents ``(B, D)``."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.config import Depth, Name, Side, Width, Widths, config, number
from worldmodel.nn.layers import ResidualBlock, perceptron


def impala_encoder(pixel_shape: Sequence[int], latent_dim: int, channels: Sequence[int]) -> nn.Module:
    """The residual convolutional encoder of IMPALA (arXiv 1802.01561), as EB-JEPA uses it on Two Rooms.

    Each stack is a 3 × 3 convolution, 3 × 3 max pooling with stride 2 and two residual blocks; a linear layer maps the
    flattened features to the latent.

    Args:
        pixel_shape: ``(C, H, W)`` of the images.
        latent_dim: Number of latent features ``D``.
        channels: Channels of each stack.
    """
    in_channels, *size = pixel_shape
    layers: list[nn.Module] = []
    for out_channels in channels:
        layers += [nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1)]
        layers += [ResidualBlock(out_channels), ResidualBlock(out_channels)]
        in_channels = out_channels
        size = [(side + 1) // 2 for side in size]
    return _with_head([*layers, nn.ReLU()], (in_channels, *size), latent_dim)


def strided_encoder(pixel_shape: Sequence[int], latent_dim: int, patch: int, channels: Sequence[int]) -> nn.Module:
    """A small strided network that trains fast on CPUs.

    A convolution over patches, 3 × 3 convolutions of stride 2, a linear head.

    Args:
        pixel_shape: ``(C, H, W)`` of the images.
        latent_dim: Number of latent features ``D``.
        patch: Side and stride of the first convolution, in pixels.
        channels: Channels of the patch convolution and of each 3 × 3 convolution.

    Raises:
        ValueError: If a patch is larger than an image.
    """
    size = _num_patches(pixel_shape, patch)
    layers: list[nn.Module] = [nn.Conv2d(pixel_shape[0], channels[0], patch, stride=patch), nn.ReLU()]
    for first, second in pairwise(channels):
        layers += [nn.Conv2d(first, second, 3, stride=2, padding=1), nn.ReLU()]
        size = [(side + 1) // 2 for side in size]
    return _with_head(layers, (channels[-1], *size), latent_dim)


def _num_patches(pixel_shape: Sequence[int], patch: int) -> list[int]:
    """How many patches lie below each other and side by side.

    Raises:
        ValueError: If a patch is larger than an image.
    """
    _, height, width = pixel_shape
    if patch > min(height, width):
        raise ValueError(f"patch must be at most the image's sides, {height} × {width}, got {patch}")
    return [height // patch, width // patch]


def _with_head(layers: Sequence[nn.Module], shape: Sequence[int], latent_dim: int) -> nn.Module:
    """Layers that end in features of a shape ``(C, H, W)``, and a linear head on all of them."""
    features = nn.Sequential(*layers, nn.Flatten())
    return nn.Sequential(OrderedDict(features=features, head=nn.Linear(math.prod(shape), latent_dim)))


def axis_means(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b p"]:
    """Means of each channel along each image axis, ``C (H + W)`` numbers of an image."""
    return torch.cat([images.mean(dim=-1).flatten(1), images.mean(dim=-2).flatten(1)], dim=1)


class AxialEncoder(nn.Module):
    """Means of each channel along each image axis, standardised, then a multilayer perceptron.

    Pooling along one axis keeps precise positions on the other (strip pooling, arXiv 2003.13328; coordinate attention,
    arXiv 2103.02907) and leaves ``C (H + W)`` numbers of an image: the fastest encoder here, for scenes whose parts can
    be told apart by where they are along the axes. Standardising each of these numbers matters: it lets a small gap in
    a wall weigh as much as the wall.

    Args:
        pixel_shape: ``(C, H, W)`` of the images.
        latent_dim: Number of latent features ``D``.
        hidden_dim: Width of the two hidden layers.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, pixel_shape: Sequence[int], latent_dim: int, hidden_dim: int) -> None:
        super().__init__()
        channels, height, width = pixel_shape
        profile_dim = channels * (height + width)
        self.head = perceptron(profile_dim, [hidden_dim] * 2, latent_dim)
        self.register_buffer("mean", torch.zeros(profile_dim))
        self.register_buffer("scale", torch.ones(profile_dim))

    @torch.no_grad()
    def fit(self, images: Float[Tensor, "b c h w"]) -> None:
        """Fits the standardisation on normalised training images."""
        profiles = axis_means(images)
        std = profiles.std(dim=0)
        self.mean.copy_(profiles.mean(dim=0))
        self.scale.copy_(1.0 / std.clamp_min(0.01 * float(std.max())).clamp_min(1e-6))

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Encodes normalised images."""
        return self.head((axis_means(images) - self.mean) * self.scale)


class VisionTransformer(nn.Module):
    """A small vision transformer (arXiv 2010.11929) with a class token.

    Args:
        pixel_shape: ``(C, H, W)`` of the images.
        latent_dim: Number of latent features ``D``.
        patch: Side and stride of a token's patch, in pixels.
        channels: The last is the tokens' width; one head of attention for each 16 if it is a multiple of that.
        layers: Transformer layers.

    Raises:
        ValueError: If a patch is larger than an image.
    """

    def __init__(
        self, pixel_shape: Sequence[int], latent_dim: int, patch: int, channels: Sequence[int], layers: int
    ) -> None:
        super().__init__()
        tokens = _num_patches(pixel_shape, patch)
        width = channels[-1]
        heads = width // 16 if width % 16 == 0 else 1
        self.patches = nn.Conv2d(pixel_shape[0], width, patch, stride=patch)
        self.places = nn.Parameter(0.02 * torch.randn(1 + math.prod(tokens), width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, latent_dim)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Encodes normalised images."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([torch.zeros_like(tokens[:, :1]), tokens], dim=1) + self.places
        return self.head(self.layers(tokens)[:, 0])


ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "impala": impala_encoder,
    "strided": strided_encoder,
    "axial": AxialEncoder,
    "vit": VisionTransformer,
}
"""Encoders by name. One is built from ``pixel_shape``, and from fields of :class:`EncoderConfig` with the names of its
further keywords (``encoder_channels`` for ``channels``)."""
EncoderName = Annotated[str, Name(ENCODERS)]
"""Name of an encoder."""


@config
class EncoderConfig:
    """The encoder, and the options of all encoders."""

    encoder: EncoderName = "strided"
    """impala: the reference's residual network. strided: small strided convolutions. axial: means along each image
    axis and a perceptron; the fastest on a CPU, for scenes that lie along the axes. vit: a small vision transformer."""
    latent_dim: Annotated[int, Ge(2), Le(2**24), number(int, "≥ 2")] = 128
    """Number of latent features D."""
    encoder_channels: Widths = (48, 64, 64)
    """Channels of the encoder's convolutions (strided) or of its stacks (impala); the last is the width of tokens
    (vit)."""
    encoder_layers: Depth = 2
    """Layers of the vision transformer."""
    encoder_hidden_dim: Width = 512
    """Width of the axial encoder's perceptron."""
    patch: Side = 5
    """Side of patches in pixels (strided, vit)."""
