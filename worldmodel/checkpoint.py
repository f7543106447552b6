"""Checkpoints: a directory of safetensors and JSON that can be read without executing anything from it.

::

    model.safetensors    weights: of the world model ("model.…"), the probe ("probe.…"), the actor and the critic
                         ("actor_critic.…")
    config.json          format, architecture, data specification, and how it was trained
    training_state.pt    for resuming (only in training runs; read with ``weights_only=True``)
"""

import contextlib
import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

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
from worldmodel.storage.files import commit, current, parse_json, read_json, read_set
from worldmodel.storage.weights import CONFIG, CheckpointError, load_modules

FORMAT = "worldmodel.jepa/1"
"""Format name written to and required of ``config.json``."""
WEIGHTS, TRAINING_STATE = "model.safetensors", "training_state.pt"
"""Names of the files of a checkpoint."""
SHIPPED = Path(__file__).parent / "checkpoints"
"""Where the checkpoints that come with the package lie."""
SECTIONS, OPTIONAL = ("model", "data"), ("actor_critic",)
"""Sections of a world model's ``config.json``, beside those that every checkpoint has."""

C = TypeVar("C")


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


@dataclass(frozen=True)
class Pretrained:
    """A world model read from a checkpoint.

    Attributes:
        model: The world model, in evaluation mode.
        probe: Reads positions off latents; None where the training data had none.
        actor_critic: The actor and the critic; None where none were trained.
        data: Shapes and action bounds of the training data.
        config: All of ``config.json``.
        path: Where it was read from.
        sha256: Hash of the weights file, in hexadecimal.
    """

    model: JEPA
    probe: Probe | None
    actor_critic: ActorCritic | None
    data: DataSpec
    config: dict[str, Any]
    path: Path
    sha256: str


def shipped_checkpoints(format_name: str = FORMAT) -> list[str]:
    """Names of the checkpoints of a kind that come with the package."""
    return sorted(path.name for path in SHIPPED.glob("*") if read_format(path) == format_name)


def save_pretrained(
    path: Path | str,
    model: JEPA,
    model_config: ModelConfig,
    data: DataSpec,
    *,
    probe: Probe | None = None,
    actor_critic: ActorCritic | None = None,
    actor_critic_config: ActorCriticConfig | None = None,
    training: Mapping[str, Any] | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Writes a checkpoint; its files appear together, or not at all.

    Args:
        path: The directory; made if missing.
        model: The world model.
        model_config: Its architecture.
        data: Shapes and action bounds of its training data.
        probe: The position probe trained beside it.
        actor_critic: The actor and the critic trained in it.
        actor_critic_config: Their architecture; must be given with them.
        training: How it was trained, in JSON types.
        beside: Further files that belong to it, by name.

    Raises:
        ValueError: If there is an actor and a critic without their architecture.
        FloatingPointError: If a weight is not finite.
    """
    if actor_critic is not None and actor_critic_config is None:
        raise ValueError("actor_critic_config must be given with an actor_critic, got None")
    sections = {
        "model": to_json(model_config),
        "data": to_json(data),
        "actor_critic": to_json(actor_critic_config) if actor_critic is not None and actor_critic_config else None,
    }
    parts = {"model": model, "probe": probe, "actor_critic": actor_critic}
    write_checkpoint(Path(path), FORMAT, parts, sections, training, beside)


def write_checkpoint(
    path: Path,
    format_name: str,
    parts: Mapping[str, nn.Module | None],
    sections: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Writes a checkpoint of any kind; its files appear together, or not at all.

    Args:
        path: The directory; made if missing.
        format_name: The kind and its version.
        parts: Modules by the prefix of their weights.
        sections: Architecture and data, in JSON types.
        training: How it was trained, in JSON types.
        beside: Further files that belong to it, by name.

    Raises:
        FloatingPointError: If a weight is not finite; nothing is written then.
    """
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous()
        for part, module in parts.items()
        if module is not None
        for name, tensor in module.state_dict().items()
    }
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise FloatingPointError(f"weights must be finite to be saved, got some in {name!r} that are not")
    config = {
        "format": format_name,
        "worldmodel_version": __version__,
        **sections,
        "training": dict(training or {}),
    }
    text = json.dumps(config, indent=2) + "\n"
    commit(path, {**(beside or {}), WEIGHTS: to_bytes(tensors), CONFIG: text.encode()})


def load_pretrained(source: Path | str | CheckpointFiles, device: torch.device | str = "cpu") -> Pretrained:
    """Reads a checkpoint; nothing in it is executed.

    Args:
        source: A checkpoint directory, the name of a checkpoint that comes with the package, or the files of one.
        device: Where the model goes.

    Raises:
        CheckpointError: If it is missing, corrupt, or of another format or architecture.
        ValueError: If there is no such device.
    """
    device = check_device(device)
    files = (
        source if isinstance(source, CheckpointFiles) else read_checkpoint(locate(source), FORMAT, SECTIONS, OPTIONAL)
    )
    path = files.path / CONFIG
    model_config = read_section(ModelConfig, files.config["model"], path, "model.")
    data = read_section(DataSpec, files.config["data"], path, "data.")
    parts: dict[str, Callable[[], nn.Module]] = {"model": lambda: build_model(model_config, data)}
    if data.position_low is not None:
        parts["probe"] = lambda: _built(build_probe(model_config, data))
    if files.config.get("actor_critic") is not None:
        networks = read_section(ActorCriticConfig, files.config["actor_critic"], path, "actor_critic.")
        parts["actor_critic"] = lambda: build_actor_critic(networks, model_config, data)
    modules = load_parts(files, parts, device)
    model, probe, actor_critic = (modules.get(name) for name in ("model", "probe", "actor_critic"))
    assert isinstance(model, JEPA)
    assert probe is None or isinstance(probe, Probe)
    assert actor_critic is None or isinstance(actor_critic, ActorCritic)
    return Pretrained(model, probe, actor_critic, data, files.config, files.path, files.sha256)


def read_world_model(path_or_name: Path | str) -> CheckpointFiles:
    """Reads the files of a world model's checkpoint.

    Raises:
        CheckpointError: If it is missing, corrupt or of another format.
    """
    return read_checkpoint(locate(path_or_name), FORMAT, SECTIONS, OPTIONAL)


def read_checkpoint(
    path: Path, format_name: str, sections: tuple[str, ...], optional: tuple[str, ...] = ()
) -> CheckpointFiles:
    """Reads the files of a checkpoint, both of the same commit.

    Args:
        path: The checkpoint.
        format_name: The kind and version that it must be of.
        sections: Keys of its ``config.json`` beside format, version and training.
        optional: Keys that it may have.

    Raises:
        CheckpointError: If a file is missing, too large or no regular file, or ``config.json`` is of another format or
            has other sections.
    """
    if not path.is_dir():
        raise CheckpointError(f"checkpoint must be a directory, got {str(path)!r}")
    try:
        contents = read_set(path, (CONFIG, WEIGHTS))
        for name in (CONFIG, WEIGHTS):
            if name not in contents:
                raise ValueError(f"checkpoint {path} must contain {name}, got {_listing(path)}")
        config = parse_json(contents[CONFIG], path / CONFIG)
    except (OSError, ValueError) as error:
        raise CheckpointError(str(error)) from error
    _check_format(config, path, format_name)
    needed = {"format", "worldmodel_version", "training", *sections}
    lacking, unknown = sorted(needed - set(config)), sorted(set(config) - needed - set(optional))
    if lacking or unknown:
        wrong = f"lacks {', '.join(lacking)}" if lacking else f"has an unknown {', '.join(unknown)}"
        raise CheckpointError(f"{path / CONFIG} must have the keys {', '.join(sorted(needed))}; it {wrong}")
    if not isinstance(config["training"], dict):
        raise CheckpointError(f"{path / CONFIG} must have an object 'training', got {config['training']!r}")
    return CheckpointFiles(path, config, contents[WEIGHTS])


def read_section(kind: type[C], values: Any, path: Path, what: str) -> C:
    """A configuration from a section of a file.

    Raises:
        CheckpointError: If it does not describe one; the message names the file.
    """
    try:
        return from_json(kind, values, what)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def load_parts(
    files: CheckpointFiles, parts: Mapping[str, Callable[[], nn.Module]], device: torch.device | str = "cpu"
) -> dict[str, nn.Module]:
    """Builds a checkpoint's modules and reads their weights; see :func:`worldmodel.storage.weights.load_modules`."""
    return load_modules(files.weights, parts, files.path / WEIGHTS, device)


def read_config(path: Path, format_name: str = FORMAT) -> dict[str, Any]:
    """Reads a checkpoint's ``config.json`` alone.

    Args:
        path: The checkpoint.
        format_name: The kind and version that it must be of.

    Raises:
        CheckpointError: If it is missing, not JSON, or of another format.
    """
    if not path.is_dir():
        raise CheckpointError(f"checkpoint must be a directory, got {str(path)!r}")
    try:
        config = read_json(current(path, CONFIG))
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {path} must contain {CONFIG}, got {_listing(path)}") from error
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    _check_format(config, path, format_name)
    return config


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
    """The folder of a checkpoint, which may be a shipped one.

    The plain name of a shipped checkpoint is that one, unless a folder of this name holds a checkpoint itself; a path
    with a separator (``./two-rooms``) is always a folder.

    Args:
        path_or_name: A directory, or the name of a shipped checkpoint.
        format_name: Which format to look for.

    Raises:
        CheckpointError: If it is neither.
    """
    path, text = Path(path_or_name), str(path_or_name)
    shipped = shipped_checkpoints(format_name)
    if text in shipped and not (isinstance(path_or_name, str) and current(path, CONFIG).is_file()):
        return SHIPPED / text
    with contextlib.suppress(OSError):  # a name that is too long for any file
        if path.is_dir():
            return path.absolute()
    shown = repr(text if len(text) <= 200 else f"{text[:200]}…")
    raise CheckpointError(
        f"checkpoint must be a directory or one of {', '.join(map(repr, shipped)) or '(none shipped)'}, got {shown}"
    )


def _built(module: nn.Module | None) -> nn.Module:
    assert module is not None
    return module


def _check_format(config: dict[str, Any], path: Path, format_name: str) -> None:
    if config.get("format") != format_name:
        raise CheckpointError(f"{path / CONFIG} must have format {format_name!r}, got {config.get('format')!r}")


def _listing(path: Path) -> str:
    names = sorted(child.name for child in path.iterdir())
    return ", ".join([*names[:8], "…"] if len(names) > 8 else names) or "an empty directory"
