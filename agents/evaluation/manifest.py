"""Manifests: frozen, hashed lists of episodes that every policy is evaluated on."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Lt
from numpy.typing import NDArray

from worldmodel.config import ConfigError, check
from worldmodel.storage.files import read_json, write_json


@dataclass(frozen=True)
class Manifest:
    """A frozen list of episodes of one environment.

    Attributes:
        name: What the manifest is called.
        env_id: Gymnasium id of the environment.
        seeds: The environment's seed in each episode.
        episodes: Reset options of each episode (for Two Rooms ``{"layout", "start", "goal"}``), or none: then the seeds
            alone decide.
        shortest_paths: Length of the shortest path of each episode, for SPL, or none.
        env_kwargs: Keywords with which the environment is made, as far as they change the task.
        max_steps: Steps of an episode; without it an episode runs until the environment ends it.
    """

    name: str
    env_id: str
    seeds: tuple[Annotated[int, Ge(0), Lt(2**63)], ...]
    episodes: tuple[dict[str, Any], ...] | None = None
    shortest_paths: tuple[Annotated[float, Ge(0)], ...] | None = None
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    max_steps: Annotated[int, Ge(1)] | None = None

    def __post_init__(self) -> None:
        try:
            check(self)
        except ConfigError as error:
            raise ValueError(f"manifest {str(self.name)[:80]!r}: {error}") from None

    def rules(self) -> None:
        """Checks that there is one entry for each episode, and that all episodes fix the same things."""
        if not self.seeds:
            raise ConfigError("seeds", "at least one", self.seeds)
        if re.fullmatch(r"([\w.]+:)?[\w./-]+-v\d+", self.env_id) is None:
            raise ConfigError("env_id", "the id of an environment, such as 'Pendulum-v1'", self.env_id)
        for name in ("episodes", "shortest_paths"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.seeds):
                raise ConfigError(name, f"one entry for each of the {len(self.seeds)} seeds", f"{len(values)} of them")
        episodes = self.episodes or ()
        for number, episode in enumerate(episodes):
            if set(episode) != set(episodes[0]):
                rule = f"an object with the keys {', '.join(episodes[0])}, as the first"
                raise ConfigError(f"episodes[{number}]", rule, sorted(episode))

    def __len__(self) -> int:
        return len(self.seeds)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON (sorted keys, no spaces) of everything in the manifest."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def options(self, indices: Sequence[int]) -> dict[str, Any] | None:
        """Reset options of some episodes, stacked for a vector environment: ``{name: (N, ...) array}``.

        Lists of rows that differ in length, such as actions, are padded with rows of NaN.
        """
        if self.episodes is None:
            return None
        chosen = [self.episodes[i] for i in indices]
        return {key: _stack([np.asarray(episode[key]) for episode in chosen]) for key in chosen[0]}

    def save(self, path: str | Path) -> None:
        """Writes the manifest and its hash as JSON, one episode a line."""
        write_json(Path(path), asdict(self) | {"hash": self.hash})

    @classmethod
    def load(cls, path: str | Path) -> "Manifest":
        """Reads a manifest and checks its hash.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is no manifest, or its content does not match its hash.
        """
        path = Path(path)
        content = read_json(path, "a manifest")
        names = [f.name for f in fields(cls)]
        stored = content.pop("hash", None)
        if stored is None or set(content) - set(names) or not {"name", "env_id", "seeds"} <= set(content):
            raise ValueError(
                f"{path} is not a manifest: its keys must be hash, name, env_id, seeds and others of "
                f"{', '.join(names)}, got {', '.join(sorted(content))}"
            )
        content = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
        manifest = cls(**content)
        if manifest.hash != stored:
            raise ValueError(
                f"manifest {path} must match its hash {stored}, got {manifest.hash}: it was edited after it was made"
            )
        return manifest


def _stack(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays as one ``(N, ...)``; shorter ones of rows get rows of NaN at their end."""
    rows = [array for array in arrays if array.ndim > 1]
    if not rows or len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    stacked = np.full((len(arrays), max(map(len, rows)), *rows[0].shape[1:]), np.nan)
    for row, array in zip(stacked, arrays, strict=True):
        row[: len(array)] = array.reshape(-1, *row.shape[1:])
    return stacked
