"""What README and docs hold: blocks of code, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pretrain.presets import PRESETS
from pretrain.video.config import VideoConfig
from pretrain.world_model.config import WorldModelConfig
from worldmodel.config import changed

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.md"))
"""Pages whose blocks are cells that follow one another: ``make notebooks`` runs them."""
BLOCK = re.compile(r"(?:<!-- skip: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```", re.M | re.S)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(language: str) -> list[Any]:
    """The blocks in a language on all pages but notebooks, each with its page; those to skip are marked so."""
    found = []
    for page in (page for page in PAGES if page not in NOTEBOOKS):
        for number, match in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8"))):
            if match["language"] == language:
                marks = [pytest.mark.skip(match["reason"])] if match["reason"] else []
                found.append(pytest.param(match["text"], id=f"{name_of(page)}-{number}", marks=marks))
    return found


def commands(text: str) -> Iterator[list[str]]:
    """The words of the commands in a block; of a loop, those of its first turn."""
    for line in text.replace("\\\n", " ").splitlines():
        if loop := re.fullmatch(r"for (\w+) in (\S+).*; do (.*); done", line):
            line = loop[3].replace(f"${loop[1]}", loop[2])
        words = shlex.split(line, comments=True)
        if words:
            yield words


SHORT = {"num_steps": 2, "data.batch_size": 2, "validate_every": 2, "progress": False}
"""What is changed in every preset."""
SHORT_STAGES = {f"{stage}.{name}": 2 for stage in ("refinement", "policy") for name in ("num_steps", "batch_size")}
SHORT_KINDS = {
    WorldModelConfig: SHORT_STAGES | {"trajectories.count": 2},
    VideoConfig: {"heads.num_steps": 2, "heads.batch_size": 2},
}
"""What is changed in presets of a kind."""
SMALL_SAMPLES = {
    "pretrain.world_model.training.NORMALIZATION_WINDOWS": 4,
    "pretrain.world_model.validation.NUM_WINDOWS": 4,
    "pretrain.world_model.validation.NUM_SCENES": 2,
    "pretrain.video.training.NORMALIZATION_VIDEOS": 4,
    "pretrain.video.training.NUM_VIDEOS": 4,
    "pretrain.image.training.NORMALIZATION_IMAGES": 16,
    "pretrain.image.training.NUM_BANK": 32,
    "pretrain.image.training.NUM_QUERIES": 16,
    "pretrain.offline.training.NORMALIZATION_WINDOWS": 4,
    "pretrain.offline.training.NUM_WINDOWS": 4,
    "pretrain.rl.train.NORMALIZATION_IMAGES": 4,
}


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Makes presets train for two steps, on little."""
    for name, (text, preset) in PRESETS.items():
        kinds = [changes for kind, changes in SHORT_KINDS.items() if isinstance(preset, kind)]
        given = {
            key: value for changes in (SHORT, *kinds) for key, value in changes.items() if not _is_left_out(preset, key)
        }
        patch.setitem(PRESETS, name, (text, changed(preset, given)))
    for name, number in SMALL_SAMPLES.items():
        patch.setattr(name, number)


def _is_left_out(preset: Any, path: str) -> bool:
    """Whether a stage is left out of a preset: a number of 0 stays 0."""
    for name in path.split("."):
        preset = getattr(preset, name)
    return preset == 0
