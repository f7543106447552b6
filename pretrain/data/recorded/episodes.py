"""Episodes of a recording, read and checked once: in memory where they fit, else in a file beside the data."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import gymnasium as gym
import numpy as np
import psutil
from numpy.typing import NDArray
from tqdm import tqdm

from envs.goal_image.images import AUTO, WHOLE, ImageReader
from envs.simulation import Array, Simulation
from pretrain.data.formats.recording import DatasetError, Recording, check_values, choose_image
from pretrain.data.recorded.cache import Store, StoredFrames, cached_frames
from worldmodel.nn.devices import require_memory

MEMORY_SHARE = 1 / 3
"""Part of the free memory that frames may take."""
LARGE_SIDE = 256
"""Images with a longer side are pointed out: few models need them, and batches of them are large."""

log = logging.getLogger(__name__)


class ImageOptions(NamedTuple):
    """How images are found and read.

    Attributes:
        image: Their key; "auto": the only one there is beside goals.
        axes: What their axes are, one of :data:`envs.goal_image.images.AXES`; "" finds out.
        channels: Channels of the newest frame where frames are stacked along the channels; None: all.
        size: Sides to which they are brought by area averaging, one number or ``(H, W)``; None: as they are.
    """

    image: str = AUTO
    axes: str = ""
    channels: int | None = None
    size: Sequence[int] | int | None = None


@dataclass(frozen=True)
class Episodes:
    """Episodes that were read.

    Attributes:
        name: Name of their dataset.
        lengths: Steps of each episode of the dataset, int64 ``(E,)``.
        kept: Which of them were read, ascending.
        frames: Frames of all that were read, one after the other: uint8 ``(N, C, H, W)``, or states float32
            ``(N, P + L)``.
        first_frame: Where those of each begin ``(E,)``.
        actions: Their actions, float32 ``(M, A)``.
        first_action: Where those of each begin ``(E,)``.
        action_low: Smallest value of each component of an action.
        action_high: Largest value of each.
        action_max_norm: Largest Euclidean norm of an action, or None.
        simulation: What draws states, or None.
    """

    name: str
    lengths: NDArray[np.int64]
    kept: NDArray[np.int64]
    frames: Array | StoredFrames
    first_frame: NDArray[np.int64]
    actions: NDArray[np.float32]
    first_action: NDArray[np.int64]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_max_norm: float | None
    simulation: Simulation | None


def load_episodes(
    recording: Recording,
    wanted: NDArray[np.int64],
    options: ImageOptions,
    *,
    in_memory: Literal["auto", "yes", "no"] = "auto",
    cache: str | Path = "",
    leave_out: bool = False,
) -> Episodes:
    """Reads episodes, and checks them.

    Args:
        recording: What holds them.
        wanted: Which ones, ascending.
        options: How images are found and read.
        in_memory: Whether frames are held in memory; "auto": where they fit into a third of what is free.
        cache: Folder for the file of frames otherwise, see :func:`~pretrain.data.recorded.cache.cached_frames`.
        leave_out: Leaves out episodes at fault, with a warning; otherwise they are refused.

    Raises:
        DatasetError: If there is no such image, or episodes are at fault: with values that are not finite or out of
            bounds, images of another size, or what cannot be read.
        ValueError: If frames do not fit into memory, where they shall.
        OSError: If the file of frames cannot be written.
    """
    key, reader = _find_images(recording, options)
    actions, faults = _read_actions(recording, wanted)
    frames, first_frame = _read_frames(recording, key, reader, wanted, faults, in_memory, cache)
    faults = {episode: fault for episode, fault in faults.items() if episode in wanted}
    if faults:
        _refuse(faults, len(wanted), recording.name, leave_out)
    kept = np.setdiff1d(wanted, list(faults))
    if not len(kept):
        raise DatasetError(f"dataset {recording.name!r} has no episode without a fault: {faults[min(faults)]}")
    joined, first_action = _joined(actions, recording, kept)
    low, high = _action_bounds(recording, joined)
    return Episodes(
        name=recording.name,
        lengths=recording.lengths,
        kept=kept,
        frames=frames,
        first_frame=first_frame,
        actions=joined,
        first_action=first_action,
        action_low=low,
        action_high=high,
        action_max_norm=recording.action_max_norm,
        simulation=recording.simulation,
    )


def _find_images(recording: Recording, options: ImageOptions) -> tuple[str, ImageReader | None]:
    """The key of the images, and what reads them; None for states that a simulation draws."""
    if recording.simulation is not None:
        if options not in [ImageOptions(), ImageOptions(WHOLE)]:
            raise DatasetError(
                f"image, axes, channels and size must be left out for dataset {recording.name!r}, which holds states "
                f"that the environment's simulation draws, got {', '.join(map(str, options))}"
            )
        return WHOLE, None
    key = choose_image(recording, options.image)
    space = recording.spaces[key]
    assert isinstance(space, gym.spaces.Box)
    try:
        is_float = np.issubdtype(space.dtype, np.floating)
        reader = ImageReader(
            space.shape, is_float=is_float, axes=options.axes, channels=options.channels, size=options.size
        )
    except ValueError as error:
        raise DatasetError(f"image {key!r} of dataset {recording.name!r}: {error}") from error
    if max(reader.sides) > LARGE_SIDE:
        height, width = reader.sides
        log.warning("images of dataset %r are %d × %d; data.size makes them smaller", recording.name, height, width)
    return key, reader


def _read_actions(recording: Recording, wanted: NDArray[np.int64]) -> tuple[dict[int, Array], dict[int, str]]:
    """The actions ``(L, A)`` of episodes, and the faults of others."""
    space, actions, faults = recording.action_space, {}, {}
    for episode in wanted.tolist():
        try:
            values, length = recording.actions(episode), int(recording.lengths[episode])
            must = f"episode {episode} of dataset {recording.name!r} must have actions"
            if values.shape != (length, *space.shape):
                raise DatasetError(f"{must} of shape {(length, *space.shape)}, got {values.shape}")
            check_values(values, space, must)
            actions[episode] = values.reshape(length, -1).astype(np.float32)
        except DatasetError as error:
            faults[episode] = str(error)
    return actions, faults


def _joined(
    actions: Mapping[int, Array], recording: Recording, kept: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The actions of episodes one after the other, and where each episode's begin."""
    first = np.zeros(len(recording.lengths), np.int64)
    first[kept] = np.cumsum(recording.lengths[kept]) - recording.lengths[kept]
    return np.concatenate([actions[episode] for episode in kept.tolist()]), first


def _action_bounds(recording: Recording, actions: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Smallest and largest value of each component: where no bound is known, the data's own."""
    space = recording.action_space
    low, high = (bound.astype(np.float64).ravel() for bound in (space.low, space.high))
    low, high = np.where(np.isfinite(low), low, actions.min(0)), np.where(np.isfinite(high), high, actions.max(0))
    # What never changes gets room all the same: nothing can be scaled to bounds that are equal.
    still = low == high
    low, high = np.where(still, low - 1, low), np.where(still, high + 1, high)
    return tuple(low.tolist()), tuple(high.tolist())


def _read_frames(
    recording: Recording,
    key: str,
    reader: ImageReader | None,
    wanted: NDArray[np.int64],
    faults: dict[int, str],
    in_memory: str,
    cache: str | Path,
) -> tuple[Array | StoredFrames, NDArray[np.int64]]:
    """The frames, and where each episode's begin; notes the faults of episodes."""
    space = recording.spaces[key]
    assert isinstance(space, gym.spaces.Box)
    height, width, channels = reader.space.shape if reader else (0, 0, 0)
    shape, dtype = ((channels, height, width), np.uint8) if reader else (space.shape, np.float32)
    counts = recording.lengths + 1

    def read(episodes: NDArray[np.int64], first: NDArray[np.int64], store: Store) -> dict[int, str]:
        found = {}
        # A progress bar only where it takes a while, and somebody looks.
        for episode in tqdm(episodes.tolist(), desc="frames", unit="episode", delay=2, disable=None, leave=False):
            try:
                _read_episode(recording, key, space, reader, episode, int(first[episode]), store)
            except DatasetError as error:
                found[episode] = str(error)
        return found

    first = np.zeros(len(counts), np.int64)
    first[wanted] = np.cumsum(counts[wanted]) - counts[wanted]
    num_frames = int(counts[wanted].sum())
    num_bytes = float(num_frames) * int(np.prod(shape)) * np.dtype(dtype).itemsize
    num_bytes += float(recording.lengths[wanted].sum()) * int(np.prod(recording.action_space.shape)) * 4
    fits = num_bytes <= MEMORY_SHARE * psutil.virtual_memory().available
    if reader is None or in_memory == "yes" or (in_memory == "auto" and fits):
        require_memory(num_bytes, f"dataset {recording.name!r} ({num_frames} frames of shape {shape})")
        frames: Array = np.empty((num_frames, *shape), dtype)

        def keep(row: int, part: Array) -> None:
            frames[row : row + len(part)] = part

        faults |= read(np.setdiff1d(wanted, list(faults)), first, keep) | faults
        return frames, first
    # The file holds all episodes, so that it serves windows of any length and all splits.
    first = np.cumsum(counts) - counts
    stored, found = cached_frames(
        recording.name,
        recording.files,
        (key, reader.axes, reader.channels, reader.sides),
        (int(counts.sum()), channels, height, width),
        lambda store: read(np.arange(len(counts)), first, store),
        folder=cache,
    )
    faults |= found | faults
    return stored, first


def _read_episode(
    recording: Recording,
    key: str,
    space: gym.spaces.Box,
    reader: ImageReader | None,
    episode: int,
    row: int,
    store: Callable[[int, Array], None],
) -> None:
    """Reads the frames of an episode and puts them away from a row on."""
    must = f"episode {episode} of dataset {recording.name!r} must have frames"
    count, done = int(recording.lengths[episode]) + 1, 0
    for piece in recording.frames(key, episode):
        if piece.shape[1:] != space.shape:
            raise DatasetError(f"{must} of shape {space.shape} like the others, got {piece.shape[1:]}")
        check_values(piece, space, must, done)
        if done + len(piece) > count:
            raise DatasetError(f"{must}, {count} of them, got more")
        store(row + done, piece if reader is None else _to_chw(piece, reader))
        done += len(piece)
    if done != count:
        raise DatasetError(f"{must}, {count} of them, got {done}")


def _to_chw(images: Array, reader: ImageReader) -> NDArray[np.uint8]:
    """Reads images ``(n, ...)`` as uint8 ``(n, C, H, W)``."""
    height, width, channels = reader.space.shape
    # All at once where only the axes may change: ten times as fast as one by one.
    if images.dtype == np.uint8 and reader.axes == "CHW" and images.shape[1:] == (channels, height, width):
        return images
    if images.dtype == np.uint8 and reader.axes == "HWC" and images.shape[1:] == (height, width, channels):
        return images.transpose(0, 3, 1, 2)
    return np.stack([reader(image) for image in images]).transpose(0, 3, 1, 2)


def _refuse(faults: Mapping[int, str], total: int, name: str, leave_out: bool) -> None:
    """Refuses episodes at fault, or warns of them."""
    first = faults[min(faults)]
    if leave_out:
        log.warning(
            "%d of %d episodes of dataset %r are at fault and are left out: %s", len(faults), total, name, first
        )
        return
    raise DatasetError(f"{first} ({len(faults)} of {total} episodes are at fault; data.leave_out leaves such out)")
