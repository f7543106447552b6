"""``worldmodel latency``: success against planning latency, one environment at a time.

Searches are given a budget of milliseconds a replan, after which they begin no further iteration; the actor alone needs
one forward pass. Plans under a budget depend on the machine and on what else runs on it: run this on a quiet one.
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import tyro

from agents.saved import open_checkpoint
from agents.world_model.config import LONG, PlannerConfig
from benchmarks.evaluation import success
from benchmarks.evaluation.manifests import find_manifest, load_manifest
from benchmarks.records.plots import AMBER, BLUE, GREEN, INK, MUTED, VIOLET, percent_bars, picture, tidy
from benchmarks.records.store import WEIGHTS, Record, find, fingerprint, new_record, plain, write_record
from envs.domain import VALIDATION
from pretrain.presets import DEFAULT
from worldmodel.config import Count, Positive, changed, command, config
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

MANY_ITERATIONS = 100
"""Iterations that a search may take: more than any budget here allows."""
ACTOR, LONG_SEARCH = "the actor alone", "MPPI without actor and critic"
"""Names of the curve of the learned actor, a point, and of the search that looks further ahead."""
COLOURS = {"MPPI": BLUE, "CEM": GREEN, "iCEM": VIOLET, ACTOR: AMBER, LONG_SEARCH: MUTED}
"""Colours of the curves, by their names."""


@config
class LatencyConfig:
    """Draws success against planning latency."""

    policy: tyro.conf.Positional[str] = DEFAULT
    """Directory of a checkpoint, or name of a shipped one."""
    manifest: str = VALIDATION
    """Episodes."""
    budgets_ms: tuple[Positive, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    """Budgets of a replan, in milliseconds."""
    long_budgets_ms: tuple[Positive, ...] = (16.0, 64.0)
    """Budgets of the search without actor and critic, which looks further ahead."""
    num_episodes: Count = 100
    """How many episodes, the first of the manifest."""
    runs: Path = Path("runs")
    """Folder of single evaluations, which the same command continues."""
    output: Path = Path("benchmarks/results/latency.json")
    """JSON file to write; the picture goes beside it."""
    overwrite: bool = False
    """Start anew even if the file holds a measurement already."""


def run(config: LatencyConfig) -> Record:
    """Measures every planner at every budget, or what is missing of it.

    Returns:
        The record: a row for each planner and budget.

    Raises:
        ValueError: If the policy is no checkpoint, or the file holds a measurement of other settings.
    """
    pretrained = open_checkpoint(config.policy)
    domain, manifest = find_manifest(config.manifest)
    record = new_record(
        {
            "analysis": "latency",
            "environment": domain.name,
            "manifest": manifest,
            "policy": Path(config.policy).name,
        },
        {
            "manifest_hash": load_manifest(config.manifest).hash,
            **{name: getattr(config, name) for name in ("num_episodes", "budgets_ms", "long_budgets_ms")},
            WEIGHTS: pretrained.sha256,
        },
        finished=False,
    )
    with locked(config.output, "measurement", is_file=True):
        if not config.overwrite:
            record = find(config.output, record.key, record.config) or record
        return _fill(config, record)


main = command(LatencyConfig, run, "latency")


def settings(config: LatencyConfig) -> Iterator[tuple[str, float | None, PlannerConfig]]:
    """Each curve's name, budget and planner."""
    yield ACTOR, None, PlannerConfig(planner="policy")
    for name, kind in (("MPPI", "mppi"), ("CEM", "cem"), ("iCEM", "icem")):
        for budget in config.budgets_ms:
            plan = {"planner": kind, "budget_ms": budget, "num_iterations": MANY_ITERATIONS}
            yield name, budget, changed(PlannerConfig(), plan)
    for budget in config.long_budgets_ms:
        plan = LONG | {"cost": "reach", "noise_beta": 1.0, "budget_ms": budget, "num_iterations": MANY_ITERATIONS}
        yield LONG_SEARCH, budget, changed(PlannerConfig(), plan)


def _fill(config: LatencyConfig, record: Record) -> Record:
    """Measures what a record lacks."""
    asked = list(settings(config))
    for curve, budget, planner in asked[len(record.rows) :]:
        logger.info("%s, %s", curve, "no budget" if budget is None else f"{budget:g} ms")
        mark = fingerprint(record.key, {**record.config, "planner": asdict(planner)})[:12]
        evaluation = success.EvaluateConfig(
            policy=config.policy,
            manifest=config.manifest,
            num_episodes=config.num_episodes,
            num_envs=1,
            planner=planner,
            latency_episodes=0,
            output=config.runs / "evaluate" / f"latency-{mark}.json",
            overwrite=config.overwrite,
            progress=False,
        )
        summary = success.run(evaluation).facts["summary"]
        row = plain({"curve": curve, "budget_ms": budget, "planner": asdict(planner), "summary": summary})
        rows = (*record.rows, row)
        record = replace(record, rows=rows, finished=len(rows) == len(asked))
        write_record(config.output, record)
        _draw(record, config.output.with_suffix(".png"))
    return record


def _draw(record: Record, path: Path) -> None:
    with picture(path, 7.2, 4.2) as figure:
        axes = figure.add_subplot()
        for curve, colour in COLOURS.items():
            summaries = [row["summary"] for row in record.rows if row["curve"] == curve]
            if not summaries:
                continue
            x = [summary["step_p95_ms"] for summary in summaries]
            rates, ends = zip(*((s["final_success"], s["final_success_interval"]) for s in summaries), strict=True)
            y, errors = percent_bars(rates, ends)
            marker, size = ("*", 11) if curve == ACTOR else ("o", 5)
            axes.errorbar(
                x, y, errors, color=colour, marker=marker, markersize=size, linewidth=1.6, elinewidth=1, capsize=2,
                label=curve,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("ms of planning for each environment step (95th percentile)")
        axes.set_ylabel(f"final success, % of {record.config['num_episodes']} episodes")
        axes.set_title("Success against latency, one environment, CPU", color=INK, fontsize=11)
        tidy(axes)
        axes.legend(frameon=False, loc="lower right")
        figure.tight_layout()
