import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.comparison import training
from benchmarks.comparison.compare import CompareConfig
from benchmarks.comparison.contenders import CONTENDERS
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.records import log as evaluations
from pretrain.presets import PRESETS
from pretrain.rl import train as train_rl
from worldmodel.build import ActorCriticConfig, DataSpec, ModelConfig, build_actor_critic, build_model, build_probe
from worldmodel.checkpoint import WORLD_MODEL

TWO_ROOMS = DataSpec(
    pixel_shape=(2, 65, 65),
    action_dim=2,
    action_low=(-2.45, -2.45),
    action_high=(2.45, 2.45),
    action_max_norm=2.45,
    position_low=(4.0, 4.0),
    position_high=(60.0, 60.0),
)
RGB = DataSpec(pixel_shape=(3, 32, 32), action_dim=2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))
TINY_DATA = {"data.num_frames": 4, "data.batch_size": 2, "num_steps": 2, "accelerator": "cpu"}
TINY_MODEL = {
    **{"model.latent_dim": 8, "model.encoder_channels": (4, 4), "model.predictor_hidden_dim": 16, "rollout_steps": 2},
    **{"refinement.num_steps": 1, "refinement.batch_size": 2, "trajectories.count": 2},
    **{"policy.num_steps": 1, "policy.batch_size": 2, "policy.networks.hidden_dim": 16},
}
TINY_METHOD = {"method.latent_dim": 4, "method.hidden_dim": 16}
TINY_SEARCH = {"replan_every": 4, "num_samples": 8, "num_elites": 2, "num_iterations": 1}


def untrained(path, data):
    """A tiny model that has learned nothing, as a checkpoint."""
    torch.manual_seed(0)
    config = ModelConfig(
        encoder="axial", latent_dim=8, encoder_hidden_dim=16, predictor_hidden_dim=16, predictor_layers=1, frame_skip=4
    )
    model = build_model(config, data)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (4, 2, *data.pixel_shape), generator=generator, dtype=torch.uint8)
    model.fit_normalization(pixels, torch.randn(4, 1, 8, generator=generator))
    networks = ActorCriticConfig(hidden_dim=16)
    WORLD_MODEL.save(
        path,
        {
            "model": model,
            "probe": build_probe(config, data),
            "actor_critic": build_actor_critic(networks, config, data),
        },
        {"model": config, "data": data, "actor_critic": networks},
    )
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("checkpoint") / "tiny", TWO_ROOMS)


@pytest.fixture(scope="session")
def rgb_checkpoint(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("checkpoint") / "rgb", RGB)


@pytest.fixture(autouse=True)
def log(tmp_path, monkeypatch):
    """Tests must not write to the log of evaluations."""
    path = tmp_path / "log" / "evaluations.jsonl"
    monkeypatch.setattr(evaluations, "LOG", path)
    monkeypatch.setattr(evaluations, "ROOT", tmp_path)
    (tmp_path / ".git").mkdir()
    return path


@pytest.fixture
def rgb_env(monkeypatch):
    """The id of a small RGB environment that is defined in the tests."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    return "rgb_reach:RGBReach-v0"


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def smaller(options):
    """Keywords that make an algorithm small."""
    return {"buffer_size": 500} if "buffer_size" in options else {"n_steps": 8, "batch_size": 8}


@functools.cache
def shortened(name):
    """A manifest with episodes in which an expert has just time enough."""
    return replace(load_manifest(name), max_steps=60)


@pytest.fixture
def short_episodes(monkeypatch):
    """Episodes of the manifests end early."""
    for module in ("evaluation.episodes", "comparison.contest", "ablation.ablate"):
        monkeypatch.setattr(f"benchmarks.{module}.load_manifest", shortened)


@pytest.fixture
def tiny(monkeypatch, tmp_path, short_episodes):
    """Presets and budgets so small that nothing is learned."""
    monkeypatch.setattr("pretrain.world_model.validation.NUM_WINDOWS", 4)
    monkeypatch.setattr("pretrain.world_model.validation.NUM_SCENES", 2)
    monkeypatch.setattr("pretrain.world_model.training.NORMALIZATION_WINDOWS", 4)
    monkeypatch.setattr("pretrain.offline.training.NORMALIZATION_WINDOWS", 4)
    monkeypatch.setattr("pretrain.offline.training.NUM_WINDOWS", 4)
    small = {
        "two-rooms": TINY_DATA | TINY_MODEL,
        "dataset": TINY_DATA | TINY_MODEL,
        "gcbc": TINY_DATA | TINY_METHOD,
        "gcidm": TINY_DATA,
        "gcivl": TINY_DATA | TINY_METHOD,
    }
    changed = {name: (text, training.changed(config, small.get(name, {}))) for name, (text, config) in PRESETS.items()}
    monkeypatch.setattr(training, "preset", lambda name: changed[name][1])
    contenders = {
        name: replace(one, planner=training.changed(one.planner, TINY_SEARCH))
        for name, one in CONTENDERS["two-rooms"].items()
    }
    monkeypatch.setitem(CONTENDERS, "two-rooms", contenders)
    learned = []

    def few_steps(config):
        learned.append(config)
        options = {
            "max_steps": 64,
            "max_minutes": None,
            "num_envs": 2,
            "action_repeat": 1,
            "eval_every": 32,
            "eval_episodes": 1,
            "net_arch": (16, 16),
        }
        return original(replace(config, **options))

    options = train_rl.hyperparameters
    monkeypatch.setattr(train_rl, "hyperparameters", lambda config: options(config) | smaller(options(config)))
    original = training.train_rl
    monkeypatch.setattr(training, "train_rl", few_steps)
    monkeypatch.setattr("pretrain.rl.train.NORMALIZATION_IMAGES", 4)
    config = CompareConfig(
        seeds=(0,),
        minutes=5.0,
        num_episodes=2,
        runs=tmp_path / "runs",
        store=tmp_path / "store",
        output=tmp_path / "compare.json",
        progress=False,
    )
    return config, learned
