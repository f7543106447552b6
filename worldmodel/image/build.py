"""An Image-JEPA from configuration to modules."""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Le

from worldmodel.config import Depth, Name, Side, Width, config, construct
from worldmodel.image.encoders import ENCODERS
from worldmodel.image.jepa import ImageJEPA
from worldmodel.nn.normalize import Normalizer


@config
class ImageModelConfig:
    """An Image-JEPA's architecture."""

    encoder: Annotated[str, Name(ENCODERS)] = "resnet18"
    """resnet18: ResNet-18 with a 3 × 3 stem, for small images. vit: a vision transformer."""
    width: Width = 64
    """Channels of the first stage (resnet18; the representation has eight times as many features), or features of a
    token and of the representation (vit; 384 for ViT-S, 768 for ViT-B)."""
    stem_stride: Side = 1
    """Stride of the first convolution; 2 costs a quarter (resnet18)."""
    patch: Side = 2
    """Side of a patch in pixels (vit)."""
    depth: Depth = 12
    """Number of blocks (vit)."""
    num_heads: Width = 6
    """Attention heads of a block (vit; 12 for ViT-B)."""


@config
class ImagesSpec:
    """The data of an Image-JEPA and its linear probe.

    Attributes:
        pixel_shape: ``(C, H, W)`` of the images.
        num_classes: Classes that the probe tells apart.
    """

    pixel_shape: tuple[Side, Side, Side]
    num_classes: Annotated[int, Ge(1), Le(10_000)]


def build_image_jepa(config: ImageModelConfig, pixel_shape: Sequence[int]) -> ImageJEPA:
    """Builds an untrained Image-JEPA.

    Raises:
        ValueError: If the encoder does not fit the images.
    """
    encoder = construct(ENCODERS[config.encoder], pixel_shape, options=config)
    model = ImageJEPA(encoder, Normalizer(pixel_shape, action_dim=0), encoder.latent_dim)  # type: ignore[arg-type]
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
