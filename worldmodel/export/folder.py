"""``worldmodel export``: the parts of a trained world model as files, and one JSON that says how to use them."""

import logging
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import tyro

from worldmodel import __version__, import_extra
from worldmodel.checkpoint import Pretrained, load_pretrained
from worldmodel.config import Name, command, config
from worldmodel.export.formats import BATCH, FORMATS
from worldmodel.export.parts import PARTS, Part, Port, parts_of
from worldmodel.storage.files import Content, commit, recover, to_lines
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

FORMAT = "worldmodel.export/1"
"""Format name written to :data:`ABOUT`."""
ABOUT = "export.json"
"""Name of the file that describes the others."""


@config
class ExportConfig:
    """Writes encoder, predictor, actor and critic of a world model as files that run without this package."""

    checkpoint: tyro.conf.Positional[str]
    """Directory of a checkpoint, or name of a shipped one."""
    format: Annotated[str, Name(FORMATS)] = "onnx"
    """onnx: for onnxruntime and others. torch-export: programs that torch.export.load reads."""
    output: Path | None = None
    """Folder to write; None: outputs/export/NAME, by the checkpoint's name. An export that is there is replaced."""


def run(config: ExportConfig) -> Path:
    """Exports a checkpoint; the files appear together, or not at all.

    Returns:
        The folder.

    Raises:
        worldmodel.checkpoint.CheckpointError: If the checkpoint is missing or not valid, or no world model.
        ImportError: If a package that the format takes is not installed.
    """
    kind = FORMATS[config.format]
    for package in kind.needs:
        import_extra(package, "export")
    pretrained = load_pretrained(config.checkpoint)
    folder = config.output or Path("outputs/export").absolute() / pretrained.path.name
    parts = parts_of(pretrained)
    with locked(folder, "export"):
        recover(folder)
        about = to_lines(describe(pretrained, parts, config.format)) + "\n"
        # Of an export that was there, also in another format, nothing stays.
        files: dict[str, Content] = {f"{name}{one.suffix}": None for name in PARTS for one in FORMATS.values()}
        files |= {f"{name}{kind.suffix}": kind.convert(part) for name, part in parts.items()}
        commit(folder, files | {ABOUT: about.encode()})
    lacking = "; the checkpoint has no actor and no critic" if pretrained.actor_critic is None else ""
    logger.info("exported %s to %s%s", ", ".join(parts), folder, lacking)
    return folder


main = command(ExportConfig, run, "export")


def describe(pretrained: Pretrained, parts: dict[str, Part], format_name: str) -> dict[str, Any]:
    """All that it takes to act with the files of an export, in JSON types."""
    data, model, actor_critic, kind = pretrained.data, pretrained.model, pretrained.actor_critic, FORMATS[format_name]
    image = {"shape": list(data.pixel_shape), "dtype": "uint8"}
    return {
        "format": FORMAT,
        "file_format": format_name,
        "checkpoint": {"name": pretrained.path.name, "sha256": pretrained.sha256},
        "versions": {"worldmodel": __version__} | {name: metadata.version(name) for name in ("torch", *kind.needs)},
        "observation": image,
        "goal": image,
        "action": {
            "shape": [data.action_dim],
            "dtype": "float32",
            "low": list(data.action_low),
            "high": list(data.action_high),
            "max_norm": data.action_max_norm,
            "idle": model.idle_action.tolist(),
        },
        "frame_skip": model.frame_skip,
        "context": model.context,
        "cost": None
        if actor_critic is None
        else {"discount": actor_critic.discount, "distance_scale": float(actor_critic.distance_scale)},
        "parts": {
            name: {
                "file": f"{name}{kind.suffix}",
                "inputs": [_describe(port) for port in part.inputs],
                "outputs": [_describe(part.output)],
            }
            for name, part in parts.items()
        },
    }


def _describe(port: Port) -> dict[str, Any]:
    dtype = str(port.dtype).removeprefix("torch.")
    return {"name": port.name, "shape": [BATCH, *port.shape], "dtype": dtype}
