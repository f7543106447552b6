"""What was measured of a checkpoint: found in records of results by the hash of its weights."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.analysis.detection import MODEL
from benchmarks.records.store import WEIGHTS, Record, read_record
from envs.domain import domains
from worldmodel.planning import PLANNERS

Measured = tuple[float, Sequence[float] | None]
"""A share, and the interval that it lies in where that is known."""
OTHERWISE = ("grid", "appearance")
"""Parts of a key that tell of measurements under changed conditions, which no card shows."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured of a checkpoint on something.

    Attributes:
        task: What it was measured on, such as "two-rooms/random-wall".
        planner: How it planned; None where nothing is planned.
        count: How many of the unit.
        unit: Episodes, videos or images.
        shares: Name → share, and its interval.
    """

    task: str
    planner: str | None
    count: int
    unit: str
    shares: Mapping[str, Measured]


def find_figures(sha256: str, places: Sequence[Path]) -> list[Figure]:
    """What records say of weights; each task and planner once, what comparisons are made on first.

    Args:
        sha256: Hash of the weights, in hexadecimal.
        places: JSON files, and folders that are searched for such.

    Raises:
        ValueError: If a file that is named is no record of these weights.
        OSError: If it cannot be read.
    """
    found: dict[tuple[str, str | None], Figure] = {}
    for place in places:
        for path in sorted(place.rglob("*.json")) if place.is_dir() else [place]:
            if sha256 not in path.read_text(encoding="utf-8"):
                figure = None
            elif place.is_dir():
                figure = _try(path, sha256)
            else:
                figure = _figure(read_record(path), sha256)
            if figure is not None:
                found.setdefault((figure.task, figure.planner), figure)
            elif path == place:
                raise ValueError(f"{path} must be a record of what weights of the SHA-256 {sha256} reach")
    tasks = [f"{domain.name}/{manifest}" for domain in domains() for manifest in domain.compared_on]
    tasks += sorted({one.task for one in found.values()} - set(tasks))
    planners = [None, *PLANNERS]
    return sorted(found.values(), key=lambda one: (tasks.index(one.task), planners.index(one.planner)))


def _try(path: Path, sha256: str) -> Figure | None:
    """What a file says, which may be of anything: reports and lists lie beside records."""
    try:
        return _figure(read_record(path), sha256)
    except ValueError:
        return None


def _figure(record: Record, sha256: str) -> Figure | None:
    """What a record says of weights; None if it is of others, or of something else."""
    if record.config.get(WEIGHTS) != sha256 or not record.finished or any(part in record.key for part in OTHERWISE):
        return None
    return next((found for read in (_success, _detection, _probe) for found in read(record)), None)


def _success(record: Record) -> Iterator[Figure]:
    summary = record.facts.get("summary")
    if summary is not None and "environment" in record.key:
        task = f"{record.key['environment']}/{record.config['manifest']}"
        measures = {
            f"{domain.name}/{name}": found.measure for domain in domains() for name, found in domain.recipes.items()
        }
        first = measures.get(task, "final")
        yield Figure(
            task=task,
            planner=(record.config.get("planner") or {}).get("planner"),
            count=summary["num_episodes"],
            unit="episodes",
            shares={
                f"{name} success": (summary[f"{name}_success"], summary[f"{name}_success_interval"])
                for name in sorted(("final", "ever"), key=lambda name: name != first)
            },
        )


def _detection(record: Record) -> Iterator[Figure]:
    for row in record.rows if record.key.get("analysis") == "detection" else ():
        if row["policy"] == MODEL:
            yield Figure(
                task=f"moving-mnist, {record.key['videos']}",
                planner=None,
                count=record.config["num_videos"],
                unit="videos",
                shares={
                    "mean average precision": (row["reference_mean"], row["reference_interval"]),
                    "mean average precision, true positions": (row["strict_mean"], None),
                },
            )


def _probe(record: Record) -> Iterator[Figure]:
    if record.key.get("analysis") == "image probe" and not record.key["untrained"]:
        facts = record.facts
        names = {"accuracy, linear probe": "linear", "accuracy, nearest neighbours": "knn"}
        yield Figure(
            task=record.config["images"],
            planner=None,
            count=facts["num_test"],
            unit="images",
            shares={name: (facts[key]["accuracy"], facts[key]["interval"]) for name, key in names.items()},
        )
