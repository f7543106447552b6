"""Offline baselines: goals lie ahead, methods learn what they say, and agents act as before after saving."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import envs  # noqa: F401 - registers Two Rooms
from agents.offline.agent import MethodConfig, OfflineAgent, build_method
from agents.offline.gcbc import GCBC
from agents.offline.gcivl import GCIVL
from pretrain.data.config import DataConfig
from pretrain.data.windows import WindowSource
from pretrain.loop.run_log import read_metrics
from pretrain.loop.stages import select
from pretrain.offline.config import OfflineConfig
from pretrain.offline.training import build_training, draw_goals
from pretrain.presets import preset
from pretrain.sources import build_sources
from pretrain.train import fit
from worldmodel.build import DataSpec
from worldmodel.checkpoint import WEIGHTS, CheckpointError, load_pretrained
from worldmodel.jepa import JEPA
from worldmodel.nn.normalize import Normalizer

NAMES = ("gcbc", "gcidm", "gcivl")
DATA = DataSpec(
    pixel_shape=(1, 4, 4), action_dim=1, action_low=(-1.0,), action_high=(1.0,), position_low=None, position_high=None
)


def tiny(name: str, **changes) -> OfflineConfig:
    return OfflineConfig(
        method=MethodConfig(name=name, latent_dim=8, hidden_dim=16, num_layers=1),
        data=DataConfig(dataset="two-rooms", num_frames=5, batch_size=4),
        checkpoint="two-rooms",
        num_steps=4,
        accelerator="cpu",
        precision="32-true",
        log_every=2,
        validate_every=4,
        checkpoint_every=2,
        **changes,
    )


class Corner(nn.Module):
    """The upper left pixel is where one is on a line."""

    def forward(self, images):
        place = images[:, 0, 0, 0]
        return torch.stack([place, place.square()], dim=-1)


def corner() -> JEPA:
    encoder = JEPA(Corner(), nn.Identity(), Normalizer((1, 4, 4), 1), 2)
    encoder.norm = nn.Identity()
    return encoder


def line(places: torch.Tensor) -> torch.Tensor:
    """Images of places on a line, uint8 ``(..., 1, 4, 4)``."""
    return places[..., None, None, None].expand(*places.shape, 1, 4, 4).to(torch.uint8)


def trajectories(num_frames: int) -> WindowSource:
    return build_sources(DataConfig(dataset="two-rooms", num_frames=num_frames), 4, torch.device("cpu"))[0]


def test_goals_lie_ahead_and_actions_are_means_of_blocks():
    source = trajectories(6)
    batch = draw_goals(source, 200, np.random.default_rng(0))
    windows = source.sample(200, np.random.default_rng(0))
    assert torch.equal(batch.pixels, windows.pixels)
    np.testing.assert_allclose(batch.actions, windows.actions.reshape(200, 5, 4, 2).mean(2), rtol=1e-6)
    for t in range(5):
        assert set(batch.goals[:, t].tolist()) == set(range(t + 1, 6))  # all that are later, and no other
    part = select(batch, slice(3, 5))
    assert torch.equal(part.goals, batch.goals[3:5])


def test_trajectories_in_a_row_share_a_scene():
    source = trajectories(3)
    walls = draw_goals(source, 7, np.random.default_rng(0), per_scene=3).pixels[:, 0, 1]
    same = [[torch.equal(a, b) for a in walls] for b in walls]
    scene = np.arange(7) // 3
    np.testing.assert_array_equal(same, scene[:, None] == scene)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_resumes_exactly_and_its_agent_acts(name, tmp_path):
    config = tiny(name)
    whole = fit(replace(config, output=str(tmp_path / "whole")))
    assert [row["step"] for row in read_metrics(whole) if "train/loss" in row] == [2, 4]
    with pytest.MonkeyPatch.context() as patch:  # stops after two steps
        wishes = iter([False, False, True])
        patch.setattr("pretrain.train.any_process", lambda fabric, wish: next(wishes))
        fit(replace(config, output=str(tmp_path / "parts")))
    parts = fit(replace(config, output=str(tmp_path / "parts")))
    assert (whole / WEIGHTS).read_bytes() == (parts / WEIGHTS).read_bytes()

    env = gym.make_vec("TwoRooms-v0", num_envs=3)
    observation, _ = env.reset(seed=0)
    agent, again = (OfflineAgent.from_pretrained(path, env.single_action_space) for path in (whole, parts))
    actions, state = agent.predict(observation)
    assert state == ((), (), ())  # without context nothing is remembered
    assert actions.shape == (3, 2)
    assert all(env.single_action_space.contains(action) for action in actions)
    assert (np.linalg.norm(actions, axis=-1) <= 2.45 + 1e-5).all()
    np.testing.assert_array_equal(actions, again.predict(observation)[0])
    first = {key: value[0] for key, value in observation.items()}
    np.testing.assert_allclose(agent.predict(first)[0], actions[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(CheckpointError, match=r"must have format 'worldmodel.jepa/1', got 'worldmodel.offline/1'"):
        load_pretrained(whole)


def test_inverse_dynamics_leave_the_world_model_as_it_is(tmp_path):
    config = tiny("gcidm", output=str(tmp_path))
    before = load_pretrained(config.checkpoint).model.state_dict()
    agent = OfflineAgent.from_pretrained(fit(config))
    for name, value in agent.method.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_cloning_goes_where_the_goal_is():
    # On a line the action is the way to the next place; only the goal tells which way.
    torch.manual_seed(0)
    method = GCBC(corner(), hidden_dim=32, num_layers=1)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    for step in range(300):
        start = torch.randint(60, 190, (32, 1), generator=generator)
        way = torch.randint(0, 2, (32, 1), generator=generator) * 2 - 1
        places = start + 12 * way * torch.arange(6)
        goals = torch.tensor([[5, 5, 5, 5, 5]]).expand(32, -1)
        loss, _ = method(line(places), way[..., None].expand(-1, 5, 1).float(), goals, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    method.eval()
    here = line(torch.tensor([128, 128]))
    actions = method.act(here[:, None], line(torch.tensor([180, 70])))
    assert actions[0, 0] > 0.5
    assert actions[1, 0] < -0.5


def learned_values(draw, **changes) -> GCIVL:
    """Implicit values learned on a line, from places ``(32, T)`` and strides ``(32, T − 1)`` that ``draw`` returns."""
    torch.manual_seed(0)
    options = {"hidden_dim": 64, "num_layers": 1, "discount": 0.9, "expectile": 0.9, "temperature": 3.0}
    method = GCIVL(corner(), **options | {"target_rate": 0.05} | changes)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    for step in range(600):
        places, strides = draw(generator)
        goals = torch.full(strides.shape, places.shape[1] - 1)  # the ends
        loss, _ = method(line(places), strides[..., None] / 20.0, goals, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return method.eval()


@torch.no_grad()
def value(method: GCIVL, place: int, goal: int) -> float:
    latents, wanted = method.value.encoder.encode(line(torch.tensor([place, goal]))).unbind()
    return method.value(latents, wanted).mean().item()


def test_values_count_the_steps_to_the_goal_and_the_policy_prefers_short_ways():
    def draw(generator):
        start = torch.randint(10, 100, (32, 1), generator=generator)
        stride = torch.randint(0, 2, (32, 1), generator=generator) * 20 + 10
        return start + stride * torch.arange(5), stride.expand(-1, 4)

    method, cloning = learned_values(draw), learned_values(draw, temperature=0.0)
    for place, steps in ((60, 3), (90, 2), (120, 1), (150, 0)):
        assert value(method, place, 150) == pytest.approx(-(1 - 0.9**steps) / 0.1, abs=0.4)
    # A goal 30 places away is one long step or three short ones away.
    long, any_stride = (
        m.act(line(torch.tensor([60]))[:, None], line(torch.tensor([90]))).item() for m in (method, cloning)
    )
    assert long > any_stride + 0.15


def test_values_join_what_several_trajectories_have_shown():
    def draw(generator):
        # Each trajectory stays in one half of the line, and goes one way or the other; its neighbour is in either.
        way = torch.randint(0, 2, (32, 1), generator=generator) * 2 - 1
        half = torch.randint(0, 2, (32, 1), generator=generator) * 80
        start = half + torch.where(way > 0, 20, 100) + torch.randint(0, 20, (32, 1), generator=generator)
        return start + 20 * way * torch.arange(4), (20 * way).expand(-1, 3)

    method = learned_values(draw)
    values = [value(method, place, 170) for place in (30, 70, 110, 150)]
    assert values == sorted(values)
    assert values[-1] - values[0] > 2.0
    right, left = (
        method.act(line(torch.tensor([at]))[:, None], line(torch.tensor([to]))).item()
        for at, to in ((40, 170), (150, 30))
    )
    assert right > 0.4
    assert left < -0.4


def test_the_target_of_values_follows_in_training_only():
    method = build_method(MethodConfig(name="gcivl", latent_dim=2, hidden_dim=4, num_layers=1), DATA)
    with torch.no_grad():
        for parameter in method.value.parameters():
            parameter.add_(1.0)
    before = [parameter.clone() for parameter in method.target.parameters()]
    pixels, goals = line(torch.arange(3)[None]), torch.tensor([[1, 2]])
    method.eval()
    method(pixels, torch.zeros(1, 2, 1), goals, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, method.target.parameters(), strict=True))
    method.train()
    method(pixels, torch.zeros(1, 2, 1), goals, 0)
    for a, b in zip(before, method.target.parameters(), strict=True):
        torch.testing.assert_close(b, a + 0.005)


def test_errors_name_the_rule():
    with pytest.raises(ValueError, match="method 'gcidm' acts on the latents of a world model, got none"):
        build_method(MethodConfig(name="gcidm"), DATA)
    with pytest.raises(ValueError, match="name must be one of 'gcbc', 'gcidm', 'gcivl', got 'dqn'"):
        MethodConfig(name="dqn")
    with pytest.raises(ValueError, match="checkpoint must be a world model, on whose latents gcidm acts, got ''"):
        build_training(replace(tiny("gcidm"), checkpoint=""), torch.device("cpu"))
    with pytest.raises(ValueError, match=r"num_frames must be at least 2, got 1"):
        OfflineConfig(data=DataConfig(num_frames=1))
    with pytest.raises(ValueError, match="trajectories_per_scene must be at least 1, got 0"):
        OfflineConfig(trajectories_per_scene=0)
    for name in NAMES:
        assert preset(name).method.name == name
    stage = build_training(tiny("gcivl"), torch.device("cpu")).stages[0]
    wanting = {id(p) for p in stage.module.parameters() if p.requires_grad}
    assert wanting == {id(p) for group in stage.groups for p in group["params"]}
