"""``worldmodel maps``: how far the goal is from everywhere, in truth, between latents, and to the critic."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.evaluation.manifests import VALIDATION, load_manifest
from benchmarks.evaluation.policies import open_checkpoint
from benchmarks.films.drawing import INK, MUTED, PAPER, STYLE
from benchmarks.records import provenance
from envs.two_rooms.expert import optimal_path_length
from envs.two_rooms.layouts import check_layout
from envs.two_rooms.physics import ARENA_MAX, ARENA_MIN, SIZE, Layout, is_free
from envs.two_rooms.rendering import render
from worldmodel.checkpoint import Pretrained
from worldmodel.config import config
from worldmodel.storage.files import replacing, write_json

SPACING = 1.0
"""Distance between neighbouring positions of a map, in pixels."""
TITLES = {
    "true": "true distance\nof the shortest path",
    "latent": "distance between latents",
    "critic": "cost-to-go\nlearned in imagination",
}
"""Titles of the columns."""


@config
class MapsConfig:
    """Draws the distance to a goal from everywhere: in truth, between latents, and as the critic has learned it."""

    policy: tyro.conf.Positional[str] = "two-rooms"
    """Directory of a checkpoint, or name of a shipped one."""
    manifest: str = VALIDATION
    """Episodes whose layouts and goals are drawn."""
    episodes: tuple[int, ...] = (0, 1, 2)
    """Which of them, a row each."""
    output: Path = Path("outputs/maps.png")
    """Picture to write; the rank correlations go beside it as JSON."""


def run(config: MapsConfig) -> dict[str, Any]:
    """Draws the maps.

    Returns:
        Spearman rank correlations with the true distance, for each episode and kind: over all positions, and over
        those in the other room.

    Raises:
        ValueError: If the policy is no checkpoint or an episode is not in the manifest.
    """
    pretrained = open_checkpoint(config.policy)
    if pretrained is None:
        raise ValueError(f"policy must be a checkpoint, got {config.policy!r}")
    manifest = load_manifest(config.manifest)
    if not config.episodes or not set(config.episodes) <= set(range(len(manifest))):
        raise ValueError(f"episodes must be from 0 to {len(manifest) - 1}, got {config.episodes}")
    rows, correlations = [], []
    for episode in config.episodes:
        options = manifest.episodes[episode] if manifest.episodes else {}
        layout, goal = check_layout(options["layout"]), np.asarray(options["goal"], np.float32)
        positions = _grid(layout)
        maps = distances(pretrained, positions, goal, layout)
        rows.append((layout, goal, positions, maps))
        other = (positions[:, 0] - layout.wall) * (goal[0] - layout.wall) < 0
        correlations.append(
            {"episode": episode}
            | {
                kind: {"all": _rank(maps["true"], maps[kind]), "other_room": _rank(maps["true"][other], values[other])}
                for kind, values in maps.items()
                if kind != "true"
            }
        )
    content = {"correlations": correlations, "provenance": provenance.collect(pretrained.sha256)}
    config.output.parent.mkdir(parents=True, exist_ok=True)
    _draw(rows, correlations, config.output)
    write_json(config.output.with_suffix(".json"), content)
    return content


@torch.no_grad()
def distances(
    pretrained: Pretrained, positions: NDArray[np.float32], goal: NDArray[np.float32], layout: Layout
) -> dict[str, NDArray[np.float64]]:
    """Distances from positions ``(N, 2)`` to a goal ``(2,)`` of one layout, each ``(N,)``.

    Returns:
        "true": the shortest path's, in pixels. "latent": squared, mean over features. "critic": the cost-to-go, if the
        checkpoint has an actor and a critic.
    """
    goals = np.broadcast_to(goal, positions.shape)
    many = Layout(*(np.full(len(positions), field) for field in layout))
    both = np.concatenate([positions, goal[None]])
    pixels = torch.from_numpy(render(both, Layout(*(np.full(len(both), field) for field in layout))))
    latents = pretrained.model.encode(pixels)
    here, there = latents[:-1], latents[-1:].expand(len(positions), -1)
    maps = {
        "true": optimal_path_length(positions.astype(np.float64), goals.astype(np.float64), many),
        "latent": (here - there).square().mean(-1).double().numpy(),
    }
    if pretrained.actor_critic is not None:
        maps["critic"] = pretrained.actor_critic.cost_to_go(here, there).double().numpy()
    return maps


def _grid(layout: Layout) -> NDArray[np.float32]:
    """Free positions of a layout, ``(N, 2)``."""
    axis = np.arange(ARENA_MIN + SPACING, ARENA_MAX, SPACING, dtype=np.float32)
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    return points[is_free(points, Layout(*(np.full(len(points), field) for field in layout)))]


def _rank(first: NDArray[Any], second: NDArray[Any]) -> float:
    return float(spearmanr(first, second).statistic)


def _draw(rows: list[Any], correlations: list[dict[str, Any]], path: Path) -> None:
    kinds = list(rows[0][3])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.6 * len(kinds), 2.55 * len(rows) + 0.4), dpi=150, facecolor=PAPER)
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(rows), len(kinds), squeeze=False)
        for axes, (layout, goal, positions, maps), row in zip(grid, rows, correlations, strict=True):
            for ax, kind in zip(axes, kinds, strict=True):
                image = np.full((SIZE, SIZE), np.nan)
                columns, lines = (positions / SPACING).astype(int).T
                image[lines, columns] = maps[kind]
                ax.imshow(image, cmap="viridis_r", interpolation="nearest")
                ax.contour(image, levels=9, colors="white", linewidths=0.5, alpha=0.7)
                ax.plot(*goal, marker="*", color="white", markeredgecolor=INK, markersize=11)
                ax.set(xticks=[], yticks=[], xlim=(ARENA_MIN, ARENA_MAX), ylim=(ARENA_MAX, ARENA_MIN))
                if kind == "true":
                    ax.set_ylabel(f"wall {layout.wall}, door {layout.door}")
                else:
                    ax.set_xlabel(f"rank correlation {row[kind]['all']:.2f}, other room {row[kind]['other_room']:.2f}")
                for spine in ax.spines.values():
                    spine.set_color(MUTED)
        for ax, kind in zip(grid[0], kinds, strict=True):
            ax.set_title(TITLES[kind], fontsize=10)
        figure.tight_layout()
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", facecolor=PAPER)
