"""Moving MNIST: digits that drift through a frame and bounce off its borders (Srivastava et al., arXiv 1502.04681).

::

    position ──► position + velocity ──► inside? else put on the border and turn that component round ──► draw, t + 1

Digits pass over one another; where they overlap the brighter pixel is seen. All videos of a batch move at once. A
texture may drift behind them, round and round.
"""

import errno
import itertools
import math
import os
import shutil
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from pretrain.data.labelled_images import LabelledImages
from worldmodel.nn.devices import require_memory
from worldmodel.storage.files import replacing

VIDEOS_PER_DRAW = 256
"""Videos drawn at once for a file."""
MUCH_MEMORY = 2**28
"""Bytes above which a batch is compared with the free memory."""
BYTES_PER_PLACE = 300
"""Bytes for each digit of each frame while videos are computed and drawn."""


class VideoBatch(NamedTuple):
    """A batch of B videos of T frames with K digits each.

    Attributes:
        pixels: uint8 ``(B, T, 1, S, S)``.
        centres: Where the digits' centres are, (x, y) in pixels from the first pixel's centre, float32
            ``(B, T, K, 2)``; None where unknown. For probes and metrics only.
        digits: Which of the source's images they are, int64 ``(B, K)``, or None.
        foreground: The digits alone, as ``pixels``, where there is a background; else None. For metrics only.
    """

    pixels: UInt8[Tensor, "b t 1 s s"]
    centres: Float32[Tensor, "b t k 2"] | None = None
    digits: Int64[Tensor, "b k"] | None = None
    foreground: UInt8[Tensor, "b t 1 s s"] | None = None


@dataclass
class MovingMNIST:
    """Generates videos of moving digits; the defaults are the canonical procedure's.

    Attributes:
        digits: Images to move, of one channel and square.
        num_digits: Digits K of a video.
        size: Side S of a frame, in pixels.
        speed: Displacement between two frames, in pixels.
        num_frames: Frames T of a video.
        background: Brightness of a texture that drifts behind the digits at a speed of its own, at most ``speed``: from
            0, black, to 1, as bright as they are.

    Raises:
        ValueError: If an option is out of its range, or the images are not what can be moved.
    """

    digits: LabelledImages
    _: KW_ONLY
    num_digits: int = 2
    size: int = 64
    speed: float = 3.6
    num_frames: int = 20
    background: float = 0.0

    def __post_init__(self) -> None:
        _, channels, self.side, width = self.digits.images.shape
        if channels != 1 or self.side != width or not self.digits.images.size:
            raise ValueError(f"digits must be square images of one channel, got shape {self.digits.images.shape}")
        if self.size <= self.side:
            raise ValueError(f"size must exceed the side of the digits ({self.side}), got {self.size}")
        for name in ("num_digits", "num_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        limit = self.size - self.side
        if not 0 <= self.speed <= limit:
            raise ValueError(f"speed must be in [0, size - side of the digits = {limit}], got {self.speed}")
        if not 0 <= self.background <= 1:
            raise ValueError(f"background must be in [0, 1], got {self.background}")

    def sample(self, batch_size: int, generator: np.random.Generator) -> VideoBatch:
        """Draws videos; all randomness comes from ``generator``.

        Raises:
            ValueError: If they do not fit into memory.
        """
        places = self.num_digits * (self.num_frames * BYTES_PER_PLACE + self.side**2)
        if (needed := batch_size * (self.num_frames * self.size**2 + places)) > MUCH_MEMORY:
            require_memory(
                needed,
                f"{batch_size} videos of {self.num_frames} frames of size {self.size} with {self.num_digits} digits",
            )
        chosen = generator.integers(len(self.digits.images), size=(batch_size, self.num_digits))
        corners = bounce(generator, (batch_size, self.num_digits), self.num_frames, self.size - self.side, self.speed)
        digits = draw(self.digits.images[chosen, 0], corners, self.size)
        pixels = digits
        if self.background:
            behind = drifting_textures(generator, batch_size, self.num_frames, self.size, self.speed)
            pixels = np.maximum(digits, (self.background * behind).astype(np.uint8))
        # Digits are drawn at whole pixels; MNIST centres their mass in their square.
        centres = np.floor(corners) + np.float32((self.side - 1) / 2)
        return VideoBatch(
            torch.from_numpy(pixels[:, :, None]),
            torch.from_numpy(centres.astype(np.float32)),
            torch.from_numpy(chosen),
            torch.from_numpy(digits[:, :, None]) if self.background else None,
        )


def bounce(
    generator: np.random.Generator, shape: tuple[int, int], num_frames: int, limit: float, speed: float
) -> NDArray[np.float64]:
    """Positions of points that move at one speed and bounce in a square.

    Args:
        generator: Source of starts and headings, both uniform.
        shape: Numbers of videos B and of points K in each.
        num_frames: Frames T.
        limit: The square is ``[0, limit]²``.
        speed: Displacement between two frames.

    Returns:
        (x, y), ``(B, T, K, 2)``.
    """
    position = generator.uniform(0.0, limit, size=(*shape, 2))
    heading = generator.uniform(0.0, 2 * np.pi, size=shape)
    velocity = speed * np.stack([np.cos(heading), np.sin(heading)], -1)
    return drift(position, velocity, num_frames, limit)


def drift(
    position: NDArray[np.float64], velocity: NDArray[np.float64], num_frames: int, limit: float
) -> NDArray[np.float64]:
    """Positions of points from where they are and how they move.

    Args:
        position: (x, y) in the first frame, ``(B, K, 2)``, in the square ``[0, limit]²``.
        velocity: Displacement between two frames, ``(B, K, 2)``; where it would lead out, the point stops at the
            border.
        num_frames: Frames T.
        limit: Side of the square.

    Returns:
        (x, y), ``(B, T, K, 2)``.
    """
    positions = np.empty((len(position), num_frames, *position.shape[1:]))
    for t in range(num_frames):
        positions[:, t] = position
        position = position + velocity
        outside = (position <= 0.0) | (position >= limit)
        velocity = np.where(outside, -velocity, velocity)
        position = position.clip(0.0, limit)
    return positions


def draw(digits: UInt8[np.ndarray, "b k s s"], corners: NDArray[np.float64], size: int) -> UInt8[np.ndarray, "b t f f"]:
    """Draws digits with their upper left corners at ``(B, T, K, 2)``, rounded down, into frames of side ``size``."""
    batch_size, num_frames, num_digits, _ = corners.shape
    side = digits.shape[-1]
    frames = np.zeros((batch_size, num_frames, size, size), np.uint8)
    places = np.floor(corners).astype(int).tolist()
    # A loop over digits is twice as fast as one gathering and scattering of all their pixels.
    for b, t, k in itertools.product(range(batch_size), range(num_frames), range(num_digits)):
        x, y = places[b][t][k]
        square = frames[b, t, y : y + side, x : x + side]
        np.maximum(square, digits[b, k], out=square)
    return frames


def drifting_textures(
    generator: np.random.Generator, num_videos: int, num_frames: int, size: int, speed: float
) -> NDArray[np.float32]:
    """Videos of textures that drift, each at a steady velocity, by whole pixels; what leaves on one side comes back.

    A texture is noise whose amplitude falls with its frequency, as in pictures of nature, without waves shorter than
    four pixels.

    Args:
        generator: Source of textures, headings (uniform) and speeds (uniform up to ``speed``).
        num_videos: Videos B.
        num_frames: Frames T.
        size: Side S of a frame, in pixels.
        speed: The highest displacement between two frames.

    Returns:
        Brightness from 0 to 255, each texture over its full range, ``(B, T, S, S)``.
    """
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))  # cycles per pixel
    amplitude = np.where((frequency > 0) & (frequency <= 0.25), 1 / np.maximum(frequency, 1 / size), 0.0)
    noise = np.fft.rfft2(generator.standard_normal((num_videos, size, size), dtype=np.float32))
    textures = np.fft.irfft2(noise * amplitude, s=(size, size)).astype(np.float32)
    low, high = textures.min(axis=(1, 2), keepdims=True), textures.max(axis=(1, 2), keepdims=True)
    textures = 255 * (textures - low) / np.maximum(high - low, 1e-12)
    heading = generator.uniform(0.0, 2 * np.pi, num_videos)
    velocity = generator.uniform(0.0, speed, num_videos) * np.stack([np.cos(heading), np.sin(heading)])  # (2, B)
    x, y = np.floor(velocity[..., None] * np.arange(num_frames)).astype(int)  # (B, T) each
    rows, columns = ((np.arange(size) - shift[..., None]) % size for shift in (y, x))  # (B, T, S) each
    return textures[np.arange(num_videos)[:, None, None, None], rows[..., :, None], columns[..., None, :]]


def write_canonical(path: Path, source: MovingMNIST, num_videos: int, seed: int, *, progress: bool = True) -> None:
    """Writes videos as the canonical file does: uint8 ``[T, N, S, S]`` in NumPy's format, whole or not at all.

    Args:
        path: The file, such as ``moving_mnist.npy``.
        source: Where the videos come from.
        num_videos: How many, N.
        seed: Seed of the videos.
        progress: Whether to show a progress bar.

    Raises:
        OSError: If it cannot be written, for example because the disk is full; nothing is left of it then.
    """
    shape = (source.num_frames, num_videos, source.size, source.size)
    # Ordinary writes: on a full disk a memory map would end the process.
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        start = file.tell()
        _reserve(file, start + math.prod(shape), path)
        for first in tqdm(range(0, num_videos, VIDEOS_PER_DRAW), unit="draw", disable=not progress or None):
            count = min(VIDEOS_PER_DRAW, num_videos - first)
            videos = source.sample(count, np.random.default_rng([seed, first]))
            for t in range(source.num_frames):
                file.seek(start + (t * num_videos + first) * source.size**2)
                file.write(videos.pixels[:, t, 0].numpy().tobytes())


def _reserve(file: IO[bytes], num_bytes: int, path: Path) -> None:
    """Reserves a file's space, so that a full disk shows before any work is done."""
    free = shutil.disk_usage(path.parent).free
    full = OSError(errno.ENOSPC, f"the disk is full: {path} takes {num_bytes:,} bytes, {free:,} are free")
    if num_bytes > free:
        raise full
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise full from error  # other errors are of file systems that cannot reserve
