"""Pictures of the comparison: success against data, training time and latency, and by how hard episodes are."""

from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agents.evaluation.statistics import wilson_interval
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.films.drawing import AMBER, BLUE, GREEN, GRID, INK, MUTED, PAPER, STYLE, VIOLET
from worldmodel.storage.files import replacing

COLOURS = {"world model": AMBER, "reinforcement learning": BLUE, "offline": GREEN, "floor": MUTED, "ceiling": VIOLET}
"""Colours by kind of method."""
MARKERS = "oDs^vP*X<>ph8d"
"""Markers by contender."""
NUM_BINS = 6
"""Bins of path length and of detour, with as many episodes each."""


def draw(content: dict[str, Any], results: dict[str, list[dict[str, Any]]], output: Path) -> None:
    """Draws all pictures.

    Args:
        content: The comparison.
        results: Evaluations by contender.
        output: Its JSON file; pictures go beside it, named after it.
    """
    _draw_costs(content["rows"], output.with_name(f"{output.stem}-costs.png"))
    _draw_curves(content["rows"], output.with_name(f"{output.stem}-curves.png"))
    _draw_difficulty(content["rows"], results, output.with_name(f"{output.stem}-difficulty.png"))


def _draw_costs(rows: list[dict[str, Any]], path: Path) -> None:
    """Success against steps of the environment, minutes of training and milliseconds of an action."""
    figure = _figure(13.0, 4.6)
    costs = (
        ("env_steps", "environment steps seen in training"),
        ("minutes", "minutes of training"),
        ("ms", "ms an action, one environment"),
    )
    for place, (cost, label) in enumerate(costs, 1):
        axes = figure.add_subplot(1, 3, place)
        for row, marker in zip(rows, cycle(MARKERS), strict=False):
            measures = row["random-wall"]
            if row["kind"] in ("floor", "ceiling") or not measures:
                continue
            colour = _colour(row, rows)
            x = measures["ms"] if cost == "ms" else row[cost]
            y = [100 * value for value in measures["final"]]
            errors = [
                [max(0.0, value - 100 * low) for value, (low, _) in zip(y, measures["intervals"], strict=True)],
                [max(0.0, 100 * high - value) for value, (_, high) in zip(y, measures["intervals"], strict=True)],
            ]
            if len(x) == len(y):  # latency may not be known yet
                axes.errorbar(
                    x, y, errors, fmt=marker, color=colour, markersize=5, elinewidth=0.8, capsize=2, label=row["title"],
                    fillstyle="none" if row["sees"] == "state" else "full",
                )  # fmt: skip
        _draw_floor_and_ceiling(axes, rows)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g} M" if value >= 1e5 else f"{value:g}")
        if cost == "minutes":
            low, high = axes.get_xlim()
            axes.set_xlim(min(low, 4), max(high, 90))
            axes.set_xticks([5, 10, 15, 30, 60])
            axes.minorticks_off()
        axes.set_xlabel(label)
        _tidy(axes)
    figure.axes[0].set_ylabel("final success, % of random-wall, 95 % intervals\n(hollow: sees the state)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=6, loc="lower center", fontsize=8)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    _save(figure, path)


def _draw_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Learning curves, a panel a contender and a line a seed: success where it was measured, otherwise the loss."""
    runs = {(row["run"], bool(row["extends"])): row for row in reversed(rows) if any(row["curves"])}
    shown = list(reversed(runs.values()))
    if not shown:
        return
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure = _figure(3.25 * columns, 2.6 * lines)
    for place, row in enumerate(shown, 1):
        axes = figure.add_subplot(lines, columns, place)
        measure = "success" if "success" in next(filter(None, row["curves"]))[0] else "loss"
        for curve in row["curves"]:
            values = [point[measure] * (100 if measure == "success" else 1) for point in curve]
            axes.plot(
                [point["seconds"] / 60 for point in curve], values, color=_colour(row, rows), linewidth=1, alpha=0.8
            )
        axes.set_title(row["title"], fontsize=9)
        axes.set_ylabel("success, %" if measure == "success" else "loss", fontsize=8)
        axes.grid(color=GRID)
        axes.set_xlim(left=0)
        axes.set_ylim(*((-3, 106) if measure == "success" else (0, None)))
        axes.spines[["top", "right"]].set_visible(False)
        if place > len(shown) - columns:
            axes.set_xlabel("minutes of training", fontsize=8)
    figure.tight_layout()
    _save(figure, path)


def _draw_difficulty(rows: list[dict[str, Any]], results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Success by the length of the shortest path, and by how much longer it is than the straight line."""
    figure = _figure(11.0, 4.6)
    manifest = load_manifest("random-wall")
    assert manifest.episodes is not None
    straight = np.array([np.linalg.norm(np.subtract(e["goal"], e["start"])) for e in manifest.episodes])
    titles = ("shortest path to the goal's disc, px", "shortest path ÷ straight line")
    for place, title in enumerate(titles, 1):
        axes = figure.add_subplot(1, 2, place)
        for row, marker in zip(rows, cycle(MARKERS), strict=False):
            episodes = [
                e for c in results[row["contender"]] if c["manifest"] == "random-wall" for e in c["result"]["rows"]
            ]
            if not episodes or row["extends"] or row["kind"] in ("floor", "ceiling"):
                continue
            paths = np.array([episode["shortest_path"] for episode in episodes], dtype=float)
            hardness = paths if place == 1 else paths / straight[[episode["index"] for episode in episodes]]
            reached = np.array([episode["final_success"] for episode in episodes])
            style = "--" if row["sees"] == "state" else "-"
            _draw_bins(axes, hardness, reached, marker + style, _colour(row, rows), row["title"])
        _draw_floor_and_ceiling(axes, rows)
        axes.set_xlabel(title)
        _tidy(axes)
    figure.axes[0].set_ylabel("final success, % of random-wall, 95 % intervals\n(hollow: sees the state)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=6, loc="lower center", fontsize=8)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    _save(figure, path)


def _draw_bins(
    axes: Axes, hardness: NDArray[Any], reached: NDArray[Any], style: str, colour: tuple[float, ...], title: str
) -> None:
    bins = np.array_split(np.argsort(hardness, kind="stable"), min(NUM_BINS, len(hardness)))
    x = [float(hardness[rows].mean()) for rows in bins]
    y = [100 * float(reached[rows].mean()) for rows in bins]
    ends = [[100 * end for end in wilson_interval(int(reached[rows].sum()), len(rows))] for rows in bins]
    errors = [
        [max(0.0, value - low) for value, (low, _) in zip(y, ends, strict=True)],
        [max(0.0, high - value) for value, (_, high) in zip(y, ends, strict=True)],
    ]
    axes.errorbar(
        x,
        y,
        errors,
        fmt=style,
        color=colour,
        markersize=4,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=2,
        label=title,
        fillstyle="none" if style.endswith("--") else "full",
    )


def _draw_floor_and_ceiling(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["kind"] in ("floor", "ceiling") and row["random-wall"]:
            value = 100 * float(np.mean(row["random-wall"]["final"]))
            axes.axhline(value, color=COLOURS[row["kind"]], linewidth=1, linestyle="--")
            axes.annotate(
                row["title"], (0.01, value), xycoords=("axes fraction", "data"), color=COLOURS[row["kind"]],
                fontsize=7.5, va="bottom",
            )  # fmt: skip


def _colour(row: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[float, ...]:
    """The colour of a contender: its kind's, the paler the later it comes among its kind."""
    peers = [other["contender"] for other in rows if other["kind"] == row["kind"]]
    paleness = 0.55 * peers.index(row["contender"]) / max(1, len(peers) - 1)
    return tuple((1 - paleness) * part + paleness for part in to_rgb(COLOURS[row["kind"]]))


def _figure(width: float, height: float) -> Figure:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=150, facecolor=PAPER)
        FigureCanvasAgg(figure)
        return figure


def _tidy(axes: Axes) -> None:
    axes.set_ylim(-3, 106)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelcolor=INK)


def _save(figure: Figure, path: Path) -> None:
    with mpl.rc_context(STYLE), replacing(path) as temporary:
        figure.savefig(temporary, format="png", facecolor=PAPER)
