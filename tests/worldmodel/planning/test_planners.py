"""What all planners promise: they find optima, keep to the bounds, repeat exactly, and stop when told."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.linalg import solve_discrete_are

from worldmodel.planning import CEM, ICEM, MPPI, ActionBounds, SearchOptions, warm_start

PLANNERS = [MPPI, CEM, ICEM]
WIDE = ActionBounds([-5.0, -5.0], [5.0, 5.0])
# The costs here differ by units; a temperature far below that would leave a single elite and no spread.
OWN = {MPPI: {"temperature": 20.0}, CEM: {"momentum": 0.0}, ICEM: {"momentum": 0.1}}
SEARCH = {"num_samples": 128, "num_iterations": 3, "num_elites": 16, "init_std": 1.0, "keep_elites": 0.0}


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def make(kind, bounds=WIDE, **options):
    own = {name: options.pop(name, value) for name, value in OWN[kind].items()}
    return kind(bounds=bounds, options=SearchOptions(**{"horizon": 20} | SEARCH | options), **own)


def quadratic(target):
    """Squared distance to a target plan ``(b, t, a)``, with elementwise operations only."""
    return lambda actions: (actions - target[:, None]).square().sum((2, 3))


@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize("execute", ["best", "mean"])
def test_finds_the_optimum_of_a_quadratic(kind, execute):
    target = torch.tensor([[[1.0, -2.0], [0.5, 0.0]], [[3.0, 3.0], [-1.0, 2.0]]])
    planner = make(
        kind, horizon=2, num_samples=200, num_iterations=20, num_elites=20, init_std=2.0, min_std=0.0, execute=execute
    )
    plan = planner.plan(quadratic(target), init=None, generators=generators(2))
    torch.testing.assert_close(plan.actions, target, atol=0.05, rtol=0)
    assert plan.cost.max() < 0.01
    assert torch.equal(plan.cost, quadratic(target)(plan.actions[:, None])[:, 0])


@pytest.mark.parametrize("kind", PLANNERS)
def test_controls_a_double_integrator_as_well_as_riccati(kind):
    step = 0.3
    A, B = np.array([[1.0, step], [0.0, 1.0]]), np.array([[step**2 / 2], [step]])
    Q, R = np.diag([1.0, 0.1]), np.array([[0.5]])
    P = solve_discrete_are(A, B, Q, R)
    start = np.array([2.0, -0.5])
    tensors = [torch.tensor(m, dtype=torch.float32) for m in (A, B, Q, R, P)]

    def cost(actions):
        A_, B_, Q_, R_, P_ = tensors
        x = torch.tensor(start, dtype=torch.float32).expand(*actions.shape[:2], 2)
        total = x.new_zeros(actions.shape[:2])
        for u in actions.unbind(2):
            total = total + ((x @ Q_) * x).sum(-1) + ((u @ R_) * u).sum(-1)
            x = x @ A_.T + u @ B_.T
        return total + ((x @ P_) * x).sum(-1)

    options = {
        "horizon": 12,
        "num_samples": 400,
        "num_iterations": 25,
        "num_elites": 30,
        "init_std": 1.5,
    }
    bounds = ActionBounds([-20.0], [20.0])
    plan = make(kind, bounds, noise_beta=0.5, keep_elites=0.3, min_std=0.0, **options).plan(
        cost, init=None, generators=generators(1)
    )
    optimum = start @ P @ start
    assert 0.9999 * optimum <= plan.cost.item() < 1.01 * optimum
    gain = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    assert plan.actions[0, 0, 0].item() == pytest.approx((-gain @ start).item(), abs=0.25)


@pytest.mark.parametrize("kind", PLANNERS)
def test_finds_the_deeper_of_two_valleys(kind):
    def cost(actions):
        x = actions[:, :, 0]
        deep, shallow = (x - 3.0).square().sum(-1), (x + 3.0).square().sum(-1)
        return -1.0 * torch.exp(-deep) - 0.6 * torch.exp(-shallow)

    plan = make(kind, horizon=1, num_samples=300, num_iterations=8, num_elites=20, init_std=3.0).plan(
        cost, init=None, generators=generators(4)
    )
    torch.testing.assert_close(plan.actions, torch.full((4, 1, 2), 3.0), atol=0.5, rtol=0)
    assert plan.cost.max() < -0.6  # the bottom of the other valley


@pytest.mark.parametrize("kind", PLANNERS)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    num_envs=st.integers(1, 3),
    horizon=st.integers(1, 6),
    num_samples=st.integers(1, 20),
    init_std=st.floats(0.01, 100.0),
    max_norm=st.one_of(st.none(), st.floats(0.1, 3.0)),
    block=st.integers(1, 2),
    execute=st.sampled_from(["best", "mean"]),
    beta=st.sampled_from([0.0, 1.0, 2.5]),
    has_init=st.booleans(),
)
def test_candidates_and_plans_are_allowed(
    kind, seed, num_envs, horizon, num_samples, init_std, max_norm, block, execute, beta, has_init
):
    bounds = ActionBounds([-1.0, -0.2], [0.5, 2.0], max_norm, block=block)
    seen = []

    def cost(actions):
        seen.append(actions.clone())
        return actions.sin().sum((2, 3))

    planner = make(
        kind,
        bounds,
        horizon=horizon,
        num_samples=num_samples,
        num_elites=max(1, num_samples // 3),
        init_std=init_std,
        execute=execute,
        noise_beta=beta,
        keep_elites=0.5,
    )
    init = 10 * torch.randn(num_envs, 2, horizon, 2 * block, generator=torch.Generator().manual_seed(seed))
    plan = planner.plan(cost, init=init if has_init else None, generators=generators(num_envs, seed))
    for actions in [*seen, plan.actions, plan.elites]:
        parts = actions.unflatten(-1, (block, 2))
        assert ((parts >= bounds.low) & (parts <= bounds.high)).all()
        assert max_norm is None or parts.numel() == 0 or parts.norm(dim=-1).max() <= max_norm * (1 + 1e-6)


@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize("options", [{}, {"execute": "mean"}, {"tolerance": 0.05, "patience": 2}])
def test_a_plan_does_not_depend_on_the_environments_beside_it(kind, options):
    target = torch.randn(7, 20, 2, generator=torch.Generator().manual_seed(9))
    target = target.clamp(-1.5, 1.5)
    init = torch.randn(7, 3, 20, 2, generator=torch.Generator().manual_seed(8))
    init[0, 0] = target[0]  # nothing to improve: an early stop ends this search before the others
    planner = make(
        kind, ActionBounds([-2.0] * 2, [2.0] * 2, 2.45), num_iterations=8, noise_beta=1.0, keep_elites=0.3, **options
    )
    together = planner.plan(quadratic(target), init=init, generators=generators(7))
    for i in range(7):
        alone = planner.plan(quadratic(target[i : i + 1]), init=init[i : i + 1], generators=generators(1, seed=i))
        assert torch.equal(together.actions[i], alone.actions[0])
        assert torch.equal(together.cost[i], alone.cost[0])
        assert torch.equal(together.elites[i], alone.elites[0])
        assert torch.equal(together.num_iterations[i], alone.num_iterations[0])
    assert len(together.num_iterations.unique()) > 1 or "tolerance" not in options


@pytest.mark.parametrize("kind", PLANNERS)
def test_same_seed_same_plan(kind):
    planner, cost = make(kind, noise_beta=1.0), quadratic(torch.ones(1, 20, 2))
    plans = [planner.plan(cost, init=None, generators=generators(1, seed)).actions for seed in (0, 0, 1)]
    assert torch.equal(plans[0], plans[1])
    assert not torch.equal(plans[0], plans[2])


@pytest.mark.parametrize("kind", PLANNERS)
def test_a_warm_start_improves(kind):
    target = torch.linspace(-3, 3, 21).view(1, 21, 1).expand(1, 21, 2)
    planner = make(kind, horizon=20, num_samples=64, num_elites=8, keep_elites=0.5, noise_beta=1.0)
    first = planner.plan(quadratic(target[:, :20]), init=None, generators=generators(1))
    cold = planner.plan(quadratic(target[:, 1:]), init=None, generators=generators(1, 5))
    warm = planner.plan(quadratic(target[:, 1:]), init=warm_start(first, 1), generators=generators(1, 5))
    assert warm.cost < cold.cost
    # The previous plan is a candidate, so the next is no worse than to go on with it.
    going_on = quadratic(target[:, 1:])(warm_start(first, 1)).amin(1)
    assert warm.cost <= going_on


@pytest.mark.parametrize("kind", PLANNERS)
def test_a_perfect_initial_plan_is_returned(kind):
    target = torch.full((2, 5, 2), 0.7)
    plan = make(kind, horizon=5).plan(quadratic(target), init=target, generators=generators(2))
    assert torch.equal(plan.actions, target)
    assert plan.cost.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", PLANNERS)
def test_doing_nothing_is_a_candidate_unless_switched_off(kind):
    cost = quadratic(torch.zeros(1, 5, 2))
    assert make(kind, horizon=5).plan(cost, init=None, generators=generators(1)).cost.item() == 0.0
    assert make(kind, horizon=5, zero_candidate=False).plan(cost, init=None, generators=generators(1)).cost > 0


@pytest.mark.parametrize("kind", PLANNERS)
def test_the_best_cost_never_rises_with_kept_elites(kind):
    cost = lambda actions: (3 * actions).cos().sum((2, 3)) + actions.square().sum((2, 3))  # noqa: E731
    planner = make(kind, horizon=10, num_samples=20, num_iterations=15, num_elites=5, keep_elites=0.2, min_std=1.0)
    plan = planner.plan(cost, init=None, generators=generators(3))
    assert plan.trace.best.shape == (3, 15)
    assert (plan.trace.best.diff(dim=1) <= 0).all()
    assert torch.equal(plan.trace.best[:, -1], plan.cost)
    assert (plan.trace.elite >= plan.trace.best).all()
    assert (plan.trace.mean > plan.trace.best).all()


def test_the_best_of_all_iterations_is_executed_without_kept_elites_too():
    planner = make(CEM, horizon=10, num_samples=10, num_iterations=15, num_elites=5, min_std=2.0, zero_candidate=False)
    plan = planner.plan(quadratic(torch.ones(1, 10, 2)), init=None, generators=generators(1))
    assert (plan.trace.best.diff(dim=1) > 0).any()
    assert plan.cost.item() == plan.trace.best.min().item()


@pytest.mark.parametrize("kind", PLANNERS)
def test_early_stop_ends_each_search_by_itself(kind):
    calls = []

    def cost(actions):
        calls.append(len(actions))
        flat = torch.zeros(actions.shape[1])
        return torch.stack([flat, (actions[1] - 1.0).square().sum((1, 2))])

    planner = make(kind, horizon=3, num_iterations=30, tolerance=1e-2, patience=2, keep_elites=0.5)
    plan = planner.plan(cost, init=None, generators=generators(2))
    assert plan.num_iterations[0] == 3  # one to start from, two without improvement
    assert 3 < plan.num_iterations[1] == len(calls) < 30
    assert plan.trace.best.shape == (2, len(calls))
    assert plan.trace.best[0].tolist() == [0.0] * len(calls)


def test_a_budget_stops_after_at_least_one_iteration(monkeypatch):
    calls = []
    # Each call takes 20 ms of this clock, however busy the machine is.
    monkeypatch.setattr("worldmodel.planning.search.time.perf_counter", lambda: 0.02 * len(calls))

    def slow(actions):
        calls.append(1)
        return actions.sum((2, 3))

    plan = make(CEM, num_iterations=50, budget_ms=1).plan(slow, init=None, generators=generators(1))
    assert len(calls) == plan.num_iterations.item() == 1
    calls.clear()
    make(CEM, num_iterations=50, budget_ms=50).plan(slow, init=None, generators=generators(1))
    assert len(calls) == 3
    calls.clear()
    make(CEM, num_iterations=4, budget_ms=60_000).plan(slow, init=None, generators=generators(1))
    assert len(calls) == 4


def test_samples_decay_to_twice_the_elites():
    counts = []

    def cost(actions):
        counts.append(actions.shape[1])
        return actions.sum((2, 3))

    options = {"num_samples": 100, "num_elites": 20, "num_iterations": 5, "sample_decay": 1.5}
    make(ICEM, **options).plan(cost, init=None, generators=generators(1))
    assert counts == [100, 66, 44, 40, 40]


def test_icem_evaluates_the_mean_in_its_last_iteration():
    planner = make(ICEM, num_iterations=3)
    plan = planner.plan(quadratic(torch.ones(1, 20, 2)), init=None, generators=generators(1), record=True)
    last = plan.trace.candidate_costs[-1][0]
    assert last.argmin() == 0  # of a quadratic in many dimensions, the mean of the elites is far below its samples
    assert plan.cost == last[0]


def test_mppi_weighs_elites_by_temperature():
    elites, costs = torch.tensor([0.0, 1.0, 4.0]).view(1, 3, 1, 1), torch.tensor([[0.0, 1.0, 2.0]])
    weights = np.exp([0.0, -2.0, -4.0]) / np.exp([0.0, -2.0, -4.0]).sum()
    planner = MPPI(bounds=WIDE, temperature=0.5)
    mean, std = planner.refine(elites, costs, elites[:, 0], elites[:, 0])
    expected = weights @ [0.0, 1.0, 4.0]
    assert mean.item() == pytest.approx(expected, abs=1e-6)
    assert std.item() == pytest.approx(np.sqrt(weights @ (np.array([0.0, 1.0, 4.0]) - expected) ** 2), abs=1e-6)


def test_cem_smooths_by_momentum():
    def final_mean(momentum):
        planner = make(CEM, num_iterations=1, execute="mean", horizon=1, momentum=momentum)
        init = torch.full((1, 1, 2), 2.0)
        return planner.plan(quadratic(torch.zeros(1, 1, 2)), init=init, generators=generators(1)).actions

    torch.testing.assert_close(final_mean(0.75), 0.75 * 2.0 + 0.25 * final_mean(0.0))


@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize("execute", ["best", "mean"])
@pytest.mark.parametrize("keep_elites", [0.0, 1.0])
def test_degenerate_sizes_work(kind, execute, keep_elites):
    planner = make(
        kind,
        ActionBounds([-1.0], [1.0]),
        horizon=1,
        num_samples=1,
        num_elites=1,
        num_iterations=2,
        min_std=0.0,
        keep_elites=keep_elites,
        execute=execute,
        noise_beta=1.0,
    )
    plan = planner.plan(quadratic(torch.ones(1, 1, 1)), init=None, generators=generators(1))
    assert plan.actions.shape == (1, 1, 1)
    assert torch.isfinite(plan.actions).all()
    again = planner.plan(quadratic(torch.ones(1, 1, 1)), init=warm_start(plan, 1), generators=generators(1))
    assert torch.isfinite(again.cost).all()


def test_candidates_are_recorded_on_request_only():
    planner, cost = make(MPPI, num_samples=30, num_elites=4, num_iterations=2), quadratic(torch.ones(2, 20, 2))
    assert planner.plan(cost, init=None, generators=generators(2)).trace.candidates is None
    plan = planner.plan(cost, init=None, generators=generators(2), record=True)
    assert [c.shape for c in plan.trace.candidates] == [(2, 30, 20, 2)] * 2
    for candidates, costs in zip(plan.trace.candidates, plan.trace.candidate_costs, strict=True):
        assert torch.equal(cost(candidates), costs)
    part = plan.select(1)
    assert torch.equal(part.actions, plan.actions[1:])
    assert torch.equal(part.trace.candidates[0], plan.trace.candidates[0][1:])


def test_plans_need_no_gradients():
    weight = torch.ones(2, requires_grad=True)
    plan = make(MPPI).plan(lambda a: (a * weight).sum((2, 3)), init=None, generators=generators(1))
    assert not plan.cost.requires_grad
    assert not plan.actions.is_inference()


def test_candidates_of_no_finite_cost_never_win():
    def cost(actions):
        costs = (actions - 1.0).square().sum((2, 3))
        costs[:, ::2] = float("nan")
        costs[:, 1] = -float("inf")
        return costs

    plan = make(MPPI, num_iterations=10).plan(cost, init=None, generators=generators(1))
    assert torch.isfinite(plan.actions).all()
    assert 0 < plan.cost.item() < 100


def test_no_finite_cost_at_all_is_an_error():
    def cost(actions):
        costs = actions.sum((2, 3))
        costs[1] = float("nan")
        return costs

    with pytest.raises(FloatingPointError, match=r"cost must be finite .* none in environments \[1\]"):
        make(CEM).plan(cost, init=None, generators=generators(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"num_iterations": 0}, "num_iterations must be at least 1, got 0"),
        ({"num_elites": 0}, "num_elites must be at least 1, got 0"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"num_samples": 8, "num_elites": 9}, r"num_elites must be at most num_samples \(8\), got 9"),
        ({"init_std": 0.0}, "init_std must be greater than 0, got 0.0"),
        ({"init_std": float("inf")}, "init_std must be a finite number, got inf"),
        ({"min_std": -1.0}, "min_std must be at least 0, got -1.0"),
        ({"noise_beta": -1.0}, "noise_beta must be at least 0, got -1.0"),
        ({"keep_elites": 1.5}, "keep_elites must be at most 1, got 1.5"),
        ({"sample_decay": 0.5}, "sample_decay must be at least 1, got 0.5"),
        ({"execute": "median"}, "execute must be one of 'best', 'mean', got 'median'"),
        ({"tolerance": -0.1}, "tolerance must be at least 0, got -0.1"),
        ({"budget_ms": 0.0}, "budget_ms must be greater than 0, got 0.0"),
    ],
)
def test_wrong_options_are_explained(without_type_checks, options, message):
    with pytest.raises(ValueError, match=message):
        SearchOptions(**options)


@pytest.mark.parametrize(
    ("make_planner", "message"),
    [
        (lambda: MPPI(bounds=WIDE, temperature=0.0), "temperature must be greater than 0, got 0.0"),
        (lambda: CEM(bounds=WIDE, momentum=1.0), "momentum must be less than 1, got 1.0"),
        (lambda: ICEM(bounds=WIDE, momentum=-0.1), "momentum must be at least 0, got -0.1"),
        (lambda: CEM(bounds=ActionBounds([0.0], [float("inf")])), "init_std must be given where actions are unbounded"),
    ],
)
def test_wrong_planners_are_explained(make_planner, message):
    with pytest.raises(ValueError, match=message):
        make_planner()


def test_wrong_arguments_of_a_plan_are_explained():
    planner, cost = make(CEM, horizon=3), quadratic(torch.zeros(2, 3, 2))
    with pytest.raises(ValueError, match="generators must hold one generator for each environment, got none"):
        planner.plan(cost, init=None, generators=[])
    with pytest.raises(ValueError, match=r"init must have shape \(2, 3, 2\) or .* got \(2, 4, 2\)"):
        planner.plan(cost, init=torch.zeros(2, 4, 2), generators=generators(2))
    with pytest.raises(ValueError, match=r"cost must return shape \(2, 128\), got \(128,\)"):
        planner.plan(lambda a: a.sum((0, 2, 3)), init=None, generators=generators(2))
