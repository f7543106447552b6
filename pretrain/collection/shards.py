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

from envs.simulation import Array
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

    def arrays(self) -> dict[str, Array]:
        """All arrays, those in dictionaries by names such as "observations/achieved_goal"."""
        found: dict[str, Array] = {}
        for name in ("observations", "actions", "rewards", "terminations", "truncations", "infos"):
            value = getattr(self, name)
            found |= {f"{name}/{key}": value[key] for key in value} if isinstance(value, dict) else {name: value}
        return found


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
        found, problem = _read_manifest(path)
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
        for left_over in list(path.glob("*")):
            if left_over.name != LOCK:
                _remove(left_over)
        write_json(path / MANIFEST, wanted)

    @staticmethod
    def parameters_match(path: Path, parameters: dict[str, Any]) -> bool:
        """Whether the episodes in a folder were made with these parameters."""
        return _read_manifest(path)[0] == _manifest(parameters)

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
        arrays = {"seed": np.array(episode.seed)} | episode.arrays()
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


def discard(work: Path) -> None:
    """Removes a folder whose collection is done: from one rename on it is no unfinished collection any more."""
    remove_discarded(work)
    work.rename(work.with_name(work.name + DISCARDED))
    remove_discarded(work)


def remove_discarded(work: Path) -> None:
    """Removes what a process that was killed while it discarded a folder left of it."""
    shutil.rmtree(work.with_name(work.name + DISCARDED), ignore_errors=True)


def _episode(arrays: Mapping[str, Array]) -> RecordedEpisode:
    fields: dict[str, Any] = {"infos": {}}
    for name in arrays:
        field, _, key = name.partition("/")
        if key:
            fields.setdefault(field, {})[key] = arrays[name]
        else:
            fields[field] = arrays[name]
    return RecordedEpisode(**fields | {"seed": int(fields["seed"])})


def _check_lengths(episode: RecordedEpisode) -> None:
    """Raises a ValueError where the arrays of an episode are not of one length."""
    num_steps = len(episode.actions)
    lengths = {name: len(array) for name, array in episode.arrays().items()}
    fitting = {name: num_steps + name.startswith(("observations", "infos")) for name in lengths}
    if num_steps < 1 or lengths != fitting:
        raise ValueError(f"its arrays must fit {num_steps} actions, got lengths {lengths}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _manifest(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, **parse_json(json.dumps(parameters).encode(), Path(MANIFEST), "the parameters")}


def _read_manifest(path: Path) -> tuple[dict[str, Any] | None, str]:
    """The parameters in a folder, or ``None`` and why: as when the very first write was cut off."""
    try:
        return read_json(path / MANIFEST, "the parameters of a collection"), ""
    except FileNotFoundError:
        return None, "there are none"
    except ValueError as error:
        return None, str(error)
