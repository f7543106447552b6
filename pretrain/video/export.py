"""``worldmodel moving-mnist``: Moving MNIST as pictures to look at, and as a file that others can use."""

import logging
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from pretrain.data.labelled_images import Split, load_images
from pretrain.loop.stages import select
from pretrain.video.moving_mnist import VIDEOS_PER_DRAW, MovingMNIST, VideoBatch, write_canonical
from worldmodel.config import ConfigError, Count, Fraction, NonNegative, Seed, command, config, construct
from worldmodel.nn.devices import require_memory
from worldmodel.storage.files import absolute, replacing

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
MAX_GIF_SIDE = 65_535
"""Most pixels of a side of a GIF."""


@config
class MovingMNISTConfig:
    """Writes Moving MNIST videos: a contact sheet, a GIF, and, if asked for, the canonical file."""

    digits: str = "digits"
    """Images to move: "digits" (10,000 that come with the package), "mnist" (downloaded), or a folder of IDX files."""
    split: Split = "train"
    """Which of them: no digit is in both parts."""
    num_digits: Count = 2
    """Digits in a video."""
    size: Count = 64
    """Side of a frame, in pixels."""
    speed: NonNegative = 3.6
    """Displacement between two frames, in pixels."""
    num_frames: Count = 20
    """Frames of a video."""
    background: Fraction = 0.0
    """Brightness of a texture that drifts behind the digits: from 0, black, to 1, as bright as they are."""
    seed: Seed = 0
    """Seed of the videos."""
    shown: Count = 6
    """Videos on the contact sheet and in the GIF."""
    sheet: Path = Path("outputs/moving-mnist.png")
    """Contact sheet: a video a row, centres of the digits marked."""
    gif: Path = Path("outputs/moving-mnist.gif")
    """Animation of the same videos side by side."""
    file: Path | None = None
    """Canonical file to write, NumPy's format, uint8 [frames, videos, size, size]; None: none."""
    num_videos: Count = 10_000
    """Videos in that file."""
    progress: bool = True
    """Whether to show a progress bar."""

    def rules(self) -> None:
        """What the fields must be together."""
        most = (MAX_GIF_SIDE - GAP) // (self.size * SCALE + GAP)
        if most < 1:
            raise ConfigError("size", f"at most {(MAX_GIF_SIDE - 2 * GAP) // SCALE}, as a GIF has room for", self.size)
        if self.gif_width() > MAX_GIF_SIDE:
            raise ConfigError("shown", f"at most {most} for size {self.size}, as a GIF has room for", self.shown)
        paths = [path for path in (self.sheet, self.gif, self.file) if path is not None]
        if len({absolute(path) for path in paths}) < len(paths):
            raise ConfigError("sheet, gif and file", "different files", ", ".join(map(str, paths)))

    def gif_width(self) -> int:
        """Width of the animation in pixels."""
        return min(self.shown, self.num_videos, VIDEOS_PER_DRAW) * (self.size * SCALE + GAP) + GAP


def run(config: MovingMNISTConfig) -> None:
    """Writes what is asked for.

    Raises:
        ValueError: If an option is out of its range, or what it asks for does not fit into memory.
        OSError: If a file cannot be read or written.
    """
    source = construct(MovingMNIST, load_images(config.digits, config.split, what="digits"), options=config)
    # The frames of the animation, and as much again to write them.
    num_bytes = 2 * 3 * config.num_frames * config.gif_width() * (config.size * SCALE + 2 * GAP)
    require_memory(num_bytes, f"pictures of {config.num_frames} frames of size {config.size}")
    # The pictures show the first videos of the file.
    first = source.sample(min(config.num_videos, VIDEOS_PER_DRAW), np.random.default_rng([config.seed, 0]))
    videos = select(first, slice(config.shown))
    if config.file is not None:
        write_canonical(config.file, source, config.num_videos, config.seed, progress=config.progress)
        logger.info("written: %s", config.file)
    with replacing(config.sheet) as temporary:
        contact_sheet(videos).save(temporary, format="PNG")
    with replacing(config.gif) as temporary:
        frames = [_tiled(videos.pixels[:, t, 0].numpy()[None]) for t in range(config.num_frames)]
        iio.imwrite(temporary, frames, extension=".gif", duration=1000 * SECONDS_PER_FRAME, loop=0)
    logger.info("written: %s, %s", config.sheet, config.gif)


main = command(MovingMNISTConfig, run, "moving-mnist")


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
