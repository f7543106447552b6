"""``worldmodel report``: the comparison as one HTML file, with table, plots and films in it, that opens offline."""

import base64
import logging
import mimetypes
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from benchmarks.comparison.compare import BASE, describe_difference
from benchmarks.records.provenance import ROOT
from worldmodel.config import config
from worldmodel.storage.files import read_bytes, read_json, write_text

logger = logging.getLogger(__name__)

TEMPLATE = Path(__file__).parent / "page.html"
"""The page."""
HEADS = (
    "policy", "sees", "reward", "final success", "95 % interval", "ever", "SPL", "steps to goal", "held-out", "bounce",
    "env steps", "minutes", "ms an action", "difference to JEPA + MPPI",
)  # fmt: skip
"""Columns of the table."""
PICTURES = {
    "costs": ("What success costs", "Success against data, training time and latency."),
    "curves": ("How they learn", "Success or loss on validation layouts while training, a line a seed."),
    "difficulty": ("Who fails where", "Success by the length of the shortest path and by how much of a detour it is."),
}
"""Plots by the end of their name: title and caption."""


@config
class ReportConfig:
    """Writes the comparison as one HTML file that opens offline."""

    comparison: Path = ROOT / "benchmarks" / "results" / "compare.json"
    """JSON file that worldmodel compare wrote; its plots are found beside it."""
    videos: tuple[Path, ...] = ()
    """Films to show: MP4 or GIF files."""
    output: Path = Path("outputs/report.html")
    """File to write."""


class Cell(NamedTuple):
    """A cell of the table.

    Attributes:
        text: What is seen.
        value: What it is sorted by.
    """

    text: str
    value: float | str


def run(config: ReportConfig) -> Path:
    """Writes the report.

    Returns:
        The file.

    Raises:
        ValueError: If the comparison is none.
        FileNotFoundError: If a file is missing.
    """
    rows, provenance = _read(config.comparison)
    figures = []
    for name, (title, caption) in PICTURES.items():
        path = config.comparison.with_name(f"{config.comparison.stem}-{name}.png")
        if path.exists():
            figures.append({"title": title, "caption": caption, "source": data_url(path), "video": False})
    for path in config.videos:
        video = path.suffix == ".mp4"
        figures.append({"title": "Films", "caption": path.stem, "source": data_url(path), "video": video})
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title="Two Rooms: plan with a world model, or learn to act?",
        lead=(
            "Every contender was given the same time on the same cores and plays the same frozen episodes: start and "
            "goal lie in different rooms, and success is being within the goal's disc at the last of 200 steps."
        ),
        note=(
            "Every seed is listed; the interval is Wilson's, over the episodes of all seeds, of these trained policies "
            "and not of training. Steps that a generator of trajectories simulates count as steps of the "
            "environment; the world model's generator starts many of them near the inner wall and aims some at the "
            "door. Where “+ world model” stands, neither the minutes nor the steps that trained it are counted; 4× "
            "stands for four times the time, begun with the run that had it once."
        ),
        heads=HEADS,
        rows=rows,
        figures=figures,
        provenance=provenance,
    )
    write_text(config.output, page)
    logger.info("written to %s (%.1f MB)", config.output, config.output.stat().st_size / 1e6)
    return config.output


def data_url(path: Path) -> str:
    """A file as a URL that holds all of it."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(read_bytes(path)).decode()}"


def _read(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of the page's table, and where they come from.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no comparison.
    """
    content = read_json(path, "a comparison")
    try:
        rows = [
            {"base": row["contender"] == BASE, "cells": _cells(row)} for row in content["rows"] if row["random-wall"]
        ]
        provenance = content["provenance"]
        machine = provenance["machine"]
        provenance["command"], provenance["commit"], machine["num_cpus"], machine["processor"]
        dict(provenance["versions"])
    except KeyError as error:
        raise ValueError(f"{path} must be written by worldmodel compare; it lacks {error}") from error
    except (TypeError, IndexError, AttributeError, ValueError) as error:
        kind = type(error).__name__
        raise ValueError(f"{path} must be written by worldmodel compare, got {kind}: {error}") from error
    return rows, provenance


def _cells(row: dict[str, Any]) -> list[Cell]:
    first, gain = row["random-wall"], row["difference"]
    low, high = first["interval"]
    return [
        Cell(row["title"], row["title"]),
        Cell(row["sees"], row["sees"]),
        Cell("yes" if row["rewarded"] else "no", row["rewarded"]),
        _rates(first["final"]),
        Cell(f"{low:.1%} – {high:.1%}", low),
        _rates(first["ever"]),
        _number(first["spl"], "{:.3f}"),
        _number(first["steps_to_goal"], "{:.1f}"),
        _rates(row["held-out"]["final"] if row["held-out"] else []),
        _rates(row["bounce"]["final"] if row["bounce"] else []),
        _number([steps / 1e6 for steps in row["env_steps"]], "{:.2f} M"),
        _number(row["minutes"], "{:.1f} + world model" if row["pretrained"] else "{:.1f}"),
        _number(first["ms"], "{:.2f}"),
        Cell(describe_difference(gain), gain["difference"] if gain else -1.0),
    ]


def _rates(values: list[float]) -> Cell:
    """Every seed's rate, a line each, sorted by their mean."""
    return Cell("\n".join(f"{value:.1%}" for value in values) or "–", float(np.mean(values)) if values else -1.0)


def _number(values: list[float | None], form: str) -> Cell:
    known = [value for value in values if value is not None]
    return Cell(form.format(np.mean(known)), float(np.mean(known))) if known else Cell("–", -1.0)
