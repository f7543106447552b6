"""What a checkpoint says of itself: its kind, what it was trained on, and the command that trained it."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents.offline.agent import OFFLINE_METHOD
from benchmarks.records.store import plain
from pretrain.presets import PRESETS
from worldmodel.checkpoint import FORMAT, WORLD_MODEL, CheckpointFiles, Kind, locate, read_format, shipped_checkpoints
from worldmodel.config import ConfigError
from worldmodel.image.checkpoint import IMAGE_JEPA
from worldmodel.video.checkpoint import VIDEO_JEPA

KINDS: dict[str, tuple[str, Kind[Any]]] = {
    kind.format: (title, kind)
    for title, kind in (
        ("world model", WORLD_MODEL),
        ("video model", VIDEO_JEPA),
        ("image model", IMAGE_JEPA),
        ("offline agent", OFFLINE_METHOD),
    )
}
"""Format → what the checkpoints are called, and how they are read."""
NO_RESULT = ("output", "overwrite", "log_wandb", "progress")
"""Settings of a training that change nothing about what is learned."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What a checkpoint says of itself.

    Attributes:
        files: Its files.
        kind: What it is, such as "world model".
        trained_on: Its data: an environment that was simulated, or a dataset, without the folder that it lay in.
        preset: The preset that it was trained by; None where it does not say so.
        seed: Seed of the training.
        steps: Steps of the training.
        minutes: Minutes of the training.
        command: The command that trains it; None where its preset is none of this version.
    """

    files: CheckpointFiles
    kind: str
    trained_on: str | None
    preset: str | None
    seed: int | None
    steps: int | None
    minutes: float | None
    command: str | None


def open_about(checkpoint: str | Path) -> About:
    """Reads a checkpoint of any kind, and what it says of itself; its weights must fit its architecture.

    Args:
        checkpoint: A folder, the name of a checkpoint that ships with the package, or that of one on a hub.

    Raises:
        ConfigError: If it is a folder of something else.
        ValueError: If it is missing or not valid.
    """
    shipped = (name for name in KINDS if str(checkpoint) in shipped_checkpoints(name))
    path = locate(checkpoint, next(shipped, FORMAT))
    found = read_format(path)
    if found not in KINDS:
        kinds = ", ".join(title for title, _ in KINDS.values())
        raise ConfigError("checkpoint", f"the folder of a checkpoint ({kinds})", str(checkpoint))
    kind = KINDS[found][1]
    files = kind.read(path)
    kind.load(files)
    return about(files)


def about(files: CheckpointFiles) -> About:
    """What the files of a checkpoint say; what they do not say, or say in another type, is None."""
    training = files.config["training"]
    settings = _typed(training, "config", dict) or {}
    preset, seconds = _typed(training, "preset", str), _typed(training, "seconds", int, float)
    return About(
        files=files,
        kind=KINDS[files.config["format"]][0],
        trained_on=_trained_on(_typed(settings, "data", dict) or {}),
        preset=preset,
        seed=_typed(settings, "seed", int),
        steps=_typed(training, "step", int),
        minutes=None if seconds is None else seconds / 60,
        command=command(preset, settings),
    )


def command(preset: str | None, settings: Mapping[str, Any]) -> str | None:
    """The command that trains with these settings; None where the preset is none of this version."""
    if preset not in PRESETS or "seed" not in settings:
        return None
    usual = plain({name: value for name, value in asdict(PRESETS[preset][1]).items() if name not in NO_RESULT})
    options = [word for name, value in _changes(usual | {"seed": None}, settings) for word in _option(name, value)]
    return shlex.join(["worldmodel", "pretrain", preset, *options])


def _changes(usual: Mapping[str, Any], settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of settings that differ from the usual ones, of those that there are in this version."""
    for name in usual:
        before, now = usual[name], settings.get(name, usual[name])
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _changes(before, now, f"{prefix}{name}.")
        elif before != now:
            yield f"{prefix}{name}", _without_folder(now) if name in ("dataset", "images", "checkpoint") else now


def _option(name: str, value: Any) -> list[str]:
    """A setting as words of a command."""
    path, _, last = name.replace("_", "-").rpartition(".")
    flag = f"--{path}." if path else "--"
    if isinstance(value, bool):
        return [f"{flag}{'' if value else 'no-'}{last}"]
    values = value if isinstance(value, list) else [value]
    return [f"{flag}{last}", *(json.dumps(one) if isinstance(one, dict) else str(one) for one in values)]


def _trained_on(data: Mapping[str, Any]) -> str | None:
    """What a training's settings call its data."""
    if "num_digits" in data:
        return f"moving-mnist, {data['num_digits']} digits"
    named = _typed(data, "dataset", str) or _typed(data, "images", str)
    return named and _without_folder(named)


def _typed(values: Mapping[str, Any], name: str, *kinds: type) -> Any:
    """A value that strangers wrote, if it is of one of these types; else None."""
    value = values.get(name)
    return value if isinstance(value, kinds) and not isinstance(value, bool) else None


def _without_folder(text: Any) -> Any:
    """A path of a machine without its folder; ids of datasets as they are."""
    return Path(text).name if isinstance(text, str) and Path(text).is_absolute() else text
