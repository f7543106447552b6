"""Checkpoints of Image-JEPA: the files of :mod:`worldmodel.checkpoint`, with the linear probe beside the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from worldmodel.build import ImageModelConfig, build_classifier, build_image_jepa, from_json, to_json
from worldmodel.checkpoint import described_by, read_config, read_parts, write_checkpoint
from worldmodel.image_jepa import ImageJEPA

FORMAT = "worldmodel.image-jepa/1"
"""Format name written to and required of ``config.json``."""


@dataclass(frozen=True)
class PretrainedImages:
    """An Image-JEPA read from a checkpoint.

    Attributes:
        model: The Image-JEPA, in evaluation mode.
        classifier: The linear probe trained beside it.
        model_config: The model's architecture.
        pixel_shape: ``(C, H, W)`` of its images.
        num_classes: Classes that the probe tells apart.
        config: All of ``config.json``.
        path: Where it was read from.
        sha256: Hash of the weights file, in hexadecimal.
    """

    model: ImageJEPA
    classifier: nn.Linear
    model_config: ImageModelConfig
    pixel_shape: tuple[int, ...]
    num_classes: int
    config: dict[str, Any]
    path: Path
    sha256: str


def save_image_jepa(
    path: Path | str,
    model: ImageJEPA,
    classifier: nn.Linear,
    model_config: ImageModelConfig,
    *,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Writes a checkpoint; each file appears whole or not at all.

    Args:
        path: The directory; made if missing.
        model: The Image-JEPA.
        classifier: The linear probe.
        model_config: The model's architecture.
        training: How it was trained, in JSON types.
    """
    data = {"pixel_shape": list(model.normalizer.pixel_shape), "num_classes": classifier.out_features}
    sections = {"model": to_json(model_config), "data": data}
    write_checkpoint(Path(path), FORMAT, {"model": model, "classifier": classifier}, sections, training)


def load_image_jepa(path: Path | str, device: torch.device | str = "cpu") -> PretrainedImages:
    """Reads a checkpoint; nothing in it is executed.

    Args:
        path: A checkpoint directory.
        device: Where the modules go.

    Raises:
        CheckpointError: If it is missing, corrupt, or of another format or architecture.
    """
    path = Path(path)
    config = read_config(path, FORMAT)
    with described_by(path):
        model_config = from_json(ImageModelConfig, config["model"])
        shape, num_classes = tuple(config["data"]["pixel_shape"]), config["data"]["num_classes"]
        model = build_image_jepa(model_config, shape)
        classifier = build_classifier(model, num_classes)
    sha256 = read_parts(path, {"model": model, "classifier": classifier}, device)
    return PretrainedImages(model, classifier, model_config, shape, num_classes, config, path, sha256)
