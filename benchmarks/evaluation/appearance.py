"""``worldmodel appearance``: what is kept of success when the same scenes look otherwise, without retraining.

Each evaluation is a record in ``benchmarks/results/appearance/`` and is not run again if it is there; :func:`table` is
made from these records. A picture beside the folder shows each shift once::

    checkpoints × (as it is, background-colour, …)  ──► success.run ──► records ──► table
    first episode of the manifest                   ──► appearance-ENVIRONMENT.png
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from statistics import fmean
from typing import Any

import tyro

from agents.evaluation.manifest import Manifest
from agents.evaluation.statistics import share_kept, wilson_interval
from agents.evaluation.task import Task, make_task
from agents.observations import KEYS
from agents.world_model.config import PlannerConfig
from benchmarks.evaluation import success
from benchmarks.evaluation.manifests import find_manifest, load_manifest
from benchmarks.records import provenance
from benchmarks.records.plots import INK, MUTED, picture, rgb
from benchmarks.records.store import Record, Store
from benchmarks.records.tables import Table, percent
from envs.appearance import GOAL_STEP, SHIFTS, check_shift, possible, shift
from envs.domain import PIXELS, VALIDATION
from pretrain.presets import DEFAULT
from worldmodel.checkpoint import locate, read_config
from worldmodel.config import ConfigError, Count, changed, command, config
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

RESULTS = provenance.RESULTS / "appearance"
"""Where the evaluations lie."""
AS_IT_IS = "as it is"
"""What tables call no shift; records have None."""
MEAN = "mean of the shifts"
"""The last row of each policy."""
GROUP = ("environment", "manifest", "policy", "planner")
"""Fields of a record's key that one table shares."""


@config
class AppearanceConfig:
    """Measures what is kept of success when backgrounds, brightness or the agent look otherwise."""

    checkpoints: tyro.conf.Positional[tuple[str, ...]] = (DEFAULT,)
    """Folders of world models, one for each training seed, or names of shipped ones."""
    manifest: str = VALIDATION
    """Episodes, MANIFEST or ENVIRONMENT/MANIFEST."""
    shifts: tuple[str, ...] = ()
    """Which appearance shifts; by default all that the environment can do."""
    planner: PlannerConfig = field(default_factory=lambda: changed(PlannerConfig(), {"planner": "policy"}))
    """How checkpoints plan; by default the actor acts alone."""
    num_episodes: Count | None = None
    """How many episodes, the first of the manifest; by default all."""
    num_envs: Count = 50
    """Episodes that run at once."""
    name: str | None = None
    """What results call the policy; by default the preset that trained it."""
    device: str = "cpu"
    """Where checkpoints plan: cpu, cuda, mps."""
    output: Path = RESULTS
    """Folder to write to; the picture goes beside it."""
    progress: bool = True
    """Whether to show the table."""


def run(config: AppearanceConfig) -> list[Record]:
    """Runs what is missing of the evaluations, and draws an example of each shift.

    Returns:
        All of them, without a shift first.

    Raises:
        ValueError: If a checkpoint is of no training run of a preset, two of them have the same name and seed, there is
            no such manifest, or the environment cannot be shifted so.
    """
    domain, manifest_name = find_manifest(config.manifest)
    names = [check_shift(name, domain.agent_pixels) for name in config.shifts] or possible(domain.agent_pixels)
    trained = [_trained(config, checkpoint) for checkpoint in config.checkpoints]
    if len({(one["policy"], one["seed"]) for one in trained}) < len(trained):
        told = ", ".join(f"{one['policy']} with seed {one['seed']}" for one in trained)
        raise ConfigError("checkpoints", "of different seeds, one each", told)
    records = []
    with locked(config.output, "results store"):
        for checkpoint, one in zip(config.checkpoints, trained, strict=True):
            for name in (None, *names):
                logger.info("%s, %s", checkpoint, name or AS_IT_IS)
                key = {
                    "environment": domain.name,
                    **{part: one[part] for part in ("policy", "seed")},
                    "manifest": manifest_name,
                    "planner": config.planner.planner,
                    "appearance": name,
                }
                evaluation = success.EvaluateConfig(
                    policy=checkpoint,
                    manifest=f"{domain.name}/{manifest_name}",
                    appearance=name,
                    latency_episodes=0,
                    output=Store(config.output).path(key),
                    progress=False,
                    **{part: getattr(config, part) for part in ("planner", "num_episodes", "num_envs", "device")},
                )
                records.append(success.run(evaluation, key=key, facts=one["facts"]))
        manifest = load_manifest(f"{domain.name}/{manifest_name}")
        task = make_task(manifest.env_id, manifest.env_kwargs)
        _draw(task, manifest, config.output.with_name(f"{config.output.name}-{domain.name}.png"))
    if config.progress:
        table(records).show(config.output)
    return records


main = command(AppearanceConfig, run, "appearance")


def _trained(config: AppearanceConfig, checkpoint: str) -> dict[str, Any]:
    """What results call a checkpoint, the seed of its training, and what else is known of it."""
    about = read_config(locate(checkpoint))
    training = about.get("training")
    if not training or "preset" not in training:
        raise ConfigError("checkpoints", "folders of training runs of a preset", checkpoint)
    cost = {"seed": training["config"]["seed"], "steps": training["step"], "seconds": training["seconds"]}
    return {
        "policy": config.name or training["preset"],
        "seed": cost["seed"],
        "facts": {"training": cost, "model": {"encoder": about["model"]["encoder"]}},
    }


def groups(records: Sequence[Record]) -> list[list[Record]]:
    """Records put together that a table compares: of one policy on one manifest, whatever the training's seed.

    Raises:
        ValueError: If one is of something else.
    """
    found: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        if any(part not in record.key for part in (*GROUP, "seed", "appearance")):
            raise ValueError(f"records must be of appearance shifts, got one of {', '.join(record.key) or 'nothing'}")
        found.setdefault(tuple(record.key[part] for part in GROUP), []).append(record)
    return list(found.values())


def table(records: Sequence[Record]) -> Table:
    """Success and the share of it that is kept, a row for each shift; training seeds are put together.

    Intervals take episodes of different seeds for independent. Success is that which tables of the manifest show.

    Raises:
        ValueError: If the records are not of one policy on one manifest.
    """
    if len(found := groups(records)) != 1:
        raise ValueError(f"a table must be made of evaluations of one policy on one manifest, got {len(found)}")
    key = records[0].key
    domain, manifest = find_manifest(f"{key['environment']}/{key['manifest']}")
    kind = f"{domain.recipes[manifest].measure}_success"
    results = {(r.key["appearance"], r.key["seed"]): [row[kind] for row in r.rows] for r in records if r.finished}
    rows = list(_rows(results))
    return Table.of(rows, f"{key['policy']}, {key['planner']}, on {key['environment']}/{manifest}")


def _rows(results: Mapping[tuple[str | None, int], Sequence[bool]]) -> Iterator[dict[str, str]]:
    """The rows of a table, from the episodes' successes under each shift (None: none) by each seed."""
    shares = []
    for name in (None, *SHIFTS):
        seeds = [seed for shifted, seed in results if shifted == name]
        if not seeds:
            continue
        after = [one for seed in seeds for one in results[name, seed]]
        rate, interval = sum(after) / len(after), wilson_interval(sum(after), len(after))
        row = {"appearance": name or AS_IT_IS, "seeds": str(len(seeds)), "success": percent(rate, interval)}
        both = [seed for seed in seeds if name is not None and (None, seed) in results]
        if both:
            before, after = ([one for seed in both for one in results[which, seed]] for which in (None, name))
            if (kept := share_kept(before, after)) is not None:
                shares.append(kept[0])
                row["kept of success"] = percent(kept[0], kept[1:])
        yield row
    if shares:
        yield {"appearance": MEAN, "kept of success": percent(fmean(shares))}


def _draw(task: Task, manifest: Manifest, path: Path) -> None:
    """Draws a start and its goal, as they are and with each shift."""
    env = task.make(PIXELS)
    seen, _ = env.reset(seed=manifest.seeds[0], options=dict(manifest.episodes[0]) if manifest.episodes else None)
    env.close()
    agent_pixels = task.domain.agent_pixels
    names = (None, *possible(agent_pixels))
    with picture(path, 1.25 * len(names), 2.8) as figure:
        grid = figure.subplots(2, len(names), squeeze=False)
        for row, key, label, step in zip(grid, KEYS, ("start", "goal"), (0, GOAL_STEP), strict=True):
            for axes, name in zip(row, names, strict=True):
                image = seen[key]
                if name is not None:
                    image = shift(name, image, step=step, agent_pixels=agent_pixels)
                axes.imshow(rgb(image), interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_color(MUTED)
            row[0].set_ylabel(label)
        for axes, name in zip(grid[0], names, strict=True):
            axes.set_title((name or AS_IT_IS).replace("-", "\n", 1), fontsize=8, color=INK)
        figure.tight_layout()
