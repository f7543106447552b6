"""Checkpoints of Image-JEPA: the files of :mod:`worldmodel.checkpoint`, with the linear probe beside the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from worldmodel.checkpoint import Kind, Loaded
from worldmodel.image.build import ImageModelConfig, ImagesSpec, build_image_jepa
from worldmodel.image.jepa import ImageJEPA


@dataclass(frozen=True, kw_only=True)
class PretrainedImages(Loaded):
    """An Image-JEPA read from a checkpoint.

    Attributes:
        model: The Image-JEPA.
        classifier: The linear probe trained beside it.
        data: Shape of its images, and the classes that the probe tells apart.
    """

    model: ImageJEPA
    classifier: nn.Linear
    data: ImagesSpec


def _build_model(sections: Mapping[str, Any]) -> ImageJEPA:
    return build_image_jepa(sections["model"], sections["data"].pixel_shape)


IMAGE_JEPA = Kind(
    format="worldmodel.image-jepa/1",
    result=PretrainedImages,
    sections={"model": ImageModelConfig, "data": ImagesSpec},
    parts={
        "model": _build_model,
        "classifier": lambda sections: nn.Linear(_build_model(sections).latent_dim, sections["data"].num_classes),
    },
)
"""Checkpoints of Image-JEPA."""
load_image_jepa = IMAGE_JEPA.load
