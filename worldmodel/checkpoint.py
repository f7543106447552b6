"""Checkpoints: a directory of safetensors and JSON that can be read without executing anything from it.

::

    model.safetensors    weights: of the world model ("model.…"), the probe ("probe.…"), the actor and the critic
                         ("actor_critic.…")
    config.json          format, architecture, data specification, and how it was trained
    training_state.pt    what resuming needs (only in training runs; read with ``weights_only=True``)
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from worldmodel.actor_critic import ActorCritic
from worldmodel.build import (
    ActorCriticConfig,
    DataSpec,
    ModelConfig,
    build_actor_critic,
    build_model,
    build_probe,
    from_json,
    to_json,
)
from worldmodel.jepa import JEPA
from worldmodel.probes import Probe
from worldmodel.version import __version__

FORMAT = "worldmodel.jepa/1"
"""Format name written to and required of ``config.json``."""
WEIGHTS, CONFIG, TRAINING_STATE = "model.safetensors", "config.json", "training_state.pt"
"""Names of the files of a checkpoint."""
SHIPPED = Path(__file__).parent / "checkpoints"
"""Where the checkpoints that come with the package lie."""


class CheckpointError(ValueError):
    """A checkpoint is missing, corrupt or of another kind."""


@dataclass(frozen=True)
class Pretrained:
    """A world model read from a checkpoint.

    Attributes:
        model: The world model, in evaluation mode.
        probe: Reads positions off latents; None where the training data had none.
        actor_critic: Knows how far goals are and which way to go; None where none was trained.
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

    @property
    def action_low(self) -> tuple[float, ...]:
        """Lower bounds of the actions the model was trained on."""
        return self.data.action_low

    @property
    def action_high(self) -> tuple[float, ...]:
        """Upper bounds of the actions the model was trained on."""
        return self.data.action_high

    @property
    def action_max_norm(self) -> float | None:
        """Largest norm of the actions the model was trained on."""
        return self.data.action_max_norm


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
) -> None:
    """Writes a checkpoint; each file appears whole or not at all.

    Args:
        path: The directory; made if missing.
        model: The world model.
        model_config: Its architecture.
        data: Shapes and action bounds of its training data.
        probe: The position probe trained beside it.
        actor_critic: The actor and the critic trained in it.
        actor_critic_config: Their architecture; must be given with them.
        training: How it was trained, in JSON types.

    Raises:
        ValueError: If there is an actor and a critic without their architecture.
    """
    if actor_critic is not None and actor_critic_config is None:
        raise ValueError("actor_critic_config must be given with an actor_critic, got None")
    sections = {
        "model": to_json(model_config),
        "data": to_json(data),
        "actor_critic": to_json(actor_critic_config) if actor_critic is not None and actor_critic_config else None,
    }
    write_checkpoint(
        Path(path), FORMAT, {"model": model, "probe": probe, "actor_critic": actor_critic}, sections, training
    )


def write_checkpoint(
    path: Path,
    format_name: str,
    parts: Mapping[str, nn.Module | None],
    sections: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
) -> None:
    """Writes a checkpoint of any kind; each file appears whole or not at all.

    Args:
        path: The directory; made if missing.
        format_name: The kind and its version.
        parts: Modules by the prefix of their weights.
        sections: Architecture and data, in JSON types.
        training: How it was trained, in JSON types.
    """
    path.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{part}.{name}": tensor
        for part, module in parts.items()
        if module is not None
        for name, tensor in module.state_dict().items()
    }
    config = {
        "format": format_name,
        "worldmodel_version": __version__,
        **sections,
        "training": dict(training or {}),
    }
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path / WEIGHTS) as temporary:
        # Written from here, not by the library, so that a full disk is an OSError.
        temporary.write_bytes(to_bytes(contiguous))
    with replacing(path / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n")


def load_pretrained(path_or_name: Path | str, device: torch.device | str = "cpu") -> Pretrained:
    """Reads a checkpoint; nothing in it is executed.

    Args:
        path_or_name: A checkpoint directory, or the name of a checkpoint that comes with the package.
        device: Where the model goes.

    Raises:
        CheckpointError: If it is missing, corrupt, or of another format or architecture.
    """
    path = locate(path_or_name)
    config = read_config(path)
    with described_by(path):
        model_config = from_json(ModelConfig, config["model"])
        data = from_json(DataSpec, config["data"])
        model, probe, actor_critic = build_model(model_config, data), build_probe(model_config, data), None
        if config.get("actor_critic"):
            actor_critic = build_actor_critic(from_json(ActorCriticConfig, config["actor_critic"]), model_config, data)
    sha256 = read_parts(path, {"model": model, "probe": probe, "actor_critic": actor_critic}, device)
    return Pretrained(model, probe, actor_critic, data, config, path, sha256)


@contextmanager
def described_by(path: Path) -> Iterator[None]:
    """Turns what goes wrong in building modules from a checkpoint's ``config.json`` into a :class:`CheckpointError`."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path / CONFIG} does not describe a model of this version: {error}") from error


def read_parts(path: Path, parts: Mapping[str, nn.Module | None], device: torch.device | str = "cpu") -> str:
    """Reads weights into modules, and puts these on a device and in evaluation mode.

    Args:
        path: The checkpoint.
        parts: Modules by the prefix of their weights.
        device: Where they go.

    Returns:
        Hash of the weights file, in hexadecimal.

    Raises:
        CheckpointError: If the file is missing or corrupt, or the weights do not fit.
    """
    tensors = _read_weights(path / WEIGHTS)
    for name, module in parts.items():
        if module is not None:
            _load(module, tensors, f"{name}.", path)
            module.to(device).eval()
    return hashlib.sha256((path / WEIGHTS).read_bytes()).hexdigest()


def read_config(path: Path, format_name: str = FORMAT) -> dict[str, Any]:
    """Reads a checkpoint's ``config.json``.

    Args:
        path: The checkpoint.
        format_name: The kind and version that it must be of.

    Raises:
        CheckpointError: If it is missing, not JSON, or of another format.
    """
    if not path.is_dir():
        raise CheckpointError(f"checkpoint must be a directory, got {str(path)!r}")
    try:
        config = json.loads((path / CONFIG).read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {path} must contain {CONFIG}, got {_listing(path)}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path / CONFIG} must be JSON: {error}") from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != format_name:
        raise CheckpointError(f"{path / CONFIG} must have format {format_name!r}, got {found!r}")
    return config


def read_format(path: Path) -> str | None:
    """Name of the kind and version of a checkpoint; None where its ``config.json`` does not tell."""
    try:
        config = json.loads((path / CONFIG).read_text())
    except (OSError, ValueError):
        return None
    return config.get("format") if isinstance(config, dict) else None


def save_training_state(path: Path, state: dict[str, Any]) -> None:
    """Writes what resuming needs, whole or not at all."""
    path.mkdir(parents=True, exist_ok=True)
    with replacing(path / TRAINING_STATE) as temporary:
        buffer = io.BytesIO()  # as in save_pretrained: a full disk must be an OSError
        torch.save(state, buffer)
        temporary.write_bytes(buffer.getbuffer())


def load_training_state(path: Path) -> dict[str, Any]:
    """Reads what resuming needs, tensors and plain types only.

    Raises:
        CheckpointError: If the file is corrupt or holds anything else.
    """
    try:
        return torch.load(path / TRAINING_STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for corrupt or foreign files
        raise CheckpointError(f"{path / TRAINING_STATE} is not a training state of this package: {error}") from error


class replacing:  # noqa: N801 - reads like the function it is
    """Context manager: a temporary path that replaces ``path`` on success and is removed on failure."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self.temporary.replace(self.path)
        else:
            self.temporary.unlink(missing_ok=True)


def locate(path_or_name: Path | str, format_name: str = FORMAT) -> Path:
    """The folder of a checkpoint: itself, or that of a shipped one.

    Args:
        path_or_name: A directory, or the name of a shipped checkpoint.
        format_name: The kind and version that shipped checkpoints are looked for of.

    Raises:
        CheckpointError: If it is neither.
    """
    path, shipped = Path(path_or_name), shipped_checkpoints(format_name)
    if path.is_dir():
        return path
    if str(path_or_name) in shipped:
        return SHIPPED / path
    raise CheckpointError(
        f"checkpoint must be a directory or one of {', '.join(map(repr, shipped)) or '(none shipped)'}, "
        f"got {str(path_or_name)!r}"
    )


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"checkpoint {path.parent} must contain {path.name}, got {_listing(path.parent)}"
        ) from error
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} must be a safetensors file: {error}") from error


def _load(module: nn.Module, tensors: dict[str, Tensor], prefix: str, path: Path) -> None:
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit the architecture in {CONFIG}: {error}") from error


def _listing(path: Path) -> str:
    return ", ".join(sorted(child.name for child in path.iterdir())) or "an empty directory"
