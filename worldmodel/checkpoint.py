"""Checkpoints: a directory of safetensors and JSON that can be read without executing anything from it.

::

    model.safetensors    weights: of the world model ("model.…"), the probe ("probe.…"), the actor and the critic
                         ("actor_critic.…")
    config.json          format, architecture, data specification, and how it was trained
    training_state.pt    for resuming (only in training runs; read with ``weights_only=True``)
"""

import contextlib
import functools
import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import save as to_bytes
from torch import nn

from worldmodel import __version__
from worldmodel.build import (
    ActorCriticConfig,
    DataSpec,
    ModelConfig,
    build_actor_critic,
    build_model,
    build_probe,
)
from worldmodel.config import ConfigError, from_json, to_json
from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.jepa import JEPA
from worldmodel.nn.devices import check_device
from worldmodel.nn.probes import Probe
from worldmodel.storage import hub
from worldmodel.storage.files import commit, current, parse_json, read_json, read_set
from worldmodel.storage.weights import CONFIG, WEIGHTS, CheckpointError, check_finite, load_modules

FORMAT = "worldmodel.jepa/1"
"""Format name written to and required of ``config.json``."""
TRAINING_STATE = "training_state.pt"
"""Name of the file that a training run resumes from."""
SHIPPED = Path(__file__).parent / "checkpoints"
"""Where the checkpoints that come with the package lie."""

C = TypeVar("C")
L = TypeVar("L", bound="Loaded")


@dataclass(frozen=True)
class CheckpointFiles:
    """The files of a checkpoint, read once, so that the hash is that of the loaded weights even while others write.

    Attributes:
        path: The folder.
        config: All of ``config.json``.
        weights: The bytes of ``model.safetensors``.
    """

    path: Path
    config: dict[str, Any]
    weights: bytes

    @property
    def sha256(self) -> str:
        """Hash of the weights, in hexadecimal."""
        return hashlib.sha256(self.weights).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What was read from a checkpoint; each kind adds its modules, in evaluation mode, and its data.

    Attributes:
        sections: Those of ``config.json`` that describe architecture and data, by name.
        config: All of ``config.json``.
        path: Where it was read from.
        sha256: Hash of the weights file, in hexadecimal.
    """

    sections: Mapping[str, Any]
    config: dict[str, Any]
    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[L]):
    """A kind of checkpoint: what it holds, how that is saved and how it is read.

    Attributes:
        format: Name and version, written to and required of ``config.json``.
        result: What :meth:`load` returns; its fields are those of :class:`Loaded`, ``data``, and the parts.
        sections: Configurations in ``config.json``, by name. That of a part's name is the part's architecture.
        parts: Builders of the modules from these configurations, by the prefix of their weights. A builder returns None
            where the configurations describe no such part.
        required: Sections that must be there; others may be null or missing.
    """

    format: str
    result: Callable[..., L]
    sections: Mapping[str, type]
    parts: Mapping[str, Callable[[Mapping[str, Any]], nn.Module | None]]
    required: tuple[str, ...] = ("model", "data")

    def save(
        self,
        path: Path | str,
        parts: Mapping[str, nn.Module | None],
        configs: Mapping[str, Any],
        training: Mapping[str, Any] | None = None,
        beside: Mapping[str, bytes] | None = None,
    ) -> None:
        """Writes a checkpoint; its files appear together, or not at all.

        Args:
            path: The directory; made if missing.
            parts: The modules, by name; None for one that there is not.
            configs: The sections, by name; None for one that there is not.
            training: How it was trained, in JSON types.
            beside: Further files that belong to it, by name.

        Raises:
            ValueError: If there is a part without its architecture.
            FloatingPointError: If a weight is not finite.
        """
        for name, module in parts.items():
            if module is not None and name in self.sections and configs.get(name) is None:
                raise ValueError(f"{name}_config must be given with an {name}, got None")
        given = {name: configs.get(name) for name in self.sections}
        sections = {name: None if config is None else to_json(config) for name, config in given.items()}
        write_checkpoint(Path(path), self.format, parts, sections, training, beside)

    def load(self, source: Path | str | CheckpointFiles, device: torch.device | str = "cpu") -> L:
        """Reads a checkpoint; nothing in it is executed.

        Args:
            source: What :func:`locate` takes, or the files of a checkpoint.
            device: Where the modules go.

        Raises:
            CheckpointError: If it is missing, corrupt, or of another format or architecture.
            ValueError: If there is no such device, or a hub does not give it.
        """
        device = check_device(device)
        files = source if isinstance(source, CheckpointFiles) else self.read(source)
        sections: dict[str, Any] = {
            name: read_section(kind, files.config.get(name), files.path / CONFIG, f"{name}.")
            for name, kind in self.sections.items()
            if name in self.required or files.config.get(name) is not None
        }
        builders = {name: functools.partial(build, sections) for name, build in self.parts.items()}
        modules = load_modules(files.weights, builders, files.path / WEIGHTS, device)
        return self.result(
            **{name: modules.get(name) for name in self.parts},
            data=sections["data"],
            sections=sections,
            config=files.config,
            path=files.path,
            sha256=files.sha256,
        )

    def read(self, source: Path | str) -> CheckpointFiles:
        """Reads the files of a checkpoint, both of the same commit.

        Args:
            source: What :func:`locate` takes.

        Raises:
            CheckpointError: If a file is missing, too large or no regular file, or ``config.json`` is of another format
                or has other sections.
            worldmodel.storage.hub.HubError: If a hub does not give it.
        """
        path = locate(source, self.format)
        config, weights = _read(path, self.format, (CONFIG, WEIGHTS))
        needed = {"format", "worldmodel_version", "training", *self.required}
        lacking, unknown = sorted(needed - set(config)), sorted(set(config) - needed - set(self.sections))
        if lacking or unknown:
            wrong = f"lacks {', '.join(lacking)}" if lacking else f"has an unknown {', '.join(unknown)}"
            raise CheckpointError(f"{path / CONFIG} must have the keys {', '.join(sorted(needed))}; it {wrong}")
        if not isinstance(config["training"], dict):
            raise CheckpointError(f"{path / CONFIG} must have an object 'training', got {config['training']!r}")
        return CheckpointFiles(path, config, weights)


@dataclass(frozen=True, kw_only=True)
class Pretrained(Loaded):
    """A world model read from a checkpoint.

    Attributes:
        model: The world model.
        probe: Reads positions off latents; None where the training data had none.
        actor_critic: The actor and the critic; None where none were trained.
        data: Shapes and action bounds of the training data.
    """

    model: JEPA
    probe: Probe | None
    actor_critic: ActorCritic | None
    data: DataSpec


def _build_actor_critic(sections: Mapping[str, Any]) -> ActorCritic | None:
    networks = sections.get("actor_critic")
    return None if networks is None else build_actor_critic(networks, sections["model"], sections["data"])


WORLD_MODEL = Kind(
    format=FORMAT,
    result=Pretrained,
    sections={"model": ModelConfig, "data": DataSpec, "actor_critic": ActorCriticConfig},
    parts={
        "model": lambda sections: build_model(sections["model"], sections["data"]),
        "probe": lambda sections: build_probe(sections["model"], sections["data"]),
        "actor_critic": _build_actor_critic,
    },
)
"""Checkpoints of world models; the actor and the critic may be left out."""
load_pretrained = WORLD_MODEL.load
"""Loads a world model: ``load_pretrained(source, device="cpu")`` returns a :class:`Pretrained`, in evaluation mode.

``source`` is the folder of a run, or the name of a checkpoint that ships with the package. What cannot be read raises a
``CheckpointError``; nothing in the folder is executed.
"""


def shipped_checkpoints(format_name: str = FORMAT) -> list[str]:
    """Names of the checkpoints of a kind that come with the package."""
    return sorted(path.name for path in SHIPPED.glob("*") if read_format(path) == format_name)


def write_checkpoint(
    path: Path,
    format_name: str,
    parts: Mapping[str, nn.Module | None],
    sections: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Writes a checkpoint of the kind and version ``format_name``, its sections in JSON types; see :meth:`Kind.save`.

    Raises:
        FloatingPointError: If a weight is not finite; nothing is written then.
    """
    modules = nn.ModuleDict({name: module for name, module in parts.items() if module is not None})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in modules.state_dict().items()}
    check_finite(tensors, "weights must be finite to be saved", FloatingPointError)
    config = {
        "format": format_name,
        "worldmodel_version": __version__,
        **sections,
        "training": dict(training or {}),
    }
    text = json.dumps(config, indent=2) + "\n"
    commit(path, {**(beside or {}), WEIGHTS: to_bytes(tensors), CONFIG: text.encode()})


def read_section(kind: type[C], values: Any, path: Path, what: str) -> C:
    """A configuration from a section of a file.

    Raises:
        CheckpointError: If it does not describe one; the message names the file.
    """
    try:
        return from_json(kind, values, what)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_config(path: Path, format_name: str = FORMAT) -> dict[str, Any]:
    """Reads a checkpoint's ``config.json`` alone.

    Args:
        path: The checkpoint.
        format_name: The kind and version that it must be of.

    Raises:
        CheckpointError: If it is missing, not JSON, or of another format.
    """
    return _read(path, format_name, (CONFIG,))[0]


def read_format(path: Path) -> str | None:
    """Name of the kind and version of a checkpoint; None where its ``config.json`` does not tell."""
    try:
        found = read_json(current(path, CONFIG)).get("format")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None


def weights_hash(path: Path) -> str | None:
    """SHA-256 of a checkpoint's weights, in hexadecimal; None where there are none."""
    contents = read_set(path, (WEIGHTS,)) if path.is_dir() else {}
    return hashlib.sha256(contents[WEIGHTS]).hexdigest() if WEIGHTS in contents else None


def training_state_bytes(state: dict[str, Any]) -> bytes:
    """The bytes of a :data:`TRAINING_STATE` file."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def load_training_state(path: Path) -> dict[str, Any]:
    """Reads a training state, tensors and plain types only.

    Raises:
        CheckpointError: If the file is corrupt or holds anything else.
    """
    file = path / TRAINING_STATE
    try:
        data = read_set(path, (TRAINING_STATE,))[TRAINING_STATE]
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for corrupt or foreign files
        line = str(error).partition("\n")[0]
        raise CheckpointError(f"{file} is not a training state of this package: {line}") from error
    kinds = {"step": int, "seconds": float, "module": dict, "optimizer": dict, "config": str}
    for key, kind in kinds.items():
        value = state.get(key) if isinstance(state, dict) else None
        if type(value) is not kind and not (kind is dict and isinstance(value, dict)):
            raise CheckpointError(f"{file} must hold {key!r}, a {kind.__name__}, got {type(value).__name__}")
    if state["step"] < 0 or not 0 <= state["seconds"] < math.inf:
        raise CheckpointError(
            f"{file} must hold a step and finite seconds, both from 0, got {state['step']}, {state['seconds']}"
        )
    return state


def locate(path_or_name: Path | str, format_name: str = FORMAT) -> Path:
    """The folder of a checkpoint, which may be a shipped one, or one of a hub: here every name becomes a folder.

    The plain name of a shipped checkpoint is that one, unless a folder of this name holds a checkpoint itself; a path
    with a separator (``./two-rooms``) is always a folder. ``hub:owner/name`` is fetched by
    :mod:`worldmodel.storage.hub`.

    Args:
        path_or_name: A directory, the name of a shipped checkpoint, or that of one on a hub.
        format_name: Which format to look for.

    Raises:
        CheckpointError: If it is none of these.
        worldmodel.storage.hub.HubError: If a hub does not give it.
        ImportError: If huggingface_hub is needed and not installed.
    """
    path, text = Path(path_or_name), str(path_or_name)
    if hub.is_name(text):
        return hub.fetch(text)
    shipped = shipped_checkpoints(format_name)
    if text in shipped and not (isinstance(path_or_name, str) and current(path, CONFIG).is_file()):
        return SHIPPED / text
    with contextlib.suppress(OSError):  # a name that is too long for any file
        if path.is_dir():
            return path.absolute()
    shown = repr(text if len(text) <= 200 else f"{text[:200]}…")
    names = f" or one of {', '.join(map(repr, shipped))}" if shipped else ""
    raise CheckpointError(f"checkpoint must be a directory{names}, got {shown}")


def _read(path: Path, format_name: str, names: Sequence[str]) -> tuple[Any, ...]:
    """Files of a checkpoint, all of the same commit: ``config.json`` as an object, and the bytes of the others."""
    if not path.is_dir():
        raise CheckpointError(f"checkpoint must be a directory, got {str(path)!r}")
    try:
        contents = read_set(path, names)
        for name in names:
            if name not in contents:
                raise ValueError(f"checkpoint {path} must contain {name}, got {_listing(path)}")
        config = parse_json(contents.pop(CONFIG), path / CONFIG)
    except (OSError, ValueError) as error:
        raise CheckpointError(str(error)) from error
    if config.get("format") != format_name:
        raise CheckpointError(f"{path / CONFIG} must have format {format_name!r}, got {config.get('format')!r}")
    return config, *contents.values()


def _listing(path: Path) -> str:
    names = sorted(child.name for child in path.iterdir())
    return ", ".join([*names[:8], "…"] if len(names) > 8 else names) or "an empty directory"
