"""``worldmodel tune``: candidates are trained under one budget and measured on validation episodes, once."""

from dataclasses import replace

import pytest

from benchmarks.comparison import tune
from benchmarks.comparison.contenders import CONTENDERS
from benchmarks.comparison.tune import CANDIDATES, TuneConfig, chosen, markdown, run
from benchmarks.records.store import Record, Store


def test_candidates_are_trained_as_they_say_and_measured_once(tiny, tmp_path, monkeypatch, capsys):
    _, learned = tiny
    candidates = ({"learning_rate": 1e-3, "reward": "dense"}, {"learning_rate": 3e-4, "reward": "sparse"})
    monkeypatch.setattr(tune, "CANDIDATES", {"sac-state": candidates, "gcbc": ({"method.latent_dim": 8},)})
    output = tmp_path / "tune" / "sac-state"
    config = TuneConfig(contender="sac-state", minutes=2.0, num_episodes=2, runs=tmp_path / "runs", output=output)
    records = run(config)
    assert [record.facts["changes"] for record in records] == list(candidates)
    assert [(c.options, c.reward, c.max_minutes, c.seed) for c in learned] == [
        ({"learning_rate": 1e-3}, "dense", 2.0, 100),
        ({"learning_rate": 3e-4}, "sparse", 2.0, 100),
    ]
    assert sorted(record.fingerprint for record in Store(output).records()) == sorted(r.fingerprint for r in records)
    assert "sac-state: 2 validation episodes" in capsys.readouterr().out
    assert run(config) == records
    assert len(learned) == 2
    with pytest.raises(ValueError, match=r"other settings \(config\.training\.minutes \(was 2\.0, now 3\.0\)"):
        run(replace(config, minutes=3.0))
    run(replace(config, minutes=3.0, overwrite=True))
    assert len(learned) == 4

    (record,) = run(replace(config, contender="gcbc", output=tmp_path / "tune" / "gcbc"))
    assert record.facts["training"]["env_steps"] == 2 * 2 * 3 * 4
    lines = markdown(tmp_path / "tune").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| gcbc", "| sac-state"]
    assert " | 2 | 3 | " in lines[3]


def test_what_several_share_is_chosen_for_all_of_them_and_else_the_best():
    def record(changes, success):
        return Record(
            key={},
            config={},
            provenance={},
            facts={"changes": changes, "summary": {"final_success": success, "spl": 0.0}},
        )

    worse, better, shared = record({"a": 1}, 0.1), record({"a": 2}, 0.9), record(dict(tune.SHARED), 0.5)
    assert chosen([worse, better]) is better
    assert chosen([worse, shared, better]) is shared


def test_all_that_is_trained_without_the_world_models_planner_can_be_tuned():
    contenders = [contender for of_one in CONTENDERS.values() for contender in of_one.values()]
    assert set(CANDIDATES) == {
        c.name for c in contenders if c.kind in ("reinforcement learning", "offline") and not c.extends
    }


def test_errors_name_the_rule():
    with pytest.raises(ValueError, match=r"contender must be one of 'ppo-state', .*, got 'expert'"):
        run(TuneConfig(contender="expert"))
    with pytest.raises(ValueError, match="contender must be one of 'sac-state', got 'gcbc'"):
        run(TuneConfig(contender="gcbc", environment="pillars"))
    with pytest.raises(ValueError, match=r"environment must be one of 'two-rooms', .*, got 'nowhere'"):
        run(TuneConfig(contender="gcbc", environment="nowhere"))
    with pytest.raises(ValueError, match=r"minutes must be greater than 0, got 0\.0"):
        run(TuneConfig(contender="gcbc", minutes=0.0))
