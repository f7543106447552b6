"""From configuration to modules: the only place, beside the command line, that sees configurations."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt, MinLen
from torch import nn

from worldmodel.config import ConfigError, Depth, Positive, Width, config, number
from worldmodel.encoders import AxialEncoder, ImpalaEncoder, ResidualEncoder, StridedConvEncoder
from worldmodel.image.encoders import ResNet18, VisionTransformer
from worldmodel.image.jepa import ImageJEPA
from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.jepa import JEPA
from worldmodel.nn.layers import ChannelNorm
from worldmodel.nn.normalize import Normalizer
from worldmodel.nn.probes import Probe
from worldmodel.predictors import GRUPredictor, MLPPredictor, UNetPredictor
from worldmodel.video.heads import DetectionHead, PixelDecoder
from worldmodel.video.jepa import VideoJEPA

ENCODERS = ("impala", "strided", "axial")
"""Names of the encoders."""
PREDICTORS = ("gru", "mlp")
"""Names of the predictors."""
IMAGE_ENCODERS = ("resnet18", "vit")
"""Names of the encoders of Image-JEPA."""

Widths = Annotated[tuple[Width, ...], MinLen(1)]
"""Widths of layers, at least one."""
Side = Annotated[int, Ge(1), Le(2**14), number(int, "≥ 1")]
"""Pixels along a side of an image or of a patch."""


@config
class ModelConfig:
    """The world model's architecture."""

    encoder: Literal["impala", "strided", "axial"] = "strided"
    """impala: the reference's residual network. strided: small strided convolutions. axial: means along each image
    axis and a perceptron; the fastest on a CPU."""
    latent_dim: Annotated[int, Ge(2), Le(2**24), number(int, "≥ 2")] = 128
    """Number of latent features D."""
    encoder_channels: Widths = (48, 64, 64)
    """Channels of the encoder's convolutions (strided) or of its stacks (impala)."""
    encoder_hidden_dim: Width = 512
    """Width of the axial encoder's perceptron."""
    patch: Side = 5
    """Side of the first convolution's patches in pixels (strided)."""
    predictor: Literal["gru", "mlp"] = "mlp"
    """gru: one GRU cell, the reference's. mlp: a residual perceptron."""
    predictor_hidden_dim: Width = 512
    """Width of the mlp predictor's hidden layers."""
    predictor_layers: Depth = 2
    """Number of the mlp predictor's hidden layers."""
    frame_skip: Annotated[int, Ge(1), Le(10_000), number(int, "≥ 1")] = 4
    """Environment steps spanned by one predictor step; their actions enter as one block."""


@config
class VideoModelConfig:
    """A Video-JEPA's architecture, and that of the heads that read its latents."""

    latent_channels: Width = 16
    """Channels D of a latent at each position."""
    hidden_channels: Width = 32
    """Channels of the encoder's residual blocks."""
    num_blocks: Depth = 2
    """Residual blocks of the encoder."""
    stride: Side = 1
    """Pixels of a frame for each position of a latent."""
    predictor_channels: Widths = (32, 64, 64)
    """Channels of the predictor at each size; every further one is half as large."""
    context: Annotated[int, Ge(1), Le(1_000), number(int, "≥ 1")] = 2
    """Past latents that the predictor sees."""
    normalize_latents: bool = False
    """Whether a layer normalisation, shared by encoder and predictor, keeps latents on one scale."""
    grid: Side = 8
    """Cells along each side of the detection head's grid."""
    head_channels: Width = 64
    """Channels of the detection head and of the pixel decoder."""


@config
class ImageModelConfig:
    """An Image-JEPA's architecture."""

    encoder: Literal["resnet18", "vit"] = "resnet18"
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
class ActorCriticConfig:
    """The actor and the critic that act in a world model."""

    hidden_dim: Width = 256
    """Width of both networks' hidden layers."""
    discount: Annotated[float, Gt(0), Lt(1), number(float, "in (0, 1)")] = 0.95
    """Discount of a predictor step."""
    distance_scale: Positive = 0.05
    """Squared latent distance (mean over features) at which the cost of a step saturates."""


@config
class DataSpec:
    """What a model must know of its data: shapes, and the bounds of the actions it was trained on.

    Attributes:
        pixel_shape: ``(C, H, W)``.
        action_dim: Components of one environment action.
        action_low: Lower bounds of an action's components.
        action_high: Upper bounds of an action's components.
        action_max_norm: Largest Euclidean norm of an action; None where only the box bounds it.
        position_low: Lower ends of the positions that the probe reads; None where the data has no positions.
        position_high: Upper ends of these positions.
    """

    pixel_shape: tuple[Side, Side, Side]
    action_dim: Annotated[int, Ge(1), Le(10_000)]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_max_norm: Positive | None = None
    position_low: tuple[float, ...] | None = None
    position_high: tuple[float, ...] | None = None

    def rules(self) -> None:
        """Checks that bounds are bounds, one for each component."""
        for name in ("action_low", "action_high"):
            if len(getattr(self, name)) != self.action_dim:
                raise ConfigError(name, f"one number for each of action_dim = {self.action_dim}", getattr(self, name))
        if any(low > high for low, high in zip(self.action_low, self.action_high, strict=True)):
            raise ConfigError("action_low", f"at most action_high, {self.action_high}", self.action_low)
        largest = max(map(abs, (*self.action_low, *self.action_high)))
        if self.action_max_norm is not None and self.action_max_norm < 1e-6 * largest:
            raise ConfigError("action_max_norm", f"of the order of the bounds, {largest:g}", self.action_max_norm)
        if (self.position_low is None) != (self.position_high is None):
            raise ConfigError("position_low", "given with position_high", self.position_low)
        if self.position_low is None or self.position_high is None:
            return
        if len(self.position_low) != len(self.position_high) or not self.position_low:
            raise ConfigError("position_low", f"as long as position_high, {self.position_high}", self.position_low)
        if any(low >= high for low, high in zip(self.position_low, self.position_high, strict=True)):
            raise ConfigError("position_low", f"less than position_high, {self.position_high}", self.position_low)


@config
class PixelSpec:
    """What a Video-JEPA must know of its data.

    Attributes:
        pixel_shape: ``(C, H, W)`` of its frames.
    """

    pixel_shape: tuple[Side, Side, Side]


@config
class ImagesSpec:
    """What an Image-JEPA and its linear probe must know of their data.

    Attributes:
        pixel_shape: ``(C, H, W)`` of the images.
        num_classes: Classes that the probe tells apart.
    """

    pixel_shape: tuple[Side, Side, Side]
    num_classes: Annotated[int, Ge(1), Le(10_000)]


def build_model(config: ModelConfig, data: DataSpec) -> JEPA:
    """Builds an untrained world model.

    Raises:
        ValueError: If the encoder or the predictor is unknown.
    """
    normalizer = Normalizer(data.pixel_shape, data.action_dim)
    block_dim = config.frame_skip * data.action_dim
    predictor: nn.Module
    if config.predictor == "gru":
        predictor = GRUPredictor(config.latent_dim, block_dim)
    elif config.predictor == "mlp":
        predictor = MLPPredictor(config.latent_dim, block_dim, config.predictor_hidden_dim, config.predictor_layers)
    else:
        raise ValueError(f"predictor must be one of {', '.join(map(repr, PREDICTORS))}, got {config.predictor!r}")
    encoder = build_encoder(config, data.pixel_shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return JEPA(encoder, predictor, normalizer, config.latent_dim, config.frame_skip)


def build_encoder(config: ModelConfig, pixel_shape: Sequence[int]) -> nn.Module:
    """Builds an untrained encoder.

    Raises:
        ValueError: If the encoder is unknown.
    """
    if config.encoder == "impala":
        return ImpalaEncoder(pixel_shape, config.latent_dim, config.encoder_channels)
    if config.encoder == "strided":
        return StridedConvEncoder(pixel_shape, config.latent_dim, config.patch, config.encoder_channels)
    if config.encoder == "axial":
        return AxialEncoder(pixel_shape, config.latent_dim, config.encoder_hidden_dim)
    raise ValueError(f"encoder must be one of {', '.join(map(repr, ENCODERS))}, got {config.encoder!r}")


def build_probe(config: ModelConfig, data: DataSpec) -> Probe | None:
    """Builds an untrained position probe; None where the data has no positions."""
    if data.position_low is None or data.position_high is None:
        return None
    return Probe(config.latent_dim, data.position_low, data.position_high, hidden_dim=256)


def build_actor_critic(config: ActorCriticConfig, model: ModelConfig, data: DataSpec) -> ActorCritic:
    """Builds an untrained actor and critic for a world model.

    Raises:
        ValueError: If an option is out of its range or the actions are unbounded.
    """
    return ActorCritic(
        model.latent_dim,
        data.action_low,
        data.action_high,
        data.action_max_norm,
        hidden_dim=config.hidden_dim,
        discount=config.discount,
        distance_scale=config.distance_scale,
    )


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
    encoder = ResidualEncoder(
        channels,
        config.latent_channels,
        hidden_channels=config.hidden_channels,
        num_blocks=config.num_blocks,
        stride=config.stride,
    )
    predictor = UNetPredictor(config.latent_channels, config.context, config.predictor_channels)
    norm = ChannelNorm(config.latent_channels) if config.normalize_latents else None
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


def build_image_jepa(config: ImageModelConfig, pixel_shape: Sequence[int]) -> ImageJEPA:
    """Builds an untrained Image-JEPA.

    Raises:
        ValueError: If the encoder is unknown or does not fit the images.
    """
    encoder: ResNet18 | VisionTransformer
    if config.encoder == "resnet18":
        encoder = ResNet18(pixel_shape[0], config.width, config.stem_stride)
    elif config.encoder == "vit":
        encoder = VisionTransformer(pixel_shape, config.patch, config.width, config.depth, config.num_heads)
    else:
        raise ValueError(f"encoder must be one of {', '.join(map(repr, IMAGE_ENCODERS))}, got {config.encoder!r}")
    model = ImageJEPA(encoder, Normalizer(pixel_shape, action_dim=0), encoder.latent_dim)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def build_classifier(model: ImageJEPA, num_classes: int) -> nn.Linear:
    """Builds an untrained linear classifier of an Image-JEPA's representations."""
    return nn.Linear(model.latent_dim, num_classes)
