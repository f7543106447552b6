"""Pictures of the comparison: success against data, training time and latency, and by how hard episodes are."""

from collections.abc import Iterator, Mapping, Sequence
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
from benchmarks.comparison.contest import Contest
from benchmarks.records.plots import AMBER, BLUE, GREEN, INK, MUTED, VIOLET, percent_bars, picture, tidy
from benchmarks.records.store import Record

COLOURS = {"world model": AMBER, "reinforcement learning": BLUE, "offline": GREEN, "floor": MUTED, "ceiling": VIOLET}
"""Colours by kind of method."""
EXTREMES = ("floor", "ceiling")
"""Kinds that are drawn as lines."""
MARKERS = "oDs^vP*X<>ph8d"
"""Markers by contender."""
NUM_BINS = 6
"""Bins of path length and of detour, with as many episodes each."""

Rows = Sequence[Mapping[str, Any]]


def paths(output: Path) -> dict[str, Path]:
    """Where the pictures of a comparison lie: beside its JSON file."""
    return {kind: output.with_name(f"{output.stem}-{kind}.png") for kind in ("costs", "curves", "difficulty")}


def draw(contest: Contest, content: Mapping[str, Any], results: Mapping[str, Sequence[Record]], output: Path) -> None:
    """Draws all pictures.

    Args:
        contest: Who is compared, and on what.
        content: The comparison.
        results: Evaluations by contender.
        output: Its JSON file.
    """
    costs, curves, difficulty = paths(output).values()
    manifest = next(iter(contest.manifests))
    _draw_costs(content["rows"], manifest, costs)
    _draw_curves(content["rows"], curves)
    chosen = {name: [r for r in found if r.key["manifest"] == manifest] for name, found in results.items()}
    _draw_difficulty(contest, content["rows"], chosen, manifest, difficulty)


def _draw_costs(rows: Rows, manifest: str, path: Path) -> None:
    """Success against steps of the environment, minutes of training and milliseconds of an action."""
    costs = (
        ("env_steps", "environment steps seen in training"),
        ("minutes", "minutes of training"),
        ("ms", "ms an action, one environment"),
    )
    with picture(path, 13.0, 4.6) as figure:
        for axes, (cost, label) in zip(figure.subplots(1, 3), costs, strict=True):
            for row, marker in _marked(rows):
                measures = row["manifests"][manifest]
                if not measures:
                    continue
                x = measures["ms"] if cost == "ms" else row[cost]
                if len(x) == len(measures["final"]):  # latency may not be known yet
                    _points(axes, x, measures["final"], measures["intervals"], row, rows, fmt=marker, markersize=5)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g} M" if value >= 1e5 else f"{value:g}")
            if cost == "minutes":
                low, high = axes.get_xlim()
                axes.set_xlim(min(low, 4), max(high, 90))
                axes.set_xticks([5, 10, 15, 30, 60])
                axes.minorticks_off()
            _finish(axes, rows, manifest, label)
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
    contest: Contest, rows: Rows, results: Mapping[str, Sequence[Record]], manifest: str, path: Path
) -> None:
    """Success by the length of the shortest path, and by how much longer it is than the straight line."""
    hardness = _hardness(contest.manifests[manifest], contest.unit)
    if not hardness:
        return
    with picture(path, 5.5 * len(hardness), 4.6) as figure:
        panels = figure.subplots(1, len(hardness), squeeze=False)[0]
        for axes, (title, values) in zip(panels, hardness.items(), strict=True):
            for row, marker in _marked(rows):
                episodes = [episode for record in results[row["contender"]] for episode in record.rows]
                if not episodes or row["extends"]:
                    continue
                reached = np.array([episode["final_success"] for episode in episodes])
                hard = values[[episode["index"] for episode in episodes]]
                bins = np.array_split(np.argsort(hard, kind="stable"), min(NUM_BINS, len(hard)))
                x = [float(hard[places].mean()) for places in bins]
                ends = [wilson_interval(int(reached[places].sum()), len(places)) for places in bins]
                rates = [float(reached[places].mean()) for places in bins]
                style = marker + ("--" if row["sees"] == "state" else "-")
                _points(axes, x, rates, ends, row, rows, fmt=style, markersize=4, linewidth=1.2)
            _finish(axes, rows, manifest, title)
        _add_legend(figure, manifest)


def _marked(rows: Rows) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Contenders between floor and ceiling, each with its marker."""
    for row, marker in zip(rows, cycle(MARKERS), strict=False):
        if row["kind"] not in EXTREMES:
            yield row, marker


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


def _points(
    axes: Axes,
    x: Sequence[float],
    rates: Sequence[float],
    intervals: Sequence[Sequence[float]],
    row: Mapping[str, Any],
    rows: Rows,
    **style: Any,
) -> None:
    """Success of a contender with its intervals; hollow where it sees the state."""
    y, errors = percent_bars(rates, intervals)
    fill = "none" if row["sees"] == "state" else "full"
    axes.errorbar(
        x, y, errors, color=_colour(row, rows), elinewidth=0.8, capsize=2, label=row["title"], fillstyle=fill, **style
    )


def _finish(axes: Axes, rows: Rows, manifest: str, label: str) -> None:
    """Floor and ceiling as lines, and what is the same in all panels."""
    for row in rows:
        if row["kind"] in EXTREMES and row["manifests"][manifest]:
            value, colour = 100 * float(np.mean(row["manifests"][manifest]["final"])), COLOURS[row["kind"]]
            axes.axhline(value, color=colour, linewidth=1, linestyle="--")
            place = axes.get_yaxis_transform()  # across the axes, at a value
            axes.text(0.01, value, row["title"], transform=place, color=colour, fontsize=7.5, va="bottom")
    axes.set_xlabel(label)
    axes.set_ylim(-3, 106)
    axes.tick_params(labelcolor=INK)
    tidy(axes)


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
