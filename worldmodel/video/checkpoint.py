"""Checkpoints of Video-JEPA: the files of :mod:`worldmodel.checkpoint`, with the heads beside the model."""

from dataclasses import dataclass

from worldmodel.checkpoint import Kind, Loaded
from worldmodel.video.build import PixelSpec, VideoModelConfig, build_decoder, build_detector, build_video_jepa
from worldmodel.video.heads import DetectionHead, PixelDecoder
from worldmodel.video.jepa import VideoJEPA


@dataclass(frozen=True, kw_only=True)
class PretrainedVideo(Loaded):
    """A Video-JEPA read from a checkpoint.

    Attributes:
        model: The Video-JEPA.
        detector: Tells in which cells digits are: by the frame as drawn (first kind) and in truth (second).
        decoder: Paints latents.
        data: Shape of its frames.
    """

    model: VideoJEPA
    detector: DetectionHead
    decoder: PixelDecoder
    data: PixelSpec


VIDEO_JEPA = Kind(
    format="worldmodel.video-jepa/2",
    result=PretrainedVideo,
    sections={"model": VideoModelConfig, "data": PixelSpec},
    parts={
        "model": lambda sections: build_video_jepa(sections["model"], sections["data"].pixel_shape),
        "detector": lambda sections: build_detector(sections["model"], sections["data"].pixel_shape),
        "decoder": lambda sections: build_decoder(sections["model"], sections["data"].pixel_shape),
    },
)
"""Checkpoints of Video-JEPA."""
load_video_jepa = VIDEO_JEPA.load
