"""``worldmodel tune``: candidates are trained under one budget and measured on validation episodes, once."""

import json
from dataclasses import replace

import pytest

from benchmarks.comparison import tune
from benchmarks.comparison.contenders import CONTENDERS
from benchmarks.comparison.tune import CANDIDATES, TuneConfig, run


def test_candidates_are_trained_as_they_say_and_measured_once(tiny, tmp_path, monkeypatch, capsys):
    _, learned = tiny
    candidates = ({"learning_rate": 1e-3, "reward": "dense"}, {"learning_rate": 3e-4, "reward": "sparse"})
    monkeypatch.setattr(tune, "CANDIDATES", {"sac-state": candidates, "gcbc": ({"method.latent_dim": 8},)})
    config = TuneConfig(
        contender="sac-state", minutes=2.0, num_episodes=2, runs=tmp_path / "runs", output=tmp_path / "sac.json"
    )
    content = run(config)
    assert [row["changes"] for row in content["rows"]] == list(candidates)
    assert [(c.options, c.reward, c.max_minutes, c.seed) for c in learned] == [
        ({"learning_rate": 1e-3}, "dense", 2.0, 100),
        ({"learning_rate": 3e-4}, "sparse", 2.0, 100),
    ]
    assert json.loads(config.output.read_text()) == content
    assert "sac-state: 2 validation episodes" in capsys.readouterr().out
    assert run(config)["rows"] == content["rows"]
    assert len(learned) == 2
    with pytest.raises(ValueError, match=r"minutes of .*sac\.json must be 2\.0, got 3\.0; or another --output"):
        run(replace(config, minutes=3.0))
    run(replace(config, minutes=3.0, output=tmp_path / "longer.json"))
    assert len(learned) == 4

    offline = run(replace(config, contender="gcbc", output=tmp_path / "gcbc.json"))
    assert offline["rows"][0]["env_steps"] == 2 * 2 * 2 * 4


def test_all_that_is_trained_without_the_world_models_planner_can_be_tuned():
    assert set(CANDIDATES) == {
        name for name, c in CONTENDERS.items() if c.kind in ("reinforcement learning", "offline") and not c.extends
    }


def test_errors_name_the_rule():
    with pytest.raises(ValueError, match=r"contender must be one of 'ppo-state', .*, got 'expert'"):
        run(TuneConfig(contender="expert"))
    with pytest.raises(ValueError, match=r"minutes must be greater than 0, got 0\.0"):
        run(TuneConfig(contender="gcbc", minutes=0.0))
