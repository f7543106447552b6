"""``worldmodel compare``: world model, reinforcement learning and offline agents, one budget, the same episodes.

::

    contender, seed ──► train for so many minutes ──► evaluate on each manifest ──► one record each in the store
    store ──► compare.json, compare.md, plots

What the store holds is not run again, so the table can be filled over days, by anyone.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import MinLen

from agents.evaluation.statistics import compare_paired, wilson_interval
from agents.evaluation.task import GOAL_IMAGE, GoalImageConfig
from benchmarks.comparison import training
from benchmarks.comparison.contenders import CONTENDERS, Contender
from benchmarks.comparison.contest import Contest, find_contest
from benchmarks.comparison.plots import draw
from benchmarks.comparison.tables import table
from benchmarks.evaluation import success
from benchmarks.evaluation.config import DEFAULT_EPISODES, EvaluateConfig
from benchmarks.records import provenance
from benchmarks.records.provenance import RESULTS
from benchmarks.records.store import Record, Store, file_name
from worldmodel.cluster.config import Cluster, ClusterConfig
from worldmodel.cluster.jobs import Workers, connect, modules_of
from worldmodel.config import ConfigError, Count, Name, Positive, Seed, command, config
from worldmodel.storage.files import write_json, write_text
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

MAIN = next(iter(CONTENDERS))
"""The environment whose comparison is named after none."""
TOLD = ("title", "kind", "run", "sees", "rewarded", "budgets", "extends", "pretrained")
"""What the JSON file says of each contender."""
LATENCY_EPISODES = 3
"""Episodes of the first manifest on which latency is measured, with a single environment."""
MEASURES = {"final": "final_success", "ever": "ever_success", "spl": "spl", "steps_to_goal": "mean_steps_to_goal"}
"""What the JSON file says of each evaluation, by the name in its summary."""


@config
class CompareConfig:
    """Trains and evaluates all contenders under one budget, and draws how they stand."""

    environment: Annotated[str, Name(CONTENDERS)] = MAIN
    """In which environment."""
    env_id: str | None = None
    """Compare in this Gymnasium environment instead: random actions, a world model of the dataset, and SAC + HER where
    success is a key of observations."""
    goal_image: GoalImageConfig = field(default_factory=GoalImageConfig)
    """With env-id: how an environment without goal images is shown, in envs.GoalImage."""
    dataset: str | None = None
    """With env-id: id or folder of the dataset that the world model learns from; without, there is none."""
    contenders: tuple[str, ...] = ()
    """Which of them; by default all of this environment."""
    seeds: Annotated[tuple[Seed, ...], MinLen(1)] = (0, 1, 2)
    """Seeds of the training runs; only the first seed gets longer budgets."""
    minutes: Positive = 15.0
    """Minutes that each is trained, on this machine."""
    num_episodes: Count | None = None
    """How many episodes of each manifest, the first; by default all, or 50 with env-id."""
    runs: Path = Path("runs/compare")
    """Folder of the training runs."""
    store: Path | None = None
    """Folder of the evaluations; those that are there already are not run again. By default benchmarks/results/compare
    of the project, with env-id runs/compare/ENVIRONMENT/results."""
    output: Path | None = None
    """JSON file to write, by default benchmarks/results/compare.json or compare-ENVIRONMENT.json of the project, with
    env-id runs/compare/ENVIRONMENT/compare.json; table and plots go beside it."""
    cluster: Cluster = field(default_factory=ClusterConfig)
    """Whether contenders are trained, and episodes played, side by side as tasks of Ray. Minutes of training are then
    those of a task, with one thread. On a cluster, runs must be a folder that all machines see."""
    only_report: bool = False
    """Only make JSON, table and plots of what the store holds."""
    progress: bool = True
    """Whether to show how training goes, and the table."""

    def rules(self) -> None:
        """What the fields must be together.

        Raises:
            ConfigError: If there is an environment of one's own, and no id of it.
        """
        if self.env_id is None:
            self.goal_image.require_none()
            if self.dataset is not None:
                raise ConfigError("dataset", "given with --env-id only: other presets name theirs", self.dataset)


def run(config: CompareConfig) -> dict[str, Any]:
    """Runs what is missing, and reports on all that there is.

    Returns:
        What was written to the JSON file.

    Raises:
        ValueError: If a contender is unknown, there is nothing to report, or the store holds evaluations of other
            settings.
    """
    contest, store = find_contest(*_asked(config)), store_of(config)
    known = contest.contenders
    if unknown := [name for name in config.contenders if name not in known]:
        raise ValueError(f"contenders must be among {', '.join(map(repr, known))}, got {unknown[0]!r}")
    content = None
    modules = modules_of(config.env_id, config.goal_image.goals, config.goal_image.success)
    link = connect(config.cluster, modules=modules, shared=config.runs, progress=config.progress)
    with locked(store, "results store"), link as workers:
        if not config.only_report:
            chosen = [known[name] for name in config.contenders or known]
            cells = [_cell(config, contest, one, seed) for one in chosen for seed in _seeds(config, one)]
            if workers is not None:
                _measure_side_by_side([cell for cell in cells if cell.is_missing()], workers)
            for cell in cells if workers is None else ():
                if cell.is_missing():
                    logger.info("%s, seed %d", cell.contender.title, cell.seed)
                    cell.train({"progress": config.progress})
                    success.run_all(cell.evaluations(), None)
                    content = report(config, contest)
        content = content or report(config, contest)
    if config.progress:
        table(content, short=True).show(output_of(config))
    return content


main = command(CompareConfig, run, "compare")


def output_of(config: CompareConfig) -> Path:
    """The JSON file of a comparison."""
    if config.env_id is not None:
        return config.output or config.runs / file_name(config.env_id) / "compare.json"
    name = "compare" if config.environment == MAIN else f"compare-{config.environment}"
    return config.output or RESULTS / f"{name}.json"


def store_of(config: CompareConfig) -> Path:
    """The folder of a comparison's evaluations."""
    own = RESULTS / "compare" if config.env_id is None else config.runs / file_name(config.env_id) / "results"
    return config.store or own


def _asked(config: CompareConfig) -> tuple[str, dict[str, Any] | None]:
    """The environment, and what is to be known of it where nobody registered it."""
    if config.env_id is None:
        return config.environment, None
    goal_image = config.goal_image.keywords().get(GOAL_IMAGE, {})
    episodes = {"num_episodes": config.num_episodes or DEFAULT_EPISODES}
    return config.env_id, {"goal_image": goal_image, "dataset": config.dataset, **episodes}


def _seeds(config: CompareConfig, contender: Contender) -> tuple[int, ...]:
    """Seeds that a contender is trained with."""
    if contender.run is None:
        return (0,)
    return config.seeds[:1] if contender.extends else config.seeds


class _Cell(NamedTuple):
    """A contender that was trained with a seed, or is to be.

    Attributes:
        contender: Who.
        seed: The seed.
        folder: Folder of the training run.
        begun: Folder of the run that it continues, if any.
        minutes: The budget.
        asked: An evaluation on each manifest.
    """

    contender: Contender
    seed: int
    folder: Path
    begun: Path | None
    minutes: float
    asked: tuple[success.Request, ...]

    def is_missing(self) -> bool:
        """Whether the store lacks any of its evaluations.

        Raises:
            ValueError: If the store holds another evaluation in the place of one of these.
        """
        found = [one.find(plans=self.contender.kind == "world model") for one in self.asked]
        return not all(found)

    def train(self, changes: Mapping[str, Any] | None = None) -> None:
        """Trains it, or goes on with its training."""
        if self.begun is not None:
            _begin_with(self.folder, self.begun)
        training.train(self.contender, self.folder, self.seed, self.minutes, changes)

    def evaluations(self) -> list[success.Request]:
        """Its evaluations, once it is trained."""
        facts = {"training": training.costs(self.contender, self.folder)}
        return [one._replace(facts=facts) for one in self.asked]


def _cell(config: CompareConfig, contest: Contest, contender: Contender, seed: int) -> _Cell:
    """What is asked for of a contender with a seed."""
    folder = _folder(config, contest, contender, seed)
    minutes = config.minutes * contender.budgets
    trained = {"training": {"minutes": minutes, **training.settings(contender, seed)}} if contender.run else {}
    asked = []
    for place, (name, manifest) in enumerate(contest.manifests.items()):
        key = {
            "environment": contest.environment,
            "contender": contender.name,
            "minutes": config.minutes if contender.run else None,  # without a training there is no budget
            "seed": seed,
            "manifest": name,
        }
        count = config.num_episodes and min(config.num_episodes, len(manifest))
        evaluation = EvaluateConfig(
            policy=str(folder) if contender.run else contender.name,
            planner=contender.planner,
            latency_episodes=0 if place else LATENCY_EPISODES,
            output=Store(store_of(config)).path(key),
            progress=False,
            **{"num_episodes": count, **contest.evaluations[name]},
        )
        asked.append(success.Request(evaluation, key, trained, {"training": training.defaults(contender)}))
    extended = contest.contenders[contender.extends] if contender.extends else None
    begun = None if extended is None else _folder(config, contest, extended, seed)
    return _Cell(contender, seed, folder, begun, minutes, tuple(asked))


def _measure_side_by_side(cells: Sequence[_Cell], workers: Workers) -> None:
    """Trains all side by side, then plays all episodes side by side."""
    runs: dict[str, dict[Path, _Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.minutes):
        if cell.contender.run:  # contenders may share a run, and continue it: one task does all of that
            runs.setdefault(f"{cell.contender.run}, seed {cell.seed}", {})[cell.folder] = cell
    jobs = {name: tuple(of_one.values()) for name, of_one in runs.items()}
    for _ in workers.map(_train_in_turn, jobs, "train"):
        pass
    success.run_all([request for cell in cells for request in cell.evaluations()], workers)


def _train_in_turn(*cells: _Cell) -> None:
    """What a task does."""
    for cell in cells:
        cell.train({"progress": False})


def _folder(config: CompareConfig, contest: Contest, contender: Contender, seed: int) -> Path:
    """Folder of a contender's training run."""
    run = f"{contender.run}-{config.minutes * contender.budgets:g}min-seed{seed}"
    return config.runs / file_name(contest.environment) / run


def _begin_with(folder: Path, begun: Path) -> None:
    """Lets a run begin with what another, shorter one has learned: a copy, whole or not at all."""
    if not begun.exists() or folder.exists():
        return
    copied = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(copied, ignore_errors=True)  # of a process that was killed
    shutil.copytree(begun, copied)
    copied.rename(folder)


def report(config: CompareConfig, contest: Contest) -> dict[str, Any]:
    """Makes JSON, table and plots of what the store holds.

    Raises:
        ValueError: If it holds nothing.
    """
    results = _read(config, contest)
    if not results:
        raise ValueError(f"store must hold evaluations of contenders, got none in {store_of(config)}")
    base, output, (environment, task) = contest.base, output_of(config), _asked(config)
    compared = results.get(base.name, []) if base else []
    content = {
        "environment": environment,
        **({} if task is None else {"task": task}),
        "base": base and base.name,
        "measures": dict(contest.measures),
        "rows": [_row(contest, name, found, compared) for name, found in results.items()],
        "provenance": provenance.collect(),
    }
    write_json(output, content)
    write_text(output.with_suffix(".md"), table(content).markdown())
    draw(contest, content, results, output)
    return content


def _read(config: CompareConfig, contest: Contest) -> dict[str, list[Record]]:
    """The finished evaluations of each contender under this budget, all seeds and manifests."""
    found: dict[str, list[Record]] = {}
    records = list(Store(store_of(config)).records(environment=contest.environment))
    for name, contender in contest.contenders.items():
        wanted = {"contender": name, "minutes": config.minutes if contender.run else None}
        if chosen := [record for record in records if record.finished and record.matches(**wanted)]:
            found[name] = sorted(chosen, key=lambda record: str(record.key.get("seed")).zfill(10))
    return found


def _row(contest: Contest, name: str, found: list[Record], base: list[Record]) -> dict[str, Any]:
    """All that is known of a contender.

    Raises:
        ValueError: If a record lacks what an evaluation of the comparison says.
    """
    contender, (main, *_) = contest.contenders[name], contest.manifests
    try:
        by_manifest = {manifest: [r for r in found if r.key["manifest"] == manifest] for manifest in contest.manifests}
        first = by_manifest[main]
        costs = [_costs(record) for record in first]
        return {
            "contender": contender.name,
            **{name: getattr(contender, name) for name in TOLD},
            "seeds": [record.key["seed"] for record in first],
            **{cost: [one[cost] for one in costs] for cost in ("minutes", "env_steps", "images")},
            "curves": [one["curve"] for one in costs],
            "manifests": {name: _measures(contest, name, records) for name, records in by_manifest.items()},
            "difference": _difference(first, [record for record in base if record.key["manifest"] == main]),
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"the store must hold evaluations that worldmodel compare made, got one of {name!r} that is not: "
            f"{type(error).__name__}: {error}"
        ) from error


def _costs(record: Record) -> dict[str, Any]:
    """What a training cost, in numbers that can be drawn."""
    costs = record.facts["training"]
    curve = [{name: float(value) for name, value in point.items()} for point in costs["curve"]]
    if any("seconds" not in point or not {"success", "loss"} & set(point) for point in curve):
        raise ValueError("points of a curve must have seconds, and success or loss")
    return {**{name: costs[name] + 0 for name in ("minutes", "env_steps", "images")}, "curve": curve}


def _measures(contest: Contest, name: str, records: list[Record]) -> dict[str, Any] | None:
    """Measures of a manifest, one entry a seed; ``success`` is what counts there, with the interval of all seeds."""
    if not records:
        return None
    manifest, measure = contest.manifests[name], contest.measures[name]
    results = [success.result_of(record) for record in records]
    if {result.manifest_hash for result in results} != {manifest.hash}:
        raise ValueError(f"evaluations must be of the episodes of {manifest.name} as they are now, got others")
    summaries = [result.summary() for result in results]
    reached = np.concatenate([result.successes(measure) for result in results])
    return {
        "success": [summary[f"{measure}_success"] for summary in summaries],
        **{name: [summary[field] for summary in summaries] for name, field in MEASURES.items()},
        "ms": [record.facts["latency"]["step_p50_ms"] + 0.0 for record in records if record.facts["latency"]],
        "interval": list(wilson_interval(int(reached.sum()), len(reached))),
        "intervals": [list(summary["final_success_interval"]) for summary in summaries],
    }


def _difference(found: list[Record], base: list[Record]) -> dict[str, Any] | None:
    """Paired difference to the base: the same episodes, seed by seed, all pairs together.

    A seed that only one of them was trained with is left out; what is not trained is compared with every seed.
    """
    first: list[bool] = []
    second: list[bool] = []
    for other in base:
        for record in found:
            if record.key["seed"] == other.key["seed"] or record.key["minutes"] is None:
                ours, theirs = (success.result_of(one).successes().tolist() for one in (record, other))
                count = min(len(ours), len(theirs))
                first += ours[:count]
                second += theirs[:count]
    return asdict(compare_paired(first, second)) if first else None
