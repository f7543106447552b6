"""Presets: complete, named, and checked before anything is trained."""

import importlib
import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pretrain.presets import PRESETS, preset, training_command
from worldmodel.config import changed, parse, to_json

ROOT = Path(__file__).parents[2]


def test_presets_are_found_by_name() -> None:
    assert {"two-rooms", "two-rooms-paper", "dataset"} <= set(PRESETS)
    assert preset("two-rooms") is PRESETS["two-rooms"][1]
    with pytest.raises(ValueError, match=r"preset must be one of 'two-rooms'.*got 'three-rooms'"):
        preset("three-rooms")


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_is_a_runnable_configuration(name: str) -> None:
    config = preset(name)
    assert hasattr(importlib.import_module(config.training_module), "build_training")
    if hasattr(config, "rollout_steps"):
        assert config.rollout_steps < config.data.num_frames


def test_there_is_one_recipe_of_world_models() -> None:
    """Presets differ in their data, in steps, and in whether a state needs two latents."""
    recipe = preset("dataset")
    assert (recipe.model.context, recipe.data.dataset) == (2, "")
    assert recipe.refinement.num_steps > 0
    assert recipe.policy.num_steps > 0
    for name in ("two-rooms", "two-rooms-no-crossings", "two-rooms-pldm-no-crossings", "pillars"):
        found = preset(name)
        same = {
            "num_steps": recipe.num_steps,
            "refinement.num_steps": recipe.refinement.num_steps,
            "policy.num_steps": recipe.policy.num_steps,
            "model.context": 2,
        }
        assert replace(changed(found, same), data=recipe.data) == recipe, name
        assert found.model.context == 1
        assert found.data.dataset


def test_importing_the_package_imports_no_training() -> None:
    program = (
        "import sys, pretrain, pretrain.data.windows\n"
        "print(*({'pretrain.train', 'lightning_fabric', 'stable_baselines3', 'minari'} & set(sys.modules)))\n"
        "from pretrain import PRESETS, CollectConfig, PretrainConfig, collect, fit, preset\n"
        "import pretrain.train, pretrain.collection.collect\n"
        "assert (fit, collect) == (pretrain.train.fit, pretrain.collection.collect.collect)\n"
        "assert not hasattr(pretrain, 'fits')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


def test_the_paper_preset_is_the_papers() -> None:
    config = preset("two-rooms-paper")
    weights = config.weights
    assert (config.model.encoder, config.model.predictor, config.model.latent_dim) == ("impala", "gru", 512)
    assert (weights.covariance, weights.variance, weights.temporal_similarity, weights.inverse_dynamics) == (
        8,
        16,
        12,
        1,
    )
    assert (config.data.num_frames, config.data.batch_size, config.rollout_steps, config.clip_norm) == (17, 384, 8, 2.0)
    assert config.num_steps * config.data.batch_size == pytest.approx(12 * 100_000, rel=1e-3)
    assert (config.model.context, config.refinement.num_steps, config.policy.num_steps) == (1, 0, 0)


@pytest.mark.parametrize("name", ["rollout_steps", "num_steps", "log_every", "validate_every", "checkpoint_every"])
def test_numbers_that_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1( without a checkpoint)?, got 0"):
        replace(preset("two-rooms"), **{name: 0})


def test_a_latent_needs_two_features() -> None:
    with pytest.raises(ValueError, match=r"model\.latent_dim must be at least 2, got 1"):
        changed(preset("two-rooms"), {"model.latent_dim": 1})


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("moving-mnist", {"seed": 3, "train_encoder": False, "learning_rate": 4e-3, "data.num_digits": 3}),
        ("moving-mnist", {"heads.on_rollouts": False, "model.predictor_channels": (8, 16), "supervised": True}),
        ("images", {}),
        ("two-rooms", {"policy.num_steps": 7, "precision": "32-true"}),
    ],
)
def test_the_command_of_a_training_gives_its_configuration(name: str, changes: dict) -> None:
    config = changed(preset(name), changes)
    saved = json.loads(json.dumps(to_json(config)))
    program, *options = shlex.split(training_command(name, saved, "runs/again"))[2:]
    assert program == name
    assert len(options) <= 2 * len(changes) + 5, "only what differs is said"
    assert parse(type(config), options, prog="", description="", default=preset(name)) == changed(
        config, {"output": "runs/again"}
    )
