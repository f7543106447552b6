"""Nothing mixes devices, and nothing reads a number where that would wait for a GPU.

In place of a GPU stands torch's device "meta", whose tensors hold no numbers: to join one with a tensor of the CPU is
an error there too, and so is to read a number.
"""

import contextlib

import pytest
import torch

from agents.world_model.agent import PlanningAgent
from envs.domain import find_domain
from pretrain.data.latents import LatentEpisodes
from pretrain.presets import preset
from worldmodel.checkpoint import load_pretrained
from worldmodel.config import construct
from worldmodel.image.build import build_image_jepa
from worldmodel.image.objective import ImageLossWeights, ImageObjective
from worldmodel.imagination.objective import Imagination
from worldmodel.objective import Objective, Refinement
from worldmodel.planning import ICEM, MPPI, ActionBounds, SearchOptions, make_cost
from worldmodel.video.build import build_video_jepa
from worldmodel.video.objective import VideoObjective


@pytest.fixture(autouse=True)
def without_autocast(monkeypatch):
    """It knows no device "meta"."""
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: contextlib.nullcontext())


@pytest.fixture(params=["two-rooms", "pendulum"])
def pretrained(request):
    """Shipped world models whose states are one latent, and several."""
    found = load_pretrained(request.param)
    found.model.to("meta")
    found.actor_critic.to("meta")
    return found


def there(*shape, dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype, device="meta")


def places(*tensors):
    return {tensor.device.type for tensor in tensors}


def test_the_stand_in_refuses_what_a_gpu_refuses():
    with pytest.raises(RuntimeError, match="device"):
        there(2) + torch.zeros(2)
    with pytest.raises(RuntimeError, match="meta tensors"):
        bool(there(2).any())


def test_a_world_model_learns(pretrained):
    config, model = preset("dataset"), pretrained.model.train()
    objective = construct(Objective, model, config.weights, options=config).to("meta")
    frames = model.context - 1 + 5
    pixels = there(4, frames, *model.normalizer.pixel_shape, dtype=torch.uint8)
    loss, terms, latents = objective(pixels, there(4, frames - 1, model.block_dim))
    loss.backward()
    assert places(loss, latents, *terms.values()) == {"meta"}


def test_its_predictor_and_its_actor_learn(pretrained):
    model, frames = pretrained.model, pretrained.model.context + 2
    loss, _ = Refinement(model, 2)(there(4, frames, model.latent_dim), there(4, frames - 1, model.block_dim))
    loss.backward()
    imagination = Imagination(model, pretrained.actor_critic, random_actions=0)
    loss, terms = imagination(there(4, model.state_dim), there(4, model.latent_dim))
    loss.backward()
    assert places(loss, *terms.values()) == {"meta"}


def test_latents_stay_there_when_the_host_chooses_among_them(pretrained):
    model = pretrained.model
    first, lengths = torch.tensor([0, 9]), torch.tensor([8, 8])
    latents, actions = there(18, model.latent_dim), there(16, model.action_dim)
    episodes = LatentEpisodes(model, latents, actions, first, first - torch.tensor([0, 1]), lengths, model.frame_skip)
    assert places(episodes.step_size()) == {"meta"}
    assert places(*episodes._around(torch.tensor([0, 1]), torch.tensor([0, 3]), 1)) == {"meta"}


@pytest.mark.parametrize("kind", [MPPI, ICEM])
def test_a_search_asks_nothing_until_its_end(pretrained, kind):
    model, networks, data = pretrained.model, pretrained.actor_critic, pretrained.data

    def rollout(states, actions):
        return model.rollout(states, actions.repeat(1, 1, model.frame_skip))

    bounds = ActionBounds(data.action_low, data.action_high, data.action_max_norm)
    planner = kind(bounds=bounds, options=SearchOptions(keep_elites=0.3, num_iterations=3))
    start, goal = there(2, model.state_dim), there(2, model.latent_dim)
    cost = make_cost(rollout, start, goal, networks.trajectory_cost, chunk_size=16)
    given, noise = there(2, 1, 3, model.action_dim), there(2, 96, 3, model.action_dim)
    with torch.no_grad():
        progress, trace, costs = planner._search(cost, given, True, noise, 0.0, False, asks=False)
        assert places(progress.best, trace.best, *costs) == {"meta"}
        with pytest.raises(RuntimeError, match="meta tensors"):
            planner._search(cost, given, True, noise, 0.0, False, asks=True)


def test_two_rooms_are_drawn_there():
    simulation = find_domain("two-rooms").simulation()
    drawn = simulation.draw(there(3, 5, 2), there(3, len(simulation.layout_names)))
    assert (drawn.device.type, drawn.dtype, drawn.shape) == ("meta", torch.uint8, (3, 5, 2, 65, 65))


def test_a_video_jepa_learns():
    config = preset("moving-mnist")
    model = build_video_jepa(config.model, (1, 64, 64))
    objective = construct(VideoObjective, model, config.model.latent_channels, config.weights, options=config)
    loss, terms, _ = objective.to("meta")(there(2, 6, 1, 64, 64, dtype=torch.uint8))
    loss.backward()
    assert places(loss, *terms.values()) == {"meta"}


def test_an_image_jepa_learns():
    config = preset("images")
    weights = ImageLossWeights(sigreg=0.0, variance=1.0, covariance=80.0)  # SIGReg draws from a generator of the device
    objective = ImageObjective(build_image_jepa(config.model, (1, 28, 28)), weights, projector=config.projector)
    loss, terms, _ = objective.to("meta")(there(2, 8, 1, 28, 28, dtype=torch.uint8))
    loss.backward()
    assert places(loss, *terms.values()) == {"meta"}


def test_a_world_model_that_was_read_elsewhere_moves_as_a_whole():
    pretrained = load_pretrained("two-rooms")
    agent = PlanningAgent.from_pretrained(pretrained, device="meta")
    parts = (agent.model, agent.actor, pretrained.actor_critic)
    assert places(*(tensor for part in parts for tensor in part.state_dict().values())) == {"meta"}
