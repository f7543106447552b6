"""``worldmodel ablate NAME``: what each piece of the method is worth, on validation layouts.

A grid is a list of variants of one full method; each changes as little as it can. The result is one JSON of all
variants and seeds with intervals and differences to the full method on the same episodes, and a picture. What has been
trained or evaluated already is not run again.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from agents.evaluate import EvalResult
from agents.planner_config import PlannerConfig
from agents.results import compare
from benchmarks import provenance, success
from benchmarks.drawing import AMBER, BLUE, GRID, PAPER, STYLE
from benchmarks.manifests import VALIDATION
from pretrain.presets import preset
from pretrain.train import fit
from worldmodel.checkpoint import read_config, replacing

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A change of the full method.

    Attributes:
        name: What it is called.
        preset: Another preset to train in place of the grid's.
        train: Changed fields of the preset, by dotted path.
        plan: Changed fields of the planner's configuration.
    """

    name: str
    preset: str | None = None
    train: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Variants to compare; the first is the full method.

    Attributes:
        preset: What is trained; None: nothing, all variants plan with one checkpoint.
        variants: The variants.
        timed: Whether to show how long training took: for grids whose runs have the machine to themselves.
    """

    preset: str | None
    variants: tuple[Variant, ...]
    timed: bool = False


LONG = {"propose": False, "horizon": 20, "num_samples": 64, "num_iterations": 3, "num_elites": 16, "init_std": 2.45}
"""A search that can do without what was learned in imagination: far ahead, with more candidates."""

REFERENCE = {
    "propose": False, "cost": "summed", "horizon": 60, "num_samples": 100, "num_iterations": 3, "num_elites": 20,
    "init_std": 2.0, "temperature": 0.005, "keep_elites": 0.0, "replan_every": 8,
}  # fmt: skip
"""EB-JEPA's search, 160 times cheaper: two thirds of its horizon, half its samples, 3 of its 20 iterations, and a plan
for every 8 steps instead of every one."""

GRIDS = {
    "planning": Grid(
        preset=None,
        variants=(
            Variant(name="full: MPPI"),
            Variant(name="CEM", plan={"planner": "cem"}),
            Variant(name="iCEM", plan={"planner": "icem"}),
            Variant(name="the actor alone", plan={"planner": "policy"}),
            Variant(name="no proposal by the actor", plan={"propose": False}),
            Variant(name="no warm start", plan={"warm_start": False}),
            Variant(name="no kept elites", plan={"keep_elites": 0.0}),
            Variant(name="coloured noise", plan={"noise_beta": 1.0}),
            Variant(name="mean executed, not the best", plan={"execute": "mean"}),
            Variant(name="horizon 1", plan={"horizon": 1}),
            Variant(name="horizon 6", plan={"horizon": 6}),
            Variant(name="8 samples", plan={"num_samples": 8}),
            Variant(name="16 samples", plan={"num_samples": 16}),
            Variant(name="128 samples", plan={"num_samples": 128}),
            Variant(name="long horizon, closest and stay", plan=LONG | {"cost": "reach", "noise_beta": 1.0}),
            Variant(name="… with white noise", plan=LONG | {"cost": "reach"}),
            Variant(name="long horizon, closest approach", plan=LONG | {"cost": "closest", "noise_beta": 1.0}),
            Variant(name="long horizon, summed distance", plan=LONG | {"cost": "summed", "noise_beta": 1.0}),
            Variant(name="long horizon, last distance", plan=LONG | {"cost": "last", "noise_beta": 1.0}),
        ),
    ),
    "training": Grid(
        preset="two-rooms",
        variants=(
            Variant(name="full"),
            Variant(name="no action blocks", train={"model.frame_skip": 1}),
            Variant(name="GRU predictor", train={"model.predictor": "gru"}),
            Variant(name="reference data", train={"data.recipe": "reference"}),
            Variant(name="time-centred terms added", train={"weights.centred": 1.0}),
            Variant(name="nonlinear inverse dynamics", train={"idm_layers": 2}),
            Variant(name="latent of 128", train={"model.latent_dim": 128}),
            Variant(name="no random actions for the critic", train={"policy.random_actions": 0}),
        ),
    ),
    "recipe": Grid(
        preset="two-rooms",
        timed=True,
        variants=(
            Variant(name="ours"),
            Variant(name="ours, the reference's search", plan=REFERENCE | {"horizon": 15, "replan_every": 2}),
            # On two cores 8 s a step: these are a quarter of an hour and two hours.
            Variant(name="EB-JEPA, equal time", preset="two-rooms-paper", train={"num_steps": 105}, plan=REFERENCE),
            Variant(name="EB-JEPA, equal frames", preset="two-rooms-paper", train={"num_steps": 882}, plan=REFERENCE),
        ),
    ),
}
"""Grids by name."""


@dataclass(frozen=True, kw_only=True)
class AblateConfig:
    """Measures what each piece of the method is worth."""

    name: tyro.conf.Positional[Literal["planning", "training", "recipe"]]
    """planning: variants of the search, with one checkpoint. training: a training run for each variant. recipe: this
    project's method beside that of EB-JEPA at equal time and at equal frames; hours."""
    policy: str = "two-rooms"
    """planning: the checkpoint."""
    only: tuple[str, ...] = ()
    """Only these variants, beside the full method."""
    seeds: tuple[int, ...] = (0,)
    """training: seeds of the runs."""
    num_steps: int | None = None
    """training: steps of the world model in each run; by default the preset's."""
    policy_steps: int | None = None
    """training: steps of actor and critic in each run; by default the preset's."""
    num_episodes: int = 500
    """Episodes of the validation manifest."""
    runs: Path = Path("runs")
    """Folder of the runs and of single evaluations."""
    output: Path | None = None
    """JSON file to write, by default benchmarks/results/ablation-NAME.json; a picture of that name goes beside it."""
    progress: bool = True
    """Whether to show progress bars and the table."""


def run(config: AblateConfig) -> dict[str, Any]:
    """Runs a grid, or what is missing of it.

    Returns:
        What was written to the JSON file.

    Raises:
        ValueError: If a variant is unknown.
    """
    grid = GRIDS[config.name]
    known = [variant.name for variant in grid.variants]
    for name in config.only:
        if name not in known:
            raise ValueError(f"only must be among {', '.join(map(repr, known))}, got {name!r}")
    chosen = [v for v in grid.variants if not config.only or v.name in config.only or v is grid.variants[0]]
    output = config.output or Path(f"benchmarks/results/ablation-{config.name}.json")
    rows: list[dict[str, Any]] = []
    content = {
        "grid": config.name,
        "manifest": VALIDATION,
        "num_episodes": config.num_episodes,
        "provenance": provenance.collect(),
        "rows": rows,
    }
    base: dict[int, EvalResult] = {}
    for variant in chosen:
        for seed in config.seeds if grid.preset else (0,):
            logger.info("%s, seed %d", variant.name, seed)
            policy, training = _checkpoint(config, grid, variant, seed)
            evaluation = _evaluate(config, policy, variant.plan)
            result = EvalResult.from_dict(evaluation["result"])
            base.setdefault(seed, result)
            row = {
                "variant": variant.name,
                "seed": seed,
                "preset": variant.preset or grid.preset,
                "changes": dict(variant.train) | dict(variant.plan),
                "training": training,
                "summary": evaluation["summary"],
                "latency": evaluation["latency"],
                "gain": asdict(compare(result, base[seed])),
            }
            if training and training["policy_steps"]:
                row["actor_alone"] = _evaluate(config, policy, {"planner": "policy"})["summary"]
            rows.append(row)
            _write(output, content)
    if config.progress:
        Console().print(_table(content))
        logger.info("written to %s", output)
    return content


def changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """A configuration with some fields changed, by dotted path.

    Raises:
        ValueError: If there is no such field.
    """
    for path, value in changes.items():
        first, _, rest = path.partition(".")
        known = [f.name for f in fields(config)] if is_dataclass(config) else []
        if first not in known:
            raise ValueError(f"field must be one of {', '.join(known)}, got {first!r}")
        new = changed(getattr(config, first), {rest: value}) if rest else value
        config = replace(config, **{first: new})
    return config


def markdown(path: Path) -> str:
    """A grid's rows as a Markdown table."""
    content = json.loads(path.read_text(encoding="utf-8"))
    grid = GRIDS[content["grid"]]
    heads = [*_cells(content["rows"][0], grid)]
    lines = ["| variant | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(heads)]
    lines += [f"| {_label(row, content)} | " + " | ".join(_cells(row, grid).values()) + " |" for row in content["rows"]]
    return "\n".join(lines) + "\n"


def _checkpoint(config: AblateConfig, grid: Grid, variant: Variant, seed: int) -> tuple[str, dict[str, Any] | None]:
    """The checkpoint that a variant plans with, trained if it must be, and how long that took."""
    if grid.preset is None:
        return config.policy, None
    # Variants that differ in the search alone share a run.
    first = next(v for v in grid.variants if (v.preset, v.train) == (variant.preset, variant.train))
    slug = "".join(c if c.isalnum() else "-" for c in first.name)
    folder = config.runs / f"ablate-{config.name}" / f"{slug}-seed{seed}"
    name = variant.preset or grid.preset
    changes: dict[str, Any] = {"seed": seed, "output": str(folder)}
    if variant.preset is None and config.num_steps is not None:
        changes["num_steps"] = config.num_steps
    if variant.preset is None and config.policy_steps is not None:
        changes["policy.num_steps"] = config.policy_steps
    run_config = changed(preset(name), dict(variant.train) | changes)
    fit(run_config, name=name)
    training = read_config(folder)["training"]
    return str(folder), {
        "steps": run_config.num_steps,
        "policy_steps": run_config.policy.num_steps,
        "frames": run_config.num_steps * run_config.data.batch_size * run_config.data.num_frames,
        "minutes": training["seconds"] / 60,
        "threads": training.get("threads"),
    }


def _evaluate(config: AblateConfig, policy: str, plan: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation, kept in a file of its own; read from there if it was run before."""
    evaluation = success.EvaluateConfig(
        policy=policy,
        manifest=VALIDATION,
        num_episodes=config.num_episodes,
        planner=changed(PlannerConfig(), plan),
        progress=False,
    )
    output = config.runs / "evaluate" / f"ablate-{config.name}-{success.fingerprint(evaluation)[:12]}.json"
    return success.run(replace(evaluation, output=output))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    _draw(content, path.with_suffix(".png"))


def _label(row: dict[str, Any], content: dict[str, Any]) -> str:
    several = len({other["seed"] for other in content["rows"]}) > 1
    return f"{row['variant']}, seed {row['seed']}" if several else row["variant"]


def _cells(row: dict[str, Any], grid: Grid) -> dict[str, str]:
    summary, gain, latency = row["summary"], row["gain"], row["latency"] or {}
    low, high = summary["final_success_interval"]
    cells = {
        "final success": f"{summary['final_success']:.1%} [{low:.1%}, {high:.1%}]",
        "difference": f"{gain['difference']:+.1%} [{gain['low']:+.1%}, {gain['high']:+.1%}]",
        "SPL": f"{summary['spl']:.3f}",
    }
    if grid.preset:
        cells["actor alone"] = f"{row['actor_alone']['final_success']:.1%}" if "actor_alone" in row else "–"
        cells["frames"] = f"{row['training']['frames'] / 1e6:.1f} M"
        if grid.timed:
            cells["minutes"] = f"{row['training']['minutes']:.1f}"
    else:
        cells["ms a step, p50 / p95"] = f"{latency['step_p50_ms']:.1f} / {latency['step_p95_ms']:.1f}"
    return cells


def _table(content: dict[str, Any]) -> Table:
    grid = GRIDS[content["grid"]]
    table = Table(title=f"ablation of {content['grid']} on {content['num_episodes']} {content['manifest']} episodes")
    table.add_column("variant")
    for name in _cells(content["rows"][0], grid):
        table.add_column(name, justify="right")
    for row in content["rows"]:
        table.add_row(_label(row, content), *_cells(row, grid).values())
    return table


def _draw(content: dict[str, Any], path: Path) -> None:
    """Final success of each row with its interval, the full method on top."""
    rows = content["rows"][::-1]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.32 * len(rows) + 1.1), dpi=150, facecolor=PAPER)
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for y, row in enumerate(rows):
            rate, (low, high) = row["summary"]["final_success"], row["summary"]["final_success_interval"]
            colour = AMBER if row["variant"] == content["rows"][0]["variant"] else BLUE
            axes.plot([100 * low, 100 * high], [y, y], color=colour, linewidth=2, solid_capstyle="round")
            axes.plot(100 * rate, y, "o", color=colour, markersize=5)
        axes.set_yticks(range(len(rows)), [_label(row, content) for row in rows])
        axes.set_xlabel(f"final success, % of {content['num_episodes']} {content['manifest']} episodes, 95 % intervals")
        axes.grid(axis="x", color=GRID)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        figure.tight_layout()
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", facecolor=PAPER)
