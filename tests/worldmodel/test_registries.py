"""Components registered from outside: the configurations know their names, and build them."""

from dataclasses import dataclass, fields
from typing import ClassVar

import pytest
import torch
from torch import nn

from agents.offline.agent import OFFLINE, MethodConfig, build_method
from agents.world_model.config import PlannerConfig, build_planner
from worldmodel.build import DataSpec, ModelConfig, build_model
from worldmodel.checkpoint import WORLD_MODEL, load_pretrained
from worldmodel.config import ConfigError, construct, parse
from worldmodel.encoders import ENCODERS
from worldmodel.image.build import ImageModelConfig, build_image_jepa
from worldmodel.image.encoders import ENCODERS as IMAGE_ENCODERS
from worldmodel.planning import (
    COST_KINDS,
    PLANNERS,
    ActionBounds,
    CEMOptions,
    SamplingPlanner,
    SearchOptions,
    distance_measure,
)
from worldmodel.predictors import PREDICTORS
from worldmodel.video.build import VideoModelConfig, build_video_jepa
from worldmodel.video.networks import ENCODERS as VIDEO_ENCODERS

DATA = DataSpec(pixel_shape=(1, 4, 4), action_dim=2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))


class Flat(nn.Module):
    """Encodes images by a linear map."""

    def __init__(self, pixel_shape, latent_dim, patch=1, unknown="default"):
        super().__init__()
        self.head = nn.Linear(pixel_shape[1] * pixel_shape[2], latent_dim)
        self.latent_dim, self.patch, self.unknown = latent_dim, patch, unknown

    def forward(self, images):
        return self.head(images.mean(1).flatten(1))


class Push(nn.Module):
    """Adds a linear map of the action."""

    def __init__(self, latent_dim, action_dim, state_dim, hidden_dim):
        super().__init__()
        self.map = nn.Linear(action_dim, latent_dim)
        self.state_dim, self.hidden_dim = state_dim, hidden_dim

    def forward(self, latents, actions):
        return latents + self.map(actions)


@dataclass(frozen=True, kw_only=True)
class BestOnly(SamplingPlanner):
    """Samples around the best candidate, a little closer each time."""

    own_options: ClassVar[type] = CEMOptions
    momentum: float = 0.1

    def refine(self, elites, costs, mean, std):
        return elites[:, 0], self.momentum * std


@pytest.fixture
def registered(monkeypatch):
    for registry, component in ((ENCODERS, Flat), (PREDICTORS, Push), (PLANNERS, BestOnly)):
        monkeypatch.setitem(registry, "mine", component)


def test_an_encoder_and_a_predictor_are_built_saved_and_read(registered, tmp_path):
    config = ModelConfig(encoder="mine", predictor="mine", latent_dim=3, patch=2, predictor_hidden_dim=7, context=2)
    model = build_model(config, DATA)
    assert (type(model.encoder), type(model.predictor)) == (Flat, Push)
    assert (model.encoder.patch, model.encoder.unknown, model.predictor.hidden_dim) == (2, "default", 7)
    assert model.predictor.state_dim == 2 * 3 + 4 * 2  # two latents, and the block of four actions between them
    WORLD_MODEL.save(tmp_path, {"model": model}, {"model": config, "data": DATA})
    pixels = torch.randint(0, 255, (2, 1, 4, 4), dtype=torch.uint8)
    torch.testing.assert_close(load_pretrained(tmp_path).model.encode(pixels), model.encode(pixels))


def test_names_are_those_there_are_when_a_value_is_checked(registered, monkeypatch, capsys):
    assert parse(ModelConfig, ["--encoder", "mine"], prog="test", description="Tests.").encoder == "mine"
    with pytest.raises(SystemExit):
        parse(ModelConfig, ["--help"], prog="test", description="Tests.")
    assert "{impala,strided,axial,vit,mine}" in capsys.readouterr().out
    with pytest.raises(
        ConfigError, match=r"^encoder must be one of 'impala', 'strided', 'axial', 'vit', 'mine', got 'x'$"
    ):
        ModelConfig(encoder="x")
    monkeypatch.delitem(ENCODERS, "mine")
    with pytest.raises(ConfigError, match=r"^encoder must be one of 'impala', 'strided', 'axial', 'vit', got 'mine'$"):
        ModelConfig(encoder="mine")
    with pytest.raises(SystemExit):
        parse(ModelConfig, ["--encoder", "mine"], prog="test", description="Tests.")


def test_a_planner_plans(registered):
    config = PlannerConfig(planner="mine", horizon=2, num_samples=64, num_iterations=20, momentum=0.7, min_std=0.0)
    planner = build_planner(config, ActionBounds([-1.0], [1.0]))
    assert (type(planner), planner.momentum, planner.horizon) == (BestOnly, 0.7, 2)
    plan = planner.plan(lambda a: (a - 0.5).square().sum((2, 3)), init=None, generators=[torch.Generator()])
    torch.testing.assert_close(plan.actions, torch.full((1, 2, 1), 0.5), atol=0.02, rtol=0)


def test_a_cost_measures(monkeypatch):
    monkeypatch.setitem(COST_KINDS, "first", lambda distances: distances[..., 0])
    measure = distance_measure(PlannerConfig(cost="first").cost)
    assert measure(torch.ones(1, 2, 3), torch.zeros(1, 3)).item() == 1.0


@pytest.mark.parametrize("name", list(PLANNERS))
def test_every_option_of_a_planner_is_one_of_the_agents(name):
    own = PLANNERS[name].own_options
    for options in (*((own(),) if own else ()), SearchOptions()):
        assert {field.name for field in fields(options)} <= {field.name for field in fields(PlannerConfig)}
        shared = {field.name: getattr(PlannerConfig(), field.name) for field in fields(options)}
        assert type(options)(**shared) == options


def test_encoders_of_images_and_videos_are_built(monkeypatch):
    monkeypatch.setitem(IMAGE_ENCODERS, "mine", lambda pixel_shape, width: Flat(pixel_shape, width))
    assert build_image_jepa(ImageModelConfig(encoder="mine", width=5), (1, 4, 4)).latent_dim == 5
    monkeypatch.setitem(VIDEO_ENCODERS, "mine", lambda channels, width: nn.Conv2d(channels, width, 1))
    model = build_video_jepa(VideoModelConfig(encoder="mine", latent_channels=3), (1, 32, 32))
    assert model.encode(torch.zeros(2, 1, 32, 32)).shape == (2, 3, 32, 32)


def test_an_offline_method_is_built(monkeypatch):
    class Clone(nn.Module):
        def __init__(self, encoder, discount):
            super().__init__()
            self.encoder, self.discount = encoder, discount

    monkeypatch.setitem(OFFLINE, "mine", Clone)
    method = build_method(MethodConfig(name="mine", latent_dim=4, discount=0.5), DATA)
    assert (type(method), method.encoder.latent_dim, method.discount) == (Clone, 4, 0.5)


def test_a_prefixed_field_comes_before_a_plain_one():
    def component(*, latent_dim, channels, other=3):
        return latent_dim, channels, other

    options = ModelConfig(latent_dim=8, encoder_channels=(5,))
    assert construct(component, options=options, prefix="encoder_") == (8, (5,), 3)
