"""LeRobot folders, v2.1 and v3: Parquet tables of numbers, and films or images of what the cameras saw.

::

    meta/info.json       features with shapes and types, pictures a second, templates of the files' paths
    meta/episodes…       v2.1: a JSON line for each episode; v3: tables, which say where in shared files each is
    data/…  videos/…     v2.1: a file for each episode; v3: several episodes in one

Actions are the feature "action"; the last of an episode leads nowhere and is not read.
"""

import functools
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image

from envs.goal_image.images import MAX_CHANNELS
from envs.simulation import Array, Simulation
from pretrain.data.formats.reading import Forward, read_film
from pretrain.data.formats.recording import DatasetError, action_box, image_space, readable
from worldmodel import import_extra
from worldmodel.storage.files import read_bytes, read_json

INFO = "meta/info.json"
"""What makes a folder one of LeRobot's."""
ACTION = "action"
"""Feature that holds actions."""
VIDEO, IMAGE = "video", "image"
"""Types of features that are pictures: films, and images in the tables."""
RULE = f"it must be a folder with {INFO} and the files that it names, as LeRobot v2.1 or v3 writes them"
"""What is asked of a folder."""


def matches(path: Path) -> bool:
    """Whether there is such a folder at a path."""
    return (path / INFO).is_file()


class LeRobotRecording:
    """Such a folder as a :class:`~pretrain.data.formats.recording.Recording`.

    Args:
        path: The folder.

    Raises:
        DatasetError: If it cannot be read, or is laid out in another way.
        ModuleNotFoundError: Without pyarrow, the extra "lerobot".
    """

    files: Sequence[Path]
    spaces: Mapping[str, gym.Space[Any]]
    simulation: Simulation | None = None
    action_max_norm: float | None = None

    def __init__(self, path: Path) -> None:
        self._parquet = import_extra("pyarrow.parquet", f"dataset {path}, of LeRobot,")
        self._path, self.name = path, str(path)
        with readable(path, RULE):
            self._info = read_json(path / INFO, "the description of a LeRobot dataset")
            self._version = str(self._info.get("codebase_version", ""))
            if not self._version.startswith(("v2", "v3")):
                raise DatasetError(f"{path / INFO} must be of version v2.1 or v3, got {self._version!r}")
            features = self._info["features"]
            self._kinds = {key: feature["dtype"] for key, feature in features.items()}
            if ACTION not in features:
                raise DatasetError(f"dataset {path} must have a feature {ACTION!r}, got {', '.join(features)}")
            self._episodes = self._read_episodes()
            self.spaces = {
                key: space
                for key, feature in features.items()
                if self._kinds[key] in (VIDEO, IMAGE)
                if (space := image_space(_shape(feature), np.uint8)) is not None
            }
            self.lengths = np.array([episode["length"] for episode in self._episodes], np.int64) - 1
            self.files = (path / INFO, *sorted({self._file(i, None) for i in range(len(self._episodes))}))
            must = f"dataset {path} must have"
            self.action_space = action_box(features[ACTION]["shape"], features[ACTION]["dtype"], must)
        self._table: tuple[Path, Any] | None = None
        self._streams: tuple[Path, Forward] | None = None

    def frames(self, key: str, episode: int) -> Iterator[Array]:
        """Yields the frames of an episode in pieces."""
        with readable(self._path, RULE):
            film = self._kinds[key] == VIDEO
            path = self._file(episode, key if film else None)
            if self._streams is None or self._streams[0] != path:
                read = functools.partial(read_film, path) if film else functools.partial(self._read_images, path, key)
                self._streams = path, Forward(read)
            first = self._first_frame(episode, key) if film else self._first_row(episode)
            yield from self._streams[1].rows(first, int(self.lengths[episode]) + 1)

    def actions(self, episode: int) -> Array:
        """The actions of an episode."""
        with readable(self._path, RULE):
            column = self._rows(self._file(episode, None))[1]
            first = self._first_row(episode)
            return column[first : first + int(self.lengths[episode])]

    def _read_episodes(self) -> list[dict[str, Any]]:
        """Where each episode is, by its number."""
        if self._version.startswith("v2"):
            lines = read_bytes(self._path / "meta/episodes.jsonl").decode().splitlines()
            found = [json.loads(line) for line in lines if line.strip()]
        else:
            found = []
            for path in sorted((self._path / "meta/episodes").rglob("*.parquet")):
                names = self._parquet.read_schema(path).names
                wanted = [name for name in names if not name.startswith(("stats/", "tasks"))]
                found += self._parquet.read_table(path, columns=wanted).to_pylist()
        found.sort(key=lambda episode: episode["episode_index"])
        lengths = [episode["length"] for episode in found]
        if not lengths or not all(isinstance(length, int) and length >= 1 for length in lengths):
            raise DatasetError(f"dataset {self._path} must list its episodes with their lengths, got {lengths[:5]}")
        return found

    def _file(self, episode: int, film: str | None) -> Path:
        """The file with an episode's numbers, or with its film."""
        row, chunk_size = self._episodes[episode], self._info.get("chunks_size", 1000)
        number = row["episode_index"]
        place = {"episode_chunk": number // chunk_size, "episode_index": number, "video_key": film}
        if self._version.startswith("v3"):
            start = f"videos/{film}" if film else "data"
            place |= {"chunk_index": row[f"{start}/chunk_index"], "file_index": row[f"{start}/file_index"]}
        template = self._info["video_path" if film else "data_path"]
        path = self._path / template.format(**place)
        if not path.resolve().is_relative_to(self._path.resolve()):
            raise DatasetError(f"{self._path / INFO} must name files of its own folder, got {template!r}")
        return path

    def _first_frame(self, episode: int, key: str) -> int:
        """Which frame of its film an episode begins with."""
        if self._version.startswith("v2"):
            return 0
        return round(self._episodes[episode][f"videos/{key}/from_timestamp"] * self._info["fps"])

    def _first_row(self, episode: int) -> int:
        """Which row of its table an episode begins with."""
        number = self._episodes[episode]["episode_index"]
        rows = np.flatnonzero(self._rows(self._file(episode, None))[0] == number)
        expected = int(self.lengths[episode]) + 1
        if len(rows) != expected or rows[-1] - rows[0] != expected - 1:
            raise DatasetError(
                f"episode {number} of dataset {self._path} must have {expected} rows one after the other, "
                f"got {len(rows)}"
            )
        return int(rows[0])

    def _rows(self, path: Path) -> tuple[Array, Array]:
        """Numbers of episodes ``(N,)`` and actions ``(N, ...)`` of a table; the last table read is kept."""
        if self._table is None or self._table[0] != path:
            table = self._parquet.read_table(path, columns=["episode_index", ACTION])
            actions = np.array(table[ACTION].to_pylist(), np.float32)
            shape = self.action_space.shape
            self._table = path, (table["episode_index"].to_numpy(), actions.reshape(len(actions), *shape))
        return self._table[1]

    def _read_images(self, path: Path, key: str, first: int) -> Iterator[Array]:
        """Decodes the images in a table from a row on."""
        row = 0
        with self._parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64, columns=[key]):
                for cell in batch.column(0):
                    if row >= first:
                        yield np.array(Image.open(io.BytesIO(cell["bytes"].as_py())))[None]
                    row += 1


def _shape(feature: dict[str, Any]) -> tuple[int, ...]:
    """``(H, W, C)`` of a feature's pictures as they are decoded; some write the channels first."""
    first, second, third = feature["shape"]
    return (second, third, first) if first <= MAX_CHANNELS < third else (first, second, third)
