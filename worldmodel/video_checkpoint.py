"""Checkpoints of Video-JEPA: the files of :mod:`worldmodel.checkpoint`, with the heads beside the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from worldmodel.build import VideoModelConfig, build_decoder, build_detector, build_video_jepa, from_json, to_json
from worldmodel.checkpoint import described_by, locate, read_config, read_parts, write_checkpoint
from worldmodel.heads import DetectionHead, PixelDecoder
from worldmodel.video_jepa import VideoJEPA

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
) -> None:
    """Writes a checkpoint; each file appears whole or not at all.

    Args:
        path: The directory; made if missing.
        model: The Video-JEPA.
        detector: The detection head.
        decoder: The pixel decoder.
        model_config: Their architecture.
        training: How it was trained, in JSON types.
    """
    sections = {"model": to_json(model_config), "data": {"pixel_shape": list(model.normalizer.pixel_shape)}}
    write_checkpoint(Path(path), FORMAT, {"model": model, "detector": detector, "decoder": decoder}, sections, training)


def load_video_jepa(path: Path | str, device: torch.device | str = "cpu") -> PretrainedVideo:
    """Reads a checkpoint; nothing in it is executed.

    Args:
        path: A checkpoint directory, or the name of a shipped checkpoint.
        device: Where the modules go.

    Raises:
        CheckpointError: If it is missing, corrupt, or of another format or architecture.
    """
    path = locate(path, FORMAT)
    config = read_config(path, FORMAT)
    with described_by(path):
        model_config = from_json(VideoModelConfig, config["model"])
        shape = tuple(config["data"]["pixel_shape"])
        model = build_video_jepa(model_config, shape)
        detector, decoder = build_detector(model_config, shape), build_decoder(model_config, shape)
    sha256 = read_parts(path, {"model": model, "detector": detector, "decoder": decoder}, device)
    return PretrainedVideo(model, detector, decoder, shape, config, path, sha256)
