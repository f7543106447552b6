"""``worldmodel evaluate``: success rate, SPL and latency of a policy on a manifest or in an environment of your own.

An evaluation is written after each batch of episodes; the same command goes on where it was stopped, and ends with the
result that it would have had uninterrupted.
"""

import hashlib
import json
import logging
import uuid
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from rich.console import Console

from agents.evaluation.evaluate import EvalResult, Manifest, evaluate, measure_latency
from agents.world_model.config import PlannerConfig
from benchmarks.evaluation.manifests import VALIDATION, load_manifest
from benchmarks.evaluation.policies import Source, Task, make_policy, make_task, open_source
from benchmarks.records import provenance
from benchmarks.records import results as report
from pretrain.loop.interruption import Interruption
from worldmodel.config import Count, CountFromZero, Seed, config
from worldmodel.storage.files import absolute
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

DEFAULT_EPISODES = 50
"""Episodes in an environment without a manifest, unless another number is asked for."""
UNSAVED_FIELDS = ("output", "overwrite", "latency_episodes", "progress")
"""Fields that do not change an evaluation's rows."""


@config
class EvaluateConfig:
    """Measures success rate, SPL and latency of a policy."""

    policy: tyro.conf.Positional[str] = "two-rooms"
    """'random', 'expert', the folder of a training run (of a world model, an offline agent or reinforcement learning),
    or the name of a checkpoint that ships with the package."""
    manifest: str = "random-wall"
    """Episodes: random-wall, fixed-wall, held-out, bounce, or validation (for all tuning)."""
    env_id: str | None = None
    """Evaluate in this Gymnasium environment instead ('module:Id-v0' imports the module first). It must report
    is_success in info; a checkpoint needs the image observations 'observation' and 'desired_goal'."""
    num_episodes: Count | None = None
    """Only the first so many episodes; by default all of the manifest, or 50 in an environment without one."""
    collision: Literal["stay", "bounce"] | None = None
    """Collision mode of Two Rooms; by default the manifest's."""
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
    """Episodes on which the latency is measured afterwards, with a single environment; 0: do not."""
    output: Path | None = None
    """JSON file to write; by default runs/evaluate/POLICY-MANIFEST-….json, its name made from the configuration."""
    overwrite: bool = False
    """Start anew even if the file holds an evaluation already."""
    progress: bool = True
    """Whether to show a progress bar and the table."""


def run(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluates a policy, or goes on with an evaluation that was stopped.

    Returns:
        What was written to the JSON file.

    Raises:
        ValueError: If the policy, the manifest or the environment is unknown, they do not fit, or the output file holds
            another evaluation.
    """
    manifest, task = _episodes(config)
    source = open_source(config.policy)
    mark = _fingerprint(config, manifest, source)
    path = config.output or absolute(_default_output(config, manifest, mark))
    with locked(path, "evaluation", is_file=True):
        return _run(config, manifest, task, source, mark, path)


def _run(
    config: EvaluateConfig, manifest: Manifest, task: Task, source: Source, mark: str, path: Path
) -> dict[str, Any]:
    """Evaluates a policy, or goes on with an evaluation that was stopped, in a file that this process alone writes."""
    published = config.env_id is None and config.manifest != VALIDATION
    previous, stored = _previous(path, mark, config.overwrite)
    if stored is not None and stored["finished"]:
        logger.info("%s holds this evaluation already; --overwrite runs it again", path)
        _show(stored, config)
        return stored
    policy, observation = make_policy(source, task, planner=config.planner, seed=config.seed, device=config.device)
    content: dict[str, Any] = {
        "policy": source.name,
        "manifest": manifest.name,
        "manifest_hash": manifest.hash,
        "env_id": manifest.env_id,
        "env_kwargs": manifest.env_kwargs,
        "seed": config.seed,
        "fingerprint": mark,
        "id": (stored or {}).get("id") or uuid.uuid4().hex,
        "config": _recorded(config, source),
        "provenance": provenance.collect(source.sha256),
    }

    def save(result: EvalResult, latency: dict[str, Any] | None = None, finished: bool = False) -> None:
        content.update(finished=finished, summary=result.summary(), latency=latency, result=result.to_dict())
        if finished and published:
            # Before the result can be read: no look goes unseen, whenever this process is killed.
            report.append_to_log(content)
        report.write_result(path, content)

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
            previous=previous,
            on_batch=after_batch,
            progress=config.progress,
        )
    latency = None
    if config.latency_episodes:
        latency = measure_latency(
            policy, task.vector(observation), manifest, num_episodes=config.latency_episodes, seed=config.seed
        )
    save(result, latency, finished=True)
    _show(content, config)
    logger.info("written to %s", path)
    return content


def fingerprint(config: EvaluateConfig) -> str:
    """What two evaluations must share to be the same one: a hash of all that decides their rows.

    Raises:
        ValueError: If the policy, the manifest or the environment is unknown.
    """
    return _fingerprint(config, _episodes(config)[0], open_source(config.policy))


def _episodes(config: EvaluateConfig) -> tuple[Manifest, Task]:
    """The episodes, and the environment they take place in."""
    if config.env_id is None:
        manifest = load_manifest(config.manifest)
        if config.collision is not None and config.collision != manifest.env_kwargs["collision"]:
            # Another task, so another name and another hash.
            kwargs = manifest.env_kwargs | {"collision": config.collision}
            manifest = replace(manifest, name=f"{manifest.name}, {config.collision}", env_kwargs=kwargs)
        return manifest, make_task(manifest.env_id, manifest.env_kwargs)
    task = make_task(config.env_id)
    if config.collision is not None:
        if not task.two_rooms:
            raise ValueError(
                f"collision is a setting of Two Rooms only, got {config.collision!r} for {config.env_id!r}"
            )
        task = make_task(config.env_id, {"collision": config.collision})
    count = config.num_episodes or DEFAULT_EPISODES
    # Drawn one after the other, so that fewer episodes are the first of more.
    seeds = np.random.default_rng([config.seed, 1]).integers(2**31, size=count)
    return (
        Manifest(
            name=config.env_id,
            env_id=config.env_id,
            seeds=tuple(seeds.tolist()),
            env_kwargs=task.env_kwargs,
            max_steps=task.max_steps,
        ),
        task,
    )


def _saved(config: EvaluateConfig) -> dict[str, Any]:
    return {key: value for key, value in asdict(config).items() if key not in UNSAVED_FIELDS}


def _recorded(config: EvaluateConfig, source: Source) -> dict[str, Any]:
    """The configuration as it stands in the result: without what had no influence or is of this machine alone."""
    recorded = _saved(config)
    if source.path is not None and Path(config.policy).is_absolute():
        inside = source.path.is_relative_to(Path.cwd())
        recorded["policy"] = str(source.path.relative_to(Path.cwd())) if inside else source.name
    if source.kind != "world model":
        del recorded["planner"]
    return recorded


def _fingerprint(config: EvaluateConfig, manifest: Manifest, source: Source) -> str:
    """What two evaluations must share to be the same one: everything that decides their rows."""
    decides = {key: value for key, value in _saved(config).items() if key not in ("policy", "device")}
    decides |= {"policy": source.sha256 or config.policy, "manifest_hash": manifest.hash}
    if source.kind != "world model":
        del decides["planner"]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _default_output(config: EvaluateConfig, manifest: Manifest, fingerprint: str) -> Path:
    name = report.file_name(f"{Path(config.policy).name[:64]}-{manifest.name}")
    return Path("runs") / "evaluate" / f"{name}-{fingerprint[:8]}.json"


def _previous(path: Path, fingerprint: str, overwrite: bool) -> tuple[EvalResult | None, dict[str, Any] | None]:
    """What the output file holds of this evaluation."""
    if overwrite or not path.exists():
        return None, None
    stored = report.read_result(path)
    if stored["fingerprint"] != fingerprint:
        raise ValueError(
            f"{path} holds another evaluation (policy {stored['policy']!r}, manifest {stored['manifest']!r} or other "
            "settings, another checkpoint); choose another --output, or --overwrite"
        )
    return EvalResult.from_dict(stored["result"]), stored


def _show(content: dict[str, Any], config: EvaluateConfig) -> None:
    if config.progress:
        Console().print(report.rich_table(content))
