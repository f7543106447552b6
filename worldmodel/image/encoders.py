"""Encoders of small photographs and drawings: from normalised images ``(B, C, H, W)`` to latents ``(B, D)``.

They are written here because no library that this project depends on has them; torchvision and timm do, and are heavy.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.nn.layers import BatchNorm

STRIDES = (1, 2, 2, 2)
"""Stride of each stage of a ResNet-18; each further stage has twice as many channels."""
BLOCKS = 2
"""Residual blocks of a stage."""


class ResNet18(nn.Module):
    """ResNet-18 (arXiv 1512.03385) for small images: a 3 × 3 convolution in place of 7 × 7 and max pooling.

    Four stages of two residual blocks, then the mean over all positions; it takes images of any size.

    Args:
        pixel_shape: ``(C, H, W)`` of the images.
        width: Channels of the first stage; the last has eight times as many, and so the latent. 64 is the paper's.
        stem_stride: Stride of the first convolution. 1 keeps the resolution; 2 costs a quarter.
    """

    def __init__(self, pixel_shape: Sequence[int], width: int = 64, stem_stride: int = 1) -> None:
        super().__init__()
        self.latent_dim = width * 2 ** (len(STRIDES) - 1)
        self.stem = nn.Sequential(*_convolution(pixel_shape[0], width, 3, stem_stride), nn.ReLU())
        blocks: list[nn.Module] = []
        channels = width
        for i, stride in enumerate(STRIDES):
            out_channels = width * 2**i
            for j in range(BLOCKS):
                blocks.append(_BasicBlock(channels, out_channels, stride if j == 0 else 1))
                channels = out_channels
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Encodes normalised images."""
        return self.blocks(self.stem(images)).mean(dim=(2, 3))


class _BasicBlock(nn.Module):
    """``relu(shortcut(x) + bn(conv(relu(bn(conv(x))))))``."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        first, second = _convolution(in_channels, out_channels, 3, stride), _convolution(out_channels, out_channels, 3)
        self.body = nn.Sequential(*first, nn.ReLU(), *second)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(*_convolution(in_channels, out_channels, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.body(x))


def _convolution(in_channels: int, out_channels: int, size: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    """A convolution and its normalisation, which would take a bias away."""
    layer = nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer, BatchNorm(out_channels)


class VisionTransformer(nn.Module):
    """A vision transformer (arXiv 2010.11929): patches, pre-normalised blocks, the mean of all tokens.

    Args:
        pixel_shape: ``(C, H, W)`` of the images.
        patch: Side of a patch in pixels.
        width: Features of a token, and of the latent. Small is 384 with 6 heads, base 768 with 12, both 12 deep.
        depth: Number of blocks.
        num_heads: Attention heads of a block.

    Raises:
        ValueError: If patches do not fill the image, or heads do not share the width.
    """

    def __init__(self, pixel_shape: Sequence[int], patch: int, width: int, depth: int, num_heads: int) -> None:
        super().__init__()
        channels, height, image_width = pixel_shape
        if height % patch or image_width % patch:
            raise ValueError(f"patch must divide the image's sides, got {patch} for {height} × {image_width}")
        if width % num_heads:
            raise ValueError(f"num_heads must divide width ({width}), got {num_heads}")
        self.latent_dim = width
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, (height // patch) * (image_width // patch), width))
        # Not nn.TransformerEncoder, whose layers start as copies of one another.
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width, num_heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Encodes normalised images."""
        tokens = self.embed(images).flatten(2).transpose(1, 2) + self.positions  # (B, patches, D)
        return self.norm(self.blocks(tokens)).mean(dim=1)


ENCODERS: dict[str, type[nn.Module]] = {"resnet18": ResNet18, "vit": VisionTransformer}
"""Encoders by name. One is built from ``pixel_shape``, and from fields of
:class:`worldmodel.image.build.ImageModelConfig` with the names of its further keywords; it knows its ``latent_dim``."""
