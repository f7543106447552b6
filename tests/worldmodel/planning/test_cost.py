import math
import re

import pytest
import torch

from worldmodel.planning import COST_KINDS, distance_measure, make_cost
from worldmodel.planning.cost import closest, last, reach, squared_distances, summed


def rollout(latents, actions):
    return latents[:, None] + actions.cumsum(1)


def test_distances_are_means_over_features():
    latents = torch.tensor([[[0.0, 0.0], [3.0, 1.0]]])  # (1, 2, 2)
    torch.testing.assert_close(squared_distances(latents, torch.tensor([[1.0, 1.0]])), torch.tensor([[1.0, 2.0]]))


def test_kinds_by_hand():
    distances = torch.tensor([[4.0, 1.0, 2.0]])
    assert summed(distances).item() == 7.0
    assert last(distances).item() == 2.0
    assert closest(distances).item() == 1.0
    saturated = sum(1 - math.exp(-d / 2.0) for d in (4.0, 1.0, 2.0)) / 3
    assert reach(distances, weight=3.0, scale=2.0).item() == pytest.approx(1.0 + 3.0 * saturated)


def test_reach_rewards_arriving_early_and_staying():
    early, late, hovering = torch.tensor([[3.0, 0, 0, 0], [3.0, 2, 1, 0], [3.0, 0, 1, 0]])
    assert closest(early) == closest(late) == closest(hovering)
    assert reach(early) < reach(hovering) < reach(late)


@pytest.mark.parametrize("kind", sorted(COST_KINDS))
@pytest.mark.parametrize("chunk_size", [None, 1, 5, 1000])
def test_costs_equal_a_loop_over_candidates(kind, chunk_size):
    generator = torch.Generator().manual_seed(0)
    start, goal = torch.randn(3, 2, generator=generator), torch.randn(3, 2, generator=generator)
    actions = torch.randn(3, 4, 6, 2, generator=generator)
    costs = make_cost(rollout, start, goal, distance_measure(kind), chunk_size=chunk_size)(actions)
    assert costs.shape == (3, 4)
    for b in range(3):
        for n in range(4):
            latents = rollout(start[b : b + 1], actions[b, n][None])
            expected = COST_KINDS[kind](squared_distances(latents, goal[b : b + 1]))
            torch.testing.assert_close(costs[b, n], expected[0])


@pytest.mark.parametrize("kind", sorted(COST_KINDS))
def test_of_states_only_the_newest_latent_is_compared_with_the_goal(kind):
    generator = torch.Generator().manual_seed(0)
    start, goal = torch.randn(3, 5, generator=generator), torch.randn(3, 2, generator=generator)
    actions = torch.randn(3, 4, 6, 5, generator=generator)
    costs = make_cost(rollout, start, goal, distance_measure(kind))(actions)
    # Each number of a state moves for itself: those of the newest latent are as they are alone.
    latents = make_cost(rollout, start[:, 3:], goal, distance_measure(kind))(actions[..., 3:])
    torch.testing.assert_close(costs, latents)


def test_chunks_bound_the_rollout():
    sizes = []

    def spy(latents, actions):
        sizes.append(len(actions))
        return rollout(latents, actions)

    make_cost(spy, torch.zeros(2, 1), torch.ones(2, 1), distance_measure("last"), chunk_size=4)(torch.zeros(2, 5, 3, 1))
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "nearest"}, r"kind must be one of 'summed', 'last', 'closest', 'reach', got 'nearest'"),
        ({"kind": "reach", "sclae": 1.0}, "got an unexpected keyword argument 'sclae'"),
        ({"kind": "last", "weight": 1.0}, "got an unexpected keyword argument 'weight'"),
        ({"kind": "reach", "weight": -1.0}, r"weight must be at least 0, got -1.0"),
        ({"kind": "reach", "scale": 0.0}, r"scale must be positive, got 0.0"),
    ],
)
def test_wrong_options_are_explained(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        distance_measure(**arguments)


def test_a_chunk_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"chunk_size must be at least 1 or None, got 0"):
        make_cost(rollout, torch.zeros(1, 2), torch.zeros(1, 2), distance_measure("last"), chunk_size=0)


def test_wrong_shapes_are_explained():
    for start, goal in (((2, 3), (1, 3)), ((2, 3), (2, 4)), ((3,), (3,)), ((2, 3), (3,))):
        got = re.escape(f"got {start} and {goal}")
        with pytest.raises(ValueError, match=rf"start must have shape \(b, s\) and goal \(b, d\), of which .*, {got}"):
            make_cost(rollout, torch.zeros(start), torch.zeros(goal), distance_measure("last"))
    cost = make_cost(rollout, torch.zeros(2, 3), torch.zeros(2, 3), distance_measure("last"))
    with pytest.raises(ValueError, match=r"actions must be for 2 environments, got shape \(1, 4, 5, 3\)"):
        cost(torch.zeros(1, 4, 5, 3))
