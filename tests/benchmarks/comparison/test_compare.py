"""``worldmodel compare``: one store, one budget, nothing run twice; table and plots come from what is stored."""

import json
from dataclasses import replace

import pytest

from benchmarks.comparison import compare
from benchmarks.comparison.compare import CompareConfig, markdown, report, run
from benchmarks.comparison.contenders import CONTENDERS, training_facts


def test_every_contender_is_trained_evaluated_and_shown_once(tiny, monkeypatch):
    config, learned = tiny
    names = ("random", "expert", "jepa-mppi", "ppo-pixels", "sac-state", "gcbc")
    config = replace(config, contenders=names)
    content = run(config)
    rows = {row["contender"]: row for row in content["rows"]}
    assert sorted(rows) == sorted(names)
    assert [run_config.max_minutes for run_config in learned] == [5.0] * 2
    assert rows["expert"]["random-wall"]["final"] == [1.0]
    assert rows["random"]["env_steps"] == [0]
    assert rows["jepa-mppi"]["difference"]["difference"] == 0.0
    assert rows["jepa-mppi"]["env_steps"] == [2 * 2 * 2 * 4]
    assert rows["jepa-mppi"]["images"] == [2 * 2 * 3 + 1 * 2 * 4]
    assert rows["gcbc"]["env_steps"] == [2 * 2 * 2 * 4]
    assert rows["sac-state"]["env_steps"][0] >= 64
    assert [point["steps"] for point in rows["sac-state"]["curves"][0]] == [32, 64]
    assert [point["step"] for point in rows["gcbc"]["curves"][0]] == [2]
    assert rows["gcbc"]["curves"][0][0]["loss"] > 0
    assert json.loads(config.output.read_text())["rows"] == json.loads(json.dumps(content["rows"]))
    table = config.output.with_suffix(".md").read_text()
    assert table == markdown(content)
    assert len(table.splitlines()) == 2 + len(names)
    for name in ("costs", "curves", "difficulty"):
        assert config.output.with_name(f"compare-{name}.png").stat().st_size > 10_000

    def never(*_, **__):
        raise AssertionError("run twice")

    monkeypatch.setattr(compare.success, "run", never)
    assert run(config)["rows"] == content["rows"]
    assert report(config)["rows"] == content["rows"]


def test_runs_are_shared(tiny, tmp_path):
    config, _ = tiny
    run(replace(config, contenders=("jepa-mppi", "jepa-actor")))
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"two-rooms-5min-seed0"}


def test_a_longer_budget_goes_on_with_the_common_one_and_is_a_column(tiny):
    config, learned = tiny
    config = replace(config, contenders=("tqc-state", "tqc-state-4x"), seeds=(3, 4))
    content = run(config)
    assert [(one.max_minutes, one.output.name) for one in learned] == [
        (5.0, "tqc-state-5min-seed3"),
        (5.0, "tqc-state-5min-seed4"),
        (20.0, "tqc-state-20min-seed3"),
    ]
    first, second = content["rows"]
    # 64 steps were its budget already, and are not run again.
    assert second["curves"] == first["curves"][:1]
    assert second["extends"] == "tqc-state"
    lines = markdown(content).splitlines()
    assert len(lines) == 3
    assert lines[0].split(" | ")[4] == "with 4× time"
    assert lines[2].split(" | ")[4].startswith(f"{second['random-wall']['final'][0]:.1%} [")


def test_what_is_not_trained_is_compared_with_every_seed_and_a_seed_without_partner_with_none(tiny):
    config, _ = tiny
    content = run(replace(config, contenders=("random", "jepa-mppi"), seeds=(0, 1)))
    rows = {row["contender"]: row for row in content["rows"]}
    assert rows["random"]["difference"]["num_episodes"] == 2 * 2
    content = run(replace(config, contenders=("gcbc",), seeds=(7,)))
    rows = {row["contender"]: row for row in content["rows"]}
    assert rows["gcbc"]["seeds"] == [7]
    assert rows["gcbc"]["difference"] is None


def test_budgets_and_numbers_of_episodes_are_not_mixed(tiny):
    config, learned = tiny
    config = replace(config, contenders=("sac-state",))
    run(config)
    longer = run(replace(config, minutes=7.0))
    assert [one.output.name for one in learned] == ["sac-state-5min-seed0", "sac-state-7min-seed0"]
    assert len(longer["rows"][0]["seeds"]) == 1
    with pytest.raises(ValueError, match=r"random-wall\.json must be of all episodes, got 2; choose another --store"):
        run(replace(config, num_episodes=None))
    with pytest.raises(ValueError, match="must be of 3 episodes, got 2"):
        run(replace(config, num_episodes=3))


def test_facts_of_what_is_not_trained_are_nothing(tmp_path):
    facts = training_facts(CONTENDERS["random"], tmp_path)
    assert (facts["minutes"], facts["env_steps"], facts["curve"]) == (0.0, 0, [])


def test_errors_name_the_rule(tmp_path):
    config = CompareConfig(store=tmp_path, output=tmp_path / "compare.json", progress=False)
    with pytest.raises(ValueError, match=r"contenders must be among 'random', .*, got 'human'"):
        run(replace(config, contenders=("human",)))
    with pytest.raises(ValueError, match=r"minutes must be greater than 0, got 0\.0"):
        run(replace(config, minutes=0.0))
    with pytest.raises(ValueError, match="store must hold evaluations of contenders, got none in"):
        run(replace(config, only_report=True))
    with pytest.raises(ValueError, match="num_episodes must be at least 1, got 0"):
        run(replace(config, num_episodes=0))
