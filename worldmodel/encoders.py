"""Encoders: from normalised images ``(B, C, H, W)`` to latents ``(B, D)``."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.nn.layers import ResidualBlock, perceptron


class ImpalaEncoder(nn.Module):
    """The residual convolutional encoder of IMPALA (arXiv 1802.01561), as EB-JEPA uses it on Two Rooms.

    Each stack is a 3 × 3 convolution, 3 × 3 max pooling with stride 2 and residual blocks; a linear layer maps the
    flattened features to the latent.

    Args:
        pixel_shape: ``(C, H, W)`` of the images.
        latent_dim: Number of latent features ``D``.
        channels: Channels of each stack.
        num_blocks: Residual blocks in each stack.
    """

    def __init__(
        self,
        pixel_shape: Sequence[int],
        latent_dim: int = 512,
        channels: Sequence[int] = (16, 32, 32),
        num_blocks: int = 2,
    ) -> None:
        super().__init__()
        in_channels, *size = pixel_shape
        layers: list[nn.Module] = []
        for out_channels in channels:
            layers += [nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1)]
            layers += [ResidualBlock(out_channels) for _ in range(num_blocks)]
            in_channels = out_channels
            size = [(side + 1) // 2 for side in size]
        self.features = nn.Sequential(*layers, nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(in_channels * size[0] * size[1], latent_dim)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Encodes normalised images."""
        return self.head(self.features(images))


class StridedConvEncoder(nn.Module):
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

    def __init__(
        self,
        pixel_shape: Sequence[int],
        latent_dim: int = 128,
        patch: int = 5,
        channels: Sequence[int] = (48, 64, 64),
    ) -> None:
        super().__init__()
        in_channels, height, width = pixel_shape
        if patch > min(height, width):
            raise ValueError(f"patch must be at most the image's sides, {height} × {width}, got {patch}")
        layers: list[nn.Module] = [nn.Conv2d(in_channels, channels[0], patch, stride=patch), nn.ReLU()]
        size = [height // patch, width // patch]
        for first, second in pairwise(channels):
            layers += [nn.Conv2d(first, second, 3, stride=2, padding=1), nn.ReLU()]
            size = [(side + 1) // 2 for side in size]
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(channels[-1] * size[0] * size[1], latent_dim)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Encodes normalised images."""
        return self.head(self.features(images))


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
        hidden_dim: Width of the hidden layers.
        num_layers: Number of hidden layers.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, pixel_shape: Sequence[int], latent_dim: int = 128, hidden_dim: int = 512, num_layers: int = 2
    ) -> None:
        super().__init__()
        channels, height, width = pixel_shape
        profile_dim = channels * (height + width)
        self.head = perceptron(profile_dim, [hidden_dim] * num_layers, latent_dim)
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
