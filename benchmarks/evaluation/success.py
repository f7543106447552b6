"""``worldmodel evaluate``: success rate, SPL and latency of a policy on a manifest or in an environment of your own.

An evaluation is a record, written after each batch of episodes; the same command goes on where it was stopped, and ends
with the result that it would have had uninterrupted::

    key      environment, manifest, policy, planner, weights, appearance if shifted     or what the caller says
    config   all that decides the rows: episodes, seeds, weights, planner
    rows     an episode each
    facts    summary, latency, durations

With ``--ray`` each batch is a task. This process alone writes, a batch at a time as they get done; a batch depends on
the seed and its place alone, so it is the same wherever it runs.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from agents.appearance import ShiftedPolicy
from agents.evaluation.evaluate import EvalResult, Manifest, begin, evaluate, measure_latency
from agents.evaluation.results import SETTINGS
from agents.evaluation.task import Task
from agents.saved import SCRIPTED, Source, find_hash, make_policy, open_source
from benchmarks.evaluation.config import EvaluateConfig
from benchmarks.evaluation.episodes import find_episodes
from benchmarks.evaluation.manifests import find_manifest
from benchmarks.evaluation.tables import table
from benchmarks.records import log
from benchmarks.records.store import WEIGHTS, Record, find, name_of, new_record, plain, write_record
from envs.appearance import check_shift
from envs.domain import STATE, VALIDATION, Policy
from pretrain.loop.interruption import Interruption
from worldmodel.cluster.jobs import Workers, connect, modules_of
from worldmodel.config import ConfigError, command
from worldmodel.storage.files import absolute
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

MEASURED = ("plan_seconds", "steps_per_plan", "wall_seconds", "env_steps")
"""What an evaluation measures beside its rows."""


class Request(NamedTuple):
    """An evaluation that somebody asks for.

    Attributes:
        config: What to evaluate.
        key: The record's key; by default environment, manifest, policy, planner and weights, and the appearance if it
            is another.
        settings: What else decides the rows, such as how the policy was trained: for the record's config.
        defaults: Defaults of these settings: older records lack those that there were not yet.
        facts: What else is known, such as the cost of the training: for the record's facts.
    """

    config: EvaluateConfig
    key: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None
    defaults: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] | None = None

    def find(self, *, plans: bool) -> Record | None:
        """The record, if the output file holds it finished; see :func:`find_record`."""
        assert self.key is not None
        return find_record(self.config, key=self.key, plans=plans, settings=self.settings, defaults=self.defaults)


def run(
    config: EvaluateConfig,
    *,
    key: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Record:
    """Evaluates a policy, or goes on with an evaluation that was stopped; for arguments see :class:`Request`.

    Returns:
        The record.

    Raises:
        ValueError: If the policy, the manifest, the environment or the appearance is unknown, they do not fit, or the
            output file holds another evaluation.
    """
    modules = modules_of(config.env_id, config.goal_image.goals, config.goal_image.success)
    with connect(config.cluster, modules=modules, progress=config.progress) as workers:
        (record,) = run_all([Request(config, key, settings, defaults, facts)], workers)
    return record


def run_all(requests: Sequence[Request], workers: Workers | None) -> list[Record]:
    """Runs evaluations: one after the other, or batches of all of them side by side.

    Returns:
        The record of each.

    Raises:
        ValueError: As :func:`run` does.
    """
    if workers is None:
        return [_run_here(_prepare(request)) for request in requests]
    evaluations = [_prepare(request) for request in requests]
    with ExitStack() as locks:
        for evaluation in evaluations:
            locks.enter_context(locked(evaluation.path, "evaluation", is_file=True))
        finished = _run_in_tasks(evaluations, workers)
    return [finished[evaluation.path] for evaluation in evaluations]


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


@dataclass
class _Evaluation:
    """An evaluation on its way: what is asked for, and what there is of it, in a file that this process alone writes.

    Attributes:
        config: What to evaluate.
        manifest: The episodes.
        task: The environment.
        source: The policy's files.
        record: The record, without what is measured.
        path: Its file.
        defaults: Defaults of the settings in its config.
    """

    config: EvaluateConfig
    manifest: Manifest
    task: Task
    source: Source
    record: Record
    path: Path
    defaults: Mapping[str, Any] | None

    @cached_property
    def previous(self) -> Record | None:
        """What the file holds already of this evaluation."""
        found = None if self.config.overwrite else find(self.path, self.record.key, self.record.config, self.defaults)
        if found is not None and not found.finished:
            self.record = replace(
                self.record, facts={**self.record.facts, "id": found.facts.get("id") or self.record.facts["id"]}
            )
        return found

    def done(self) -> Record | None:
        """The record, if the file holds it finished; then it is shown."""
        if self.previous is None or not self.previous.finished:
            return None
        logger.info("%s holds this evaluation already; --overwrite runs it again", self.path)
        self.show(self.previous)
        return self.previous

    def rows(self) -> EvalResult | None:
        """The rows that the file holds already."""
        return None if self.previous is None else result_of(self.previous)

    def save(self, result: EvalResult, latency: dict[str, Any] | None = None, finished: bool = False) -> Record:
        """Writes what has been measured so far."""
        content = result.to_dict()
        facts = {"summary": result.summary(), "latency": latency, **{name: content[name] for name in MEASURED}}
        facts = plain({**self.record.facts, **facts})
        done = replace(self.record, rows=content["rows"], facts=facts, finished=finished)
        published = self.config.env_id is None and not find_manifest(self.config.manifest)[1].startswith(VALIDATION)
        if finished and published:
            log.append(done)  # before the result can be read: no look goes unseen, whenever this process is killed
        write_record(self.path, done)
        if finished:
            self.show(done)
            logger.info("written to %s", self.path)
        return done

    def show(self, record: Record) -> None:
        """Shows the finished record, if anything is to be shown."""
        if self.config.progress:
            table([record]).turned().show()


def _prepare(request: Request) -> _Evaluation:
    """Looks up what is asked for, and opens the policy."""
    config = request.config
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
        default_key if request.key is None else request.key,
        _config(config, manifest, source.sha256, plans=plans, settings=request.settings),
        facts={"policy": source.name, "device": config.device, "id": uuid.uuid4().hex, **(request.facts or {})},
        finished=False,
    )
    path = config.output or absolute(f"runs/evaluate/{name_of(record.key)}-{record.fingerprint[:8]}.json")
    return _Evaluation(config, manifest, task, source, record, path, request.defaults)


def _run_here(evaluation: _Evaluation) -> Record:
    """Evaluates a policy in this process, or goes on where that was stopped."""
    config, manifest = evaluation.config, evaluation.manifest

    def after_batch(result: EvalResult) -> None:
        evaluation.save(result)
        if interruption.requested:
            raise KeyboardInterrupt

    with locked(evaluation.path, "evaluation", is_file=True):
        if done := evaluation.done():
            return done
        policy, observation = _policy(config, evaluation.source, evaluation.task)
        with Interruption(at_once=True) as interruption:
            result = evaluate(
                policy,
                evaluation.task.vector(observation),
                manifest,
                **_options(config),
                previous=evaluation.rows(),
                on_batch=after_batch,
                progress=config.progress,
            )
        latency = None
        if config.latency_episodes:
            latency = _latency(config, manifest, evaluation.task, policy, observation)
        return evaluation.save(result, latency, finished=True)


def _run_in_tasks(evaluations: Sequence[_Evaluation], workers: Workers) -> dict[Path, Record]:
    """Evaluates policies side by side, batch by batch; latency is measured when batches are done, or nearly so.

    Returns:
        The records by their paths.
    """
    finished: dict[Path, Record] = {}
    parts: dict[str, tuple[_Evaluation, int | None]] = {}
    results: dict[Path, EvalResult] = {}
    latencies: dict[Path, Any] = {}
    sources: dict[str, Source] = {}

    def save(evaluation: _Evaluation) -> None:
        result, latency = results[evaluation.path], latencies[evaluation.path]
        complete = result.finished and (latency is not None or not evaluation.config.latency_episodes)
        finished[evaluation.path] = evaluation.save(result, latency, finished=complete)

    for evaluation in evaluations:
        path, config = evaluation.path, evaluation.config
        if done := evaluation.done():
            finished[path] = done
            continue
        provenance = {**evaluation.record.provenance, "ray": workers.resources}
        evaluation.record = replace(evaluation.record, provenance=provenance)
        results[path] = begin(evaluation.manifest, **_options(config), previous=evaluation.rows())
        latencies[path] = evaluation.previous and evaluation.previous.facts.get("latency")
        missing: list[int | None] = [*results[path].missing]
        if config.latency_episodes and latencies[path] is None:
            missing.append(None)
        if not missing:
            save(evaluation)
        for first in missing:
            what = "latency" if first is None else f"episodes {first} to {first + config.num_envs - 1}"
            parts[f"{path.stem}, {what}"] = evaluation, first
    jobs = {}
    for name, (evaluation, first) in sorted(parts.items(), key=lambda part: part[1][1] is None):
        source = sources.setdefault(evaluation.config.policy, evaluation.source)
        jobs[name] = (evaluation.config, evaluation.manifest, evaluation.task, source, first)
    for name, found in workers.map(_run_part, jobs, "evaluate"):
        evaluation = parts[name][0]
        if isinstance(found, EvalResult):
            results[evaluation.path] = results[evaluation.path].joined(found)
        else:
            latencies[evaluation.path] = found
        save(evaluation)
    return finished


def _run_part(
    config: EvaluateConfig, manifest: Manifest, task: Task, source: Source, first: int | None
) -> EvalResult | dict[str, Any]:
    """The batch of an evaluation that begins with an episode; None: latency."""
    policy, observation = _policy(config, source, task)
    if first is None:
        return _latency(config, manifest, task, policy, observation)
    return evaluate(policy, task.vector(observation), manifest, **_options(config), batches=(first,), progress=False)


def _options(config: EvaluateConfig) -> dict[str, Any]:
    """How many episodes are run, and how."""
    return {name: getattr(config, name) for name in ("num_episodes", "num_envs", "seed", "deterministic")}


def _latency(
    config: EvaluateConfig, manifest: Manifest, task: Task, policy: Policy, observation: str | None
) -> dict[str, Any]:
    return measure_latency(
        policy, task.vector(observation), manifest, num_episodes=config.latency_episodes, seed=config.seed
    )


def _policy(config: EvaluateConfig, source: Source, task: Task) -> tuple[Policy, str | None]:
    """The policy, and the kind of observation that it is given."""
    policy, observation = make_policy(source, task, planner=config.planner, seed=config.seed, device=config.device)
    if config.appearance is None:
        return policy, observation
    if observation == STATE:
        rule = f"given to policies that see images; what {source.name!r} sees has no appearance"
        raise ConfigError("appearance", rule, config.appearance)
    return ShiftedPolicy(policy, config.appearance, task.domain.agent_pixels), observation


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
