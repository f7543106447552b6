"""Episodes on their way into a dataset: one file each, written atomically, so that whatever stops a run costs one.

A shard is an uncompressed ``.npz`` without pickles. It appears under its name only when it is complete, and its
checksums tell a damaged one, which is then collected anew.
"""

import contextlib
import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import gymnasium as gym
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.namespace import create_namespace, list_local_namespaces
from numpy.typing import NDArray

FORMAT = 1
"""Version of the layout of a shard folder."""
MANIFEST = "manifest.json"
"""Name of the file with the parameters."""
EPISODES_PER_WRITE = 64
"""Episodes handed to Minari at a time: bounds memory."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Episode:
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
        ValueError: If the folder holds episodes made with other parameters.
    """

    def __init__(self, path: Path, parameters: dict[str, Any], *, restart: bool = False) -> None:
        self.path = path
        wanted = _manifest(parameters)
        if path.exists() and (found := _read_manifest(path)) != wanted:
            if not restart and found is not None:
                differing = [k for k in sorted({*found, *wanted}) if found.get(k) != wanted.get(k)]
                changes = ", ".join(f"{k}: {found.get(k)!r} there, {wanted.get(k)!r} now" for k in differing)
                raise ValueError(
                    f"an unfinished collection with other parameters is in {path} ({changes}); give its parameters to "
                    "finish it, overwrite=True to start anew, or another dataset_id"
                )
            shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)
        for left_over in path.glob("*.tmp"):
            left_over.unlink()
        text = json.dumps(wanted, indent=2).encode()
        write_atomically(path / MANIFEST, lambda file: file.write(text))

    @staticmethod
    def parameters_match(path: Path, parameters: dict[str, Any]) -> bool:
        """Whether the episodes in a folder were made with these parameters."""
        return _read_manifest(path) == _manifest(parameters)

    def finished(self, num_episodes: int) -> set[int]:
        """Indices below ``num_episodes`` of complete shards; removes damaged ones."""
        done = set()
        for i in range(num_episodes):
            path = self._shard(i)
            if path.exists() and _is_intact(path):
                done.add(i)
            else:
                path.unlink(missing_ok=True)
        return done

    def save(self, index: int, episode: Episode) -> None:
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
        write_atomically(self._shard(index), lambda file: np.savez(file, allow_pickle=False, **arrays))

    def load(self, index: int) -> Episode:
        """Reads an episode."""
        with np.load(self._shard(index), allow_pickle=False) as arrays:
            observations, infos = (
                {key.removeprefix(prefix): arrays[key] for key in arrays.files if key.startswith(prefix)}
                for prefix in ("observations/", "infos/")
            )
            return Episode(
                seed=int(arrays["seed"]),
                observations=observations or arrays["observations"],
                actions=arrays["actions"],
                rewards=arrays["rewards"],
                terminations=arrays["terminations"],
                truncations=arrays["truncations"],
                infos=infos,
            )

    def _shard(self, index: int) -> Path:
        return self.path / f"episode-{index:07d}.npz"


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Writes a file that appears under its name only when it is complete.

    Args:
        path: The file.
        write: Writes the content to an open file.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _is_intact(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError):
        return False


def _manifest(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, **json.loads(json.dumps(parameters))}


def _read_manifest(path: Path) -> dict[str, Any] | None:
    """The parameters in a folder; ``None`` where there are none, as when the very first write was cut off."""
    try:
        found: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return found


def join(
    shards: ShardFolder,
    num_episodes: int,
    env: gym.Env[Any, Any],
    dataset_id: str,
    *,
    algorithm: str,
    description: str,
) -> None:
    """Turns shards into a Minari dataset inside their folder; a marker says that it is complete.

    Args:
        shards: The folder, in which the first ``num_episodes`` are finished.
        num_episodes: How many to join.
        env: The environment they are from.
        dataset_id: Minari id of the dataset.
        algorithm: Who acted.
        description: What the dataset holds.
    """
    (shards.path / "joined.ok").unlink(missing_ok=True)
    joined = shards.path / "joined"
    if joined.exists():
        shutil.rmtree(joined)
    joined.mkdir()
    dataset = None
    # Minari warns of each piece of metadata that it is not given (author, permalink, ...).
    with _minari_root(joined), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for first in range(0, num_episodes, EPISODES_PER_WRITE):
            last = min(first + EPISODES_PER_WRITE, num_episodes)
            buffers = [_buffer(shards.load(i)) for i in range(first, last)]
            if dataset is not None:
                dataset.update_dataset_from_buffer(buffers)
                continue
            dataset = minari.create_dataset_from_buffers(
                dataset_id,
                buffers,
                env=env,
                algorithm_name=algorithm,
                description=description,
                jpeg_encoding=False,
            )
    text = str(num_episodes).encode()
    write_atomically(shards.path / "joined.ok", lambda file: file.write(text))


def publish(work: Path, dataset_id: str, target: Path) -> None:
    """Moves the joined dataset to its place; what stood there goes only now that the new one is complete.

    Args:
        work: The folder of the shards.
        dataset_id: Minari id of the dataset.
        target: Where it belongs, ``root / dataset_id``.
    """
    namespace = parse_dataset_id(dataset_id)[0]
    root = target.parents[len(Path(dataset_id).parts) - 1]
    with _minari_root(root):
        if namespace is not None and namespace not in list_local_namespaces():
            create_namespace(namespace)
    if target.exists():
        replaced = work / "replaced"
        if replaced.exists():
            shutil.rmtree(replaced)
        target.rename(replaced)
    (work / "joined" / dataset_id).rename(target)


def num_joined(work: Path) -> int | None:
    """Number of episodes of the complete dataset in the work folder (or moved from it); ``None`` if there is none."""
    marker = work / "joined.ok"
    return int(marker.read_text()) if marker.exists() else None


def is_published(work: Path) -> bool:
    """Whether the dataset joined in this work folder has been moved to its place already."""
    return num_joined(work) is not None and not any((work / "joined").glob("**/metadata.json"))


def _buffer(episode: Episode) -> EpisodeBuffer:
    fields = {name: getattr(episode, name) for name in ("seed", "observations", "actions", "rewards", "infos")}
    return EpisodeBuffer(**fields, terminations=episode.terminations, truncations=episode.truncations)


@contextlib.contextmanager
def _minari_root(root: Path) -> Iterator[None]:
    """Points Minari, which takes its folder from the environment only, to ``root`` for a while."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before
