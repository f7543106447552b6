"""Pictures of the comparison: success against data, training time and latency, and by how hard episodes are."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agents.evaluation.manifest import Manifest
from agents.evaluation.statistics import wilson_interval
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.records.plots import AMBER, BLUE, GREEN, INK, MUTED, VIOLET, percent_bars, picture, tidy
from benchmarks.records.store import Record
from envs.domain import find_domain

COLOURS = {"world model": AMBER, "reinforcement learning": BLUE, "offline": GREEN, "floor": MUTED, "ceiling": VIOLET}
"""Colours by kind of method."""
MARKERS = "oDs^vP*X<>ph8d"
"""Markers by contender."""
NUM_BINS = 6
"""Bins of path length and of detour, with as many episodes each."""

Rows = Sequence[Mapping[str, Any]]


def draw(content: Mapping[str, Any], results: Mapping[str, Sequence[Record]], output: Path) -> None:
    """Draws all pictures.

    Args:
        content: The comparison.
        results: Evaluations by contender.
        output: Its JSON file; pictures go beside it, named after it.
    """
    manifest = find_domain(content["environment"]).compared_on[0]
    _draw_costs(content["rows"], manifest, output.with_name(f"{output.stem}-costs.png"))
    _draw_curves(content["rows"], output.with_name(f"{output.stem}-curves.png"))
    chosen = {name: [r for r in found if r.key["manifest"] == manifest] for name, found in results.items()}
    _draw_difficulty(content, chosen, manifest, output.with_name(f"{output.stem}-difficulty.png"))


def _draw_costs(rows: Rows, manifest: str, path: Path) -> None:
    """Success against steps of the environment, minutes of training and milliseconds of an action."""
    costs = (
        ("env_steps", "environment steps seen in training"),
        ("minutes", "minutes of training"),
        ("ms", "ms an action, one environment"),
    )
    with picture(path, 13.0, 4.6) as figure:
        for place, (cost, label) in enumerate(costs, 1):
            axes = figure.add_subplot(1, 3, place)
            for row, marker in zip(rows, cycle(MARKERS), strict=False):
                measures = row["manifests"][manifest]
                if row["kind"] in ("floor", "ceiling") or not measures:
                    continue
                x = measures["ms"] if cost == "ms" else row[cost]
                y, errors = percent_bars(measures["final"], measures["intervals"])
                if len(x) == len(y):  # latency may not be known yet
                    axes.errorbar(
                        x, y, errors, fmt=marker, color=_colour(row, rows), markersize=5, elinewidth=0.8, capsize=2,
                        label=row["title"], fillstyle="none" if row["sees"] == "state" else "full",
                    )  # fmt: skip
            _draw_floor_and_ceiling(axes, rows, manifest)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g} M" if value >= 1e5 else f"{value:g}")
            if cost == "minutes":
                low, high = axes.get_xlim()
                axes.set_xlim(min(low, 4), max(high, 90))
                axes.set_xticks([5, 10, 15, 30, 60])
                axes.minorticks_off()
            axes.set_xlabel(label)
            _tidy(axes)
        _add_legend(figure, manifest)


def _draw_curves(rows: Rows, path: Path) -> None:
    """Learning curves, a panel a contender and a line a seed: success where it was measured, otherwise the loss."""
    runs = {(row["run"], bool(row["extends"])): row for row in reversed(rows) if any(row["curves"])}
    shown = list(reversed(runs.values()))
    if not shown:
        return
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    with picture(path, 3.25 * columns, 2.6 * lines) as figure:
        for place, row in enumerate(shown, 1):
            axes = figure.add_subplot(lines, columns, place)
            measure = "success" if "success" in next(filter(None, row["curves"]))[0] else "loss"
            for curve in row["curves"]:
                minutes = [point["seconds"] / 60 for point in curve]
                values = [point.get(measure, np.nan) * (100 if measure == "success" else 1) for point in curve]
                axes.plot(minutes, values, color=_colour(row, rows), linewidth=1, alpha=0.8)
            axes.set_title(row["title"], fontsize=9)
            axes.set_ylabel("success, %" if measure == "success" else "loss", fontsize=8)
            axes.set_xlim(left=0)
            axes.set_ylim(*((-3, 106) if measure == "success" else (0, None)))
            tidy(axes)
            if place > len(shown) - columns:
                axes.set_xlabel("minutes of training", fontsize=8)
        figure.tight_layout()


def _draw_difficulty(
    content: Mapping[str, Any], results: Mapping[str, Sequence[Record]], manifest: str, path: Path
) -> None:
    """Success by the length of the shortest path, and by how much longer it is than the straight line."""
    rows, domain = content["rows"], find_domain(content["environment"])
    hardness = _hardness(load_manifest(f"{domain.name}/{manifest}"), domain.unit)
    if not hardness:
        return
    with picture(path, 5.5 * len(hardness), 4.6) as figure:
        for place, (title, values) in enumerate(hardness.items(), 1):
            axes = figure.add_subplot(1, len(hardness), place)
            for row, marker in zip(rows, cycle(MARKERS), strict=False):
                episodes = [episode for record in results[row["contender"]] for episode in record.rows]
                if not episodes or row["extends"] or row["kind"] in ("floor", "ceiling"):
                    continue
                reached = np.array([episode["final_success"] for episode in episodes])
                style = marker + ("--" if row["sees"] == "state" else "-")
                chosen = values[[episode["index"] for episode in episodes]]
                _draw_bins(axes, chosen, reached, style, _colour(row, rows), row["title"])
            _draw_floor_and_ceiling(axes, rows, manifest)
            axes.set_xlabel(title)
            _tidy(axes)
        _add_legend(figure, manifest)


def _hardness(manifest: Manifest, unit: str) -> dict[str, NDArray[Any]]:
    """How hard each episode of a manifest is, by what its paths say, as far as these are known."""
    if manifest.shortest_paths is None:
        return {}
    paths = np.array(manifest.shortest_paths)
    found = {f"shortest path to the goal, {unit}".rstrip(", "): paths}
    if manifest.episodes and {"start", "goal"} <= set(manifest.episodes[0]):
        straight = [np.linalg.norm(np.subtract(e["goal"], e["start"])) for e in manifest.episodes]
        found["shortest path ÷ straight line"] = paths / np.array(straight)
    return found


def _draw_bins(
    axes: Axes, hardness: NDArray[Any], reached: NDArray[Any], style: str, colour: tuple[float, ...], title: str
) -> None:
    bins = np.array_split(np.argsort(hardness, kind="stable"), min(NUM_BINS, len(hardness)))
    x = [float(hardness[rows].mean()) for rows in bins]
    ends = [wilson_interval(int(reached[rows].sum()), len(rows)) for rows in bins]
    y, errors = percent_bars([float(reached[rows].mean()) for rows in bins], ends)
    axes.errorbar(
        x, y, errors, fmt=style, color=colour, markersize=4, linewidth=1.2, elinewidth=0.8, capsize=2, label=title,
        fillstyle="none" if style.endswith("--") else "full",
    )  # fmt: skip


def _draw_floor_and_ceiling(axes: Axes, rows: Rows, manifest: str) -> None:
    for row in rows:
        if row["kind"] in ("floor", "ceiling") and row["manifests"][manifest]:
            value = 100 * float(np.mean(row["manifests"][manifest]["final"]))
            axes.axhline(value, color=COLOURS[row["kind"]], linewidth=1, linestyle="--")
            axes.annotate(
                row["title"], (0.01, value), xycoords=("axes fraction", "data"), color=COLOURS[row["kind"]],
                fontsize=7.5, va="bottom",
            )  # fmt: skip


def _colour(row: Mapping[str, Any], rows: Rows) -> tuple[float, ...]:
    """The colour of a contender: its kind's, the paler the later it comes among its kind."""
    peers = [other["contender"] for other in rows if other["kind"] == row["kind"]]
    paleness = 0.55 * peers.index(row["contender"]) / max(1, len(peers) - 1)
    return tuple((1 - paleness) * part + paleness for part in to_rgb(COLOURS[row["kind"]]))


def _add_legend(figure: Figure, manifest: str) -> None:
    """One label for all vertical axes, and one legend below."""
    figure.axes[0].set_ylabel(f"final success, % of {manifest}, 95 % intervals\n(hollow: sees the state)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=6, loc="lower center", fontsize=8)
    figure.tight_layout(rect=(0, 0.1, 1, 1))


def _tidy(axes: Axes) -> None:
    axes.set_ylim(-3, 106)
    axes.tick_params(labelcolor=INK)
    tidy(axes)
