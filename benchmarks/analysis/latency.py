"""``worldmodel latency``: success against planning latency, one environment at a time.

Searches are given a budget of milliseconds a replan, after which they begin no further iteration; the actor alone needs
one forward pass. Plans under a budget depend on the machine and on what else runs on it: run this on a quiet one.
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from agents.world_model.config import PlannerConfig
from benchmarks.ablation.grids import LONG
from benchmarks.evaluation import success
from benchmarks.evaluation.manifests import VALIDATION
from benchmarks.evaluation.policies import open_checkpoint
from benchmarks.films.drawing import AMBER, BLUE, GREEN, GRID, INK, MUTED, PAPER, STYLE, VIOLET
from benchmarks.records import provenance
from worldmodel.config import Count, Positive, changed, config
from worldmodel.storage.files import replacing, write_json

logger = logging.getLogger(__name__)

MANY_ITERATIONS = 100
"""Iterations that a search may take: more than any budget here allows."""
ACTOR = "the actor alone"
"""Name of the curve of the amortised policy: a point."""
COLOURS = {"MPPI": BLUE, "CEM": GREEN, "iCEM": VIOLET, ACTOR: AMBER, "MPPI without actor and critic": MUTED}
"""Colours of the curves, by their names."""


@config
class LatencyConfig:
    """Draws success against planning latency."""

    policy: tyro.conf.Positional[str] = "two-rooms"
    """Directory of a checkpoint, or name of a shipped one."""
    budgets_ms: tuple[Positive, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    """Budgets of a replan, in milliseconds."""
    long_budgets_ms: tuple[Positive, ...] = (16.0, 64.0)
    """Budgets of the search without actor and critic, which looks further ahead."""
    num_episodes: Count = 100
    """Episodes of the validation manifest."""
    runs: Path = Path("runs")
    """Folder of single evaluations; those that are there already are not run again."""
    output: Path = Path("benchmarks/results/latency.json")
    """JSON file to write; the picture goes beside it."""


def run(config: LatencyConfig) -> dict[str, Any]:
    """Measures every planner at every budget, or what is missing of it.

    Returns:
        What was written to the JSON file.

    Raises:
        ValueError: If the policy is no checkpoint.
    """
    pretrained = open_checkpoint(config.policy)
    if pretrained is None:
        raise ValueError(f"policy must be a checkpoint, got {config.policy!r}")
    rows: list[dict[str, Any]] = []
    content = {
        "manifest": VALIDATION,
        "num_episodes": config.num_episodes,
        "provenance": provenance.collect(pretrained.sha256),
        "rows": rows,
    }
    for curve, budget, planner in settings(config):
        logger.info("%s, %s", curve, "no budget" if budget is None else f"{budget:g} ms")
        evaluation = success.EvaluateConfig(
            policy=config.policy,
            manifest=VALIDATION,
            num_episodes=config.num_episodes,
            num_envs=1,
            planner=planner,
            latency_episodes=0,
            progress=False,
        )
        output = config.runs / "evaluate" / f"latency-{success.fingerprint(evaluation)[:12]}.json"
        summary = success.run(replace(evaluation, output=output))["summary"]
        rows.append({"curve": curve, "budget_ms": budget, "planner": asdict(planner), "summary": summary})
        write_json(config.output, content)
        _draw(content, config.output.with_suffix(".png"))
    return content


def settings(config: LatencyConfig) -> Iterator[tuple[str, float | None, PlannerConfig]]:
    """Each curve's name, budget and planner."""
    yield ACTOR, None, PlannerConfig(planner="policy")
    for name, kind in (("MPPI", "mppi"), ("CEM", "cem"), ("iCEM", "icem")):
        for budget in config.budgets_ms:
            plan = {"planner": kind, "budget_ms": budget, "num_iterations": MANY_ITERATIONS}
            yield name, budget, changed(PlannerConfig(), plan)
    for budget in config.long_budgets_ms:
        plan = LONG | {"cost": "reach", "noise_beta": 1.0, "budget_ms": budget, "num_iterations": MANY_ITERATIONS}
        yield "MPPI without actor and critic", budget, changed(PlannerConfig(), plan)


def _draw(content: dict[str, Any], path: Path) -> None:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.2), dpi=150, facecolor=PAPER)
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for curve, colour in COLOURS.items():
            rows = [row["summary"] for row in content["rows"] if row["curve"] == curve]
            if not rows:
                continue
            x = [row["step_p95_ms"] for row in rows]
            y = [100 * row["final_success"] for row in rows]
            ends = [[100 * end for end in row["final_success_interval"]] for row in rows]
            errors = [
                [max(0.0, v - e[0]) for v, e in zip(y, ends, strict=True)],
                [max(0.0, e[1] - v) for v, e in zip(y, ends, strict=True)],
            ]
            marker = "*" if curve == ACTOR else "o"
            axes.errorbar(
                x, y, errors, color=colour, marker=marker, markersize=11 if curve == ACTOR else 5,
                linewidth=1.6, elinewidth=1, capsize=2, label=curve,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("ms of planning for each environment step (95th percentile)")
        axes.set_ylabel(f"final success, % of {content['num_episodes']} episodes")
        axes.set_title("Success against latency, one environment, CPU", color=INK, fontsize=11)
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower right")
        figure.tight_layout()
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", facecolor=PAPER)
