from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import report
from worldmodel.build import ActorCriticConfig, DataSpec, ModelConfig, build_actor_critic, build_model, build_probe
from worldmodel.checkpoint import save_pretrained

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
    save_pretrained(
        path,
        model,
        config,
        data,
        probe=build_probe(config, data),
        actor_critic=build_actor_critic(networks, config, data),
        actor_critic_config=networks,
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
    monkeypatch.setattr(report, "LOG", path)
    monkeypatch.setattr(report, "ROOT", tmp_path)
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
