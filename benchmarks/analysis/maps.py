"""``worldmodel maps``: how far the goal is from everywhere, in truth, between latents, and to the critic."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from agents.evaluation.task import make_task
from agents.saved import open_checkpoint
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.records.plots import INK, MUTED, picture
from benchmarks.records.store import WEIGHTS, Record, new_record, write_record
from envs.domain import VALIDATION
from envs.simulation import Simulation
from pretrain.presets import DEFAULT
from worldmodel.checkpoint import Pretrained
from worldmodel.config import command, config

TITLES = {
    "true": "true distance\nof the shortest path",
    "latent": "distance between latents",
    "critic": "cost-to-go\nlearned in imagination",
}
"""Titles of the columns."""


@config
class MapsConfig:
    """Draws the distance to a goal from everywhere: in truth, between latents, and as the critic has learned it."""

    policy: tyro.conf.Positional[str] = DEFAULT
    """Directory of a checkpoint, or name of a shipped one."""
    manifest: str = VALIDATION
    """Episodes whose layouts and goals are drawn."""
    episodes: tuple[int, ...] = (0, 1, 2)
    """Which of them, a row each."""
    output: Path = Path("outputs/maps.png")
    """Picture to write; the rank correlations go beside it as JSON."""


def run(config: MapsConfig) -> Record:
    """Draws the maps.

    Returns:
        The record: for each episode and kind of distance its Spearman rank correlation with the true distance, over
        all positions, and over those from which no straight line leads to the goal.

    Raises:
        ValueError: If the policy is no checkpoint, an episode is not in the manifest, or the environment has no
            simulation.
    """
    pretrained = open_checkpoint(config.policy)
    manifest = load_manifest(config.manifest)
    if not config.episodes or not set(config.episodes) <= set(range(len(manifest))):
        raise ValueError(f"episodes must be from 0 to {len(manifest) - 1}, got {config.episodes}")
    task = make_task(manifest.env_id, manifest.env_kwargs)
    simulation = task.domain.simulation(task.env_kwargs)
    env = task.make("pixels")
    rows, correlations = [], []
    for episode in config.episodes:
        seen, _ = env.reset(
            seed=manifest.seeds[episode], options=dict(manifest.episodes[episode]) if manifest.episodes else None
        )
        (goal,), layouts = simulation.read(seen["desired_goal"][None])
        positions = simulation.free_positions(layouts[0])
        maps = distances(pretrained, simulation, positions, goal, layouts[0])
        rows.append((layouts[0], goal, positions, maps))
        hidden = maps["true"] > np.linalg.norm(positions - goal, axis=-1) - (task.domain.goal_radius or 0.0) + 1e-3
        correlations.append(
            {"episode": episode}
            | {
                kind: {
                    "all": _rank_correlation(maps["true"], maps[kind]),
                    "hidden": _rank_correlation(maps["true"][hidden], values[hidden]),
                }
                for kind, values in maps.items()
                if kind != "true"
            }
        )
    env.close()
    _draw(simulation, rows, correlations, config.output)
    record = new_record(
        {
            "analysis": "maps",
            "environment": task.domain.name,
            "manifest": manifest.name,
            "policy": Path(config.policy).name,
        },
        {"manifest_hash": manifest.hash, "episodes": config.episodes, WEIGHTS: pretrained.sha256},
        rows=correlations,
    )
    write_record(config.output.with_suffix(".json"), record)
    return record


main = command(MapsConfig, run, "maps")


@torch.no_grad()
def distances(
    pretrained: Pretrained,
    simulation: Simulation,
    positions: NDArray[np.float32],
    goal: NDArray[Any],
    layout: NDArray[Any],
) -> dict[str, NDArray[np.float64]]:
    """Distances from positions ``(N, P)`` to a goal ``(P,)`` in a layout ``(L,)``, each ``(N,)``.

    Returns:
        "true": the shortest path's. "latent": squared, mean over features. "critic": the cost-to-go, if the checkpoint
        has an actor and critics.
    """
    both = np.concatenate([positions, goal[None]]).astype(np.float32)
    latents = pretrained.model.encode(torch.from_numpy(simulation.draw(both[None], layout[None])[0]))
    here, there = latents[:-1], latents[-1:].expand(len(positions), -1)
    many = np.broadcast_to(layout, (len(positions), len(layout)))
    maps = {
        "true": simulation.distance(positions, np.broadcast_to(goal, positions.shape), many),
        "latent": (here - there).square().mean(-1).double().numpy(),
    }
    if pretrained.actor_critic is not None:
        maps["critic"] = pretrained.actor_critic.cost_to_go(pretrained.model.at_rest(here), there).double().numpy()
    return maps


def _rank_correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Spearman's: the correlation of ranks, where equals share a rank."""
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places.ravel()]


def _draw(simulation: Simulation, rows: list[Any], correlations: list[dict[str, Any]], path: Path) -> None:
    kinds = list(rows[0][3])
    low, high = simulation.position_low, simulation.position_high
    with picture(path, 2.6 * len(kinds), 2.55 * len(rows) + 0.4) as figure:
        grid = figure.subplots(len(rows), len(kinds), squeeze=False)
        for axes, (layout, goal, positions, maps), row in zip(grid, rows, correlations, strict=True):
            for ax, kind in zip(axes, kinds, strict=True):
                image = np.full(simulation.pixel_shape[1:], np.nan)
                columns, lines = positions.astype(int).T
                image[lines, columns] = maps[kind]
                ax.imshow(image, cmap="viridis_r", interpolation="nearest")
                ax.contour(image, levels=9, colors="white", linewidths=0.5, alpha=0.7)
                ax.plot(*goal, marker="*", color="white", markeredgecolor=INK, markersize=11)
                ax.set(xticks=[], yticks=[], xlim=(low[0], high[0]), ylim=(high[1], low[1]))
                if kind == "true":
                    named = zip(simulation.layout_names, layout, strict=True)
                    ax.set_ylabel(", ".join(f"{name} {value:g}" for name, value in named))
                else:
                    ax.set_xlabel(f"rank correlation {row[kind]['all']:.2f}, hidden {row[kind]['hidden']:.2f}")
                ax.spines[:].set_color(MUTED)
        for ax, kind in zip(grid[0], kinds, strict=True):
            ax.set_title(TITLES[kind], fontsize=10)
        figure.tight_layout()
