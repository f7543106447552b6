"""Manifests: frozen, hashed lists of episodes that every policy is evaluated on."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np


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
    seeds: tuple[int, ...]
    episodes: tuple[dict[str, Any], ...] | None = None
    shortest_paths: tuple[float, ...] | None = None
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    max_steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("episodes", "shortest_paths"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.seeds):
                raise ValueError(
                    f"manifest {self.name!r}: {name} must have one entry for each of the {len(self.seeds)} seeds, "
                    f"got {len(values)}"
                )
        if not self.seeds:
            raise ValueError(f"manifest {self.name!r} must hold at least one episode, got 0")

    def __len__(self) -> int:
        return len(self.seeds)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON (sorted keys, no spaces) of everything in the manifest."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def options(self, indices: Sequence[int]) -> dict[str, Any] | None:
        """Reset options of some episodes, stacked for a vector environment: ``{name: (N, ...) array}``."""
        if self.episodes is None:
            return None
        chosen = [self.episodes[i] for i in indices]
        return {key: np.stack([np.asarray(episode[key]) for episode in chosen]) for key in chosen[0]}

    def save(self, path: str | Path) -> None:
        """Writes the manifest and its hash as JSON, one episode a line."""
        head = asdict(self) | {"hash": self.hash}
        lists = {key: head.pop(key) for key in ("episodes",) if head[key] is not None}
        text = ",\n".join(
            f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in head.items()
        )
        for key, values in lists.items():
            rows = ",\n".join(json.dumps(value, separators=(",", ":")) for value in values)
            text += f",\n{json.dumps(key)}: [\n{rows}\n]"
        Path(path).write_text("{" + text + "}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Manifest":
        """Reads a manifest and checks its hash.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is no manifest, or its content does not match its hash.
        """
        path = Path(path)
        known = {f.name for f in fields(cls)}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            stored = content.pop("hash")
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{path.name} is not a manifest: it must be a JSON object with a 'hash'") from error
        if set(content) - known or not {"name", "env_id", "seeds"} <= set(content):
            raise ValueError(
                f"{path.name} is not a manifest: its keys must be among {sorted(known)}, got {sorted(content)}"
            )
        for key in ("seeds", "episodes", "shortest_paths"):
            content[key] = None if content.get(key) is None else tuple(content[key])
        if content["seeds"] is None:
            raise ValueError(f"{path.name} is not a manifest: its seeds must be a list, got null")
        manifest = cls(**content)
        if manifest.hash != stored:
            raise ValueError(
                f"manifest {path.name} must match its hash {stored}, got {manifest.hash}: "
                "it was edited after it was made"
            )
        return manifest
