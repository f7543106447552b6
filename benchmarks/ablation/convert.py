"""``python -m benchmarks.ablation.convert`` turns older results of ablations, tuning and analyses into records, once.

All figures and their provenance are kept. What older files did not say is not in a record's config, so that such a
record never passes for one of today's settings.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from benchmarks.ablation.ablate import SETTINGS, report_rows, write_report
from benchmarks.ablation.grids import GRIDS
from benchmarks.comparison import tune
from benchmarks.records.provenance import ROOT
from benchmarks.records.store import WEIGHTS, Record, Store, write_record
from envs.domain import VALIDATION, domains
from worldmodel.config import config
from worldmodel.storage.files import read_json

ENVIRONMENT = domains()[0].name
"""The one environment that older results are of."""
OF_EPISODES = {"environment": ENVIRONMENT, "manifest": VALIDATION, "policy": ENVIRONMENT}
Content = dict[str, Any]


def ablation(path: Path, content: Content) -> None:
    """A report becomes a record for each variant and seed, and a report on them."""
    grid = GRIDS[content["grid"]]
    traits = {variant.name: dict(variant.traits) for variant in grid.variants}
    settings = {name: content[name] for name in SETTINGS if name in content}
    if grid.measured == "success":
        settings["manifest"] = f"{ENVIRONMENT}/{content['manifest']}"
    records = []
    for row in content["rows"]:
        named = {name: row[name] for name in ("variant", "seed")}
        facts = {name: row[name] for name in row if name not in (*named, "outcomes", "provenance")}
        facts |= {"reduced": row.get("reduced", {}), "traits": traits[row["variant"]]}
        told = {name: facts[name] for name in ("preset", "changes", "reduced")}
        outcomes = [outcome == "1" for outcome in row.get("outcomes", "")]
        records.append(
            Record(
                key={"grid": content["grid"], **named},
                config={"measured": grid.measured, **settings, **told, WEIGHTS: None},
                provenance=row.get("provenance", content["provenance"]),
                rows=tuple({"index": index, "final_success": success} for index, success in enumerate(outcomes)),
                facts=facts,
            )
        )
        Store(path.with_suffix("")).save(records[-1])
    report = {name: content[name] for name in content if name != "manifest"} | settings
    write_report(path, report | {"rows": report_rows(grid, records)})


def tuning(path: Path, content: Content) -> None:
    """A table of candidates becomes a folder with a record for each."""
    for row in content["rows"]:
        summary = ("final_success", "final_success_interval", "ever_success", "spl")
        record = Record(
            key={
                "environment": ENVIRONMENT,
                "contender": content["contender"],
                "candidate": tune.describe(row["changes"]),
                "seed": content["seed"],
            },
            config={
                "manifest": VALIDATION,
                "num_episodes": content["num_episodes"],
                "training": {"minutes": content["minutes"]},
                WEIGHTS: None,
            },
            provenance=row["provenance"],
            facts={
                "changes": row["changes"],
                "summary": {name: row[name] for name in summary},
                "training": {name: row[name] for name in ("minutes", "env_steps")},
            },
        )
        Store(path.with_suffix("")).save(record)
    path.unlink()


def latency(path: Path, content: Content) -> None:
    """Success against latency."""
    decides = {"num_episodes": content["num_episodes"]}
    _write(path, content, OF_EPISODES | {"analysis": "latency"}, decides, content["rows"], {})


def attribution(path: Path, content: Content) -> None:
    """Whose fault failures are."""
    decides = {name: content[name] for name in ("manifest_hash", "planner")}
    rows = [{"variant": name, **row} for name, row in content["variants"].items()]
    facts = {"failures": content["failures"]}
    _write(path, content, OF_EPISODES | {"analysis": "attribution"}, decides, rows, facts)


def speed(path: Path, content: Content) -> None:
    """Speed of environment, data, training and planning."""
    key = {"analysis": "speed", "environment": ENVIRONMENT, "policy": ENVIRONMENT}
    rows = [{"what": name, **figure} for name, figure in content["figures"].items()]
    _write(path, content, key, {}, rows, {"latency": content["latency"]})


def detection(path: Path, content: Content) -> None:
    """Digits found in rollouts."""
    decides = {name: content[name] for name in ("horizons", "num_videos")}
    rows = [{"forecast": name, **row} for name, row in content["rows"].items()]
    key = {"analysis": "detection", "policy": path.stem}
    _write(path, content, key, decides, rows, {"training": content["training"]})


def _write(path: Path, content: Content, key: Content, decides: Content, rows: list[Any], facts: Content) -> None:
    provenance = content["provenance"]
    decides[WEIGHTS] = provenance["checkpoint_hash"]
    write_record(path, Record(key=key, config=decides, provenance=provenance, rows=tuple(rows), facts=facts))


FILES: dict[str, Callable[[Path, Content], None]] = {
    "ablation-*.json": ablation,
    "tune/*.json": tuning,
    "latency.json": latency,
    "attribution.json": attribution,
    "speed.json": speed,
    "moving-mnist*.json": detection,
}
"""Which files hold what, and how it becomes records."""


@config
class ConvertConfig:
    """Turns older results of ablations, tuning and analyses into records."""

    folder: Path = ROOT / "benchmarks" / "results"
    """Where the results lie."""


def run(config: ConvertConfig) -> list[Path]:
    """Converts what is of an older form; returns these files."""
    done = []
    for pattern, convert in FILES.items():
        for path in sorted(config.folder.glob(pattern)):
            content = read_json(path)
            if not _is_converted(content):
                convert(path, content)
                done.append(path)
    return done


def _is_converted(content: Content) -> bool:
    """Whether a file is a record, or a report on records."""
    rows = content.get("rows")
    return "facts" in content or (isinstance(rows, list) and all("traits" in row for row in rows))


if __name__ == "__main__":
    for path in run(tyro.cli(ConvertConfig)):
        Console().print(f"converted {path}")
