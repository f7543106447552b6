"""Checkpoints of Image-JEPA: the files of :mod:`worldmodel.checkpoint`, with the linear probe beside the model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from worldmodel.checkpoint import CONFIG, load_parts, read_checkpoint, read_section, write_checkpoint
from worldmodel.config import to_json
from worldmodel.image.build import ImageModelConfig, ImagesSpec, build_classifier, build_image_jepa
from worldmodel.image.jepa import ImageJEPA
from worldmodel.nn.devices import check_device

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
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Writes a checkpoint; its files appear together, or not at all.

    Args:
        path: The directory; made if missing.
        model: The Image-JEPA.
        classifier: The linear probe.
        model_config: The model's architecture.
        training: How it was trained, in JSON types.
        beside: Further files that belong to it, by name.
    """
    data = {"pixel_shape": list(model.normalizer.pixel_shape), "num_classes": classifier.out_features}
    sections = {"model": to_json(model_config), "data": data}
    write_checkpoint(Path(path), FORMAT, {"model": model, "classifier": classifier}, sections, training, beside)


def load_image_jepa(path: Path | str, device: torch.device | str = "cpu") -> PretrainedImages:
    """Reads a checkpoint; nothing in it is executed.

    Args:
        path: A checkpoint directory.
        device: Where the modules go.

    Raises:
        CheckpointError: If it is missing, corrupt, or of another format or architecture.
    """
    device = check_device(device)
    files = read_checkpoint(Path(path), FORMAT, ("model", "data"))
    model_config = read_section(ImageModelConfig, files.config["model"], files.path / CONFIG, "model.")
    data = read_section(ImagesSpec, files.config["data"], files.path / CONFIG, "data.")

    def build() -> ImageJEPA:
        return build_image_jepa(model_config, data.pixel_shape)

    parts: dict[str, Callable[[], nn.Module]] = {
        "model": build,
        "classifier": lambda: build_classifier(build(), data.num_classes),
    }
    model, classifier = load_parts(files, parts, device).values()
    assert isinstance(model, ImageJEPA)
    assert isinstance(classifier, nn.Linear)
    return PretrainedImages(
        model, classifier, model_config, data.pixel_shape, data.num_classes, files.config, files.path, files.sha256
    )
