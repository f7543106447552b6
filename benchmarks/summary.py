"""All published success rates in one flat list, ``benchmarks/results/summary.json``, for whoever compares with them.

``python -m benchmarks.readme`` writes it from the store, beside README.md and docs/results.md.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.saved import SCRIPTED
from benchmarks.analysis import detection
from benchmarks.evaluation.appearance import AS_IT_IS
from benchmarks.records.provenance import RESULTS
from benchmarks.records.store import Record, Store, read_record
from pretrain.presets import preset

SUMMARY = "benchmarks/results/summary.json"
"""Its place in the project."""
SEEN = "seen"
"""The folder of evaluations in an environment that nobody registered here."""
VIDEO = "video"
"""The folder of what Video-JEPA reaches."""

Row = dict[str, Any]


def rows(results: Path = RESULTS) -> list[Row]:
    """A row for each evaluation that is published.

    Args:
        results: Where the records are.

    Returns:
        Rows with ``environment`` (its name here), ``manifest``, ``policy``, ``encoder`` (None where none is trained),
        ``seed`` (of the training), ``episodes``, ``final`` (success rate after the last step)
        with its interval ``low`` to ``high``, ``ever`` (success rate at any step), ``train_minutes``, ``env_steps`` (of
        the training; None where nothing was trained) and ``ms_per_step_p95``. Sorted by the first five. Then those of
        Video-JEPA (:func:`benchmarks.analysis.detection.summary_rows`).
    """
    found = [*_compared(results), *_headlines(results), *_shifted(results), *_seen(results), *_scripted(results)]
    videos = [dict(row) for record in Store(results / VIDEO).records() for row in detection.summary_rows(record)]
    return [*sorted(found, key=lambda row: [str(row[name]) for name in list(row)[:5]]), *videos]


def _compared(results: Path) -> Iterator[Row]:
    for record in Store(results / "compare").records():
        yield _row(record, record.key["contender"], record.config.get("training") or {})


def _headlines(results: Path) -> Iterator[Row]:
    for record in Store(results / "headline").records():
        recipe = f", {record.key['recipe']}" if record.key["recipe"] else ""
        yield _row(record, f"jepa-{record.key['planner']}{recipe}", asdict(preset(record.key["preset"])))


def _shifted(results: Path) -> Iterator[Row]:
    for record in Store(results / "appearance").records():
        key = record.key
        policy = f"jepa-{key['planner']}, {key['policy']}, {key['appearance'] or AS_IT_IS}"
        yield _row(record, policy, record.facts)


def _seen(results: Path) -> Iterator[Row]:
    for record in Store(results / SEEN).records():
        planner = record.key["planner"]
        yield _row(record, f"jepa-{planner}" if planner else record.key["policy"], record.facts)


def _scripted(results: Path) -> Iterator[Row]:
    for path in sorted(results.glob("*-*.json")):
        if path.name.startswith(SCRIPTED):
            record = read_record(path)
            yield _row(record, record.key["policy"], {})


def _encoder(training: Mapping[str, Any]) -> str | None:
    """The encoder that was trained, from the settings of a training: of a model, of an offline method, or of RL."""
    for part in ("model", "method"):
        if part in training:
            return training[part]["encoder"]
    return training.get("encoder") if training.get("observation") == "pixels" else None


def _row(record: Record, policy: str, settings: Mapping[str, Any]) -> Row:
    summary, training = record.facts["summary"], record.facts.get("training") or {}
    low, high = summary["final_success_interval"]
    minutes = training["seconds"] / 60 if "seconds" in training else training.get("minutes")
    return {
        "environment": record.key["environment"],
        "manifest": record.key["manifest"],
        "policy": policy,
        "encoder": _encoder(settings),
        "seed": record.key.get("seed"),
        "episodes": summary["num_episodes"],
        "final": summary["final_success"],
        "low": round(low, 4),
        "high": round(high, 4),
        "ever": summary["ever_success"],
        "train_minutes": None if minutes is None else round(minutes, 2),
        "env_steps": training.get("env_steps"),
        "ms_per_step_p95": round((record.facts.get("latency") or summary)["step_p95_ms"], 3),
    }
