"""What tells how good a variant of an ablation is, how its figures stand in a table, and what of them is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from agents.evaluation.results import EvalResult
from agents.evaluation.statistics import compare_paired
from agents.world_model.config import PlannerConfig
from benchmarks.ablation.grids import Variant
from benchmarks.analysis import detection, image_probe
from benchmarks.evaluation import success
from benchmarks.evaluation.manifests import VALIDATION
from worldmodel.config import changed

Row = dict[str, Any]
"""A variant's figures for one seed, as they stand in the JSON file."""


class Budget(NamedTuple):
    """How much is measured of each variant.

    Attributes:
        num_episodes: Episodes of the validation manifest.
        num_videos: Videos.
        runs: Folder of single evaluations, which are not run twice.
    """

    num_episodes: int
    num_videos: int
    runs: Path


class Measure(NamedTuple):
    """One way of telling how good a variant is.

    Attributes:
        measure: From a checkpoint, a variant and a budget to figures for the row, in JSON types; "weights" is the hash
            of what was measured.
        against: Figures of a row that need the full method's row of the same seed: from the two rows.
        cells: A row's cells of the table, by their headings.
        estimate: What is drawn: value and interval, in percent.
        axis: What that is.
    """

    measure: Callable[[str, Variant, Budget], Row]
    against: Callable[[Row, Row], Row]
    cells: Callable[[Row], dict[str, str]]
    estimate: Callable[[Row], tuple[float, float, float]]
    axis: str


def _measure_success(checkpoint: str, variant: Variant, budget: Budget) -> Row:
    evaluation = _evaluate(checkpoint, variant.plan, budget)
    row = {key: evaluation[key] for key in ("summary", "latency")}
    row["weights"] = evaluation["provenance"]["checkpoint_hash"]
    successes = EvalResult.from_dict(evaluation["result"]).successes()
    row["outcomes"] = "".join("1" if success else "0" for success in successes)
    if variant.actor_alone:
        row["actor_alone"] = _evaluate(checkpoint, {"planner": "policy"}, budget)["summary"]
    return row


def _evaluate(checkpoint: str, plan: Mapping[str, Any], budget: Budget) -> Row:
    """An evaluation, kept in a file of its own; read from there if it was run before."""
    evaluation = success.EvaluateConfig(
        policy=checkpoint,
        manifest=VALIDATION,
        num_episodes=budget.num_episodes,
        planner=changed(PlannerConfig(), plan),
        progress=False,
    )
    output = budget.runs / "evaluate" / f"ablate-{success.fingerprint(evaluation)[:12]}.json"
    return success.run(replace(evaluation, output=output))


def _paired(row: Row, full: Row) -> Row:
    """The difference to the full method on the same episodes."""
    first, second = ([outcome == "1" for outcome in one["outcomes"]] for one in (row, full))
    return {"gain": asdict(compare_paired(first, second))}


def _success_cells(row: Row) -> dict[str, str]:
    summary, gain, latency = row["summary"], row["gain"], row["latency"] or {}
    low, high = summary["final_success_interval"]
    cells = {
        "final success": f"{summary['final_success']:.1%} [{low:.1%}, {high:.1%}]",
        "difference": f"{gain['difference']:+.1%} [{gain['low']:+.1%}, {gain['high']:+.1%}]",
        "SPL": f"{summary['spl']:.3f}",
    }
    if row["training"]:
        cells["actor alone"] = f"{row['actor_alone']['final_success']:.1%}" if "actor_alone" in row else "–"
    else:
        cells["ms a step, p50 / p95"] = f"{latency['step_p50_ms']:.1f} / {latency['step_p95_ms']:.1f}"
    return cells


def _success_estimate(row: Row) -> tuple[float, float, float]:
    low, high = row["summary"]["final_success_interval"]
    return 100 * row["summary"]["final_success"], 100 * low, 100 * high


def _measure_detection(checkpoint: str, variant: Variant, budget: Budget) -> Row:
    output = Path(checkpoint) / "detection.json"
    config = detection.DetectConfig(
        checkpoint=checkpoint, num_videos=budget.num_videos, shown=0, output=output, progress=False
    )
    measured = detection.run(config)
    return {"detection": measured["rows"], "weights": measured["provenance"]["checkpoint_hash"]}


def _detection_cells(row: Row) -> dict[str, str]:
    rolled, copied = (row["detection"][name] for name in (detection.MODEL, detection.COPIED))
    low, high = rolled["reference_interval"]
    return {
        "mAP": f"{rolled['reference_mean']:.3f} [{low:.3f}, {high:.3f}]",
        "AP_1": f"{rolled['reference'][0]:.3f}",
        f"AP_{len(rolled['reference'])}": f"{rolled['reference'][-1]:.3f}",
        "mAP, true centres": f"{rolled['strict_mean']:.3f}",
        "mAP, last latent copied": f"{copied['reference_mean']:.3f}",
    }


def _detection_estimate(row: Row) -> tuple[float, float, float]:
    rolled = row["detection"][detection.MODEL]
    low, high = rolled["reference_interval"]
    return 100 * rolled["reference_mean"], 100 * low, 100 * high


def _measure_probe(checkpoint: str, variant: Variant, budget: Budget) -> Row:
    config = image_probe.ProbeConfig(checkpoint=Path(checkpoint), untrained=variant.untrained, progress=False)
    measured = image_probe.run(config)
    row = {key: measured[key] for key in ("images", "linear", "knn", "effective_rank")}
    return row | {"weights": measured["provenance"]["checkpoint_hash"]}


def _probe_cells(row: Row) -> dict[str, str]:
    low, high = row["linear"]["interval"]
    return {
        "linear probe": f"{row['linear']['accuracy']:.2%} [{low:.2%}, {high:.2%}]",
        "nearest neighbours": f"{row['knn']['accuracy']:.2%}",
        "effective rank": f"{row['effective_rank']:.0f}",
    }


def _probe_estimate(row: Row) -> tuple[float, float, float]:
    low, high = row["linear"]["interval"]
    return 100 * row["linear"]["accuracy"], 100 * low, 100 * high


MEASURES = {
    "success": Measure(
        _measure_success, _paired, _success_cells, _success_estimate, "final success, % of validation episodes"
    ),
    "detection": Measure(
        _measure_detection,
        lambda row, full: {},
        _detection_cells,
        _detection_estimate,
        "mAP of digits found in rollouts, % (drawn cells, EB-JEPA's protocol)",
    ),
    "probe": Measure(
        _measure_probe,
        lambda row, full: {},
        _probe_cells,
        _probe_estimate,
        "accuracy of a linear probe, % of test images",
    ),
}
"""Measures by name."""
