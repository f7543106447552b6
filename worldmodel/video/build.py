"""A Video-JEPA, and the heads that read its latents, from configuration to modules."""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Le

from worldmodel.config import Depth, Name, Side, Width, Widths, config, construct, number
from worldmodel.nn.layers import ChannelNorm
from worldmodel.nn.normalize import Normalizer
from worldmodel.video.heads import DetectionHead, PixelDecoder
from worldmodel.video.jepa import VideoJEPA
from worldmodel.video.networks import ENCODERS, PREDICTORS


@config
class VideoModelConfig:
    """The architecture of a Video-JEPA and of the heads that read its latents."""

    encoder: Annotated[str, Name(ENCODERS)] = "residual"
    """residual: a residual network."""
    latent_channels: Width = 16
    """Channels D of a latent at each position."""
    hidden_channels: Width = 32
    """Channels of the encoder's first residual blocks; twice as many whenever it halves the image."""
    num_blocks: Depth = 2
    """Residual blocks of the encoder at each size."""
    stride: Side = 1
    """Pixels of a frame for each position of a latent."""
    predictor: Annotated[str, Name(PREDICTORS)] = "unet"
    """unet: a residual U-Net."""
    predictor_channels: Widths = (32, 64, 64)
    """Channels of the predictor at each size; every further one is half as large."""
    predictor_blocks: Depth = 0
    """Residual blocks of the predictor at the smallest size."""
    context: Annotated[int, Ge(1), Le(1_000), number(int, "≥ 1")] = 2
    """Past latents that the predictor sees."""
    normalize_latents: bool = False
    """Whether encoded and predicted latents are normalised at each position, to mean 0 and variance 1 over channels."""
    grid: Side = 8
    """Cells along each side of the detection head's grid."""
    head_channels: Width = 64
    """Channels of the detection head and of the pixel decoder."""


@config
class PixelSpec:
    """The data of a Video-JEPA.

    Attributes:
        pixel_shape: ``(C, H, W)`` of its frames.
    """

    pixel_shape: tuple[Side, Side, Side]


def build_video_jepa(config: VideoModelConfig, pixel_shape: Sequence[int]) -> VideoJEPA:
    """Builds an untrained Video-JEPA for square frames.

    Raises:
        ValueError: If the sizes do not divide the frame.
    """
    channels, height, width = pixel_shape
    # The predictor halves the latent's side, the detection head cuts it into cells.
    halvings = 2 ** (len(config.predictor_channels) - 1)
    side, remainder = divmod(height, config.stride)
    if height != width or remainder or side % halvings or side % config.grid:
        raise ValueError(
            f"frames must be square, with a side that model.stride ({config.stride}) divides into a number divisible "
            f"by {halvings} (model.predictor_channels) and by model.grid ({config.grid}), got {height} × {width}"
        )
    encoder = construct(ENCODERS[config.encoder], channels, config.latent_channels, options=config)
    kind = PREDICTORS[config.predictor]
    predictor = construct(kind, config.latent_channels, config.context, options=config, prefix="predictor_")
    norm = ChannelNorm() if config.normalize_latents else None
    model = VideoJEPA(encoder, predictor, Normalizer(pixel_shape, action_dim=0), config.context, norm)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def build_detector(config: VideoModelConfig, pixel_shape: Sequence[int]) -> DetectionHead:
    """Builds an untrained detection head."""
    side = pixel_shape[-1] // config.stride
    return DetectionHead(config.latent_channels, side // config.grid, hidden_channels=config.head_channels)


def build_decoder(config: VideoModelConfig, pixel_shape: Sequence[int]) -> PixelDecoder:
    """Builds an untrained pixel decoder."""
    return PixelDecoder(
        config.latent_channels, pixel_shape[0], stride=config.stride, hidden_channels=config.head_channels
    )
