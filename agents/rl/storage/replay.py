"""Replay buffers in npz files: only what has been filled, and no pickles.

::

    observations.KEY, next_observations.KEY, actions, rewards, dones, timeouts      (N, environments, …)
    ep_start, ep_length                                                             (N, environments), with hindsight
    current_ep_start                                                                (environments,), with hindsight
    position                                                                        where the next goes, whether full

Infos are not kept: hindsight stores empty ones.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import DictReplayBuffer

from agents.rl.storage.arrays import fill_array, open_arrays
from worldmodel.checkpoint import CheckpointError

SWITCHES = ("dones", "timeouts")
"""Arrays of zeros and ones."""


def replay_writer(buffer: DictReplayBuffer) -> Callable[[IO[bytes]], None]:
    """A function that writes a replay buffer to an open file."""

    def write(file: IO[bytes]) -> None:
        filled = {name: array[: buffer.size()] for name, array in _transitions(buffer).items()}
        position = np.array([buffer.pos, buffer.full], dtype=np.int64)
        np.savez(file, position=position, **filled, **_episodes(buffer))  # type: ignore[arg-type]

    return write


def read_replay(buffer: DictReplayBuffer, path: Path) -> None:
    """Fills a new replay buffer with a saved one; episodes that were under way end where they were saved.

    Args:
        buffer: The buffer, as large as the saved one and for as many environments.
        path: The file.

    Raises:
        CheckpointError: If the file is damaged, or holds another buffer.
        OSError: If it cannot be read.
    """
    try:
        _read(buffer, path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; without the file, the run goes on with an empty replay buffer") from error
    if isinstance(buffer, HerReplayBuffer):
        with warnings.catch_warnings():
            # Episodes begin anew, so the last one in the buffer does end where it was saved.
            warnings.filterwarnings("ignore", "The last trajectory in the replay buffer will be truncated")
            buffer.truncate_last_trajectory()


def _read(buffer: DictReplayBuffer, path: Path) -> None:
    with open_arrays(path) as archive:
        position = np.zeros(2, dtype=np.int64)
        fill_array(archive, "position", position)
        pos, full = position.tolist()
        if full not in (0, 1) or not 0 <= pos < buffer.buffer_size:
            raise ValueError(f"'position' must be in a buffer of {buffer.buffer_size} steps, got {position.tolist()}")
        buffer.pos, buffer.full = pos, bool(full)
        transitions, episodes = _transitions(buffer), _episodes(buffer)
        wanted = {f"{name}.npy" for name in ("position", *transitions, *episodes)}
        if set(archive.namelist()) != wanted:
            different = ", ".join(sorted(set(archive.namelist()) ^ wanted))
            raise ValueError(f"it must hold the arrays of this run's replay buffer; it differs in {different}")
        for name, array in transitions.items():
            fill_array(archive, name, array[: buffer.size()])
        for name, array in episodes.items():
            fill_array(archive, name, array)
        for name in SWITCHES:
            if not np.isin(transitions[name][: buffer.size()], (0, 1)).all():
                raise ValueError(f"{name!r} must hold zeros and ones")
        if isinstance(buffer, HerReplayBuffer):
            _check_episodes(buffer)


def _check_episodes(buffer: HerReplayBuffer) -> None:
    """Raises a ValueError unless each transition lies in the episode that it is said to be of."""
    size, count = buffer.buffer_size, buffer.size()
    start, length = buffer.ep_start[:count], buffer.ep_length[:count]
    place = (np.arange(count)[:, None] - start) % size
    good = (start >= 0) & (start < size) & (length >= 0) & (length <= count) & ((place < length) | (length == 0))
    if not good.all():
        raise ValueError("'ep_start' and 'ep_length' must be those of episodes in the buffer")
    if not ((buffer._current_ep_start >= 0) & (buffer._current_ep_start < size)).all():
        raise ValueError(f"'current_ep_start' must be in a buffer of {size} steps")


def _transitions(buffer: DictReplayBuffer) -> dict[str, NDArray[Any]]:
    """Arrays whose rows are steps."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in ("observations", "next_observations"):
        arrays |= {f"{name}.{key}": array for key, array in getattr(buffer, name).items()}
    arrays |= {name: getattr(buffer, name) for name in ("actions", "rewards", *SWITCHES)}
    if isinstance(buffer, HerReplayBuffer):
        arrays |= {"ep_start": buffer.ep_start, "ep_length": buffer.ep_length}
    return arrays


def _episodes(buffer: DictReplayBuffer) -> dict[str, NDArray[Any]]:
    """Arrays whose rows are environments."""
    return {"current_ep_start": buffer._current_ep_start} if isinstance(buffer, HerReplayBuffer) else {}
