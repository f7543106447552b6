"""Ablation grids: every variant is a valid configuration, results are kept, nothing is run twice."""

import json
import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file

from agents.world_model.config import PlannerConfig
from benchmarks.ablation import ablate as ablations
from benchmarks.ablation import trainings
from benchmarks.ablation.ablate import run
from benchmarks.ablation.config import AblateConfig
from benchmarks.ablation.grids import GRIDS, OF_ENVIRONMENT, Grid, Variant
from benchmarks.records.store import Store
from pretrain.collection.collect import CollectConfig, collect
from pretrain.data.config import DataConfig
from pretrain.data.latents import TrajectoriesConfig
from pretrain.presets import preset
from pretrain.video.config import HeadsConfig, VideoConfig, VideoDataConfig
from pretrain.world_model.config import PolicyConfig, RefinementConfig, WorldModelConfig
from worldmodel.build import ActorCriticConfig, ModelConfig
from worldmodel.config import changed
from worldmodel.video.build import VideoModelConfig

TINY = WorldModelConfig(
    model=ModelConfig(encoder="axial", latent_dim=8, encoder_hidden_dim=16, predictor_hidden_dim=16, frame_skip=4),
    data=DataConfig(dataset="two-rooms", num_frames=3, batch_size=4),
    refinement=RefinementConfig(num_steps=2, batch_size=4, rollout_steps=2),
    policy=PolicyConfig(num_steps=2, networks=ActorCriticConfig(hidden_dim=16), batch_size=4),
    trajectories=TrajectoriesConfig(count=4, num_frames=4),
    rollout_steps=2,
    num_steps=3,
    accelerator="cpu",
)
QUICK = {"replan_every": 3, "num_iterations": 1}
"""A search that takes little time."""


@pytest.mark.parametrize("name", list(GRIDS))
def test_every_variant_is_valid_and_the_first_is_the_full_method(name):
    grid = GRIDS[name]
    assert dict(grid.variants[0].plan) == {}
    if grid.preset not in (
        None,
        OF_ENVIRONMENT,
    ):  # but for what is reduced in all, its first variant is the preset, whether it says so or not
        assert changed(preset(grid.preset), grid.variants[0].train) == preset(grid.preset)
    assert len({variant.name for variant in grid.variants}) == len(grid.variants)
    for variant in grid.variants:
        changed(PlannerConfig(), variant.plan)
        assert bool(variant.train or variant.preset) <= bool(grid.preset)
        if grid.preset not in (None, OF_ENVIRONMENT):
            changed(preset(variant.preset or grid.preset), {**grid.reduced, **variant.train})
            assert not grid.reduced.keys() & variant.train.keys()


def test_fields_are_changed_by_dotted_path():
    config = changed(preset("two-rooms"), {"model.latent_dim": 7, "seed": 3})
    assert (config.model.latent_dim, config.seed) == (7, 3)
    assert config.model.frame_skip == preset("two-rooms").model.frame_skip
    with pytest.raises(ValueError, match=r"field must be one of .*latent_dim.*, got 'size'"):
        changed(preset("two-rooms"), {"model.size": 7})


def never(*_, **__):
    raise AssertionError("measured twice")


def test_a_grid_of_plans(checkpoint, tmp_path, monkeypatch, short_episodes):
    grid = Grid(
        preset=None,
        variants=(
            Variant(name="full", plan=QUICK),
            Variant(name="few", plan=QUICK | {"num_samples": 8}),
            Variant(name="actor", plan=QUICK | {"planner": "policy"}),
        ),
    )
    monkeypatch.setitem(ablations.GRIDS, "planning", grid)
    config = AblateConfig(
        name="planning",
        policy=str(checkpoint),
        num_episodes=3,
        runs=tmp_path / "runs",
        output=tmp_path / "plans.json",
        progress=False,
    )
    content = run(config)
    assert [row["variant"] for row in content["rows"]] == ["full", "few", "actor"]
    assert content["rows"][0]["gain"]["difference"] == 0.0
    assert json.loads((tmp_path / "plans.json").read_text())["rows"] == json.loads(json.dumps(content["rows"]))
    assert (tmp_path / "plans.png").stat().st_size > 1000
    lines = ablations.table(content).markdown().splitlines()
    assert len(lines) == 5
    assert lines[2].startswith("| full | ")
    records = list(Store(tmp_path / "plans").records(grid="planning", variant="few"))
    assert [(record.config["planner"]["num_samples"], len(record.rows)) for record in records] == [(8, 3)]
    assert records[0].config["manifest"] == "two-rooms/validation"

    with monkeypatch.context() as patch:
        patch.setattr("benchmarks.evaluation.success.evaluate", never)
        assert run(config)["rows"] == content["rows"]
        some = replace(config, only=("actor",), output=tmp_path / "some.json")
        assert [row["variant"] for row in run(some)["rows"]] == ["full", "actor"]  # from single evaluations
    # Of what the folder lacks only that is measured; rows are in the grid's order, compared with the full method.
    filled = run(replace(config, output=tmp_path / "some.json"))["rows"]
    assert [(row["variant"], row["gain"]) for row in filled] == [(r["variant"], r["gain"]) for r in content["rows"]]
    # Records of other settings are in the way.
    fewer = replace(config, num_episodes=2)
    with pytest.raises(ValueError, match=r"other settings \(config\.num_episodes \(was 3, now 2\)\); write to another"):
        run(fewer)
    assert run(replace(fewer, overwrite=True))["rows"][0]["summary"]["num_episodes"] == 2
    with pytest.raises(ValueError, match="only must be among 'full', 'few', 'actor', got 'many'"):
        run(replace(config, only=("many",)))


def test_rows_of_other_weights_are_measured_anew(checkpoint, tmp_path, monkeypatch, short_episodes, caplog):
    monkeypatch.setitem(ablations.GRIDS, "planning", Grid(preset=None, variants=(Variant(name="full", plan=QUICK),)))
    mine = shutil.copytree(checkpoint, tmp_path / "mine")
    config = AblateConfig(
        name="planning",
        policy=str(mine),
        num_episodes=2,
        runs=tmp_path / "runs",
        output=tmp_path / "a.json",
        progress=False,
    )
    (before,) = run(config)["rows"]
    weights = load_file(mine / "model.safetensors")
    save_file({k: v * 0 if "actor_critic.actor" in k else v for k, v in weights.items()}, mine / "model.safetensors")
    with caplog.at_level("INFO"):
        (again,) = run(config)["rows"]
    assert "is of other weights" in caplog.text
    (fresh,) = run(replace(config, output=tmp_path / "b.json"))["rows"]
    assert again["weights"] == fresh["weights"] != before["weights"]
    assert again["summary"] == fresh["summary"]
    assert again["summary"]["mean_final_distance"] != before["summary"]["mean_final_distance"]


def test_a_grid_of_trainings(tmp_path, monkeypatch, short_episodes):
    monkeypatch.setattr("pretrain.world_model.validation.NUM_WINDOWS", 8)
    monkeypatch.setattr("pretrain.world_model.validation.NUM_SCENES", 4)
    presets = {"two-rooms": TINY, "two-rooms-paper": changed(TINY, {"policy.num_steps": 0})}
    monkeypatch.setattr(trainings, "preset", presets.__getitem__)
    grid = Grid(
        preset="two-rooms",
        variants=(
            Variant(name="full", plan=QUICK),
            Variant(name="narrow", train={"model.predictor_hidden_dim": 4}, plan=QUICK),
            Variant(name="narrow, actor", train={"model.predictor_hidden_dim": 4}, plan=QUICK | {"planner": "policy"}),
            Variant(name="other", preset="two-rooms-paper", plan=QUICK | {"cost": "summed", "propose": False}),
        ),
    )
    monkeypatch.setitem(ablations.GRIDS, "training", grid)
    config = AblateConfig(
        name="training",
        seeds=(0, 1),
        policy_steps=1,
        num_episodes=2,
        runs=tmp_path,
        output=tmp_path / "trainings.json",
        progress=False,
    )
    report = run(config)
    rows = report["rows"]
    assert [(row["variant"], row["seed"]) for row in rows] == [
        (variant.name, seed) for variant in grid.variants for seed in (0, 1)
    ]
    assert all(row["training"]["frames"] == 3 * 4 * 3 for row in rows)
    assert [row["training"]["policy_steps"] for row in rows[::2]] == [1, 1, 1, 0]
    folders = {path.name for path in (tmp_path / "ablate-training").iterdir()}
    assert folders == {f"{name}-seed{seed}" for name in ("full", "narrow", "other") for seed in (0, 1)}
    lines = ablations.table(report).markdown().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| full", "| narrow", "| narrow, actor", "| other"]
    assert lines[-1].count("| – |") == 1  # no actor there


def test_one_grid_of_trainings_serves_every_environment(tmp_path, monkeypatch, short_episodes):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    monkeypatch.setattr("pretrain.world_model.validation.NUM_WINDOWS", 4)
    monkeypatch.setattr("pretrain.world_model.training.NORMALIZATION_WINDOWS", 4)
    dataset = collect(CollectConfig(env_id="Pillars-v0", num_episodes=4, max_episode_steps=24, progress=False)).id
    tiny = changed(TINY, {"model.encoder": "strided", "model.encoder_channels": (4, 4), "data.dataset": dataset})
    monkeypatch.setattr(trainings, "preset", {"pillars": tiny}.__getitem__)
    grid = Grid(
        preset=OF_ENVIRONMENT,
        variants=(
            Variant(name="full", plan=QUICK),
            Variant(name="two latents", train={"model.context": 2, "rollout_steps": 1}, plan=QUICK),
            Variant(name="one latent", train={"model.context": 1}, plan=QUICK),
            Variant(name="other data", train={"data.recipe": "reference"}, simulated=True, plan=QUICK),
            Variant(name="no refinement", train={"refinement.num_steps": 0}, plan=QUICK),
        ),
    )
    monkeypatch.setitem(ablations.GRIDS, "training", grid)
    config = AblateConfig(
        name="training",
        environment="pillars",
        refinement_steps=1,
        num_episodes=2,
        runs=tmp_path,
        output=tmp_path / "report.json",
        progress=False,
    )
    report = run(config)
    assert (report["manifest"], report["refinement_steps"]) == ("pillars/validation", 1)
    assert [row["variant"] for row in report["rows"]] == ["full", "two latents", "no refinement"]
    assert [row["training"]["refinement_steps"] for row in report["rows"]] == [1, 1, 0]
    assert {row["preset"] for row in report["rows"]} == {"pillars"}
    assert len(list((tmp_path / "ablate-training-pillars").iterdir())) == 3
    with pytest.raises(
        ValueError, match=r"other settings \(config\.training\.refinement\.num_steps \(was 1, now 2\)\)"
    ):
        run(replace(config, refinement_steps=2))


VIDEO = VideoConfig(
    model=VideoModelConfig(
        latent_channels=2, hidden_channels=4, num_blocks=1, stride=8, predictor_channels=(4,), head_channels=4
    ),
    data=VideoDataConfig(num_frames=4, batch_size=2),
    heads=HeadsConfig(num_steps=1, batch_size=2),
    rollout_steps=1,
    projector=(),
    num_steps=1,
    accelerator="cpu",
)


def video_grid(monkeypatch, tmp_path, **options):
    monkeypatch.setattr("pretrain.video.training.NUM_VIDEOS", 4)
    monkeypatch.setattr("pretrain.video.training.NORMALIZATION_VIDEOS", 4)
    monkeypatch.setattr(trainings, "preset", {"moving-mnist": VIDEO}.__getitem__)
    variants = (Variant(name="one"), Variant(name="two", train={"rollout_steps": 2}))
    reduced = {"data.batch_size": 3}
    grid = Grid(preset="moving-mnist", measured="detection", reduced=reduced, variants=variants)
    monkeypatch.setitem(ablations.GRIDS, "video", grid)
    return AblateConfig(
        name="video",
        seeds=(0, 1),
        num_videos=65,
        runs=tmp_path,
        output=tmp_path / "rollout.json",
        progress=False,
        **options,
    )


def test_a_grid_of_video_models(tmp_path, monkeypatch):
    config = video_grid(monkeypatch, tmp_path, num_steps=2)
    rows = run(config)["rows"]
    assert [(row["variant"], row["seed"]) for row in rows] == [("one", 0), ("one", 1), ("two", 0), ("two", 1)]
    assert all(row["training"]["steps"] == 2 and row["training"]["frames"] == 2 * 3 * 4 for row in rows)
    assert all(row["reduced"] == {"data.batch_size": 3} for row in rows)
    table = ablations.table(json.loads(config.output.read_text())).markdown().splitlines()
    assert table[0].startswith("| variant | mAP | AP_1 | AP_2 |")
    assert len(table) == 4
    assert table[2].count("<br>") >= 2  # two seeds, one below the other
    assert config.output.with_suffix(".png").stat().st_size > 1000

    monkeypatch.setattr(ablations, "fit", never)
    assert run(config)["rows"] == rows


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_a_grid_of_image_models(tmp_path, monkeypatch):
    monkeypatch.setattr("pretrain.image.training.NUM_BANK", 100)
    monkeypatch.setattr("pretrain.image.training.NUM_QUERIES", 20)
    monkeypatch.setattr("pretrain.image.evaluation.STRENGTHS", (0.1,))
    monkeypatch.setattr("pretrain.image.evaluation.MAX_ITERATIONS", 20)
    tiny = changed(
        preset("images"),
        {"model.width": 2, "projector": (8, 4), "data.batch_size": 8, "num_steps": 1, "accelerator": "cpu"},
    )
    monkeypatch.setattr(trainings, "preset", {"images": tiny}.__getitem__)
    variants = (
        Variant(name="full"),
        Variant(name="bare", train={"projector": ()}),
        Variant(name="raw", untrained=True),
    )
    monkeypatch.setitem(ablations.GRIDS, "images", Grid(preset="images", measured="probe", variants=variants))
    config = AblateConfig(name="images", runs=tmp_path, output=tmp_path / "images.json", progress=False)
    report = run(config)
    rows = report["rows"]
    assert [row["images"] for row in rows] == ["digits"] * 3
    assert [row["training"]["frames"] for row in rows] == [8] * 3
    assert {path.name for path in (tmp_path / "ablate-images").iterdir()} == {"full-seed0", "bare-seed0"}
    assert len({row["linear"]["correct"] for row in rows}) > 1
    assert all(0.2 < row["linear"]["accuracy"] < 1 for row in rows)
    assert ablations.table(report).markdown().splitlines()[4].startswith("| raw | ")
