"""``worldmodel tune CONTENDER``: which hyperparameters a contender of the comparison gets.

Each candidate is trained with a seed that the comparison does not use, and evaluated on validation episodes; the best
becomes the default of the contender's preset or algorithm, one for SAC and TQC on all observations (:data:`SHARED`).
Each candidate is a record of a folder, and is not run again if it is there.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from benchmarks.comparison import training
from benchmarks.comparison.contenders import CONTENDERS, Contender
from benchmarks.evaluation import success
from benchmarks.evaluation.config import EvaluateConfig
from benchmarks.records.provenance import RESULTS
from benchmarks.records.store import Record, Store, file_name
from benchmarks.records.tables import Table, number, percent
from envs.domain import VALIDATION, domains, find_domain
from worldmodel.cluster.config import Cluster, ClusterConfig
from worldmodel.cluster.jobs import Workers, connect
from worldmodel.config import Count, Positive, Seed, command, config
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

FOLDER = RESULTS / "tune"
"""Where the records lie, in a folder for each contender."""
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
    "ppo-pixels": tuple(
        {"learning_rate": rate, "gamma": 0.97, "num_envs": 256, "batch_size": 1600, "ent_coef": 0.01}
        for rate in (1e-3, 3e-4)
    ),
    "sac-pixels": (
        *OFF_POLICY,
        {"learning_rate": 3e-4, "batch_size": 128, "gradient_steps": 4, "encoder": "strided"},
    ),
    "sac-latents": OFF_POLICY,
    "gcbc": tuple({"learning_rate": rate, "num_steps": 3_500} for rate in (1e-3, 3e-4)),
    "gcidm": tuple({"learning_rate": rate, "num_steps": 5_500} for rate in (1e-3, 3e-4)),
    "gcivl": tuple(
        {"learning_rate": 1e-3, "method.expectile": 0.9, "method.temperature": temperature, "num_steps": 1_700}
        for temperature in (3.0, 10.0)
    ),
}
"""What is tried for each contender; candidates name what is varied."""


@config
class TuneConfig:
    """Trains a contender with several hyperparameters, and measures each on validation episodes."""

    contender: tyro.conf.Positional[str]
    """Whose."""
    environment: str = domains()[0].name
    """The environment that it is compared in."""
    minutes: Positive = 5.0
    """Minutes that each candidate is trained, on this machine."""
    seed: Seed = 100
    """Seed of the training runs; not one of the comparison's."""
    num_episodes: Count = 200
    """Episodes of the validation manifest."""
    runs: Path = Path("runs/tune")
    """Folder of the training runs."""
    cluster: Cluster = field(default_factory=ClusterConfig)
    """Whether candidates are trained, and episodes played, side by side as tasks of Ray. On a cluster, runs must be a
    folder that all machines see."""
    output: Path | None = None
    """Folder of the records; by default benchmarks/results/tune/CONTENDER of the project."""
    overwrite: bool = False
    """Measure everything anew, even where the folder holds a record of it."""
    progress: bool = True
    """Whether to show how training goes, and the table."""


def run(config: TuneConfig) -> list[Record]:
    """Trains and measures the candidates that are missing.

    Returns:
        A record for each candidate.

    Raises:
        ValueError: If the environment has no such contender or it has no candidates, or the folder holds records of
            other settings.
    """
    contenders = CONTENDERS.get(find_domain(config.environment).name, {})
    known = [name for name in CANDIDATES if name in contenders]
    if config.contender not in known:
        names = ", ".join(map(repr, known)) or "none"
        raise ValueError(f"contender must be one of {names}, got {config.contender!r}")
    folder = config.output or FOLDER / config.contender
    link = connect(config.cluster, shared=config.runs, progress=config.progress)
    with locked(folder, "results store"), link as workers:
        candidates = [_candidate(config, folder, changes) for changes in CANDIDATES[config.contender]]
        found = [None if config.overwrite else candidate.asked.find(plans=False) for candidate in candidates]
        missing = [candidate for candidate, record in zip(candidates, found, strict=True) if record is None]
        measured = _measure(config, missing) if workers is None else _measure_side_by_side(missing, workers)
        records = [record or next(measured) for record in found]
    if config.progress:
        title = f"{config.contender}: {config.num_episodes} validation episodes"
        Table.of([_cells(record) for record in records], title).show(folder)
    return records


main = command(TuneConfig, run, "tune")


def markdown(folder: Path = FOLDER) -> str:
    """What was chosen for each contender, as a Markdown table; empty where nothing was measured.

    Args:
        folder: A folder of records for each contender.
    """
    found: dict[tuple[str, str], list[Record]] = {}
    for path in sorted(path for path in folder.glob("*") if path.is_dir()):
        for record in Store(path).records():
            found.setdefault((record.key["environment"], record.key["contender"]), []).append(record)
    rows = []
    for (_, name), records in found.items():
        best = chosen(records)
        cells = {"contender": name, "chosen": describe(best.facts["changes"]), "tried": str(len(records))}
        cells["minutes each"] = f"{best.config['training']['minutes']:g}"
        rows.append(cells | {"final success, validation": _cells(best)["final success"]})
    return Table.of(rows, num_words=2).markdown() if rows else ""


def chosen(records: Sequence[Record]) -> Record:
    """The record of the hyperparameters that a contender has: those that several share, or else the best."""

    def rank(record: Record) -> tuple[bool, float, float]:
        summary = record.facts["summary"]
        return record.facts["changes"] == SHARED, summary["final_success"], summary["spl"]

    return max(records, key=rank)


def describe(changes: Mapping[str, Any]) -> str:
    """A candidate in words."""
    return ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in changes.items())


class _Candidate(NamedTuple):
    """Hyperparameters to try.

    Attributes:
        contender: Whose.
        changes: The hyperparameters.
        folder: Folder of the training run.
        config: How it is trained.
        asked: Its evaluation.
    """

    contender: Contender
    changes: Mapping[str, Any]
    folder: Path
    config: TuneConfig
    asked: success.Request

    def train(self, progress: bool) -> None:
        """Trains it, or goes on with its training."""
        changes = {**self.changes, "progress": progress}
        training.train(self.contender, self.folder, self.config.seed, self.config.minutes, changes)

    def evaluation(self) -> success.Request:
        """Its evaluation, once it is trained."""
        costs = training.costs(self.contender, self.folder)
        return self.asked._replace(facts={"changes": dict(self.changes), "training": costs})


def _candidate(config: TuneConfig, folder: Path, changes: Mapping[str, Any]) -> _Candidate:
    """A candidate whose record belongs into a folder."""
    contender, candidate = CONTENDERS[config.environment][config.contender], describe(changes)
    key = {
        "environment": config.environment,
        "contender": config.contender,
        "candidate": candidate,
        "seed": config.seed,
    }
    run_folder = config.runs / file_name(
        f"{config.environment}-{contender.run}-{config.minutes:g}min-seed{config.seed}-{candidate}"
    )
    evaluation = EvaluateConfig(
        policy=str(run_folder),
        manifest=f"{config.environment}/{VALIDATION}",
        num_episodes=config.num_episodes,
        planner=contender.planner,
        latency_episodes=0,
        output=Store(folder).path(key),
        overwrite=config.overwrite,
        progress=False,
    )
    trained = {"minutes": config.minutes, **training.settings(contender, config.seed, changes)}
    asked = success.Request(evaluation, key, {"training": trained}, {"training": training.defaults(contender)})
    return _Candidate(contender, changes, run_folder, config, asked)


def _measure(config: TuneConfig, candidates: Sequence[_Candidate]) -> Iterator[Record]:
    """Trains and measures candidates one after the other."""
    for candidate in candidates:
        logger.info("%s: %s", config.contender, describe(candidate.changes))
        candidate.train(config.progress)
        yield from success.run_all([candidate.evaluation()], None)


def _measure_side_by_side(candidates: Sequence[_Candidate], workers: Workers) -> Iterator[Record]:
    """Trains candidates side by side, then measures them side by side."""
    jobs = {describe(candidate.changes): (candidate, False) for candidate in candidates}
    for _ in workers.map(_Candidate.train, jobs, "train"):
        pass
    yield from success.run_all([candidate.evaluation() for candidate in candidates], workers)


def _cells(record: Record) -> dict[str, str]:
    summary = record.facts["summary"]
    return {
        "hyperparameters": describe(record.facts["changes"]),
        "final success": percent(summary["final_success"], summary["final_success_interval"]),
        "ever": percent(summary["ever_success"]),
        "environment steps": number(record.facts["training"]["env_steps"], 0),
    }
