"""The curve of success against latency."""

import pytest

from benchmarks.analysis.latency import ACTOR, LatencyConfig, run, settings


def test_a_short_curve_is_measured_once(checkpoint, tmp_path, monkeypatch):
    config = LatencyConfig(
        policy=str(checkpoint),
        budgets_ms=(0.1, 3.0),
        long_budgets_ms=(),
        num_episodes=1,
        runs=tmp_path,
        output=tmp_path / "latency.json",
    )
    rows = run(config)["rows"]
    assert [(row["curve"], row["budget_ms"]) for row in rows] == [
        (ACTOR, None),
        *((name, budget) for name in ("MPPI", "CEM", "iCEM") for budget in (0.1, 3.0)),
    ]
    assert all(row["summary"]["step_p95_ms"] > 0 for row in rows)
    assert (tmp_path / "latency.png").stat().st_size > 1000

    def never(*_, **__):
        raise AssertionError("evaluated twice")

    monkeypatch.setattr("benchmarks.evaluation.success.evaluate", never)
    assert run(config)["rows"] == rows


def test_searches_are_stopped_by_their_budget_alone():
    for curve, budget, planner in settings(LatencyConfig()):
        assert planner.budget_ms == budget
        assert (planner.num_iterations >= 100) == (curve != ACTOR)


def test_a_scripted_policy_has_no_curve():
    with pytest.raises(ValueError, match="policy must be a checkpoint, got 'expert'"):
        run(LatencyConfig(policy="expert"))
