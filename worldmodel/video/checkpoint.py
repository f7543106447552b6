"""Checkpoints of Video-JEPA: the files of :mod:`worldmodel.checkpoint`, with the heads beside the model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from worldmodel.checkpoint import CONFIG, load_parts, locate, read_checkpoint, read_section, write_checkpoint
from worldmodel.config import to_json
from worldmodel.nn.devices import check_device
from worldmodel.video.build import PixelSpec, VideoModelConfig, build_decoder, build_detector, build_video_jepa
from worldmodel.video.heads import DetectionHead, PixelDecoder
from worldmodel.video.jepa import VideoJEPA

FORMAT = "worldmodel.video-jepa/1"
"""Format name written to and required of ``config.json``."""


@dataclass(frozen=True)
class PretrainedVideo:
    """A Video-JEPA read from a checkpoint.

    Attributes:
        model: The Video-JEPA, in evaluation mode.
        detector: Tells in which cells digits are: by the frame as drawn (first kind) and in truth (second).
        decoder: Paints latents.
        pixel_shape: ``(C, H, W)`` of its frames.
        config: All of ``config.json``.
        path: Where it was read from.
        sha256: Hash of the weights file, in hexadecimal.
    """

    model: VideoJEPA
    detector: DetectionHead
    decoder: PixelDecoder
    pixel_shape: tuple[int, ...]
    config: dict[str, Any]
    path: Path
    sha256: str


def save_video_jepa(
    path: Path | str,
    model: VideoJEPA,
    detector: DetectionHead,
    decoder: PixelDecoder,
    model_config: VideoModelConfig,
    *,
    training: Mapping[str, Any] | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Writes a checkpoint; its files appear together, or not at all.

    Args:
        path: The directory; made if missing.
        model: The Video-JEPA.
        detector: The detection head.
        decoder: The pixel decoder.
        model_config: Their architecture.
        training: How it was trained, in JSON types.
        beside: Further files that belong to it, by name.
    """
    sections = {"model": to_json(model_config), "data": {"pixel_shape": list(model.normalizer.pixel_shape)}}
    parts = {"model": model, "detector": detector, "decoder": decoder}
    write_checkpoint(Path(path), FORMAT, parts, sections, training, beside)


def load_video_jepa(path: Path | str, device: torch.device | str = "cpu") -> PretrainedVideo:
    """Reads a checkpoint; nothing in it is executed.

    Args:
        path: A checkpoint directory, or the name of a shipped checkpoint.
        device: Where the modules go.

    Raises:
        CheckpointError: If it is missing, corrupt, or of another format or architecture.
    """
    device = check_device(device)
    files = read_checkpoint(locate(path, FORMAT), FORMAT, ("model", "data"))
    model_config = read_section(VideoModelConfig, files.config["model"], files.path / CONFIG, "model.")
    shape = read_section(PixelSpec, files.config["data"], files.path / CONFIG, "data.").pixel_shape
    parts: dict[str, Callable[[], nn.Module]] = {
        "model": lambda: build_video_jepa(model_config, shape),
        "detector": lambda: build_detector(model_config, shape),
        "decoder": lambda: build_decoder(model_config, shape),
    }
    model, detector, decoder = load_parts(files, parts, device).values()
    assert isinstance(model, VideoJEPA)
    assert isinstance(detector, DetectionHead)
    assert isinstance(decoder, PixelDecoder)
    return PretrainedVideo(model, detector, decoder, shape, files.config, files.path, files.sha256)
