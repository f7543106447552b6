"""``worldmodel headline``: every training seed on every published manifest.

Each evaluation is a record in ``benchmarks/results/headline/`` and is not run again if it is there; the table is made
from these records, by :func:`table`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from statistics import fmean
from typing import Any

from agents.world_model.config import PlannerConfig
from benchmarks.evaluation import success
from benchmarks.evaluation.config import EvaluateConfig
from benchmarks.records import provenance
from benchmarks.records.store import Record, Store
from benchmarks.records.tables import Table, number, percent
from envs.domain import VALIDATION, Domain, domains, find_domain
from pretrain.presets import DEFAULT, PRESETS
from worldmodel.checkpoint import read_config
from worldmodel.cluster.config import Cluster, ClusterConfig
from worldmodel.cluster.jobs import connect
from worldmodel.config import CountFromZero, changed, command, config, to_json
from worldmodel.storage.files import read_json
from worldmodel.storage.locks import locked

RESULTS = provenance.RESULTS / "headline"
"""Where the evaluations lie."""
REFERENCES = RESULTS.with_name("headline-references.json")
"""What others reached and what was to be reached: environment → measure → both, in words."""
PLANNERS = {"mppi": "MPPI", "cem": "CEM", "icem": "iCEM", "policy": "the actor alone"}
"""Planners on the main manifest, and their names in the table."""
ELSEWHERE = ("mppi", "policy")
"""Planners on the other manifests."""
FIGURES: tuple[tuple[str, str, int, Callable[[Mapping[str, Any]], float]], ...] = (
    ("SPL, MPPI", "mppi", 3, lambda facts: facts["summary"]["spl"]),
    ("minutes of training, data included", "mppi", 1, lambda facts: facts["training"]["seconds"] / 60),
    ("MPPI, ms of planning a step, p95", "mppi", 2, lambda facts: facts["latency"]["step_p95_ms"]),
    ("MPPI, ms of a plan, p95", "mppi", 2, lambda facts: facts["latency"]["plan_p95_ms"]),
    ("MPPI, minutes of all episodes", "mppi", 1, lambda facts: facts["wall_seconds"] / 60),
    ("the actor alone, ms a step, p95", "policy", 2, lambda facts: facts["latency"]["step_p95_ms"]),
)
"""Figures on the main manifest beside success: name, planner, decimals, and where a record's facts hold them."""


@config
class HeadlineConfig:
    """Evaluates checkpoints of several seeds on all published manifests."""

    checkpoints: tuple[Path, ...] = tuple(Path(f"runs/{DEFAULT}-seed{seed}") for seed in range(3))
    """Folders of the checkpoints."""
    environment: str = domains()[0].name
    """Whose manifests. Some are for checkpoints whose trajectories were drawn by certain recipes: these checkpoints are
    evaluated there. Others are evaluated on all manifests that are for all, if their trajectories were drawn by the
    environment's first recipe, else on the main one only."""
    latency_episodes: CountFromZero = 3
    """Episodes of the main manifest on which latency is measured, with a single environment."""
    output: Path = RESULTS
    """Folder to write to."""
    cluster: Cluster = field(default_factory=ClusterConfig)
    """Whether batches of episodes run side by side as tasks of Ray."""
    progress: bool = True
    """Whether to show progress bars and the table."""


def run(config: HeadlineConfig) -> list[Record]:
    """Runs what is missing of the evaluations.

    Returns:
        All of them.

    Raises:
        ValueError: If there is no such environment, or a checkpoint is of no training run.
    """
    domain = find_domain(config.environment)
    with locked(config.output, "results store"), connect(config.cluster, progress=config.progress) as workers:
        requests = [request for checkpoint in config.checkpoints for request in _requests(config, domain, checkpoint)]
        records = success.run_all(requests, workers)
    if config.progress:
        table(config.output, config.environment).show()
    return records


main = command(HeadlineConfig, run, "headline")


def _requests(config: HeadlineConfig, domain: Domain, checkpoint: Path) -> Iterator[success.Request]:
    """The evaluations of a checkpoint."""
    training = read_config(checkpoint).get("training")
    if not training or "preset" not in training:
        raise ValueError(f"checkpoints must be folders of training runs of a preset, got {str(checkpoint)!r}")
    data, seed = training["config"]["data"], training["config"]["seed"]
    trained = {"preset": training["preset"], "recipe": _recipe(data), "seed": seed}
    for i, (manifest, planners) in enumerate(_manifests(domain, trained["recipe"]).items()):
        for planner in planners:
            key = {"environment": domain.name, **trained, "manifest": manifest, "planner": planner}
            evaluation = EvaluateConfig(
                policy=str(checkpoint),
                manifest=f"{domain.name}/{manifest}",
                planner=changed(PlannerConfig(), {"planner": planner}),
                latency_episodes=config.latency_episodes if i == 0 else 0,
                output=Store(config.output).path(key),
                progress=False,
            )
            facts = {"training": {"seed": seed, "steps": training["step"], "seconds": training["seconds"]}}
            yield success.Request(evaluation, key=key, settings={"training": trained}, facts=facts)


def _manifests(domain: Domain, recipe: str | None) -> dict[str, Sequence[str]]:
    """The published manifests for models that were trained on a recipe, and the planners that are evaluated on each.

    All planners are on the first: the environment's main one, unless some manifests are for that recipe in particular.
    """
    published = {name: found for name, found in domain.recipes.items() if not name.startswith(VALIDATION)}
    names = [name for name, found in published.items() if recipe in found.trained_on]
    if not names:
        names = [domain.compared_on[0]]
        if recipe == first_recipe(domain):
            names += [name for name, found in published.items() if name not in names and not found.trained_on]
    first, *others = names
    return {first: tuple(PLANNERS), **dict.fromkeys(others, ELSEWHERE)}


def _recipe(data: Mapping[str, Any]) -> str | None:
    """How the trajectories of a training were drawn; None where they were recorded."""
    simulated = next((domain for domain in domains() if domain.name == data["dataset"] and domain.simulate), None)
    return None if simulated is None else data["recipe"] or first_recipe(simulated)


def first_recipe(domain: Domain) -> str | None:
    """How trajectories of an environment are drawn by default; None where they are not simulated."""
    return domain.simulation().recipes[0] if domain.simulate else None


def training(key: Mapping[str, Any]) -> str:
    """The command that trained what a record of this key is of."""
    preset, recipe, seed = key["preset"], key["recipe"], key["seed"]
    usual = _recipe(to_json(PRESETS[preset][1])["data"])
    other = "" if recipe == usual else f" --data.recipe {recipe} --output runs/{preset}-{recipe}-seed{seed}"
    return f"worldmodel pretrain {preset} --seed {seed}{other}"


def table(folder: Path, environment: str) -> Table:
    """What was reached on an environment's manifests, from the evaluations in a folder."""
    domain, references = find_domain(environment), _references(environment)
    rows = []
    for label, texts, mean in _measures(domain, list(Store(folder).records(environment=environment))):
        reference, goal = references.get(label, ("–", "–"))
        beside = {"reference": reference, "goal": goal} if references else {}
        rows.append({"measure": label, **beside, "each seed": "; ".join(texts), "mean": mean})
    return Table.of(rows)


def other_recipes(folder: Path, environment: str) -> Table:
    """What MPPI reached with models trained on other than the first recipe, on the first manifest for each."""
    domain, references = find_domain(environment), _references(environment)
    records = list(Store(folder).records(environment=environment))
    means = {label: mean for label, _, mean in _measures(domain, records)}
    rows = []
    for recipe in sorted({record.key["recipe"] for record in records} - {first_recipe(domain)}):
        manifest = next(iter(_manifests(domain, recipe)))
        label = _label(domain, recipe, manifest, "mppi")
        if label in means:
            published, _ = references.get(label, ("–", "–"))
            rows.append({"trained on": recipe, "tested on": manifest, "published": published, "here": means[label]})
    return Table.of(rows, num_words=2)


def _references(environment: str) -> Mapping[str, Sequence[str]]:
    """What others published of each measure, and the goal."""
    return read_json(REFERENCES).get(environment, {}) if REFERENCES.exists() else {}


def _label(domain: Domain, recipe: str | None, manifest: str, planner: str) -> str:
    """What the success of a planner on a manifest is called."""
    trained = "" if recipe == first_recipe(domain) else f", trained on {recipe}"
    return f"{manifest}, {PLANNERS[planner]}{trained}"


def _measures(domain: Domain, records: Sequence[Record]) -> Iterator[tuple[str, list[str], str]]:
    """Each measure, each seed's figure, their mean."""
    ordinary = [record for record in records if record.key["recipe"] == first_recipe(domain)]
    recipes = dict.fromkeys(record.key["recipe"] for record in records)
    main = domain.compared_on[0]
    for recipe in sorted(recipes, key=lambda recipe: recipe != first_recipe(domain)):
        for manifest, planners in _manifests(domain, recipe).items():
            success = f"{domain.recipes[manifest].measure}_success"
            for planner in planners:
                chosen = [r for r in records if r.matches(manifest=manifest, planner=planner, recipe=recipe)]
                if summaries := [record.facts["summary"] for record in chosen]:
                    texts = [percent(s[success], s[f"{success}_interval"]) for s in summaries]
                    mean = percent(fmean(s[success] for s in summaries))
                    yield _label(domain, recipe, manifest, planner), texts, mean
    for label, planner, digits, read in FIGURES:
        values = [read(r.facts) for r in ordinary if r.matches(manifest=main, planner=planner) and r.facts["latency"]]
        if values:
            yield label, [number(value, digits) for value in values], number(fmean(values), digits)
