"""The curve of success against latency."""

from dataclasses import replace

import pytest

from benchmarks.analysis.latency import ACTOR, LatencyConfig, run, settings
from benchmarks.evaluation import success
from benchmarks.records.store import read_record, write_record


def test_a_short_curve_is_measured_once(checkpoint, tmp_path, monkeypatch):
    config = LatencyConfig(
        policy=str(checkpoint),
        budgets_ms=(0.1, 3.0),
        long_budgets_ms=(),
        num_episodes=1,
        runs=tmp_path,
        output=tmp_path / "latency.json",
    )
    record = run(config)
    rows = record.rows
    assert [(row["curve"], row["budget_ms"]) for row in rows] == [
        (ACTOR, None),
        *((name, budget) for name in ("MPPI", "CEM", "iCEM") for budget in (0.1, 3.0)),
    ]
    assert all(row["summary"]["step_p95_ms"] > 0 for row in rows)
    assert (tmp_path / "latency.png").stat().st_size > 1000

    def never(*_, **__):
        raise AssertionError("evaluated twice")

    monkeypatch.setattr("benchmarks.evaluation.success.evaluate", never)
    assert read_record(config.output) == record == run(config)
    with pytest.raises(ValueError, match=r"holds the result of other settings \(config\.num_episodes"):
        run(replace(config, num_episodes=2))


def test_a_stopped_measurement_goes_on(checkpoint, tmp_path, monkeypatch):
    config = LatencyConfig(
        policy=str(checkpoint),
        budgets_ms=(0.1,),
        long_budgets_ms=(),
        num_episodes=1,
        runs=tmp_path,
        output=tmp_path / "latency.json",
    )
    rows, asked, original = run(config).rows, [], success.run
    record = read_record(config.output)
    write_record(config.output, replace(record, rows=record.rows[:-1], finished=False))
    monkeypatch.setattr(success, "run", lambda evaluation: asked.append(evaluation) or original(evaluation))
    again = run(config)
    assert again.finished
    assert [row["curve"] for row in again.rows] == [row["curve"] for row in rows]
    assert [evaluation.planner.planner for evaluation in asked] == ["icem"]


def test_searches_are_stopped_by_their_budget_alone():
    for curve, budget, planner in settings(LatencyConfig()):
        assert planner.budget_ms == budget
        assert (planner.num_iterations >= 100) == (curve != ACTOR)


def test_a_scripted_policy_has_no_curve():
    with pytest.raises(ValueError, match="policy must be a checkpoint, got 'expert'"):
        run(LatencyConfig(policy="expert"))
