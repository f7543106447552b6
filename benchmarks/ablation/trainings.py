"""Which variants of a grid apply in an environment, and how each is trained."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.ablation.config import AblateConfig
from benchmarks.ablation.grids import OF_ENVIRONMENT, Grid, Variant
from benchmarks.comparison.contenders import CONTENDERS, Contender
from benchmarks.records.store import file_name
from envs.domain import domains
from envs.inputs import check_choice
from pretrain.config import PretrainConfig
from pretrain.image.config import ImageConfig
from pretrain.presets import preset
from pretrain.video.config import VideoConfig
from pretrain.world_model.config import WorldModelConfig
from worldmodel.config import changed


def applicable(config: AblateConfig, grid: Grid) -> Grid:
    """A grid with the variants that apply where it is measured.

    Raises:
        ValueError: If a variant is asked for that is unknown or does not apply.
    """
    reasons = {variant.name: _left_out(config, grid, variant) for variant in grid.variants}
    known = [name for name, reason in reasons.items() if reason is None]
    for name in config.only:
        if name not in known:
            told = f": it {reasons[name]} in {config.environment}" if name in reasons else ""
            raise ValueError(f"only must be among {', '.join(map(repr, known))}, got {name!r}{told}")
    return replace(grid, variants=tuple(variant for variant in grid.variants if variant.name in known))


def _left_out(config: AblateConfig, grid: Grid, variant: Variant) -> str | None:
    """Why a variant is not measured in the environment, as what would be said of it; None: it is measured."""
    full = grid.variants[0]
    if grid.preset != OF_ENVIRONMENT or variant is full:
        return None
    usual, other = (run_config(config, grid, one, 0) for one in (full, variant))
    assert isinstance(usual, WorldModelConfig)
    if variant.simulated and usual.data.dataset not in {domain.name for domain in domains() if domain.simulate}:
        return "is for simulated data, and data are recorded"
    if replace(other, output=usual.output) == usual and variant.plan == full.plan:
        return "changes nothing"
    return None


def name_of(config: AblateConfig, grid: Grid) -> str:
    """Name of a grid's files and folders, with that of environment or images where it is not the first."""
    images = Path(config.images).name
    if grid.measured == "success" and (environment := environment_of(config, grid)) != AblateConfig.environment:
        return f"{config.name}-{environment}"
    return config.name if images == AblateConfig.images else f"{config.name}-{images}"


def environment_of(config: AblateConfig, grid: Grid) -> str:
    """Name of the environment that success is measured in."""
    trained = None if grid.preset in (None, OF_ENVIRONMENT) else preset(grid.preset)
    return trained.data.dataset if isinstance(trained, WorldModelConfig) else config.environment


def folder_of(config: AblateConfig, grid: Grid, variant: Variant, seed: int) -> Path:
    """Folder of a variant's training run."""
    # Variants that differ in the search alone share a run.
    first = next(v for v in grid.variants if (v.preset, v.train) == (variant.preset, variant.train))
    return config.runs / f"ablate-{name_of(config, grid)}" / f"{file_name(first.name)}-seed{seed}"


def preset_of(config: AblateConfig, grid: Grid, variant: Variant) -> tuple[str, Mapping[str, Any]]:
    """The preset of a variant that is trained, and what is changed of it in the environment.

    Raises:
        ValueError: If the environment has no world model to train.
    """
    name = variant.preset or grid.preset
    assert name is not None
    if name != OF_ENVIRONMENT:
        return name, {}
    model = world_model(config.environment)
    assert model.preset is not None
    return model.preset, model.changes


def run_config(config: AblateConfig, grid: Grid, variant: Variant, seed: int) -> PretrainConfig:
    """How a variant is trained.

    Raises:
        ValueError: If the environment has no world model to train.
    """
    named, changes = preset_of(config, grid, variant)
    found = preset(named)
    steps: dict[str, int | None] = {}
    if variant.preset is None:
        steps["num_steps"] = config.num_steps
    if variant.preset is None and isinstance(found, WorldModelConfig):
        steps |= {"refinement.num_steps": config.refinement_steps, "policy.num_steps": config.policy_steps}
    if isinstance(found, VideoConfig):
        steps["heads.num_steps"] = config.head_steps
    given = {field: count for field, count in steps.items() if count is not None}
    images = {"data.images": config.images} if isinstance(found, ImageConfig) else {}
    run = {"seed": seed, "output": str(folder_of(config, grid, variant, seed)), "progress": config.progress}
    # A variant comes behind what is asked for in all: one without refinement has none, however long it is elsewhere.
    return changed(found, {**changes, **grid.reduced, **given, **images, **variant.train, **run})


def world_model(environment: str) -> Contender:
    """The world model of an environment's comparison.

    Raises:
        ValueError: If there is none.
    """
    found = {
        name: models[0]
        for name, contenders in CONTENDERS.items()
        if (models := [one for one in contenders.values() if one.kind == "world model"])
    }
    return found[check_choice("environment", environment, found)]
