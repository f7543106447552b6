"""Comparisons as tables: what counts on a manifest is what its column shows; environments stand side by side."""

import pytest

from benchmarks.comparison import compare
from benchmarks.comparison.tables import overview, table


@pytest.fixture
def contents(tmp_path, monkeypatch):
    """Random actions and the expert in two environments, on the first episodes of each manifest."""
    shared = {"contenders": ("random", "expert"), "num_episodes": 3, "store": tmp_path / "store", "progress": False}
    monkeypatch.setattr(compare, "draw", lambda *_: None)
    monkeypatch.setattr(compare, "LATENCY_EPISODES", 0)
    return [
        compare.run(compare.CompareConfig(environment=name, output=tmp_path / f"{name}.json", **shared))
        for name in ("pendulum", "pillars")
    ]


def test_a_goal_that_counts_when_passed_is_shown_so(contents):
    pendulum, pillars = contents
    assert pendulum["measures"] == {"far": "final", "near": "ever"}
    assert set(pillars["measures"].values()) == {"final"}
    for content in contents:
        for row in content["rows"]:
            for manifest, measure in content["measures"].items():
                found = row["manifests"][manifest]
                assert found["success"] == found[measure]
                low, high = found["interval"]
                assert low <= found["success"][0] <= high
    expert = pendulum["rows"][1]["manifests"]["near"]
    assert expert["ever"][0] > expert["final"][0], "the expert passes and does not stay"
    assert "near, ever" in table(pendulum).columns
    assert "final success" in table(pendulum).columns


def test_environments_side_by_side(contents):
    shown = overview(contents)
    assert shown.columns == ["task", "random actions", "scripted expert"]
    tasks = [row[0] for row in shown.rows]
    assert tasks[:2] == ["Pendulum, far", "Pendulum, near, ever"]
    assert [task for task in tasks if task.startswith("Pillars")] == [
        f"Pillars, {name}" for name in contents[1]["measures"]
    ]
    assert [row[2][:6] for row in shown.rows[:2]] == ["100.0%", "100.0%"]
    assert overview(contents, ["expert"]).columns == ["task", "scripted expert"]
    lacking = [{**contents[0], "rows": contents[0]["rows"][1:]}, contents[1]]
    assert [row[1] for row in overview(lacking).rows][:2] == ["–", "–"], "who was not measured has a dash"
