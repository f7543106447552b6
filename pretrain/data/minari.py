"""Minari datasets as sources of training data."""

import logging
from pathlib import Path

import gymnasium as gym
import minari
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.domain import Domain, domain_of
from envs.simulation import Array, Simulation, state_size
from pretrain.data.episodes import (
    METADATA_FILE,
    DatasetError,
    episode_lengths,
    open_checked,
    read_episodes,
    readable,
)
from pretrain.data.paths import datasets_root, local_datasets
from pretrain.data.windows import SceneBatch, WindowBatch
from worldmodel.nn.devices import require_memory
from worldmodel.storage.files import absolute

SPLITS = ("train", "validation")
"""Names of the parts into which the episodes of a dataset are split."""

log = logging.getLogger(__name__)


class MinariWindows:
    """Windows of the episodes of a Minari dataset, held in memory.

    States that an environment's simulation can draw (:attr:`envs.domain.Domain.compact`) are kept as they are and drawn
    on ``device`` when sampled; images are kept as uint8 and turned to CHW once, on loading. Of goal-conditioned
    observations, ``"observation"`` is used.

    Args:
        dataset: Id of a local Minari dataset, or the path of one.
        num_frames: Frames T of a window.
        frame_skip: Environment steps between two frames.
        split: One of :data:`SPLITS`. Episodes are split, not windows: no episode is in both.
        validation_fraction: Share of the episodes in the validation split; at least one episode if above 0.
        device: Where windows are put, and states drawn.
        root: Folder of the Minari datasets; by default Minari's own (``MINARI_DATASETS_PATH``).

    Raises:
        FileNotFoundError: If there is no such dataset.
        ValueError: If the dataset holds no images, no episode in the split, or no episode as long as a window.
    """

    def __init__(
        self,
        dataset: str | Path,
        num_frames: int,
        frame_skip: int,
        *,
        split: str = "train",
        validation_fraction: float = 0.1,
        device: torch.device | str = "cpu",
        root: str | Path | None = None,
    ) -> None:
        if num_frames < 2 or frame_skip < 1:
            raise ValueError(
                f"num_frames must be at least 2 and frame_skip at least 1, got {num_frames} and {frame_skip}"
            )
        opened = open_dataset(dataset, root=root)
        self.name = opened.id
        self.num_frames = num_frames
        self.frame_skip = frame_skip
        self._num_steps = (num_frames - 1) * frame_skip
        self.device = torch.device(device)
        with readable(opened.storage.data_path):
            domain = domain_of(opened.env_spec)
            space, self.simulation, self._channels_last = _frame_space(opened, domain)
        if self.simulation is None:
            first, second, third = space.shape
            self.pixel_shape = (third, first, second) if self._channels_last else (first, second, third)
        else:
            self.pixel_shape = self.simulation.pixel_shape
        action_space = opened.action_space
        if not isinstance(action_space, gym.spaces.Box) or not action_space.is_bounded() or not action_space.low.size:
            raise ValueError(f"dataset {self.name!r} must have bounded Box actions, got {action_space}")
        self.action_dim = int(np.prod(action_space.shape))
        self.action_low = tuple(map(float, action_space.low.ravel()))
        self.action_high = tuple(map(float, action_space.high.ravel()))
        self.action_max_norm = domain.action_max_norm
        self.episodes = split_episodes(
            opened.total_episodes, split, validation_fraction=validation_fraction, name=self.name
        )
        """Indices of the episodes of the split, ascending; those shorter than a window are left out."""
        self._load(opened, space)

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

    def sample_scenes(self, batch_size: int, num_images: int, generator: np.random.Generator) -> SceneBatch:
        """Draws episodes, in proportion to their lengths, and frames of each, uniformly and with replacement."""
        windows = generator.integers(self.num_windows, size=batch_size)
        episode = np.searchsorted(self._last_window, windows, side="right")
        steps = self._num_starts[episode] + self._num_steps
        first = generator.integers(steps[:, None], size=(batch_size, num_images))
        frames = torch.from_numpy(self._frames[self._first_frame[episode][:, None] + first]).to(self.device)
        return SceneBatch(frames if self.simulation is None else self._draw(self.simulation, frames)[0])

    def _load(self, dataset: minari.MinariDataset, space: gym.spaces.Box) -> None:
        """Reads the split into memory: frames and actions of all episodes one after the other."""
        lengths = self._long_enough(episode_lengths(dataset)[self.episodes])
        self._num_starts = lengths - self._num_steps + 1
        self._last_window = np.cumsum(self._num_starts)
        self._first_frame = np.cumsum(lengths + 1) - (lengths + 1)
        self._first_action = np.cumsum(lengths) - lengths
        frame_shape, frame_type = (self.pixel_shape, np.uint8) if self.simulation is None else (space.shape, np.float32)
        num_steps, num_frames = int(lengths.sum()), int((lengths + 1).sum())
        require_memory(
            num_frames * int(np.prod(frame_shape)) * np.dtype(frame_type).itemsize + num_steps * self.action_dim * 4,
            f"dataset {self.name!r} ({num_frames} frames of shape {frame_shape} in this split)",
        )
        self._frames = np.empty((num_frames, *frame_shape), frame_type)
        self._actions = np.empty((num_steps, self.action_dim), np.float32)
        for i, (frames, actions) in enumerate(read_episodes(dataset, space, self.episodes, lengths)):
            frames = np.moveaxis(frames, -1, 1) if self._channels_last else frames
            self._frames[self._first_frame[i] :][: len(frames)] = frames
            self._actions[self._first_action[i] :][: lengths[i]] = actions.reshape(lengths[i], -1)

    def _long_enough(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Leaves out episodes that are shorter than a window, and returns the lengths of the others."""
        needed = self._num_steps
        if not (lengths >= needed).any():
            raise ValueError(
                f"dataset {self.name!r} must have episodes of at least {needed} steps for windows of {self.num_frames} "
                f"frames {self.frame_skip} steps apart, the longest of its {len(lengths)} episodes has {lengths.max()}"
            )
        if short := int((lengths < needed).sum()):
            log.warning(
                "%d of %d episodes of dataset %r are shorter than a window (%d steps) and are left out",
                short,
                len(lengths),
                self.name,
                needed,
            )
        self.episodes = self.episodes[lengths >= needed]
        return lengths[lengths >= needed]

    def _windows(self, episode: Array, first: Array) -> WindowBatch:
        """The windows that begin at step ``first`` of ``episode``, both ``(B,)``."""
        steps = np.arange(self.num_frames) * self.frame_skip
        frames = torch.from_numpy(self._frames[(self._first_frame[episode] + first)[:, None] + steps])
        steps = np.arange(self._num_steps)
        actions = torch.from_numpy(self._actions[(self._first_action[episode] + first)[:, None] + steps])
        actions = actions.reshape(len(episode), self.num_frames - 1, -1).to(self.device)
        frames = frames.to(self.device)
        if self.simulation is None:
            return WindowBatch(frames, actions)
        pixels, positions, layout = self._draw(self.simulation, frames)
        return WindowBatch(pixels, actions, positions, layout)

    @staticmethod
    def _draw(simulation: Simulation, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images ``(B, T, C, H, W)``, positions and layouts of states ``(B, T, P + L)`` of one layout each."""
        num_coordinates = len(simulation.position_low)
        positions, layout = states[..., :num_coordinates].contiguous(), states[:, 0, num_coordinates:].contiguous()
        return simulation.draw(positions, layout), positions, layout


def open_dataset(dataset: str | Path, *, root: str | Path | None = None) -> minari.MinariDataset:
    """Opens a local Minari dataset.

    Args:
        dataset: Its id, or its path.
        root: Folder of the datasets; by default Minari's own (``MINARI_DATASETS_PATH``).

    Raises:
        FileNotFoundError: If there is none; the message lists those there are.
        ValueError: If it cannot be read.
    """
    path = absolute(dataset)
    if data := _data_folder(path):
        return open_checked(data)
    if Path(dataset).is_absolute() or str(dataset).startswith(("~", ".")):
        reason = f"it holds neither data/{METADATA_FILE} nor {METADATA_FILE}" if path.is_dir() else "there is no folder"
        raise FileNotFoundError(f"dataset must be a folder with a Minari dataset, got {str(path)!r}: {reason}")
    folder = datasets_root(root)
    if data := _data_folder(folder / dataset):
        return open_checked(data)
    local = ", ".join(map(repr, local_datasets(folder)))
    raise FileNotFoundError(
        f"dataset must be a path or one of {local or '(none yet)'} in {folder}, got {str(dataset)!r}; "
        "`worldmodel collect` makes one"
    )


def _data_folder(path: Path) -> Path | None:
    """The folder with the files of the dataset at a path, if there is one."""
    try:
        data = path / "data" if (path / "data").is_dir() else path
        return data if (data / METADATA_FILE).exists() else None
    except OSError as error:
        raise ValueError(
            f"dataset must be the id or the path of a dataset, got {str(path)[:100]!r}: {error.strerror}"
        ) from error


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


def _frame_space(dataset: minari.MinariDataset, domain: Domain) -> tuple[gym.spaces.Box, Simulation | None, bool]:
    """The space of a dataset's frames, what draws them if they are states, and whether their channels come last."""
    space = dataset.observation_space
    if isinstance(space, gym.spaces.Dict):
        space = space.spaces.get("observation")
    if isinstance(space, gym.spaces.Box):
        if domain.compact and space.dtype == np.float32 and len(space.shape) == 1:
            simulation = domain.simulation(dataset.env_spec.kwargs if dataset.env_spec else {})
            if space.shape == (state_size(simulation),):
                return space, simulation, False
        if space.dtype == np.uint8 and len(space.shape) == 3 and min(space.shape) >= 1:
            few = [size <= 4 for size in space.shape]
            if few[0] or few[2]:
                return space, None, not few[0]
    raise DatasetError(
        f"dataset {dataset.id!r} must hold images: observations that are uint8 Boxes of shape (H, W, C) or (C, H, W) "
        "with up to 4 channels (or states that the environment's simulation can draw), "
        f"got {dataset.observation_space}"
    )
