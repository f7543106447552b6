"""Actor and critic: actions within bounds, costs by closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from worldmodel.imagination.actor_critic import ActorCritic

LOW, HIGH = (-1.0, -3.0), (2.0, 0.5)


def make(max_norm=None, low=LOW, high=HIGH, **options) -> ActorCritic:
    torch.manual_seed(0)
    return ActorCritic(4, low, high, max_norm, hidden_dim=8, **options)


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


def test_the_cost_of_a_step_saturates():
    networks = make(distance_scale=0.5)
    goal = torch.zeros(3, 4)
    latents = torch.tensor([[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [100.0] * 4])
    expected = torch.tensor([0.0, 1 - math.exp(-0.25 / 0.5), 1.0])
    torch.testing.assert_close(networks.step_cost(latents, goal), expected)


def test_the_cost_of_a_trajectory_is_the_sum_of_its_steps_and_what_follows():
    networks = make(discount=0.8)
    latents, goals = torch.randn(5, 3, 4), torch.randn(5, 4)
    expected = torch.zeros(5)
    for t in range(3):
        expected += 0.8**t * networks.step_cost(latents[:, t], goals)
    expected += 0.8**3 * networks.cost_to_go(latents[:, 2], goals)
    torch.testing.assert_close(networks.trajectory_cost(latents, goals), expected)


def test_the_cost_to_go_is_positive_and_another_critic_can_be_asked():
    networks = make()
    latents, goals = torch.randn(6, 4), torch.randn(6, 4)
    assert bool((networks.cost_to_go(latents, goals) > 0).all())

    class Constant(nn.Module):
        def forward(self, x):
            return torch.full((*x.shape[:-1], 1), 3.0)

    expected = torch.full((6,), math.log1p(math.exp(3.0)))
    torch.testing.assert_close(networks.cost_to_go(latents, goals, critic=Constant()), expected)


def test_autocast_does_not_make_it_coarse():
    networks, latents, goals = make(), torch.randn(6, 4), torch.randn(6, 4)
    expected = networks.cost_to_go(latents, goals), networks.policy(latents, goals)
    with torch.autocast("cpu", torch.bfloat16):
        found = networks.cost_to_go(latents, goals), networks.policy(latents, goals)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_wrong_options_are_explained():
    with pytest.raises(ValueError, match=r"discount must be in \(0, 1\), got 1.0"):
        make(discount=1.0)
    with pytest.raises(ValueError, match=r"distance_scale must be positive, got 0\.0"):
        make(distance_scale=0.0)
    with pytest.raises(ValueError, match=r"actions must be bounded for an actor, got \[-inf, 0.0\] to \[1.0, 1.0\]"):
        make(low=(-math.inf, 0.0), high=(1.0, 1.0))
