"""``worldmodel tune CONTENDER``: which hyperparameters a contender of the comparison gets.

Each candidate is trained with a seed that the comparison does not use, and evaluated on validation episodes; the best
becomes the default of the contender's preset or algorithm, one for SAC and TQC on all observations (:data:`SHARED`).
Candidates that the JSON file holds already are not run again.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.comparison.contenders import CONTENDERS, training_facts
from benchmarks.evaluation import success
from benchmarks.evaluation.manifests import VALIDATION, load_manifest
from benchmarks.evaluation.policies import find_hash
from benchmarks.records import provenance
from benchmarks.records.provenance import ROOT
from benchmarks.records.results import file_name
from worldmodel.config import Count, Positive, Seed, config
from worldmodel.storage.files import read_json, write_json
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

OFF_POLICY: tuple[Mapping[str, Any], ...] = (
    {"learning_rate": 1e-3, "gamma": 0.95, "batch_size": 256, "gradient_steps": 8, "action_repeat": 4},
    {"learning_rate": 3e-4, "gamma": 0.95, "batch_size": 256, "gradient_steps": 8, "action_repeat": 4},
    {"learning_rate": 1e-3, "gamma": 0.95, "batch_size": 512, "gradient_steps": 4, "action_repeat": 4},
)
"""Of algorithms with a replay buffer."""
SHARED = OFF_POLICY[2]
"""What all of these get: the best of the three on codes of images, and within half a point of the best on state."""

ON_POLICY: tuple[Mapping[str, Any], ...] = (
    {"learning_rate": 3e-4, "gamma": 0.99, "num_envs": 64, "batch_size": 400, "ent_coef": 0.0, "reward": "dense"},
    {"learning_rate": 3e-4, "gamma": 0.99, "num_envs": 256, "batch_size": 1600, "ent_coef": 0.01, "reward": "dense"},
    {"learning_rate": 1e-3, "gamma": 0.97, "num_envs": 256, "batch_size": 1600, "ent_coef": 0.01, "reward": "dense"},
    {"learning_rate": 3e-4, "gamma": 0.99, "num_envs": 256, "batch_size": 1600, "ent_coef": 0.01, "reward": "sparse"},
)
"""Of algorithms without."""

CANDIDATES: dict[str, tuple[Mapping[str, Any], ...]] = {
    "ppo-state": ON_POLICY,
    "sac-state": (
        *OFF_POLICY,
        {"learning_rate": 1e-3, "gamma": 0.98, "batch_size": 256, "gradient_steps": 8, "action_repeat": 1},
    ),
    "tqc-state": OFF_POLICY,
    "ppo-pixels": (
        {"learning_rate": 1e-3, "gamma": 0.97, "num_envs": 256, "batch_size": 1600, "ent_coef": 0.01},
        {"learning_rate": 3e-4, "gamma": 0.97, "num_envs": 256, "batch_size": 1600, "ent_coef": 0.01},
    ),
    "sac-pixels": (
        *OFF_POLICY,
        {"learning_rate": 3e-4, "batch_size": 128, "gradient_steps": 4, "encoder": "strided"},
    ),
    "sac-latents": OFF_POLICY,
    "gcbc": tuple({"learning_rate": rate, "num_steps": 3_500} for rate in (1e-3, 3e-4)),
    "gcidm": tuple({"learning_rate": rate, "num_steps": 5_500} for rate in (1e-3, 3e-4)),
    "gcivl": (
        {"learning_rate": 1e-3, "method.expectile": 0.9, "method.temperature": 3.0, "num_steps": 1_700},
        {"learning_rate": 1e-3, "method.expectile": 0.9, "method.temperature": 10.0, "num_steps": 1_700},
    ),
}
"""What is tried for each contender; candidates name what is varied."""
ROW = {"changes", "final_success", "final_success_interval", "ever_success", "env_steps"}
"""What a row of a table holds at least."""


@config
class TuneConfig:
    """Trains a contender with several hyperparameters, and measures each on validation episodes."""

    contender: tyro.conf.Positional[str]
    """Whose."""
    minutes: Positive = 5.0
    """Minutes that each candidate is trained, on this machine."""
    seed: Seed = 100
    """Seed of the training runs; not one of the comparison's."""
    num_episodes: Count = 200
    """Episodes of the validation manifest."""
    runs: Path = Path("runs/tune")
    """Folder of the training runs."""
    output: Path | None = None
    """JSON file to write; by default benchmarks/results/tune/CONTENDER.json of the project."""
    progress: bool = True
    """Whether to show how training goes, and the table."""


def run(config: TuneConfig) -> dict[str, Any]:
    """Trains and measures the candidates that are missing.

    Returns:
        What was written to the JSON file.

    Raises:
        ValueError: If there are no candidates for the contender, minutes are not positive, or the file holds another
            budget, seed or number of episodes.
    """
    if config.contender not in CANDIDATES:
        raise ValueError(f"contender must be one of {', '.join(map(repr, CANDIDATES))}, got {config.contender!r}")
    output = config.output or ROOT / f"benchmarks/results/tune/{config.contender}.json"
    with locked(output, "table", is_file=True):
        content = _fill(config, output)
    if config.progress:
        Console().print(_table(content))
        logger.info("written to %s", output)
    return content


def _fill(config: TuneConfig, output: Path) -> dict[str, Any]:
    """Measures the candidates that a table lacks; returns the whole."""
    content: dict[str, Any] = {
        "contender": config.contender,
        "minutes": config.minutes,
        "seed": config.seed,
        "num_episodes": config.num_episodes,
        "rows": [],
    }
    if output.exists():
        before = read_json(output, "a table of hyperparameters")
        for key in ("contender", "minutes", "seed", "num_episodes"):
            if key not in before:
                raise ValueError(f"{output} must be a table that worldmodel tune wrote, got one without {key!r}")
            if before[key] != content[key]:
                raise ValueError(f"{key} of {output} must be {before[key]}, got {content[key]}; or another --output")
        rows = before.get("rows")
        if not isinstance(rows, list) or not all(map(_is_row, rows)):
            raise ValueError(
                f"{output} must hold rows that worldmodel tune wrote, each with {', '.join(sorted(ROW))}, got others"
            )
        content["rows"] = [row for row in rows if _is_current(config, row)]
    for changes in CANDIDATES[config.contender]:
        if any(row["changes"] == changes for row in content["rows"]):
            continue
        logger.info("%s: %s", config.contender, describe(changes))
        content["rows"].append(_measure(config, changes))
        write_json(output, content)
    return content


def _is_row(row: Any) -> bool:
    """Whether something is a row of a table, of this version or an older one."""
    return isinstance(row, dict) and set(row) >= ROW and isinstance(row["changes"], dict)


def _is_current(config: TuneConfig, row: Mapping[str, Any]) -> bool:
    """Whether a row is what measuring the candidate now would give."""
    here = find_hash(_folder(config, row["changes"]))
    # A run may have been made, and its row been filled in, elsewhere.
    return row.get("key") == _key(config, row["changes"]) and here in (None, row.get("weights"))


def _key(config: TuneConfig, changes: Mapping[str, Any]) -> str:
    """What two rows must share to be of the same candidate: a hash of all that decides them, but for weights."""
    contender = CONTENDERS[config.contender]
    assert contender.run is not None
    assert contender.settings is not None
    decides = {
        "training": contender.settings(contender.run, config.seed, changes),
        "minutes": config.minutes,
        "planner": asdict(contender.planner),
        "episodes": [load_manifest(VALIDATION).hash, config.num_episodes],
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _folder(config: TuneConfig, changes: Mapping[str, Any]) -> Path:
    """Folder of a candidate's training run."""
    run = CONTENDERS[config.contender].run
    return config.runs / file_name(f"{run}-{config.minutes:g}min-seed{config.seed}-{describe(changes)}")


def describe(changes: Mapping[str, Any]) -> str:
    """A candidate in words."""
    return ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in changes.items())


def _measure(config: TuneConfig, changes: Mapping[str, Any]) -> dict[str, Any]:
    contender = CONTENDERS[config.contender]
    assert contender.run is not None
    assert contender.train is not None
    folder = _folder(config, changes)
    contender.train(contender.run, folder, config.seed, config.minutes, {**changes, "progress": config.progress})
    evaluation = success.EvaluateConfig(
        policy=str(folder),
        manifest=VALIDATION,
        num_episodes=config.num_episodes,
        planner=contender.planner,
        latency_episodes=0,
        output=folder / "validation.json",
        progress=False,
    )
    evaluated = success.run(evaluation)
    summary = evaluated["summary"]
    facts = training_facts(contender, folder)
    return {
        "changes": dict(changes),
        "key": _key(config, changes),
        "weights": evaluated["provenance"]["checkpoint_hash"],
        **{key: summary[key] for key in ("final_success", "final_success_interval", "ever_success", "spl")},
        "minutes": facts["minutes"],
        "env_steps": facts["env_steps"],
        "provenance": provenance.collect(),
    }


def _table(content: Mapping[str, Any]) -> Table:
    table = Table(title=f"{content['contender']}: {content['num_episodes']} validation episodes")
    for name in ("hyperparameters", "final success", "ever", "environment steps"):
        table.add_column(name, justify="left" if name == "hyperparameters" else "right")
    for row in content["rows"]:
        low, high = row["final_success_interval"]
        table.add_row(
            describe(row["changes"]),
            f"{row['final_success']:.1%} [{low:.1%}, {high:.1%}]",
            f"{row['ever_success']:.1%}",
            f"{row['env_steps']:,}",
        )
    return table
