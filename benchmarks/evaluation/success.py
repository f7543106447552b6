"""``worldmodel evaluate``: success rate, SPL and latency of a policy on a manifest or in an environment of your own.

An evaluation is a record, written after each batch of episodes; the same command goes on where it was stopped, and ends
with the result that it would have had uninterrupted::

    key      environment, manifest, policy, planner, weights, appearance if shifted     or what the caller says
    config   all that decides the rows: episodes, seeds, weights, planner
    rows     an episode each
    facts    summary, latency, durations
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from agents.appearance import ShiftedPolicy
from agents.evaluation.evaluate import EvalResult, Manifest, evaluate, measure_latency
from agents.evaluation.results import SETTINGS
from agents.evaluation.task import GoalImageConfig, Task, make_task
from agents.saved import SCRIPTED, Source, find_hash, make_policy, open_source
from agents.world_model.config import PlannerConfig
from benchmarks.evaluation.manifests import find_manifest, load_manifest
from benchmarks.evaluation.recorded import recorded_episodes
from benchmarks.records import log
from benchmarks.records.store import WEIGHTS, Record, find, name_of, new_record, plain, write_record
from benchmarks.records.tables import Table, number, percent, quantiles
from envs.appearance import check_shift
from envs.domain import STATE, VALIDATION, Policy, domains
from pretrain.loop.interruption import Interruption
from pretrain.presets import DEFAULT
from worldmodel.config import ConfigError, Count, CountFromZero, JsonDict, Seed, command, config
from worldmodel.storage.files import absolute
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

DEFAULT_EPISODES = 50
"""Episodes in an environment without a manifest, unless another number is asked for."""
MEASURED = ("plan_seconds", "steps_per_plan", "wall_seconds", "env_steps")
"""What an evaluation measures beside its rows."""


@config
class EvaluateConfig:
    """Measures success rate, SPL and latency of a policy."""

    policy: tyro.conf.Positional[str] = DEFAULT
    """'random', 'expert', the folder of a training run (of a world model, an offline agent or reinforcement learning),
    the name of a checkpoint that ships with the package, or hub:owner/name."""
    manifest: str = domains()[0].compared_on[0]
    """Episodes: MANIFEST or ENVIRONMENT/MANIFEST, such as random-wall, two-rooms/held-out, or validation (for all
    tuning)."""
    env_id: str | None = None
    """Evaluate in this Gymnasium environment instead ('module:Id-v0' imports the module first). It must report
    is_success in info; a checkpoint needs the image observations 'observation' and 'desired_goal'. Where it does not
    give these, goal-image adds them."""
    goal_image: GoalImageConfig = field(default_factory=GoalImageConfig)
    """How an environment without goal images is shown; any of these wraps it in envs.GoalImage."""
    goals_from: str | None = None
    """With env-id: id or folder of a Minari dataset that was collected there. Episodes start at recorded states, and
    goals are what was seen some steps later."""
    steps_ahead: Count = 25
    """With goals-from: steps from start to goal in the dataset; an episode has twice as many."""
    num_episodes: Count | None = None
    """How many episodes, the first of the manifest; by default all, or 50 in an environment without a manifest."""
    env_kwargs: JsonDict = field(default_factory=dict)
    """Keywords of the environment in place of the manifest's, as JSON, such as {"collision": "bounce"}."""
    appearance: str | None = None
    """Show the policy all images with another appearance: background-colour, background-texture, brightness,
    distractor, agent-colour or agent-size; by default as they are."""
    num_envs: Count = 50
    """Episodes that run at once."""
    seed: Seed = 0
    """Seed of the policy, and of the episodes of an environment without a manifest."""
    deterministic: bool = True
    """Whether the policy acts deterministically, as far as it can."""
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    """How a checkpoint plans."""
    device: str = "cpu"
    """Where a checkpoint plans: cpu, cuda, mps."""
    latency_episodes: CountFromZero = 1
    """Episodes on which latency is measured afterwards, with a single environment; 0: it is not measured."""
    output: Path | None = None
    """JSON file to write; by default in runs/evaluate/, its name made from the configuration."""
    overwrite: bool = False
    """Start anew even if the file holds an evaluation already."""
    progress: bool = True
    """Whether to show a progress bar and the table."""


def run(
    config: EvaluateConfig,
    *,
    key: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Record:
    """Evaluates a policy, or goes on with an evaluation that was stopped.

    Args:
        config: What to evaluate.
        key: The record's key; by default environment, manifest, policy, planner and weights, and the appearance if it
            is another.
        settings: What else decides the rows, such as how the policy was trained: for the record's config.
        defaults: Defaults of these settings: older records lack those that there were not yet.
        facts: What else is known, such as the cost of the training: for the record's facts.

    Returns:
        The record.

    Raises:
        ValueError: If the policy, the manifest, the environment or the appearance is unknown, they do not fit, or the
            output file holds another evaluation.
    """
    manifest, task = find_episodes(config)
    if config.appearance is not None:
        check_shift(config.appearance, task.domain.agent_pixels)
    source = open_source(config.policy)
    plans = source.kind == "world model"
    default_key = {
        "environment": task.domain.name,
        "manifest": manifest.name,
        "policy": source.name,
        "planner": config.planner.planner if plans else None,
        WEIGHTS: source.sha256 and source.sha256[:8],
        **_appearance(config),
    }
    record = new_record(
        default_key if key is None else key,
        _config(config, manifest, source.sha256, plans=plans, settings=settings),
        facts={"policy": source.name, "device": config.device, "id": uuid.uuid4().hex, **(facts or {})},
        finished=False,
    )
    path = config.output or absolute(f"runs/evaluate/{name_of(record.key)}-{record.fingerprint[:8]}.json")
    with locked(path, "evaluation", is_file=True):
        return _run(config, manifest, task, source, record, path, defaults)


main = command(EvaluateConfig, run, "evaluate")


def find_record(
    config: EvaluateConfig,
    *,
    key: Mapping[str, Any],
    plans: bool,
    settings: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Record | None:
    """The record that :func:`run` would make, if the output file holds it finished.

    Weights that are gone from this machine are taken to be those that were measured.

    Args:
        config: What to evaluate; it must name its output.
        key: As for :func:`run`.
        plans: Whether the policy is a world model, which plans.
        settings: As for :func:`run`.
        defaults: As for :func:`run`.

    Raises:
        ValueError: If the file holds another evaluation.
    """
    assert config.output is not None
    weights = None if config.policy in SCRIPTED else find_hash(Path(config.policy))
    wanted = _config(config, find_episodes(config)[0], weights, plans=plans, settings=settings)
    found = find(config.output, key, wanted, defaults)
    return found if found is not None and found.finished else None


def result_of(record: Record) -> EvalResult:
    """The result of an evaluation, for comparisons.

    Raises:
        ValueError: If the record is of something else.
    """
    try:
        settings = {name: record.config[name] for name in SETTINGS}
        measured = {name: record.facts[name] for name in MEASURED}
        return EvalResult.from_dict({"rows": record.rows, **settings, **measured})
    except KeyError as error:
        raise ValueError(f"a record must be of an evaluation, got one without {error}") from error


def _run(
    config: EvaluateConfig,
    manifest: Manifest,
    task: Task,
    source: Source,
    record: Record,
    path: Path,
    defaults: Mapping[str, Any] | None,
) -> Record:
    """Evaluates a policy, or goes on with an evaluation that was stopped, in a file that this process alone writes."""
    published = config.env_id is None and not find_manifest(config.manifest)[1].startswith(VALIDATION)
    previous = None if config.overwrite else find(path, record.key, record.config, defaults)
    if previous is not None and previous.finished:
        logger.info("%s holds this evaluation already; --overwrite runs it again", path)
        if config.progress:
            table([previous]).turned().show()
        return previous
    if previous is not None:
        record = replace(record, facts={**record.facts, "id": previous.facts.get("id") or record.facts["id"]})
    policy, observation = _policy(config, source, task)

    def save(result: EvalResult, latency: dict[str, Any] | None = None, finished: bool = False) -> Record:
        content = result.to_dict()
        facts = {"summary": result.summary(), "latency": latency, **{name: content[name] for name in MEASURED}}
        done = replace(record, rows=content["rows"], facts=plain({**record.facts, **facts}), finished=finished)
        if finished and published:
            log.append(done)  # before the result can be read: no look goes unseen, whenever this process is killed
        write_record(path, done)
        return done

    def after_batch(result: EvalResult) -> None:
        save(result)
        if interruption.requested:
            raise KeyboardInterrupt

    with Interruption(at_once=True) as interruption:
        result = evaluate(
            policy,
            task.vector(observation),
            manifest,
            num_episodes=config.num_episodes,
            num_envs=config.num_envs,
            seed=config.seed,
            deterministic=config.deterministic,
            previous=None if previous is None else result_of(previous),
            on_batch=after_batch,
            progress=config.progress,
        )
    latency = None
    if config.latency_episodes:
        latency = measure_latency(
            policy, task.vector(observation), manifest, num_episodes=config.latency_episodes, seed=config.seed
        )
    record = save(result, latency, finished=True)
    if config.progress:
        table([record]).turned().show()
    logger.info("written to %s", path)
    return record


def _policy(config: EvaluateConfig, source: Source, task: Task) -> tuple[Policy, str | None]:
    """The policy, and the kind of observation that it is given."""
    policy, observation = make_policy(source, task, planner=config.planner, seed=config.seed, device=config.device)
    if config.appearance is None:
        return policy, observation
    if observation == STATE:
        rule = f"given to policies that see images; what {source.name!r} sees has no appearance"
        raise ConfigError("appearance", rule, config.appearance)
    return ShiftedPolicy(policy, config.appearance, task.domain.agent_pixels), observation


def find_episodes(config: EvaluateConfig) -> tuple[Manifest, Task]:
    """The episodes, and the environment they take place in.

    Raises:
        ValueError: If there are none of this name, or nobody knows success in this environment.
    """
    if config.env_id is None:
        config.goal_image.require_none()
        if config.goals_from is not None:
            raise ConfigError(
                "goals_from", "given with --env-id only: a manifest has goals of its own", config.goals_from
            )
        manifest = load_manifest(config.manifest)
        kwargs = manifest.env_kwargs | config.env_kwargs
        if kwargs != manifest.env_kwargs:
            # Another task, so another name and another hash.
            changes = ", ".join(f"{key}={value}" for key, value in config.env_kwargs.items())
            manifest = replace(manifest, name=f"{manifest.name}, {changes}", env_kwargs=kwargs)
        return manifest, make_task(manifest.env_id, manifest.env_kwargs)
    task = make_task(config.env_id, config.goal_image.join(config.env_kwargs))
    task.check_success()
    count = config.num_episodes or DEFAULT_EPISODES
    if config.goals_from is not None:
        return recorded_episodes(task, config.goals_from, config.steps_ahead, count, config.seed), task
    # Drawn one after the other, so that fewer episodes are the first of more.
    seeds = tuple(np.random.default_rng([config.seed, 1]).integers(2**31, size=count).tolist())
    return Manifest(config.env_id, config.env_id, seeds, env_kwargs=task.env_kwargs, max_steps=task.max_steps), task


def _config(
    config: EvaluateConfig,
    manifest: Manifest,
    weights: str | None,
    *,
    plans: bool,
    settings: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """All that decides the rows of an evaluation."""
    decides: dict[str, Any] = {
        "manifest": manifest.name,
        "manifest_hash": manifest.hash,
        "env_id": manifest.env_id,
        "env_kwargs": manifest.env_kwargs,
        "num_episodes": config.num_episodes or len(manifest),
        **{name: getattr(config, name) for name in ("num_envs", "seed", "deterministic")},
    }
    decides |= {"policy": config.policy} if config.policy in SCRIPTED else {WEIGHTS: weights}
    if plans:
        decides["planner"] = asdict(config.planner)
    return plain({**decides, **_appearance(config), **(settings or {})})


def _appearance(config: EvaluateConfig) -> dict[str, str]:
    """What the appearance adds to a record's key and config: nothing to those of images as they are."""
    return {} if config.appearance is None else {"appearance": config.appearance}


def table(records: Sequence[Record]) -> Table:
    """A table with a row for each evaluation.

    Raises:
        ValueError: If there is none, or a record is of something else.
    """
    if not records:
        raise ValueError("a table must be made of at least one evaluation, got none")
    return Table.of([_cells(record) for record in records], num_words=2)


def _cells(record: Record) -> dict[str, str]:
    try:
        summary, latency = record.facts["summary"], record.facts["latency"]
        planner = record.config.get("planner")
        return {
            "policy": f"{record.facts['policy']}" + ("" if planner is None else f", {planner['planner']}"),
            "manifest": ", ".join(
                str(record.config[name]) for name in ("manifest", "appearance") if name in record.config
            ),
            "episodes": number(summary["num_episodes"], 0),
            "final success": percent(summary["final_success"], summary["final_success_interval"]),
            "ever success": percent(summary["ever_success"], summary["ever_success_interval"]),
            "SPL": number(summary["spl"], 3),
            "steps to goal": number(summary["mean_steps_to_goal"], 1),
            "final distance": number(summary["mean_final_distance"], 2),
            "ms a plan, p50 / p95": quantiles(latency, "plan"),
            "ms a step, p50 / p95": quantiles(latency, "step"),
        }
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise ValueError(f"a record must be of an evaluation: {type(error).__name__}: {error}") from error
