"""Episodes on their way into a dataset: one file each, written atomically, so that whatever stops a run costs one.

A shard is an uncompressed ``.npz`` without pickles. It appears under its name only when it is complete; its checksums,
and lengths that fit together, tell a damaged one, which is then collected anew. One process at a time collects into a
folder (:func:`collecting`).
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.data.paths import DISCARDED
from worldmodel.storage.files import open_regular, parse_json, read_json, replacing, write_json
from worldmodel.storage.locks import LOCK, locked

FORMAT = 1
"""Version of the layout of a shard folder."""
MANIFEST = "manifest.json"
"""Name of the file with the parameters."""
JOINED = "joined"
"""Name of the folder in which the episodes are joined."""
REPLACED = "replaced"
"""Name of the folder in which a dataset waits until the one that replaces it is in its place."""

Array = NDArray[Any]


@dataclass(frozen=True)
class RecordedEpisode:
    """One episode of L steps.

    Attributes:
        seed: Seed with which the environment was reset.
        observations: ``(L + 1, ...)``, or such arrays by key.
        actions: ``(L, ...)``; ``actions[t]`` took ``observations[t]`` to ``observations[t + 1]``.
        rewards: float64 ``(L,)``.
        terminations: bool ``(L,)``.
        truncations: bool ``(L,)``.
        infos: Arrays ``(L + 1,)`` by name.
    """

    seed: int
    observations: Array | dict[str, Array]
    actions: Array
    rewards: Array
    terminations: Array
    truncations: Array
    infos: dict[str, Array]


class ShardFolder:
    """A folder that holds the finished episodes of a collection, and the parameters that made them.

    Args:
        path: The folder; made if missing.
        parameters: Everything the episodes depend on, but for how many there are; plain JSON values.
        restart: Whether episodes made with other parameters are discarded rather than an error.

    Raises:
        ValueError: If the folder holds episodes made with other parameters, or with parameters that cannot be read.
    """

    def __init__(self, path: Path, parameters: dict[str, Any], *, restart: bool = False) -> None:
        self.path = path
        wanted = _manifest(parameters)
        try:
            found, problem = _read_manifest(path), "there are none"
        except ValueError as error:
            found, problem = None, str(error)
        if found == wanted:
            return
        if found is None and not restart and next(path.glob("episode-*.npz"), None) is not None:
            raise ValueError(
                f"an unfinished collection whose parameters cannot be read is in {path} ({problem}); "
                "overwrite=True starts anew, or give another dataset_id"
            )
        if found is not None and not restart:
            differing = [k for k in sorted({*found, *wanted}) if found.get(k) != wanted.get(k)]
            changes = ", ".join(f"{k}: {found.get(k)!r} there, {wanted.get(k)!r} now" for k in differing)
            raise ValueError(
                f"an unfinished collection with other parameters is in {path} ({changes}); give its parameters to "
                "finish it, overwrite=True to start anew, or another dataset_id"
            )
        empty(path)
        write_json(path / MANIFEST, wanted)

    @staticmethod
    def parameters_match(path: Path, parameters: dict[str, Any]) -> bool:
        """Whether the episodes in a folder were made with these parameters."""
        try:
            return _read_manifest(path) == _manifest(parameters)
        except ValueError:
            return False

    def finished(self, num_episodes: int) -> set[int]:
        """Indices below ``num_episodes`` of complete shards; removes damaged ones, and what killed processes left."""
        for left_over in self.path.glob("*.tmp"):
            _remove(left_over)
        done = set()
        for i in range(num_episodes):
            path = self._shard(i)
            if not os.path.lexists(path):
                continue
            try:
                self.load(i)
                done.add(i)
            except ValueError:
                _remove(path)
        return done

    def save(self, index: int, episode: RecordedEpisode) -> None:
        """Writes an episode; it is there completely or not at all.

        Raises:
            OSError: If it cannot be written, for example because the disk is full; nothing is left of it then.
        """
        arrays: dict[str, Any] = {f"infos/{key}": value for key, value in episode.infos.items()}
        if isinstance(episode.observations, dict):
            arrays |= {f"observations/{key}": value for key, value in episode.observations.items()}
        else:
            arrays["observations"] = episode.observations
        for name in ("seed", "actions", "rewards", "terminations", "truncations"):
            arrays[name] = np.asarray(getattr(episode, name))
        with replacing(self._shard(index), durable=False) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def load(self, index: int) -> RecordedEpisode:
        """Reads an episode.

        Raises:
            ValueError: If its shard is damaged.
        """
        path = self._shard(index)
        with open_regular(path) as file:
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    episode = _episode(arrays)
                _check_lengths(episode)
            except Exception as error:  # whatever damaged bytes make zipfile, zlib and NumPy raise
                raise ValueError(f"shard {path} must be a whole episode: {type(error).__name__}: {error}") from error
        return episode

    def _shard(self, index: int) -> Path:
        return self.path / f"episode-{index:07d}.npz"


@contextlib.contextmanager
def collecting(work: Path, what: str) -> Iterator[None]:
    """Keeps a work folder to this process; if it ends up with nothing in it, it goes.

    Args:
        work: The folder, made if missing.
        what: What it is, for the message.

    Raises:
        BlockingIOError: If another process holds it; the message says which.
        OSError: If the folder cannot be made or written to; the message says so.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(work, what))
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.ENOSPC, errno.EDQUOT):
                raise
            reason = f"{work} cannot be made ({error.strerror or error})"
            raise type(error)(f"root must be a folder that can be written to: {reason}") from error
        try:
            yield
        finally:
            # Gone while it is still locked: whoever waits for a lock of this name finds that it lost its name.
            if work.is_dir() and all(path.name == LOCK for path in work.iterdir()):
                shutil.rmtree(work, ignore_errors=True)


def empty(work: Path) -> None:
    """Removes what a folder holds, but for its lock; makes it if missing."""
    work.mkdir(parents=True, exist_ok=True)
    for path in work.iterdir():
        if path.name != LOCK:
            _remove(path)


def discard(work: Path) -> None:
    """Removes a folder whose collection is done: from one rename on it is no unfinished collection any more."""
    remove_discarded(work)
    work.rename(work.with_name(work.name + DISCARDED))
    remove_discarded(work)


def remove_discarded(work: Path) -> None:
    """Removes what a process that was killed while it discarded a folder left of it."""
    shutil.rmtree(work.with_name(work.name + DISCARDED), ignore_errors=True)


def _episode(arrays: Mapping[str, Array]) -> RecordedEpisode:
    observations, infos = (
        {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
        for prefix in ("observations/", "infos/")
    )
    return RecordedEpisode(
        seed=int(arrays["seed"]),
        observations=observations or arrays["observations"],
        actions=arrays["actions"],
        rewards=arrays["rewards"],
        terminations=arrays["terminations"],
        truncations=arrays["truncations"],
        infos=infos,
    )


def _check_lengths(episode: RecordedEpisode) -> None:
    """Raises a ValueError where the arrays of an episode are not of one length."""
    length = len(episode.actions)
    observations = episode.observations if isinstance(episode.observations, dict) else {"": episode.observations}
    per_step = (episode.rewards, episode.terminations, episode.truncations)
    per_frame = (*observations.values(), *episode.infos.values())
    lengths = [len(array) for array in (*per_step, *per_frame)]
    if length < 1 or lengths != [length] * len(per_step) + [length + 1] * len(per_frame):
        raise ValueError(f"its arrays must fit {length} actions, got lengths {lengths}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _manifest(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, **parse_json(json.dumps(parameters).encode(), Path(MANIFEST), "the parameters")}


def _read_manifest(path: Path) -> dict[str, Any] | None:
    """The parameters in a folder; ``None`` where there are none, as when the very first write was cut off.

    Raises:
        ValueError: If they cannot be read.
    """
    try:
        return read_json(path / MANIFEST, "the parameters of a collection")
    except FileNotFoundError:
        return None
