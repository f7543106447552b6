"""Configuration of the training of a Video-JEPA."""

from dataclasses import field
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from pretrain.config import PretrainConfig
from worldmodel.config import (
    ConfigError,
    Count,
    CountFromTwo,
    Fraction,
    NonNegative,
    Positive,
    Side,
    Width,
    config,
    number,
)
from worldmodel.video.build import VideoModelConfig
from worldmodel.video.objective import VideoLossWeights


@config
class VideoDataConfig:
    """Moving MNIST videos, generated as they are needed."""

    digits: str = "digits"
    """Images to move: "digits" (10,000 that come with the package), "mnist" (downloaded), or a folder of IDX files."""
    num_digits: Annotated[int, Ge(1), Le(1_000), number(int, "≥ 1")] = 2
    """Digits in a video."""
    size: Side = 64
    """Side of a frame, in pixels."""
    speed: NonNegative = 3.6
    """Displacement between two frames, in pixels."""
    num_frames: CountFromTwo = 10
    """Frames of a video."""
    background: Fraction = 0.0
    """Brightness of a texture that drifts behind the digits: from 0, black, to 1, as bright as they are."""
    batch_size: Count = 64
    """Videos in a batch, over all processes."""


@config
class HeadsConfig:
    """A detection head and a pixel decoder, trained on the latents of the finished model."""

    num_steps: Count = 2_000
    """Training steps."""
    batch_size: Count = 16
    """Videos in a batch, over all processes."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    on_rollouts: bool = False
    """Whether the detection head also trains on rolled-out latents, which blur where the future is uncertain. EB-JEPA's
    trains on the latents of seen frames only."""


@config
class VideoConfig(PretrainConfig):
    """A Video-JEPA, and the heads that show what its latents hold."""

    training_module: ClassVar[str] = "pretrain.video.training"
    bf16_features: ClassVar[tuple[str, ...]] = ("amx_bf16", "avx512_bf16")

    model: VideoModelConfig = field(default_factory=VideoModelConfig)
    """Architecture."""
    data: VideoDataConfig = field(default_factory=VideoDataConfig)
    """Videos."""
    weights: VideoLossWeights = field(default_factory=VideoLossWeights)
    """Weights of the losses."""
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    """Detection head and pixel decoder."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw, or muon: matrices and filters move by orthogonalised updates, of the model and of the heads."""
    rollout_steps: Count = 4
    """Rounds K of prediction in the loss."""
    projector: tuple[Width, ...] = (64, 64)
    """Layer widths of the projector that the regularisers see latents through; empty: no projector."""
    centred: bool = False
    """Whether each position's mean over the batch is taken away before regularising, so that what all frames share does
    not count as variation."""
    temperature: Positive = 0.05
    """Mean squared distance over channels that counts as one nat in the contrast."""
    train_encoder: bool = True
    """If off, the encoder stays as it was initialised: a baseline."""
    supervised: bool = False
    """If on, encoder and predictor learn to find digits from labels, end to end, instead: what the same network can do
    at most."""

    def rules(self) -> None:
        """Checks that videos are longer than what the predictor sees."""
        if self.data.num_frames <= self.model.context:
            rule = f"greater than model.context ({self.model.context})"
            raise ConfigError("data.num_frames", rule, self.data.num_frames)
