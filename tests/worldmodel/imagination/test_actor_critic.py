"""Actor and critics: actions within bounds, costs by closed forms, and what the networks are told."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from worldmodel.build import ActorCriticConfig, DataSpec, ModelConfig, build_actor_critic
from worldmodel.imagination.actor_critic import NEARNESS, NUM_CRITICS, PESSIMISM, ActorCritic
from worldmodel.jepa import state_dim

LOW, HIGH = (-1.0, -3.0), (2.0, 0.5)
BLOCK = 6
"""Components of a block: three actions of two."""


def make(max_norm=None, low=LOW, high=HIGH, **options) -> ActorCritic:
    torch.manual_seed(0)
    return ActorCritic(4, BLOCK, low, high, max_norm, hidden_dim=8, **options)


def pairs(b: int = 6, context: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    width = state_dim(4, BLOCK, context)
    return torch.randn(b, width, generator=generator), torch.randn(b, 4, generator=generator)


class Constant(nn.Module):
    """A critic that always says the same, before its pessimism."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x):
        return torch.full((*x.shape[:-1], 1), self.value)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=2), st.sampled_from([None, 0.4, 2.45]))
def test_actions_are_within_their_bounds(raw, max_norm):
    action = make(max_norm).bounded(torch.tensor(raw))
    assert bool((action >= torch.tensor(LOW) - 1e-6).all() & (action <= torch.tensor(HIGH) + 1e-6).all())
    if max_norm is not None:
        assert float(action.norm()) <= max_norm * (1 + 1e-5)


def test_the_whole_of_the_bounds_can_be_reached():
    far = 100.0 * torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, 0.0]])
    torch.testing.assert_close(make().bounded(far)[:2], torch.tensor([HIGH, LOW]))
    round_ = make(2.0, low=(-9.0, -9.0), high=(9.0, 9.0)).bounded(far)
    torch.testing.assert_close(round_.norm(dim=-1), torch.full((3,), 2.0))
    torch.testing.assert_close(round_[2], torch.tensor([2.0, 0.0]))


@pytest.mark.parametrize("max_norm", [None, 2.45])
def test_gradients_are_finite_where_nothing_is_asked_for(max_norm):
    raw = torch.zeros(3, 2, requires_grad=True)
    make(max_norm).bounded(raw).sum().backward()
    assert bool(torch.isfinite(raw.grad).all())
    assert bool((raw.grad > 0).all())


def test_a_policy_is_a_proposal_within_the_bounds():
    networks, (states, goals) = make(), pairs()
    assert torch.equal(networks.policy(states, goals), networks.bounded(networks.proposal(states, goals)))


def test_the_cost_of_a_step_saturates_with_the_distance_in_typical_steps():
    networks = make(relative_scale=0.5)
    goal = torch.zeros(3, 4)
    latents = torch.tensor([[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [100.0] * 4])
    # Before anything is measured a step has length 1 in every feature.
    torch.testing.assert_close(networks.step_cost(latents, goal), torch.tensor([0.0, 1 - math.exp(-0.25 / 0.5), 1.0]))
    networks.fit(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    scale = 0.5 * (0.01 + 0.04 + 0.09 + 0.16) / 4
    assert networks.distance_scale.item() == pytest.approx(scale)
    latents[1, 0] = 0.3
    expected = torch.tensor([0.0, 1 - math.exp(-0.09 / 4 / scale), 1.0])
    torch.testing.assert_close(networks.step_cost(latents, goal), expected)


def test_costs_do_not_depend_on_the_scale_of_latents():
    small, large = make(), make()
    small.fit(torch.full((4,), 0.01))
    large.fit(torch.full((4,), 10.0))
    latents, goals = pairs()
    torch.testing.assert_close(small.step_cost(0.01 * latents, 0.01 * goals), large.step_cost(10 * latents, 10 * goals))


@pytest.mark.parametrize("context", [1, 3])
def test_of_a_state_the_newest_latent_alone_costs(context):
    networks, (states, goals) = make(context=context), pairs(context=context)
    torch.testing.assert_close(networks.step_cost(states, goals), make().step_cost(states[:, -4:], goals))
    states = torch.cat([states[:, :-4], goals], -1)
    assert torch.equal(networks.step_cost(states, goals), torch.zeros(6))


@pytest.mark.parametrize("context", [1, 2])
def test_the_cost_of_a_trajectory_is_the_sum_of_its_steps_and_what_follows(context):
    networks = make(discount=0.8, context=context)
    states, goals = torch.randn(5, 3, state_dim(4, BLOCK, context)), torch.randn(5, 4)
    expected = torch.zeros(5)
    for t in range(3):
        expected += 0.8**t * networks.step_cost(states[:, t], goals)
    expected += 0.8**3 * networks.cost_to_go(states[:, 2], goals)
    torch.testing.assert_close(networks.trajectory_cost(states, goals), expected)


def test_what_either_critic_thinks_is_far_is_far():
    networks, (states, goals) = make(discount=0.9), pairs()
    assert networks.max_cost == pytest.approx(10.0)
    logits = networks.logits(states, goals)
    assert logits.shape == (NUM_CRITICS, 6)
    assert not torch.equal(logits[0], logits[1])
    cost = networks.cost_to_go(states, goals)
    torch.testing.assert_close(cost, torch.maximum(*(10.0 * torch.sigmoid(logit) for logit in logits)))
    assert bool(((cost > 0) & (cost < 10.0)).all())
    # Each critic's say is that of its own network.
    features = networks._features(states, goals)
    for critic, logit in zip(networks.critics, logits, strict=True):
        torch.testing.assert_close(logit, PESSIMISM + critic(features).squeeze(-1))


def test_other_critics_can_be_asked():
    networks, (states, goals) = make(discount=0.9), pairs()
    others = nn.ModuleList([Constant(-4.0), Constant(-2.0)])
    expected = torch.full((6,), 10.0 / (1.0 + math.exp(-1.0)))
    torch.testing.assert_close(networks.cost_to_go(states, goals, others), expected)
    assert networks.logits(states, goals, others)[:, 0].tolist() == [-1.0, 1.0]
    same = copy.deepcopy(networks.critics)
    assert torch.equal(networks.cost_to_go(states, goals, same), networks.cost_to_go(states, goals))


def test_new_critics_think_that_everything_is_far():
    networks, (states, goals) = make(discount=0.9), pairs(64)
    assert float(networks.cost_to_go(states, goals).detach().mean()) > 0.8 * networks.max_cost


def test_the_features_by_hand():
    networks = make(context=2, relative_scale=0.5)
    networks.fit(torch.tensor([1.0, 2.0, 1.0, 2.0]))
    scale = 0.5 * 2.5
    actions = torch.arange(6.0)
    before, newest, goal = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([2.0, 0.0, 3.0, 5.0]), torch.zeros(4)
    distance = (4.0 + 0.0 + 9.0 + 25.0) / 4
    near = [2.0 * math.exp(-distance / (width * scale)) for width in NEARNESS]
    motion = torch.tensor([1.0, -1.0, 0.0, 0.5])
    expected = torch.cat([newest, motion, actions, goal, newest - goal, torch.tensor([distance**0.5, *near])])
    found = networks._features(torch.cat([actions, before, newest])[None], goal[None])
    torch.testing.assert_close(found[0], expected)
    # At the goal, distances have a gradient all the same.
    state = torch.cat([actions, before, goal])[None].requires_grad_()
    networks._features(state, goal[None]).sum().backward()
    assert bool(torch.isfinite(state.grad).all())


@pytest.mark.parametrize("context", [1, 2])
def test_a_row_is_what_it_is_alone(context):
    networks, (states, goals) = make(context=context), pairs(context=context)
    for function in (networks.cost_to_go, networks.policy, networks.step_cost):
        whole = function(states, goals)
        torch.testing.assert_close(function(states[2], goals[2]), whole[2])
        torch.testing.assert_close(function(states.view(2, 3, -1), goals.view(2, 3, -1)).flatten(0, 1), whole)


def test_a_feature_that_never_moves_does_no_harm():
    networks, (states, goals) = make(context=2), pairs(context=2)
    networks.fit(torch.tensor([0.0, 1.0, 1.0, 1.0]))
    assert float(networks.step_size.min()) > 0
    states[:, BLOCK], goals[:, 0] = states[:, BLOCK + 4], states[:, BLOCK + 4]
    for value in (networks.cost_to_go(states, goals), networks.policy(states, goals)):
        assert bool(torch.isfinite(value).all())


def test_autocast_does_not_make_costs_coarse():
    networks, (states, goals) = make(), pairs()
    cost, actions = networks.cost_to_go(states, goals), networks.policy(states, goals)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(networks.cost_to_go(states, goals), cost)
        found = networks.policy(states, goals)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, actions, rtol=0.02, atol=0.02)


def test_it_is_built_for_the_states_of_its_model():
    model = ModelConfig(latent_dim=4, frame_skip=3, context=2)
    data = DataSpec(
        pixel_shape=(1, 8, 8), action_dim=2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0), action_max_norm=0.5
    )
    networks = build_actor_critic(ActorCriticConfig(hidden_dim=8, discount=0.9, relative_scale=0.3), model, data)
    assert (networks.discount, networks.relative_scale, networks.max_norm) == (0.9, 0.3, 0.5)
    states, goals = pairs(context=2)
    assert networks.policy(states, goals).shape == (6, 2)
    assert networks.cost_to_go(states, goals).shape == (6,)


def test_wrong_options_are_explained():
    with pytest.raises(ValueError, match=r"discount must be in \(0, 1\), got 1.0"):
        make(discount=1.0)
    with pytest.raises(ValueError, match=r"relative_scale must be positive, got 0\.0"):
        make(relative_scale=0.0)
    with pytest.raises(ValueError, match=r"actions must be bounded for an actor, got \[-inf, 0.0\] to \[1.0, 1.0\]"):
        make(low=(-math.inf, 0.0), high=(1.0, 1.0))
