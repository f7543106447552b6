"""Costs that are no numbers: what has one of them is neither executed nor carried over, and shapes nothing."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from worldmodel.planning import (
    CEM,
    ICEM,
    MPPI,
    ActionBounds,
    ProposalPlanner,
    SearchOptions,
    warm_start,
)

PLANNERS = [MPPI, CEM, ICEM]
WIDE = ActionBounds([-5.0, -5.0], [5.0, 5.0])
BAD = [math.nan, math.inf, -math.inf]


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def make(kind, **options):
    defaults = {"num_samples": 16, "num_iterations": 3, "num_elites": 6, "init_std": 1.0, "keep_elites": 0.0}
    own = {MPPI: {"temperature": 1.0}, CEM: {"momentum": 0.0}, ICEM: {"momentum": 0.1}}[kind]
    own = {name: options.pop(name, value) for name, value in own.items()}
    return kind(bounds=WIDE, options=SearchOptions(**defaults | options), **own)


def distance(actions):
    return (actions - 1.0).square().sum((2, 3))


def spoiled(bad, is_bad):
    """The distance, where candidates ``(b, n)`` are bad a number that is none."""
    return lambda actions: torch.where(is_bad(actions), bad, distance(actions))


@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize("execute", ["best", "mean"])
@given(
    seed=st.integers(0, 2**32),
    fraction=st.sampled_from([0.3, 0.9, 1.0]),
    bad=st.sampled_from(BAD),
    keep_elites=st.sampled_from([0.0, 0.5, 1.0]),
    tolerance=st.sampled_from([None, 0.1]),
)
@settings(max_examples=30)
def test_what_is_executed_and_carried_over_has_a_finite_cost(
    kind, execute, seed, fraction, bad, keep_elites, tolerance
):
    """Some, many, or all but one of the candidates are bad, in two environments of three."""
    kept = torch.rand(3, 16, generator=torch.Generator().manual_seed(seed)) >= fraction
    kept[0] = True
    kept[1, seed % 16] = True
    kept[2, (seed + 1) % 16] = True
    good = []

    def cost(actions):
        if actions.shape[1] == 1:  # the mean, to be executed
            return torch.full(actions.shape[:2], bad)
        good.append(actions[kept[:, : actions.shape[1]]])
        return torch.where(kept[:, : actions.shape[1]], distance(actions), bad)

    planner = make(kind, num_iterations=3, execute=execute, keep_elites=keep_elites, tolerance=tolerance, init_std=3.0)
    plan = planner.plan(cost, init=None, generators=generators(3, seed % 1000))
    assert torch.equal(plan.cost, distance(plan.actions[:, None])[:, 0])  # finite, and of what is executed
    known = torch.cat(good)
    for executed in plan.actions:
        assert (known == executed).flatten(1).all(1).any()
    for elite in plan.elites.flatten(0, 1):
        assert (known == elite).flatten(1).all(1).any()
    again = planner.plan(distance, init=warm_start(plan, 0), generators=generators(3))
    assert (again.cost <= plan.cost).all() or execute == "mean"


@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize("bad", BAD)
def test_bad_elites_shape_no_mean(kind, bad):
    """Of twelve candidates four are good: a search for four elites among them finds the same mean."""

    def final(num_elites, cost):
        options = {"num_samples": 12, "num_iterations": 1, "execute": "mean", "init_std": 2.0}
        return make(kind, num_elites=num_elites, **options).plan(cost, init=None, generators=generators(2))

    few = lambda actions: torch.arange(12).expand(actions.shape[:2]) >= 4  # noqa: E731

    def first_only(actions):  # the mean has a cost again
        return spoiled(bad, few)(actions) if actions.shape[1] == 12 else distance(actions)

    assert torch.equal(final(8, first_only).actions, final(4, first_only).actions)
    assert not torch.equal(final(8, first_only).actions, final(8, distance).actions)


@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize("keep_elites", [0.0, 1.0])
def test_an_iteration_without_any_finite_cost_changes_nothing(kind, keep_elites):
    """The next one samples from the distribution before: from that of the first iteration, or of the second."""
    options = {"num_iterations": 3, "init_std": 2.0, "keep_elites": keep_elites, "min_std": 0.5}

    def candidates(bad_iteration):
        calls = []

        def cost(actions):
            calls.append(actions)
            costs = distance(actions)
            if len(calls) - 1 == bad_iteration:
                costs[1] = math.nan
            return costs

        plan = make(kind, **options).plan(cost, init=None, generators=generators(2), record=True)
        return plan.trace.candidates

    usual = candidates(None)
    noise = (usual[0][1] / 2.0)[
        2:
    ]  # of the first iteration: its mean is 0 and its std 2 (0 and 1: given and zero plan)
    assert noise.abs().max() <= 2.5
    first_bad, second_bad = candidates(0), candidates(1)
    assert torch.equal(first_bad[0], usual[0])
    assert torch.equal(second_bad[1], usual[1])
    assert first_bad[1][1].std() == pytest.approx(2.0, rel=0.3)  # as wide as at first, where usually it has narrowed
    assert usual[1][1].std() < 1.6
    # The other environment notices nothing.
    assert torch.equal(first_bad[1][0], usual[1][0])
    assert torch.equal(second_bad[2][0], usual[2][0])


@pytest.mark.parametrize("kind", PLANNERS)
def test_a_search_goes_on_until_it_has_found_something(kind):
    """An early stop is for searches that stopped improving, not for those that have found nothing yet."""
    calls = []

    def cost(actions):
        calls.append(actions)
        return distance(actions) if len(calls) > 4 else torch.full(actions.shape[:2], math.nan)

    plan = make(kind, num_iterations=6, tolerance=0.01).plan(cost, init=None, generators=generators(1))
    assert len(calls) >= 5
    assert math.isfinite(plan.cost.item())


@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize("execute", ["best", "mean"])
@pytest.mark.parametrize("fraction", [0.5, 0.95])
@pytest.mark.parametrize("tolerance", [None, 0.05])
def test_bad_costs_change_no_other_environments_plan(kind, execute, fraction, tolerance):
    bad = torch.rand(16, generator=torch.Generator().manual_seed(3)) < fraction
    bad[3] = False

    def cost(actions):
        costs = distance(actions)
        costs[1, bad[: actions.shape[1]]] = math.nan
        return costs

    planner = make(kind, num_iterations=4, execute=execute, keep_elites=0.5, tolerance=tolerance)
    usual = planner.plan(distance, init=None, generators=generators(3))
    beside = planner.plan(cost, init=None, generators=generators(3))
    for i in (0, 2):
        for name in ("actions", "cost", "elites", "num_iterations"):
            assert torch.equal(getattr(usual, name)[i], getattr(beside, name)[i])
    assert not torch.equal(usual.elites[1], beside.elites[1])


@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize("execute", ["best", "mean"])
@pytest.mark.parametrize("bad", BAD)
def test_no_finite_cost_at_all_names_the_environments(kind, execute, bad):
    def cost(actions):
        costs = distance(actions)
        costs[1:] = bad
        return costs

    with pytest.raises(FloatingPointError, match=r"cost must be finite .* none in environments \[1, 2\]"):
        make(kind, execute=execute).plan(cost, init=None, generators=generators(3))


@pytest.mark.parametrize("bad", BAD)
def test_a_proposal_without_a_finite_cost_names_the_environments(bad):
    planner = ProposalPlanner(bounds=WIDE)
    proposed = torch.zeros(3, 1, 2)

    def cost(actions):
        return torch.tensor([[0.0], [bad], [1.0]])

    with pytest.raises(FloatingPointError, match=r"cost must be finite .* none in environments \[1\]"):
        planner.plan(cost, init=proposed, generators=generators(3), record=True)
    proposed[2, 0, 0] = math.nan
    with pytest.raises(FloatingPointError, match=r"init must hold .* without NaN, .* for environments \[2\]"):
        planner.plan(distance, init=proposed, generators=generators(3))
    with pytest.raises(ValueError, match=r"cost must return shape \(3, 1\), got \(3,\)"):
        planner.plan(lambda a: a.sum((1, 2, 3)), init=torch.zeros(3, 1, 2), generators=generators(3), record=True)


@pytest.mark.parametrize("temperature", [1e-300, 1e-50, 1e-44, 1e-38, 1e38, 1e300])
@pytest.mark.parametrize("execute", ["best", "mean"])
def test_any_positive_temperature_gives_a_plan(temperature, execute):
    def found(temperature):
        options = {"horizon": 2, "num_elites": 4, "execute": execute, "min_std": 0.0, "temperature": temperature}
        return make(MPPI, **options).plan(distance, init=None, generators=generators(2))

    plan, best = found(temperature), found(1e-30)
    assert torch.isfinite(plan.actions).all()
    assert torch.equal(plan.actions, best.actions) or temperature > 1  # the best elite alone


@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9])
def test_a_search_that_does_not_wait_for_its_device_plans_the_same(kind, fraction, monkeypatch):
    """Where all costs are finite it is right at once, elsewhere it is made again."""
    bad = torch.rand(3, 16, generator=torch.Generator().manual_seed(0)) < fraction
    bad[:, 0] = False
    planner, calls = make(kind, keep_elites=0.5, tolerance=0.01), []

    def cost(actions):
        calls.append(len(actions))
        return torch.where(bad, math.inf, distance(actions))

    expected = planner.plan(cost, init=None, generators=generators(3), record=True)
    count = len(calls)
    monkeypatch.setattr("worldmodel.planning.search._is_free", lambda device: False)
    plan = planner.plan(cost, init=None, generators=generators(3), record=True)
    assert len(calls) - count >= (2 if fraction else 1) * min(count, 2)
    for name in ("actions", "cost", "elites", "num_iterations"):
        assert torch.equal(getattr(plan, name), getattr(expected, name)), name
    assert all(map(torch.equal, plan.trace.candidates, expected.trace.candidates))
    assert torch.equal(plan.trace.best, expected.trace.best)
