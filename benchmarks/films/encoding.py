"""Writes frames to video files: MP4 (H.264) and GIFs small enough to share."""

import itertools
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from benchmarks.films.drawing import AMBER, BLUE, GREEN, INK, PAPER, RED, VIOLET
from worldmodel.storage.files import replacing

logger = logging.getLogger(__name__)

MAX_GIF_BYTES = 3_000_000
"""GIFs are made smaller until they have no more bytes than this."""
MAX_GIF_FRAMES = 160
"""Most frames of a GIF; longer videos have fewer a second."""
GIF_QUALITIES = ((1, 800, 128), (1, 640, 96), (2, 640, 64), (3, 560, 64), (4, 480, 64))
"""Of every how many frames one is kept, width, number of colours; best first."""


def write_videos(
    paths: Sequence[Path], frames: Iterable[NDArray[np.uint8]], count: int, fps: float, *, gif_stride: int = 2
) -> list[Path]:
    """Writes the same frames, drawn once, to an MP4 file, a GIF or both; without ffmpeg a GIF alone will do.

    Args:
        paths: Files, at most one of each format.
        frames: uint8 ``(height, width, 3)`` each, of one even size; only those kept for the GIF are held in memory.
        count: How many there are.
        fps: Frames a second.
        gif_stride: Of every how many frames the GIF has one, at least.

    Returns:
        The files written.
    """
    files = {path.suffix.removeprefix("."): path for path in paths}
    if files.keys() > {"mp4"} and not _has_ffmpeg():
        logger.info("%s is left out: MP4 needs pip install 'worldmodel[video]'", files.pop("mp4"))
    stride = max(gif_stride, -(-count // MAX_GIF_FRAMES))
    kept: list[Image.Image] = []

    def passing() -> Iterator[NDArray[np.uint8]]:
        for i, frame in enumerate(frames):
            if "gif" in files and i % stride == 0:
                kept.append(_resized(Image.fromarray(frame), GIF_QUALITIES[0][1]))
            yield frame

    if "mp4" in files:
        write_mp4(files["mp4"], passing(), fps)
    else:
        deque(passing(), maxlen=0)
    if "gif" in files:
        write_gif(files["gif"], kept, fps / stride)
    return list(files.values())


def write_mp4(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> None:
    """Writes an H.264 video that browsers play; the file appears whole or not at all."""
    import imageio_ffmpeg  # of the extra "video"

    coming = iter(frames)
    first = next(coming)
    size, options = first.shape[1::-1], ["-f", "mp4", "-movflags", "+faststart"]
    h264 = {"codec": "libx264", "quality": 8, "macro_block_size": 2, "output_params": options}
    with (
        replacing(path) as temporary,
        closing(imageio_ffmpeg.write_frames(str(temporary), size, fps=fps, **h264)) as writer,
    ):
        writer.send(None)  # starts ffmpeg
        for frame in itertools.chain([first], coming):
            writer.send(np.ascontiguousarray(frame))


def _has_ffmpeg() -> bool:
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        return False
    return True


def write_gif(path: Path, frames: Sequence[Image.Image], fps: float, max_bytes: int = MAX_GIF_BYTES) -> None:
    """Writes a GIF in the best of a few qualities that fits into ``max_bytes``; it appears whole or not at all.

    If none fits, the last one is written and a warning logged.
    """
    with replacing(path) as temporary:
        for stride, width, colors in GIF_QUALITIES:
            small = [_resized(frame, width) for frame in frames[::stride]]
            palette = _palette(small, colors)
            images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in small]
            images[0].save(
                temporary,
                format="GIF",
                save_all=True,
                append_images=images[1:],
                duration=round(100 * stride / fps) * 10,  # GIFs count hundredths of a second
                loop=0,
                optimize=True,
            )
            if temporary.stat().st_size <= max_bytes:
                return
        logger.warning("%s has %.1f MB, more than %.1f", path, temporary.stat().st_size / 1e6, max_bytes / 1e6)


def _resized(image: Image.Image, width: int) -> Image.Image:
    size = (width, round(image.height * width / image.width))
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _palette(images: list[Image.Image], colors: int) -> Image.Image:
    """One palette for all frames, so that nothing flickers and only what changes is stored.

    The colours that mean something, and their tints, come first: they cover few pixels and would be lost otherwise.
    """
    paper = np.array(ImageColor.getrgb(PAPER))
    marks = [np.array(ImageColor.getrgb(color)) for color in (INK, BLUE, GREEN, RED, VIOLET, AMBER)]
    tints = [np.rint(paper + weight * (mark - paper)) for mark in marks for weight in (1.0, 0.75, 0.5, 0.25)]
    sample = Image.fromarray(np.concatenate([np.asarray(image) for image in images[:: max(1, len(images) // 6)]]))
    common = sample.quantize(colors - len(tints), method=Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([int(level) for tint in tints for level in tint] + common[: 3 * (colors - len(tints))])
    return palette
