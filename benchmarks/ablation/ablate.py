"""``worldmodel ablate NAME``: what each piece of the method is worth.

A grid (:mod:`benchmarks.ablation.grids`) is a list of variants of one full method; each changes as little as it can.
Every variant is trained and measured with every seed, one after the other or as tasks of Ray. Each measurement is a
record in a folder, and is not repeated if its record is there: a grid can be filled over days. The report is one JSON
file of all records of the folder, with intervals, and a picture beside it.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from agents.saved import open_source
from agents.world_model.config import PlannerConfig
from benchmarks.ablation.config import AblateConfig
from benchmarks.ablation.grids import GRIDS, Grid, Variant
from benchmarks.ablation.trainings import applicable, environment_of, folder_of, name_of, preset_of, run_config
from benchmarks.ablation.yardsticks import YARDSTICKS, Budget, Figures
from benchmarks.analysis import detection
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.records import provenance
from benchmarks.records.plots import AMBER, BLUE, picture, tidy
from benchmarks.records.store import WEIGHTS, Record, Store, fingerprint, plain
from benchmarks.records.tables import Table, number
from envs.domain import VALIDATION
from pretrain.config import UNSAVED_FIELDS
from pretrain.train import fit
from pretrain.world_model.config import WorldModelConfig
from worldmodel.checkpoint import CONFIG, weights_hash
from worldmodel.cluster.jobs import Workers, connect
from worldmodel.config import changed, command
from worldmodel.storage.files import absolute, current, read_json, write_json
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

SETTINGS = (
    "policy", "num_steps", "refinement_steps", "policy_steps", "head_steps", "num_episodes", "num_videos", "images",
)  # fmt: skip
"""Settings that a report holds."""
Jobs = Sequence[tuple[Variant, int]]


def run(config: AblateConfig) -> dict[str, Any]:
    """Runs a grid, or what is missing of it.

    Returns:
        The report, as it was written to the JSON file.

    Raises:
        ValueError: If a variant is asked for that is unknown or does not apply in the environment, the environment has
            no world model to train, or the folder holds records of other settings.
        ImportError: If Ray is asked for and not installed.
        ConnectionError: If there is no such cluster.
    """
    grid = applicable(config, GRIDS[config.name])
    output = config.output or absolute(f"benchmarks/results/ablation-{name_of(config, grid)}.json")
    with locked(output, "ablation", is_file=True):
        report = _fill(config, grid, output)
    if config.progress:
        table(report).show(output)
    return report


main = command(AblateConfig, run, "ablate")


def _fill(config: AblateConfig, grid: Grid, output: Path) -> dict[str, Any]:
    """Measures what the folder lacks of a grid; returns the report on all of it."""
    store = Store(output.with_suffix(""))
    records = [] if config.overwrite else list(_known(config, grid, store))
    present = {(record.key["variant"], record.key["seed"]) for record in records}
    chosen = [v for v in grid.variants if not config.only or v.name in config.only or v is grid.variants[0]]
    jobs = [(variant, seed) for variant in chosen for seed in (config.seeds if grid.preset else (0,))]
    jobs = [(variant, seed) for variant, seed in jobs if (variant.name, seed) not in present]
    report = None
    with connect(config.cluster, shared=config.runs, progress=config.progress) as workers:
        for record in _measure_all(config, grid, jobs, workers):
            store.save(record)
            records.append(record)
            report = _write_report(config, grid, records, output)
    return report or _write_report(config, grid, records, output)


def _known(config: AblateConfig, grid: Grid, store: Store) -> Iterator[Record]:
    """Records that the folder holds of these settings and weights, whichever variants are asked for."""
    variants = {variant.name: variant for variant in grid.variants}
    for record in store.records(grid=config.name):
        variant, seed = variants.get(str(record.key.get("variant"))), record.key.get("seed")
        if variant is None or not isinstance(seed, int):
            continue
        if found := store.find(record.key, _decides(config, grid, variant, seed)):
            yield found


def _decides(config: AblateConfig, grid: Grid, variant: Variant, seed: int) -> dict[str, Any]:
    """All that decides what is measured of a variant."""
    decides: dict[str, Any] = {"measured": grid.measured}
    if grid.preset is None:
        decides[WEIGHTS] = open_source(config.policy).sha256
    else:
        training = asdict(run_config(config, grid, variant, seed))
        decides["training"] = {key: value for key, value in training.items() if key not in UNSAVED_FIELDS}
        decides[WEIGHTS] = weights_hash(folder_of(config, grid, variant, seed))
    if grid.measured == "success":
        name = _manifest(config, grid)
        decides |= {"manifest": name, "manifest_hash": load_manifest(name).hash, "num_episodes": config.num_episodes}
        decides |= {"planner": asdict(changed(PlannerConfig(), variant.plan)), "actor_alone": variant.actor_alone}
    elif grid.measured == "detection":
        decides |= {"seed_of_videos": detection.EVALUATION_SEED, "num_videos": config.num_videos}
    else:
        decides["untrained"] = variant.untrained
    return decides


def _manifest(config: AblateConfig, grid: Grid) -> str:
    """The episodes that success is measured on."""
    return f"{environment_of(config, grid)}/{VALIDATION}"


def measure(config: AblateConfig, grid: Grid, variant: Variant, seed: int, trained: bool = False) -> Record:
    """Trains a variant, unless it is trained already, and measures it."""
    logger.info("%s, seed %d", variant.name, seed)
    if grid.preset and not trained:
        _train(config, grid, variant, seed)
    checkpoint, training = _trained(config, grid, variant, seed)
    key = {"grid": config.name, "variant": variant.name, "seed": seed}
    decides = plain(_decides(config, grid, variant, seed))
    folder = config.runs / "evaluate" / f"ablate-{fingerprint(key, decides)[:12]}"
    budget = Budget(_manifest(config, grid), config.num_episodes, config.num_videos, folder, config.overwrite)
    if training is None or not training["policy_steps"]:
        variant = replace(variant, actor_alone=False)
    measured = YARDSTICKS[grid.measured].measure(checkpoint, variant, budget)
    facts = {
        "preset": preset_of(config, grid, variant)[0] if grid.preset else None,
        "changes": {**variant.train, **variant.plan},
        "reduced": dict(grid.reduced),
        "traits": dict(variant.traits),
        "training": training,
        **measured.facts,
    }
    decides[WEIGHTS] = measured.config[WEIGHTS]
    return replace(measured, key=key, config=decides, facts=plain(facts))


def _measure_all(config: AblateConfig, grid: Grid, jobs: Jobs, workers: Workers | None) -> Iterator[Record]:
    """All records: measured one after the other, or side by side once all is trained side by side."""
    if workers is None:
        yield from (measure(config, grid, *job) for job in jobs)
        return
    if grid.preset:  # variants that share a run have one task train it
        runs = {folder_of(config, grid, *job).name: (config, grid, *job) for job in reversed(jobs)}
        for _ in workers.map(_train, runs, "train"):
            pass
    cells = {f"{variant.name}, seed {seed}": (config, grid, variant, seed, True) for variant, seed in jobs}
    for _, record in workers.map(measure, cells, "measure"):
        told = {"command": provenance.command_line(), "ray": workers.resources}  # a task has another command
        yield replace(record, provenance={**record.provenance, **told})


def _train(config: AblateConfig, grid: Grid, variant: Variant, seed: int) -> None:
    """Trains a variant, or what is missing of its training."""
    fit(run_config(config, grid, variant, seed), name=preset_of(config, grid, variant)[0])


def _trained(config: AblateConfig, grid: Grid, variant: Variant, seed: int) -> tuple[str, dict[str, Any] | None]:
    """The checkpoint of a variant, and how long its training took."""
    if grid.preset is None:
        return config.policy, None
    folder = folder_of(config, grid, variant, seed)
    trained = run_config(config, grid, variant, seed)
    training = read_json(current(folder, CONFIG), "the configuration of a checkpoint")["training"]
    data = training["config"]["data"]
    stages = trained if isinstance(trained, WorldModelConfig) else None
    return str(folder), {
        "steps": trained.num_steps,
        "refinement_steps": stages.refinement.num_steps if stages else 0,
        "policy_steps": stages.policy.num_steps if stages else 0,
        "frames": trained.num_steps * data["batch_size"] * data.get("num_frames", 1),
        "minutes": training["seconds"] / 60,
        "threads": training["threads"],
    }


def _write_report(config: AblateConfig, grid: Grid, records: list[Record], path: Path) -> dict[str, Any]:
    """Writes a report and its picture: a row a record in the grid's order and by seed, without episodes.

    Each is compared with the full method's of its seed.
    """
    places = {variant.name: place for place, variant in enumerate(grid.variants)}
    full: dict[int, Record] = {}
    rows = []
    for record in sorted(records, key=lambda record: (places[record.key["variant"]], record.key["seed"])):
        base = full.setdefault(record.key["seed"], record)
        named = {name: record.key[name] for name in ("variant", "seed")}
        figures = {**record.facts, **YARDSTICKS[grid.measured].against(record, base)}
        rows.append({**named, **figures, WEIGHTS: record.config.get(WEIGHTS), "provenance": dict(record.provenance)})
    report = {
        "grid": config.name,
        **({"manifest": _manifest(config, grid)} if grid.measured == "success" else {}),
        **{name: getattr(config, name) for name in SETTINGS},
        "provenance": provenance.collect(),
        "rows": rows,
    }
    write_json(path, report)
    _draw(report, path.with_suffix(".png"))
    return plain(report)


def _by_variant(report: dict[str, Any]) -> dict[str, list[Figures]]:
    """Rows of each variant, a seed each."""
    return {name: list(rows) for name, rows in groupby(report["rows"], key=itemgetter("variant"))}


def table(report: dict[str, Any]) -> Table:
    """A row for each variant; cells of several seeds stand one below the other where they differ."""
    grid, rows = GRIDS[report["grid"]], []
    for name, seeds in _by_variant(report).items():
        cells = [YARDSTICKS[grid.measured].cells(figures) for figures in seeds]
        for cell, figures in zip(cells, seeds, strict=True):
            if figures["training"]:
                cell["frames"] = f"{number(figures['training']['frames'] / 1e6)} M"
            if figures["training"] and grid.timed:
                cell["minutes"] = number(figures["training"]["minutes"])
        texts = {column: [cell[column] for cell in cells] for column in cells[0]}
        joined = {column: "\n".join(found if len(set(found)) > 1 else found[:1]) for column, found in texts.items()}
        rows.append({"variant": name} | joined)
    return Table.of(rows, f"ablation of {report['grid']}")


def _draw(report: dict[str, Any], path: Path) -> None:
    """Estimates of each variant with their intervals, a line a seed, the full method on top."""
    yardstick = YARDSTICKS[GRIDS[report["grid"]].measured]
    variants = _by_variant(report)
    with picture(path, 7.2, 0.32 * len(variants) + 1.1) as figure:
        axes = figure.add_subplot()
        for place, seeds in enumerate(variants.values()):
            colour = BLUE if place else AMBER
            for i, figures in enumerate(seeds):
                share, interval = yardstick.estimate(figures)
                value, low, high = (100 * one for one in (share, *interval))
                y = place + 0.2 * (i - (len(seeds) - 1) / 2)
                axes.plot([low, high], [y, y], color=colour, linewidth=2, solid_capstyle="round")
                axes.plot(value, y, "o", color=colour, markersize=5 if len(seeds) == 1 else 3.5)
        axes.set_yticks(range(len(variants)), list(variants))
        axes.invert_yaxis()
        axes.set_xlabel(f"{yardstick.axis}; 95 % intervals")
        tidy(axes, "x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(length=0)
        figure.tight_layout()
