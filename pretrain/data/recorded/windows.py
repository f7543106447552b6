"""Windows of recorded episodes of any format.

::

    open_recording ──► episodes of each split, long enough ──► load_episodes, once for all ──► RecordedWindows
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.goal_image.images import AUTO
from envs.simulation import Array, Simulation
from pretrain.data.formats.recording import DatasetError, Recording
from pretrain.data.formats.registry import open_recording
from pretrain.data.recorded.episodes import Episodes, ImageOptions, load_episodes
from pretrain.data.windows import WindowBatch, check_window

SPLITS = ("train", "validation")
"""Names of the parts into which the episodes of a dataset are split."""

log = logging.getLogger(__name__)


class RecordedWindows:
    """Windows of episodes that were recorded.

    Args:
        data: The episodes.
        episodes: Which of them, ascending; each at least as long as a window.
        num_frames: Frames T of a window.
        frame_skip: Environment steps between two frames.
        context: Frames that a model sees at once, so far apart; those before an episode's first are that one.
        device: Where windows are put, and states drawn.
    """

    def __init__(
        self,
        data: Episodes,
        episodes: NDArray[np.int64],
        num_frames: int,
        frame_skip: int,
        *,
        context: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.data = data
        self.name = data.name
        self.episodes = episodes
        self.num_frames, self.frame_skip, self.context = num_frames, frame_skip, context
        self.device = torch.device(device)
        self.simulation = data.simulation
        channels, height, width = data.frames.shape[1:] if self.simulation is None else self.simulation.pixel_shape
        self.pixel_shape = (channels, height, width)
        self.action_dim = data.actions.shape[1]
        self.action_low, self.action_high = data.action_low, data.action_high
        self.action_max_norm = data.action_max_norm
        self.longest: int | None = int(data.lengths[episodes].max())
        self._num_steps = (num_frames - 1) * frame_skip
        self._num_starts = data.lengths[episodes] - self._num_steps + 1
        self._last_window = np.cumsum(self._num_starts)
        self._first_frame, self._first_action = data.first_frame[episodes], data.first_action[episodes]

    @property
    def num_windows(self) -> int:
        """Number of different windows that can be sampled."""
        return int(self._last_window[-1])

    def sample(self, batch_size: int, generator: np.random.Generator, per_scene: int = 1) -> WindowBatch:
        """Draws windows uniformly from all windows of the split, with replacement; a scene is an episode."""
        chosen = generator.integers(self.num_windows, size=-(-batch_size // per_scene))
        episode = np.searchsorted(self._last_window, chosen, side="right")
        first = chosen - (self._last_window[episode] - self._num_starts[episode])
        if per_scene > 1:
            episode = np.repeat(episode, per_scene)[:batch_size]
            first = generator.integers(self._num_starts[episode])
        return self._windows(episode, first)

    def whole_episodes(
        self, count: int, num_frames: int, per_scene: int, generator: np.random.Generator
    ) -> Iterator[WindowBatch]:
        """All episodes of the split, every step of each; see :class:`~pretrain.data.windows.WindowSource`."""
        for episode, frame, action in zip(self.episodes, self._first_frame, self._first_action, strict=True):
            length = self.data.lengths[episode]
            frames = torch.from_numpy(self.data.frames[np.arange(frame, frame + length + 1)])[None].to(self.device)
            actions = torch.from_numpy(self.data.actions[action : action + length])[None].to(self.device)
            yield WindowBatch(frames if self.simulation is None else _draw(self.simulation, frames)[0], actions)

    def _windows(self, episode: Array, first: Array) -> WindowBatch:
        """The windows that begin at step ``first`` of ``episode``, both ``(B,)``."""
        before = self.context - 1
        steps = np.maximum(first[:, None] + np.arange(-before, self.num_frames) * self.frame_skip, 0)
        frames = torch.from_numpy(self.data.frames[self._first_frame[episode][:, None] + steps])
        steps = np.arange(self._num_steps)
        actions = torch.from_numpy(self.data.actions[(self._first_action[episode] + first)[:, None] + steps])
        actions = actions.reshape(len(episode), self.num_frames - 1, -1).to(self.device)
        frames = frames.to(self.device)
        if self.simulation is None:
            return WindowBatch(frames, actions)
        pixels, positions, layout = _draw(self.simulation, frames)
        return WindowBatch(pixels, actions, positions[:, before:], layout)


def _draw(simulation: Simulation, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Images ``(B, T, C, H, W)``, positions and layouts of states ``(B, T, P + L)`` of one layout each."""
    num_coordinates = len(simulation.position_low)
    positions, layout = states[..., :num_coordinates].contiguous(), states[:, 0, num_coordinates:].contiguous()
    return simulation.draw(positions, layout), positions, layout


def open_windows(
    dataset: str | Path,
    num_frames: int,
    frame_skip: int,
    *,
    context: int = 1,
    splits: Sequence[str] = SPLITS,
    validation_fraction: float = 0.1,
    device: torch.device | str = "cpu",
    image: str = AUTO,
    axes: str = "",
    channels: int | None = None,
    size: Sequence[int] | int | None = None,
    in_memory: Literal["auto", "yes", "no"] = "auto",
    cache: str | Path = "",
    leave_out: bool = False,
    root: str | Path | None = None,
) -> tuple[RecordedWindows, ...]:
    """Opens recorded data of any format (:data:`pretrain.data.formats.registry.FORMATS`), and reads it.

    Args:
        dataset: Id of a local Minari dataset, or the path of a file or folder.
        num_frames: Frames T of a window.
        frame_skip: Environment steps between two frames.
        context: Frames that a model sees at once.
        splits: Which of :data:`SPLITS`. Episodes are split, not windows: no episode is in both.
        validation_fraction: Share of the episodes in the validation split; at least one episode if above 0.
        device: Where windows are put, and states drawn.
        image: Key of the images; this and the next three are :class:`~pretrain.data.recorded.episodes.ImageOptions`.
        axes: What the images' axes are.
        channels: Channels of the newest frame.
        size: Sides of the images.
        in_memory: This and the next two as in :func:`~pretrain.data.recorded.episodes.load_episodes`.
        cache: Folder for the file of frames.
        leave_out: Leaves out episodes at fault.
        root: Folder of the Minari datasets; by default Minari's own (``MINARI_DATASETS_PATH``).

    Returns:
        The windows of each split.

    Raises:
        FileNotFoundError: If there is no such dataset.
        ValueError: If the dataset holds no images or no fitting actions, no episode in a split, no episode as long as a
            window, or episodes at fault: with values that are not finite or out of bounds, images of another size.
        OSError: If the file of frames cannot be written.
    """
    check_window(num_frames, frame_skip, context)
    recording = open_recording(dataset, root=root)
    needed = (num_frames - 1) * frame_skip
    chosen = []
    for split in splits:
        episodes = split_episodes(
            len(recording.lengths), split, validation_fraction=validation_fraction, name=recording.name
        )
        chosen.append(_long_enough(episodes, recording, needed, f"windows of {num_frames} frames {frame_skip} steps"))
    data = load_episodes(
        recording,
        np.unique(np.concatenate(chosen)),
        ImageOptions(image, axes, channels, size),
        in_memory=in_memory,
        cache=cache,
        leave_out=leave_out,
    )
    sources = []
    for split, episodes in zip(splits, chosen, strict=True):
        kept = np.intersect1d(episodes, data.kept)
        if not len(kept):
            raise DatasetError(f"dataset {recording.name!r} must have episodes without a fault in split {split!r}")
        sources.append(RecordedWindows(data, kept, num_frames, frame_skip, context=context, device=device))
    return tuple(sources)


def _long_enough(episodes: NDArray[np.int64], recording: Recording, needed: int, windows: str) -> NDArray[np.int64]:
    """Leaves out episodes that are shorter than a window."""
    lengths = recording.lengths[episodes]
    if not (lengths >= needed).any():
        raise DatasetError(
            f"dataset {recording.name!r} must have episodes of at least {needed} steps for {windows} apart, the "
            f"longest of its {len(lengths)} episodes has {lengths.max()}"
        )
    if short := int((lengths < needed).sum()):
        message = "%d of %d episodes of dataset %r are shorter than a window (%d steps) and are left out"
        log.warning(message, short, len(lengths), recording.name, needed)
    return episodes[lengths >= needed]


def split_episodes(
    num_episodes: int, split: str, *, validation_fraction: float = 0.1, seed: int = 0, name: str = ""
) -> NDArray[np.int64]:
    """Splits episodes into disjoint parts, reproducibly.

    Args:
        num_episodes: Number of episodes of the dataset.
        split: One of :data:`SPLITS`.
        validation_fraction: Share of the validation split, in [0, 1); at least one episode if above 0.
        seed: Seed of the split.
        name: Name of the dataset, for messages.

    Returns:
        Indices of the episodes of the split, ascending.

    Raises:
        ValueError: If the split is unknown, the fraction out of range, or the split empty.

    Example:
        >>> [len(split_episodes(25, split, validation_fraction=0.2)) for split in SPLITS]
        [20, 5]
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(map(repr, SPLITS))}, got {split!r}")
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction must be in [0, 1), got {validation_fraction}")
    num_validation = max(1, round(validation_fraction * num_episodes)) if validation_fraction > 0 else 0
    order = np.random.default_rng(seed).permutation(num_episodes)
    chosen = order[:num_validation] if split == "validation" else order[num_validation:]
    if not len(chosen):
        raise ValueError(
            f"dataset {name!r} has no episodes in split {split!r}: it holds {num_episodes}, of which "
            f"validation_fraction={validation_fraction} puts {min(num_validation, num_episodes)} into 'validation'"
        )
    return np.sort(chosen)
