"""``worldmodel ablate NAME``: what each piece of the method is worth.

A grid (:mod:`benchmarks.ablation.grids`) is a list of variants of one full method; each changes as little as it can.
Every variant is trained and measured for every seed, one after the other or on a Ray cluster. The result is one JSON of
all rows, with intervals, and a picture. Rows that it holds already, of the same settings, are not run again: a grid can
be filled over days and on several machines.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import matplotlib as mpl
import tyro
from annotated_types import MinLen
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from agents.world_model.config import PlannerConfig
from benchmarks.ablation.grids import GRIDS, Grid, Variant
from benchmarks.ablation.measures import MEASURES, Budget, Row
from benchmarks.analysis import detection
from benchmarks.evaluation.manifests import VALIDATION, load_manifest
from benchmarks.evaluation.policies import open_source
from benchmarks.films.drawing import AMBER, BLUE, GRID, PAPER, STYLE
from benchmarks.records import provenance
from pretrain.config import ImageConfig, PretrainConfig, VideoConfig, WorldModelConfig
from pretrain.presets import preset
from pretrain.train import UNSAVED_FIELDS, fit
from worldmodel.checkpoint import CONFIG, weights_hash
from worldmodel.config import Count, CountFromZero, NonNegative, Seed, changed, config
from worldmodel.storage.files import absolute, current, read_json, replacing, write_json
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

SETTINGS = ("policy", "num_steps", "policy_steps", "head_steps", "num_episodes", "num_videos", "images")
"""Fields that rows of one table share."""

DESCRIPTION = ("preset", "changes", "reduced")
"""Fields of a row that say what was trained and how it plans."""


@config
class AblateConfig:
    """Measures what each piece of the method is worth."""

    name: tyro.conf.Positional[
        Literal["planning", "training", "losses", "recipe", "rollout", "std-cov", "images", "image-weights"]
    ]
    """planning: variants of the search, with one checkpoint. training, losses: a training run in Two Rooms for each
    variant. recipe: this project's method beside that of EB-JEPA at equal time and at equal frames; hours. rollout,
    std-cov: rounds of prediction, and weights of the regularisers, of Video-JEPA on Moving MNIST. images,
    image-weights: regulariser and projector, and weights of the regularisers, of Image-JEPA."""
    policy: str = "two-rooms"
    """planning: the checkpoint."""
    only: tuple[str, ...] = ()
    """Only these variants, beside the full method."""
    seeds: Annotated[tuple[Seed, ...], MinLen(1)] = (0,)
    """Seeds of the training runs."""
    num_steps: Count | None = None
    """Steps of the model in each training run; by default the preset's."""
    policy_steps: CountFromZero | None = None
    """Two Rooms: steps of actor and critic in each training run; by default the preset's."""
    head_steps: Count | None = None
    """Moving MNIST: steps of detection head and decoder in each training run; by default the preset's."""
    num_episodes: Count = 500
    """Two Rooms: episodes of the validation manifest."""
    num_videos: Count = 2_048
    """Moving MNIST: videos."""
    images: str = "digits"
    """Image-JEPA: set of images, or its folder."""
    runs: Path = Path("runs")
    """Folder of the runs and of single evaluations."""
    output: Path | None = None
    """JSON file to write, by default benchmarks/results/ablation-NAME.json (with the images' name where other than
    digits); a picture of that name goes beside it."""
    ray: bool = False
    """Runs side by side with Ray Tune, on the cluster that RAY_ADDRESS names or on this machine (needs the ray
    extra). On a cluster, runs must be a folder that all machines see."""
    cpus_per_run: Count = 1
    """With Ray: cores of each run."""
    gpus_per_run: NonNegative = 0.0
    """With Ray: GPUs of each run; it may be a part of one."""
    progress: bool = True
    """Whether to show progress bars and the table."""


def run(config: AblateConfig) -> dict[str, Any]:
    """Runs a grid, or what is missing of it.

    Returns:
        What was written to the JSON file.

    Raises:
        ValueError: If a variant is unknown.
        ImportError: If Ray is asked for and not installed.
    """
    grid = GRIDS[config.name]
    known = [variant.name for variant in grid.variants]
    for name in config.only:
        if name not in known:
            raise ValueError(f"only must be among {', '.join(map(repr, known))}, got {name!r}")
    output = config.output or absolute(f"benchmarks/results/ablation-{_slug(config)}.json")
    with locked(output, "ablation", is_file=True):
        content = _fill(config, grid, output)
    if config.progress:
        Console().print(_table(content))
        logger.info("written to %s", output)
    return content


def _fill(config: AblateConfig, grid: Grid, output: Path) -> dict[str, Any]:
    """Runs what is missing of a grid's table; returns the whole."""
    content: dict[str, Any] = {
        "grid": config.name,
        "manifest": VALIDATION,
        **{name: getattr(config, name) for name in SETTINGS},
        "provenance": provenance.collect(),
        "rows": _known_rows(config, grid, output),
    }
    chosen = [v for v in grid.variants if not config.only or v.name in config.only or v is grid.variants[0]]
    jobs = [(variant, seed) for variant in chosen for seed in (config.seeds if grid.preset else (0,))]
    present = {(row["variant"], row["seed"]) for row in content["rows"]}
    jobs = [(variant, seed) for variant, seed in jobs if (variant.name, seed) not in present]
    for row in _rows_by_ray(config, grid, jobs) if config.ray else _rows(config, grid, jobs):
        content["rows"] = _in_order([*content["rows"], row | {"provenance": provenance.collect()}], grid)
        _write(output, content)
    return read_json(output, "the table of an ablation")


def markdown(path: Path) -> str:
    """A grid's rows as a Markdown table; the seeds of a variant stand one below the other."""
    content = read_json(path, "the table of an ablation")
    heads = [*_cells(content["rows"][0], GRIDS[content["grid"]])]
    lines = ["| variant | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(heads)]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in _grouped(content, "<br>")]
    return "\n".join(lines) + "\n"


def _known_rows(config: AblateConfig, grid: Grid, path: Path) -> list[Row]:
    """Rows that a file holds of these settings and weights, of variants that are as they were."""
    if not path.exists():
        return []
    content = read_json(path, "the table of an ablation")
    rows = content.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} must be the table of an ablation, with a list of rows, got {type(rows).__name__}")
    known = {variant.name: variant for variant in grid.variants}
    kept = [
        row for row in rows if row.get("variant") in known and _is_current(config, grid, known[row["variant"]], row)
    ]
    if len(kept) < len(rows):
        logger.info("%d of %d rows of %s are of other settings or weights", len(rows) - len(kept), len(rows), path)
    return kept


def _is_current(config: AblateConfig, grid: Grid, variant: Variant, row: Row) -> bool:
    """Whether a row is what measuring the variant now would give."""
    seed = row.get("seed")
    if not isinstance(seed, int) or row.get("key") != _key(config, grid, variant, seed):
        return False
    folder = open_source(config.policy).path if grid.preset is None else _folder(config, grid, variant, seed)
    here = None if folder is None else weights_hash(folder)
    # A run may have been made, and its row been filled in, elsewhere.
    return row.get("weights") == here or (grid.preset is not None and here is None)


def _key(config: AblateConfig, grid: Grid, variant: Variant, seed: int) -> str:
    """What two rows must share to be of the same thing: a hash of all that is trained and measured, but for weights."""
    decides: dict[str, Any] = {"grid": config.name, "seed": seed, "measured": grid.measured}
    if grid.preset is not None:
        run_config = _run_config(config, grid, variant, seed)
        unsaved = (*UNSAVED_FIELDS, "output")
        decides["training"] = {key: value for key, value in asdict(run_config).items() if key not in unsaved}
    if grid.measured == "success":
        decides["planner"] = asdict(changed(PlannerConfig(), variant.plan))
        decides["episodes"] = [load_manifest(VALIDATION).hash, config.num_episodes]
    if grid.measured == "detection":
        decides["videos"] = [detection.EVALUATION_SEED, config.num_videos]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _description(grid: Grid, variant: Variant) -> dict[str, Any]:
    """What is trained and how it plans, in JSON types."""
    description = {"preset": variant.preset or grid.preset, "changes": {**variant.train, **variant.plan}}
    if grid.reduced:
        description["reduced"] = dict(grid.reduced)
    return json.loads(json.dumps(description))


def _in_order(rows: list[Row], grid: Grid) -> list[Row]:
    """Rows in the grid's order and by seed, each compared with the full method's of its seed."""
    places = {variant.name: place for place, variant in enumerate(grid.variants)}
    ordered = sorted(rows, key=lambda row: (places[row["variant"]], row["seed"]))
    full: dict[int, Row] = {}
    for row in ordered:
        base = full.setdefault(row["seed"], row)
        row.update(MEASURES[grid.measured].against(row, base))
    return ordered


def _rows(config: AblateConfig, grid: Grid, jobs: list[tuple[Variant, int]]) -> Iterator[Row]:
    for variant, seed in jobs:
        logger.info("%s, seed %d", variant.name, seed)
        yield measure_variant(config, grid, variant, seed)


def _rows_by_ray(config: AblateConfig, grid: Grid, jobs: list[tuple[Variant, int]]) -> Iterator[Row]:
    """All rows, measured side by side by Ray Tune."""
    try:
        import ray
        from ray import tune
    except ImportError as error:
        raise ImportError("ray needs the ray extra: pip install 'worldmodel[ray]'") from error

    # Workers run in folders of their own.
    config = replace(config, policy=_anywhere(config.policy), images=_anywhere(config.images))
    trial = tune.with_parameters(_trial, config=config, grid=grid, jobs=jobs)
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": config.cpus_per_run, "gpu": config.gpus_per_run}),
        param_space={"job": tune.grid_search(list(range(len(jobs))))},
        run_config=tune.RunConfig(
            name=config.name, storage_path=str(config.runs / "ray"), verbose=int(config.progress)
        ),
    )
    results = tuner.fit()
    if results.errors:
        raise results.errors[0]
    # Ray gives them back in an order of its own.
    rows: dict[int, Row] = {}
    for i in range(len(results)):
        parameters, metrics = results[i].config, results[i].metrics
        assert parameters is not None
        assert metrics is not None
        rows[parameters["job"]] = json.loads(metrics["row"])
    yield from (rows[job] for job in range(len(jobs)))


def _anywhere(name: str) -> str:
    """A name as it is, or a path that means the same in every working directory."""
    return str(absolute(name)) if Path(name).exists() else name


def _trial(
    parameters: dict[str, int], config: AblateConfig, grid: Grid, jobs: list[tuple[Variant, int]]
) -> dict[str, str]:
    return {"row": json.dumps(measure_variant(config, grid, *jobs[parameters["job"]]))}


def measure_variant(config: AblateConfig, grid: Grid, variant: Variant, seed: int) -> Row:
    """Trains a variant if it must be, and measures it.

    Returns:
        Its row, in JSON types.
    """
    key = _key(config, grid, variant, seed)
    checkpoint, training = _train(config, grid, variant, seed)
    budget = Budget(config.num_episodes, config.num_videos, config.runs)
    if training is None or not training["policy_steps"]:
        variant = replace(variant, actor_alone=False)
    return {
        "variant": variant.name,
        "seed": seed,
        "key": key,
        **_description(grid, variant),
        "training": training,
        **MEASURES[grid.measured].measure(checkpoint, variant, budget),
    }


def _slug(config: AblateConfig) -> str:
    """Name of files and folders: the grid's, with that of the images where they are not the default."""
    images = Path(config.images).name
    return config.name if images == AblateConfig.images else f"{config.name}-{images}"


def _train(config: AblateConfig, grid: Grid, variant: Variant, seed: int) -> tuple[str, dict[str, Any] | None]:
    """The checkpoint of a variant, trained if it must be, and how long that took."""
    if grid.preset is None:
        return config.policy, None
    folder = _folder(config, grid, variant, seed)
    run_config = _run_config(config, grid, variant, seed)
    fit(run_config, name=variant.preset or grid.preset)
    training = read_json(current(folder, CONFIG), "the configuration of a checkpoint")["training"]
    data = training["config"]["data"]
    return str(folder), {
        "steps": run_config.num_steps,
        "policy_steps": run_config.policy.num_steps if isinstance(run_config, WorldModelConfig) else 0,
        "frames": run_config.num_steps * data["batch_size"] * data.get("num_frames", 1),
        "minutes": training["seconds"] / 60,
        "threads": training["threads"],
    }


def _folder(config: AblateConfig, grid: Grid, variant: Variant, seed: int) -> Path:
    """Folder of a variant's training run."""
    # Variants that differ in the search alone share a run.
    first = next(v for v in grid.variants if (v.preset, v.train) == (variant.preset, variant.train))
    slug = "".join(c if c.isalnum() else "-" for c in first.name)
    return config.runs / f"ablate-{_slug(config)}" / f"{slug}-seed{seed}"


def _run_config(config: AblateConfig, grid: Grid, variant: Variant, seed: int) -> PretrainConfig:
    """How a variant is trained."""
    name = variant.preset or grid.preset
    assert name is not None
    run_config = preset(name)
    folder = _folder(config, grid, variant, seed)
    changes: dict[str, Any] = {"seed": seed, "output": str(folder), "progress": config.progress}
    if variant.preset is None and config.num_steps is not None:
        changes["num_steps"] = config.num_steps
    if variant.preset is None and config.policy_steps is not None and isinstance(run_config, WorldModelConfig):
        changes["policy.num_steps"] = config.policy_steps
    if config.head_steps is not None and isinstance(run_config, VideoConfig):
        changes["heads.num_steps"] = config.head_steps
    if isinstance(run_config, ImageConfig):
        changes["data.images"] = config.images
    return changed(run_config, dict(grid.reduced) | dict(variant.train) | changes)


def _write(path: Path, content: dict[str, Any]) -> None:
    write_json(path, content)
    _draw(content, path.with_suffix(".png"))


def _cells(row: Row, grid: Grid) -> dict[str, str]:
    cells = MEASURES[grid.measured].cells(row)
    if row["training"]:
        cells["frames"] = f"{row['training']['frames'] / 1e6:.1f} M"
        if grid.timed:
            cells["minutes"] = f"{row['training']['minutes']:.1f}"
    return cells


def _variants(content: dict[str, Any]) -> dict[str, list[Row]]:
    """Rows of each variant, a seed each."""
    variants: dict[str, list[Row]] = {}
    for row in content["rows"]:
        variants.setdefault(row["variant"], []).append(row)
    return variants


def _grouped(content: dict[str, Any], separator: str) -> Iterator[tuple[str, list[str]]]:
    """Each variant with its cells; those of several seeds are joined where they differ."""
    for name, rows in _variants(content).items():
        columns = zip(*(_cells(row, GRIDS[content["grid"]]).values() for row in rows), strict=True)
        yield name, [cells[0] if len(set(cells)) == 1 else separator.join(cells) for cells in columns]


def _table(content: dict[str, Any]) -> Table:
    table = Table(title=f"ablation of {content['grid']}")
    table.add_column("variant")
    for name in _cells(content["rows"][0], GRIDS[content["grid"]]):
        table.add_column(name, justify="right")
    for name, cells in _grouped(content, "\n"):
        table.add_row(name, *cells)
    return table


def _draw(content: dict[str, Any], path: Path) -> None:
    """Estimates of each variant with their intervals, a line a seed, the full method on top."""
    measure = MEASURES[GRIDS[content["grid"]].measured]
    variants = _variants(content)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.32 * len(variants) + 1.1), dpi=150, facecolor=PAPER)
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for place, (name, rows) in enumerate(variants.items()):
            colour = AMBER if name == content["rows"][0]["variant"] else BLUE
            for i, row in enumerate(rows):
                value, low, high = measure.estimate(row)
                y = place + 0.2 * (i - (len(rows) - 1) / 2)
                axes.plot([low, high], [y, y], color=colour, linewidth=2, solid_capstyle="round")
                axes.plot(value, y, "o", color=colour, markersize=5 if len(rows) == 1 else 3.5)
        axes.set_yticks(range(len(variants)), list(variants))
        axes.invert_yaxis()
        axes.set_xlabel(f"{measure.axis}; 95 % intervals")
        axes.grid(axis="x", color=GRID)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        figure.tight_layout()
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", facecolor=PAPER)
