"""``worldmodel moving-mnist``: Moving MNIST as pictures to look at, and as a file that others can use."""

import logging
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from pretrain.labelled_images import Split, load_images
from pretrain.moving_mnist import VIDEOS_PER_DRAW, MovingMNIST, VideoBatch, write_canonical
from worldmodel.checkpoint import replacing

logger = logging.getLogger(__name__)

SCALE = 2
"""Pixels of a picture for each pixel of a frame."""
GAP = 6
"""Pixels between two frames of a picture."""
PAPER = (251, 250, 247)
"""Colour between the frames."""
COLOURS = ("#e8961e", "#3a76d6", "#269e6c", "#de5238", "#6b3fb5")
"""Colours of the digits' centres."""
SECONDS_PER_FRAME = 0.1
"""How long a GIF shows a frame."""


@dataclass(frozen=True, kw_only=True)
class MovingMNISTConfig:
    """Writes Moving MNIST videos: a contact sheet, a GIF, and, if asked for, the canonical file."""

    digits: str = "digits"
    """Images to move: "digits" (10,000 that come with the package), "mnist" (downloaded), or a folder of IDX files."""
    split: Split = "train"
    """Which of them: no digit is in both parts."""
    num_digits: int = 2
    """Digits in a video."""
    size: int = 64
    """Side of a frame, in pixels."""
    speed: float = 3.6
    """Displacement between two frames, in pixels."""
    num_frames: int = 20
    """Frames of a video."""
    seed: int = 0
    """Seed of the videos."""
    shown: int = 6
    """Videos on the contact sheet and in the GIF."""
    sheet: Path = Path("outputs/moving-mnist.png")
    """Contact sheet: a video a row, centres of the digits marked."""
    gif: Path = Path("outputs/moving-mnist.gif")
    """Animation of the same videos side by side."""
    file: Path | None = None
    """Canonical file to write, NumPy's format, uint8 [frames, videos, size, size]; None: none."""
    num_videos: int = 10_000
    """Videos in that file."""
    progress: bool = True
    """Whether to show a progress bar."""


def run(config: MovingMNISTConfig) -> None:
    """Writes what is asked for.

    Raises:
        ValueError: If an option is out of its range.
        OSError: If a file cannot be read or written.
    """
    for name, value in (("shown", config.shown), ("num_videos", config.num_videos)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    source = MovingMNIST(
        load_images(config.digits, config.split),
        num_digits=config.num_digits,
        size=config.size,
        speed=config.speed,
        num_frames=config.num_frames,
    )
    # The pictures show the first videos of the file.
    videos = source.sample(min(config.num_videos, VIDEOS_PER_DRAW), np.random.default_rng([config.seed, 0])).select(
        slice(config.shown)
    )
    for path in (config.sheet, config.gif):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(config.sheet) as temporary:
        contact_sheet(videos).save(temporary, format="PNG")
    with replacing(config.gif) as temporary:
        frames = [_tiled(videos.pixels[:, t, 0].numpy()[None]) for t in range(config.num_frames)]
        iio.imwrite(temporary, frames, extension=".gif", duration=1000 * SECONDS_PER_FRAME, loop=0)
    logger.info("written: %s, %s", config.sheet, config.gif)
    if config.file is not None:
        write_canonical(config.file, source, config.num_videos, config.seed, progress=config.progress)
        logger.info("written: %s", config.file)


def contact_sheet(videos: VideoBatch) -> Image.Image:
    """Ten frames of each video in a row, evenly spaced, with the digits' centres."""
    shown = np.unique(np.linspace(0, videos.pixels.shape[1] - 1, 10).astype(int))
    frames = videos.pixels[:, shown, 0].numpy()
    sheet = Image.fromarray(_tiled(frames))
    if videos.centres is None:
        return sheet
    pen = ImageDraw.Draw(sheet)
    pitch = frames.shape[-1] * SCALE + GAP
    for row, column in np.ndindex(*frames.shape[:2]):
        for k, centre in enumerate(videos.centres[row, shown[column]].tolist()):
            x, y = (
                GAP + pitch * place + SCALE * (value + 0.5) for place, value in zip((column, row), centre, strict=True)
            )
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=COLOURS[k % len(COLOURS)])
    return sheet


def _tiled(frames: UInt8[np.ndarray, "rows columns s s"]) -> UInt8[np.ndarray, "h w 3"]:
    """Frames side by side, enlarged, with gaps between them."""
    rows, columns, side, _ = frames.shape
    pitch = side * SCALE + GAP
    picture = np.full((rows * pitch + GAP, columns * pitch + GAP, 3), PAPER, np.uint8)
    for row, column in np.ndindex(rows, columns):
        top, left = GAP + row * pitch, GAP + column * pitch
        picture[top : top + side * SCALE, left : left + side * SCALE] = np.kron(
            frames[row, column], np.ones((SCALE, SCALE), np.uint8)
        )[..., None]
    return picture
