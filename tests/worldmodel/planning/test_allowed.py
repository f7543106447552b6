"""Whatever the box, the search and what it is given: every candidate, plan and elite is within the bounds."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from action_boxes import action_boxes, max_norms, outside
from worldmodel.planning import (
    CEM,
    ICEM,
    MPPI,
    ActionBounds,
    ProposalPlanner,
    SearchOptions,
    warm_start,
)

FLAT = ((1,), (2,), (3,))


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def bounds_of(box, max_norm, block=1):
    return ActionBounds(box.low, box.high, max_norm, block=block)


def assert_allowed(actions, box, bounds):
    """Allowed by the bounds in single precision, and by the box as it was given unless single precision holds none."""
    parts = actions.unflatten(-1, (bounds.block, bounds.env_action_dim))
    assert ((parts >= bounds.low) & (parts <= bounds.high)).all()
    if bounds.max_norm is not None and parts.numel():
        # Below the smallest number of single precision, rounding is all there is.
        assert parts.double().norm(dim=-1).max() <= bounds.max_norm * (1 + 2e-6) + 1e-44
    held = (bounds.low.numpy() >= box.low) & (bounds.high.numpy() <= box.high)
    assert (held | (bounds.low == bounds.high).numpy()).all()
    given = parts.numpy().astype(np.float64)
    assert ((given >= box.low) & (given <= box.high))[..., held].all()


def wild(shape, seed):
    """Numbers of any size, some of them infinite or none at all."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 10.0 ** (80 * torch.rand(shape, generator=generator) - 42)
    numbers = sizes * torch.randn(shape, generator=generator)
    numbers[torch.rand(shape, generator=generator) < 0.1] = math.nan
    numbers[torch.rand(shape, generator=generator) < 0.1] = -math.inf
    return numbers


@given(data=st.data(), box=action_boxes(FLAT), seed=st.integers(0, 2**32), block=st.integers(1, 2))
def test_anything_projected_is_allowed_and_what_is_allowed_stays(data, box, seed, block):
    bounds = bounds_of(box, data.draw(max_norms(box)), block)
    given = torch.cat([wild((40, bounds.action_dim), seed), wild((40, bounds.action_dim), seed) * 1e-30])
    projected = bounds.project(given)
    assert_allowed(projected, box, bounds)
    assert bounds.allow(projected).all()
    again = bounds.project(projected)
    torch.testing.assert_close(again, projected, rtol=2e-6, atol=1e-44)
    assert torch.equal(bounds.nothing, bounds.project(torch.zeros(bounds.action_dim)))
    inside = ((given >= bounds.low.repeat(block)) & (given <= bounds.high.repeat(block))).all(-1)
    if bounds.max_norm is None:
        assert torch.equal(bounds.project(given[inside]), given[inside])
    assert torch.equal(bounds.allow(given) & inside, bounds.allow(given))


@pytest.mark.parametrize("kind", [MPPI, CEM, ICEM])
@given(
    data=st.data(),
    box=action_boxes(FLAT),
    seed=st.integers(0, 2**32),
    block=st.integers(1, 2),
    horizon=st.integers(1, 3),
    num_samples=st.integers(1, 12),
    execute=st.sampled_from(["best", "mean"]),
    fill=st.sampled_from(["last", "zeros"]),
    init=st.sampled_from(["none", "wild", "zero"]),
    std=st.sampled_from([None, 1e-40, 1.0, 1e300]),
)
def test_candidates_plans_and_elites_are_allowed(
    kind, data, box, seed, block, horizon, num_samples, execute, fill, init, std
):
    bounds = bounds_of(box, data.draw(max_norms(box)), block)
    assert math.isfinite(bounds.radius)
    seen = []

    def cost(actions):
        seen.append(actions.clone())
        return (actions.clamp(-1e3, 1e3).sin() + actions.clamp(-1.0, 1.0)).sum((2, 3))

    options = SearchOptions(
        horizon=horizon,
        num_samples=num_samples,
        num_elites=max(1, num_samples // 3),
        init_std=std or 0.4 * bounds.radius or 1.0,
        min_std=0.0,
        keep_elites=0.5,
        execute=execute,
    )
    planner = kind(bounds=bounds, options=options)
    shape = (2, 2, horizon, bounds.action_dim)
    start = {"none": None, "wild": wild(shape, seed), "zero": torch.zeros(shape)}[init]
    for _ in range(2):
        plan = planner.plan(cost, init=start, generators=generators(2, seed))
        seen += [plan.actions[:, None], plan.elites]
        start = warm_start(plan, 1, fill=fill)
    for actions in seen:
        assert_allowed(actions, box, bounds)


@given(data=st.data(), box=action_boxes(FLAT), seed=st.integers(0, 2**32))
def test_proposals_are_executed_within_the_bounds(data, box, seed):
    bounds = bounds_of(box, data.draw(max_norms(box)))
    proposed = torch.from_numpy(outside(box, 12, seed)).float().view(12, 1, 1, -1)
    planner = ProposalPlanner(bounds=bounds)
    plan = planner.plan(lambda a: a.clamp(-1, 1).sum((2, 3)), init=proposed, generators=generators(12))
    assert_allowed(plan.actions, box, bounds)


@pytest.mark.parametrize("kind", [MPPI, CEM, ICEM])
@pytest.mark.parametrize("init", [None, 0.0])
def test_in_a_box_without_zero_doing_nothing_is_what_is_nearest_to_it(kind, init):
    options = SearchOptions(horizon=2, num_samples=8, num_elites=2)
    planner = kind(bounds=ActionBounds([0.5, -3.0], [1.0, -2.0]), options=options)
    start = None if init is None else torch.full((1, 2, 2), init)
    plan = planner.plan(lambda a: a.abs().sum((2, 3)), init=start, generators=generators(1))
    assert plan.actions.tolist() == [[[0.5, -2.0]] * 2]


def test_a_mean_of_allowed_actions_is_a_candidate_within_the_box():
    """The mean of eleven times the same number may be above it."""
    high = torch.tensor([2.45])
    assert high.repeat(1, 11, 1, 1).mean(1) > high
    options = SearchOptions(horizon=1, num_samples=40, num_elites=11, num_iterations=2, init_std=100.0)
    plan = ICEM(bounds=ActionBounds([-2.45], high), options=options, momentum=0.0).plan(
        lambda a: -a.sum((2, 3)), init=None, generators=generators(1), record=True
    )
    assert all((candidates <= high).all() for candidates in plan.trace.candidates)
    assert plan.actions.item() == high.item()


def test_corners_of_double_precision_are_rounded_into_the_box():
    low, high = np.array([-0.1, 1e-50, -1e300]), np.array([0.1, 0.7, 1e300])
    bounds = ActionBounds(low, high)
    assert ((bounds.low.numpy() >= low) & (bounds.high.numpy() <= high)).all()
    assert bounds.low.tolist() == pytest.approx([-0.1, 0.0, -3.4028235e38])
    assert bounds.radius == pytest.approx(3.4028235e38)
    # Python's numbers stand for those of single precision, and single precision stays as it is.
    assert ActionBounds([-2.45], [2.45]).high.item() == float(np.float32(2.45)) > 2.45
    assert ActionBounds(np.float32([-0.1]), np.float32([0.1])).high.item() == float(np.float32(0.1)) > 0.1
    assert ActionBounds([-1e300], [math.inf]).low.item() == pytest.approx(-3.4028235e38)
    point = ActionBounds(np.array([0.1]), np.array([0.1]))  # which single precision does not hold
    assert point.low.item() == point.high.item() == float(np.float32(0.1))


def test_actions_of_overflowing_norm_keep_their_direction():
    huge = torch.tensor([[3e38, -3e38], [3e38, 0.0]])
    shortened = ActionBounds([-3e38] * 2, [3e38] * 2, 2.0).project(huge)
    torch.testing.assert_close(shortened, torch.tensor([[2**0.5, -(2**0.5)], [2.0, 0.0]]))
    shortened = ActionBounds([-3e38] * 2, [3e38] * 2, 1e38).project(huge)
    torch.testing.assert_close(shortened, 1e38 * torch.tensor([[0.5**0.5, -(0.5**0.5)], [1.0, 0.0]]))
    # An action of ordinary size beside such a one is what it is alone, bit for bit.
    bounds = ActionBounds([-3e38] * 2, [3e38] * 2, 2.0)
    usual = torch.tensor([[1.7, 3.1]])
    assert torch.equal(bounds.project(torch.cat([usual, huge]))[:1], bounds.project(usual))


@pytest.mark.parametrize("kind", [MPPI, CEM, ICEM])
def test_sums_that_overflow_do_not_end_a_search(kind):
    """The square of a large action is no number: the standard deviation then stays as it was."""
    bounds = ActionBounds([-3e38], [3e38])
    options = SearchOptions(horizon=2, num_samples=40, num_iterations=3, init_std=0.3 * bounds.radius)
    plan = kind(bounds=bounds, options=options).plan(
        lambda a: (a / 1e38 - 1).square().sum((2, 3)), init=None, generators=generators(1), record=True
    )
    for candidates in plan.trace.candidates:
        assert (candidates.abs() < 3e38).float().mean() > 0.8
        assert len(candidates.unique()) > 60
    assert plan.cost.item() < 0.5
