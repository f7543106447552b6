"""``python -m benchmarks.convert`` turns results of older versions into records, with their provenance kept.

Files that are records already stay as they are. A kind of file is a line of :data:`CONVERSIONS`: where such files lie,
and the function that makes records of one.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import tyro

from agents.evaluation.results import SETTINGS, EvalResult
from agents.world_model.config import PlannerConfig
from benchmarks.comparison import training
from benchmarks.comparison.contenders import CONTENDERS
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.evaluation.success import MEASURED
from benchmarks.records.provenance import ROOT
from benchmarks.records.store import PARTS, WEIGHTS, Record, Store, plain, write_record
from envs.domain import Domain, domain_of
from pretrain.presets import DEFAULT
from worldmodel.config import config
from worldmodel.storage.files import read_json

logger = logging.getLogger(__name__)

Content = Mapping[str, Any]
Converted = Iterator[tuple[Path, Record]]
"""Where each record goes, and the record."""
MINUTES = 15.0
"""The budget of the comparisons that were published before there were records."""


def convert_headline(path: Path, content: Content) -> Converted:
    """An evaluation of a checkpoint of several seeds."""
    domain = domain_of(content["env_id"])
    recipes = domain.simulation().recipes
    # Only the folder's name told how the trajectories were drawn.
    recipe = next((one for one in recipes if one in content["policy"]), recipes[0])
    trained = {"preset": DEFAULT, "recipe": recipe, "seed": content["training"]["seed"]}
    planner = content["config"]["planner"]["planner"]
    key = {"environment": domain.name, **trained, "manifest": content["manifest"], "planner": planner}
    record = _evaluation(content, domain, key, {"training": trained}, {"training": content["training"]})
    yield Store(path.parent).path(key), record


def convert_compared(path: Path, content: Content) -> Converted:
    """An evaluation of the comparison. How a contender is trained was not stored: it is as now."""
    domain = domain_of(content["env_id"])
    contender, seed = CONTENDERS[domain.name][content["contender"]], content["training_seed"]
    minutes = MINUTES if contender.run else None
    key = {"environment": domain.name, "contender": contender.name, "minutes": minutes, "seed": seed}
    key["manifest"] = content["manifest"]
    settings = {}
    if contender.run:
        settings = {"training": {"minutes": MINUTES * contender.budgets, **training.settings(contender, seed)}}
    yield Store(path.parent).path(key), _evaluation(content, domain, key, settings, {"training": content["training"]})


def convert_scripted(path: Path, content: Content) -> Converted:
    """An evaluation of a scripted policy."""
    domain = domain_of(content["env_id"])
    key = {"environment": domain.name, "manifest": content["manifest"], "policy": content["policy"]}
    yield path, _evaluation(content, domain, {**key, "planner": None, WEIGHTS: None}, {}, {})


CONVERSIONS: tuple[tuple[str, Callable[[Path, Content], Converted]], ...] = (
    ("headline/*.json", convert_headline),
    ("compare/*.json", convert_compared),
    ("random-*.json", convert_scripted),
    ("expert-*.json", convert_scripted),
)
"""Where files of a kind lie below the folder of results, and what makes records of one."""


@config
class ConvertConfig:
    """Turns results of older versions into records, in their place."""

    results: Path = ROOT / "benchmarks" / "results"
    """The folder of results."""


def run(config: ConvertConfig) -> None:
    """Converts all files that are no records yet.

    Raises:
        ValueError: If a file is of no known kind.
    """
    for pattern, convert in CONVERSIONS:
        for path in sorted(config.results.glob(pattern)):
            content = read_json(path, "a result")
            if set(PARTS) <= set(content):
                continue
            written = []
            for place, record in convert(path, content):
                write_record(place, record)
                written.append(place)
            if path not in written:
                path.unlink()
            logger.info("%s → %s", path.name, ", ".join(place.name for place in written))


def _evaluation(content: Content, domain: Domain, key: Content, settings: Content, facts: Content) -> Record:
    """The record of an evaluation, with the rows, facts and provenance that the old file holds."""
    old = dict(content["result"])
    old["rows"] = [dict(zip(old["columns"], row, strict=True)) for row in old["rows"]]
    result = EvalResult.from_dict({name: old[name] for name in ("rows", *SETTINGS, *MEASURED)}).to_dict()
    if load_manifest(f"{domain.name}/{result['manifest']}").hash != result["manifest_hash"]:
        raise ValueError(f"converted evaluations must be of a manifest as it is now, got {result['manifest']!r}")
    weights = content["provenance"]["checkpoint_hash"]
    decides = {
        "manifest": result["manifest"],
        "manifest_hash": result["manifest_hash"],
        "env_id": content["env_id"],
        "env_kwargs": content["env_kwargs"],
        **{name: result[name] for name in ("num_episodes", "num_envs", "seed", "deterministic")},
        **({"policy": content["policy"]} if weights is None else {WEIGHTS: weights}),
    }
    if "planner" in content["config"]:
        known = {field.name for field in fields(PlannerConfig)}
        planner = {name: value for name, value in content["config"]["planner"].items() if name in known}
        decides["planner"] = asdict(PlannerConfig(**planner))
    measured = {
        "policy": content["policy"],
        "device": content["config"]["device"],
        **({"id": content["id"]} if "id" in content else {}),
        "summary": content["summary"],
        "latency": content["latency"],
        **{name: result[name] for name in MEASURED},
    }
    return Record(
        key=key,
        config=plain({**decides, **settings}),
        provenance=content["provenance"],
        rows=result["rows"],
        facts={**measured, **facts},
        finished=content["finished"],
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(tyro.cli(ConvertConfig))
