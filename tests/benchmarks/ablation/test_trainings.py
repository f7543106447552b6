"""Which variants apply in an environment, and how each is trained there."""

from dataclasses import replace

import pytest

from benchmarks.ablation.ablate import run
from benchmarks.ablation.config import AblateConfig
from benchmarks.ablation.grids import GRIDS, OF_ENVIRONMENT, Grid, Variant
from benchmarks.ablation.trainings import applicable, folder_of, name_of, preset_of, run_config
from benchmarks.comparison.contenders import CONTENDERS
from pretrain.presets import preset
from worldmodel.build import DataSpec, build_actor_critic, build_model
from worldmodel.config import changed

GRID = GRIDS["training"]
SIMULATED, RECORDED = "two-rooms", "point-maze-medium"
SHAPES = {SIMULATED: (2, 65, 65), RECORDED: (3, 64, 64)}


def config(environment: str, **options) -> AblateConfig:
    return AblateConfig(name="training", environment=environment, progress=False, **options)


def names(grid: Grid) -> list[str]:
    return [variant.name for variant in grid.variants]


def test_the_full_method_is_the_world_model_of_the_comparison():
    full = GRID.variants[0]
    assert preset_of(config(SIMULATED), GRID, full) == ("two-rooms", {})
    assert preset_of(config(RECORDED), GRID, full)[0] == "dataset"
    for environment, contenders in CONTENDERS.items():
        model = contenders["jepa-mppi"]
        trained = run_config(config(environment), GRID, full, 3)
        compared = changed(preset(model.preset), model.changes)
        assert trained == changed(compared, {"seed": 3, "output": trained.output, "progress": False})


@pytest.mark.parametrize("environment", [SIMULATED, RECORDED])
def test_every_variant_can_be_built(environment):
    spec = DataSpec(pixel_shape=SHAPES[environment], action_dim=2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))
    full = run_config(config(environment), GRID, GRID.variants[0], 0)
    for variant in applicable(config(environment), GRID).variants:
        trained = run_config(config(environment), GRID, variant, 0)
        assert trained == changed(full, {**variant.train, "output": trained.output})
        assert build_model(trained.model, spec).context == trained.model.context
        build_actor_critic(trained.policy.networks, trained.model, spec)


@pytest.mark.parametrize(
    ("environment", "missing"),
    [(SIMULATED, {"one latent in a state"}), (RECORDED, {"two latents in a state", "reference data"})],
)
def test_what_does_not_apply_or_changes_nothing_is_left_out(environment, missing):
    applies = names(applicable(config(environment), GRID))
    assert applies == [name for name in names(GRID) if name not in missing]
    # What changes nothing depends on what is asked for in all.
    assert "no refinement" in applies
    assert "no refinement" not in names(applicable(config(environment, refinement_steps=0), GRID))


def test_what_is_left_out_cannot_be_asked_for():
    for environment, name, reason in (
        (SIMULATED, "one latent in a state", "it changes nothing in two-rooms"),
        (RECORDED, "reference data", "it is for simulated data, and data are recorded in point-maze-medium"),
    ):
        with pytest.raises(ValueError, match=f"^only must be among 'full', .*, got '{name}': {reason}$"):
            run(config(environment, only=("full", name)))
    with pytest.raises(ValueError, match=r"^only must be among 'full', .*, got 'nothing'$"):
        run(config(SIMULATED, only=("nothing",)))


def test_the_environment_must_have_a_world_model(monkeypatch):
    with pytest.raises(ValueError, match=r"environment must be one of 'two-rooms', .*, got 'nowhere'"):
        run(config("nowhere"))
    monkeypatch.setitem(CONTENDERS, "pillars", {"random": CONTENDERS["pillars"]["random"]})
    with pytest.raises(ValueError, match=r"environment must be one of 'two-rooms', .*, got 'pillars'"):
        run(config("pillars"))


def test_stages_are_as_long_as_asked_for_but_where_a_variant_has_none():
    asked = config(RECORDED, num_steps=5, refinement_steps=6, policy_steps=7)
    for variant in applicable(asked, GRID).variants:
        trained = run_config(asked, GRID, variant, 0)
        refined = 0 if variant.name == "no refinement" else 6
        assert (trained.num_steps, trained.refinement.num_steps, trained.policy.num_steps) == (5, refined, 7)
    other = Variant(name="other", preset="two-rooms-paper", train={"num_steps": 105})
    recipe = run_config(replace(asked, name="recipe"), Grid(preset="two-rooms", variants=(other,)), other, 0)
    assert recipe.num_steps == 105
    assert recipe.policy == preset("two-rooms-paper").policy
    assert recipe.refinement == preset("two-rooms-paper").refinement


def test_files_have_the_name_of_another_environment():
    assert name_of(config(SIMULATED), GRID) == "training"
    assert name_of(config(RECORDED), GRID) == "training-point-maze-medium"
    assert name_of(replace(config(RECORDED), name="planning"), GRIDS["planning"]) == "planning-point-maze-medium"
    assert name_of(replace(config(RECORDED), name="recipe"), GRIDS["recipe"]) == "recipe"
    assert (
        name_of(replace(config(RECORDED), name="images", images="/some/fashion"), GRIDS["images"]) == "images-fashion"
    )
    folders = {folder_of(config(RECORDED), GRID, variant, 1) for variant in GRID.variants}
    assert len(folders) == len(GRID.variants)
    assert {folder.parent.name for folder in folders} == {"ablate-training-point-maze-medium"}


def test_the_marker_is_no_presets_name():
    with pytest.raises(ValueError, match="preset must be one of"):
        preset(OF_ENVIRONMENT)
