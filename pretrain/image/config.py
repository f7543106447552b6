"""Configuration of the training of an Image-JEPA."""

from dataclasses import field
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from pretrain.config import PretrainConfig
from worldmodel.config import CountFromTwo, Positive, config, number
from worldmodel.image.build import ImageModelConfig
from worldmodel.image.objective import ImageLossWeights

AtLeastTwo = Annotated[int, Ge(2), Le(2**24), number(int, "≥ 2")]
"""Features of a layer, at least two."""


@config
class ImageDataConfig:
    """Labelled images, and what may change in them without changing what they show."""

    images: str = "digits"
    """Set of images: "digits" (10,000 that come with the package), "mnist" or "cifar-10" (downloaded), or a folder with
    the IDX files of MNIST or Fashion-MNIST, or with the binary version of CIFAR-10."""
    augmentation: Literal["auto", "photographs", "clothes", "digits"] = "auto"
    """How views differ. photographs: crop, colours, greyscale, solarising, mirroring. clothes: crop, brightness,
    contrast, mirroring. digits: small rotations, shifts and scalings. auto: by the name of the set or the folder."""
    batch_size: CountFromTwo = 256
    """Images in a batch, over all processes; each is seen in two views."""


@config
class ImageConfig(PretrainConfig):
    """An Image-JEPA, with a linear probe beside it."""

    training_module: ClassVar[str] = "pretrain.image.training"
    bf16_features: ClassVar[tuple[str, ...]] = ("amx_bf16", "avx512_bf16")

    objective: Literal["joint-embedding", "supervised"] = "joint-embedding"
    """joint-embedding: two views agree, without labels. supervised: the same network trained on labels, a baseline."""
    model: ImageModelConfig = field(default_factory=ImageModelConfig)
    """Architecture."""
    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    """Images."""
    weights: ImageLossWeights = field(default_factory=ImageLossWeights)
    """Weights of the losses."""
    projector: tuple[AtLeastTwo, ...] = (2048, 2048, 128)
    """Layer widths of the projector that the losses see representations through; empty: no projector."""
    optimizer: Literal["adamw", "lars"] = "adamw"
    """adamw, or lars: each layer moves in proportion to its weights."""
    trust_coefficient: Positive = 0.02
    """Largest relative change of a layer in a step at learning rate 1 (lars)."""
    probe_learning_rate: Positive = 1e-2
    """Peak learning rate of the linear probe, which trains beside the model on detached representations. With lars it
    is the relative change of its weights in a step."""
