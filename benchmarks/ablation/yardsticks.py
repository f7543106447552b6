"""What tells how good a variant of an ablation is, how its figures stand in a table, and what of them is drawn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from agents.evaluation.statistics import compare_paired
from agents.world_model.config import PlannerConfig
from benchmarks.ablation.grids import Variant
from benchmarks.analysis import detection
from benchmarks.evaluation import success
from benchmarks.records.store import Record
from benchmarks.records.tables import gain, number, percent, quantiles
from worldmodel.config import changed

Figures = Mapping[str, Any]
"""What was measured of a variant with one seed, as it stands in the report."""


class Budget(NamedTuple):
    """How much is measured of each variant.

    Attributes:
        manifest: Which episodes are played.
        num_episodes: How many of them.
        num_videos: Videos.
        folder: Where single evaluations are written, so that they can be continued.
        overwrite: Whether to start these anew.
    """

    manifest: str
    num_episodes: int
    num_videos: int
    folder: Path
    overwrite: bool = False


class Yardstick(NamedTuple):
    """One way of telling how good a variant is.

    Attributes:
        measure: From a checkpoint, a variant and a budget to a record, whose facts are the variant's figures.
        cells: Figures as cells of the table, by their headings.
        estimate: What is drawn: a share and its interval.
        axis: Its name.
        against: Figures that need the full method's record of the same seed: from the two records.
    """

    measure: Callable[[str, Variant, Budget], Record]
    cells: Callable[[Figures], dict[str, str]]
    estimate: Callable[[Figures], tuple[float, Sequence[float]]]
    axis: str
    against: Callable[[Record, Record], Figures] = lambda record, full: {}


def _measure_success(checkpoint: str, variant: Variant, budget: Budget) -> Record:
    record = _evaluate(checkpoint, variant.plan, budget, "search")
    facts = {key: record.facts[key] for key in ("summary", "latency")}
    if variant.actor_alone:
        facts["actor_alone"] = _evaluate(checkpoint, {"planner": "policy"}, budget, "actor").facts["summary"]
    return replace(record, facts=facts)


def _evaluate(checkpoint: str, plan: Mapping[str, Any], budget: Budget, name: str) -> Record:
    return success.run(
        success.EvaluateConfig(
            policy=checkpoint,
            manifest=budget.manifest,
            num_episodes=budget.num_episodes,
            planner=changed(PlannerConfig(), plan),
            output=budget.folder / f"{name}.json",
            overwrite=budget.overwrite,
            progress=False,
        )
    )


def _paired(record: Record, full: Record) -> Figures:
    """The difference to the full method on the same episodes."""
    first, second = ([row["final_success"] for row in one.rows] for one in (record, full))
    return {"gain": asdict(compare_paired(first, second))}


def _success_cells(figures: Figures) -> dict[str, str]:
    summary = figures["summary"]
    cells = {
        "final success": percent(summary["final_success"], summary["final_success_interval"]),
        "difference": gain(figures.get("gain")),
        "SPL": number(summary["spl"], 3),
    }
    if not figures["training"]:
        return cells | {"ms a step, p50 / p95": quantiles(figures["latency"], "step")}
    return cells | {"actor alone": percent(figures.get("actor_alone", {}).get("final_success"))}


def _measure_detection(checkpoint: str, variant: Variant, budget: Budget) -> Record:
    record = detection.run(
        detection.DetectConfig(
            checkpoint=checkpoint,
            num_videos=budget.num_videos,
            shown=0,
            output=Path(checkpoint) / "detection.json",
            progress=False,
        )
    )
    rows = [dict(row) for row in record.rows]
    return replace(record, rows=(), facts={"detection": {row.pop("policy"): row for row in rows}})


def _detection_cells(figures: Figures) -> dict[str, str]:
    rolled, copied = (figures["detection"][name] for name in (detection.MODEL, detection.COPIED))
    low, high = rolled["reference_interval"]
    return {
        "mAP": f"{rolled['reference_mean']:.3f} [{low:.3f}, {high:.3f}]",
        "AP_1": number(rolled["reference"][0], 3),
        f"AP_{len(rolled['reference'])}": number(rolled["reference"][-1], 3),
        "mAP, true centres": number(rolled["strict_mean"], 3),
        "mAP, last latent copied": number(copied["reference_mean"], 3),
    }


def _measure_probe(checkpoint: str, variant: Variant, budget: Budget) -> Record:
    from benchmarks.analysis import image_probe  # of the extra "images"

    config = image_probe.ProbeConfig(checkpoint=checkpoint, untrained=variant.untrained, progress=False)
    record = image_probe.run(config)
    facts = {key: record.facts[key] for key in ("linear", "knn", "effective_rank")}
    return replace(record, facts={"images": record.config["images"]} | facts)


def _probe_cells(figures: Figures) -> dict[str, str]:
    return {
        "linear probe": percent(figures["linear"]["accuracy"], figures["linear"]["interval"], digits=2),
        "nearest neighbours": percent(figures["knn"]["accuracy"], digits=2),
        "effective rank": number(figures["effective_rank"], 0),
    }


YARDSTICKS = {
    "success": Yardstick(
        _measure_success,
        _success_cells,
        lambda figures: (figures["summary"]["final_success"], figures["summary"]["final_success_interval"]),
        "final success, % of validation episodes",
        _paired,
    ),
    "detection": Yardstick(
        _measure_detection,
        _detection_cells,
        lambda figures: (
            figures["detection"][detection.MODEL]["reference_mean"],
            figures["detection"][detection.MODEL]["reference_interval"],
        ),
        "mAP of digits found in rollouts, % (drawn cells, EB-JEPA's protocol)",
    ),
    "probe": Yardstick(
        _measure_probe,
        _probe_cells,
        lambda figures: (figures["linear"]["accuracy"], figures["linear"]["interval"]),
        "accuracy of a linear probe, % of test images",
    ),
}
"""By the names of what grids measure."""
