"""``worldmodel train-rl``: a run is resumed, evaluated like any policy, and protected from other configurations."""

import json
from dataclasses import replace

import numpy as np
import pytest

from agents import rl
from agents.held_actions import HeldPolicy
from benchmarks import train_rl
from benchmarks.contenders import CONTENDERS, training_facts
from benchmarks.policies import find_policy, make_policy, make_task
from benchmarks.success import EvaluateConfig
from benchmarks.success import run as evaluate
from benchmarks.train_rl import TrainRLConfig, hyperparameters, run
from worldmodel.__main__ import main


@pytest.fixture(autouse=True)
def small(monkeypatch):
    original = hyperparameters
    few = {"learning_starts": 450, "buffer_size": 1_000, "batch_size": 8, "gradient_steps": 1}

    def tiny(config):
        options = original(config)
        return options | {key: value for key, value in few.items() if key in options}

    monkeypatch.setattr(train_rl, "hyperparameters", tiny)
    monkeypatch.setattr(train_rl, "NORMALIZATION_IMAGES", 8)


def tiny_run(tmp_path, algorithm: str, **changes) -> TrainRLConfig:
    return TrainRLConfig(
        algorithm=algorithm,
        num_envs=2,
        max_minutes=None,
        eval_every=240,
        eval_episodes=2,
        output=tmp_path / algorithm,
        progress=False,
        **{"action_repeat": 1, "max_steps": 480} | changes,
    )


@pytest.mark.parametrize(
    ("algorithm", "observation"), [("sac", "state"), ("ppo", "pixels"), ("tqc", "latents"), ("a2c", "state")]
)
def test_a_run_is_a_policy_like_any_other(algorithm, observation, tmp_path):
    config = tiny_run(tmp_path, algorithm, observation=observation)
    folder = run(config)
    assert rl.spent(folder).steps >= 480
    with np.load(folder / train_rl.EVALUATIONS) as curve:
        assert curve["timesteps"].tolist()[:2] == [240, 480]
        assert curve["successes"].shape[1] == 2
    source = find_policy(str(folder))
    assert source.kind == "rl"
    task = make_task("TwoRooms-v0")
    _, seen = make_policy(str(folder), task)
    assert seen == ("state" if observation == "state" else "pixels")
    content = evaluate(
        EvaluateConfig(
            policy=str(folder), manifest="validation", num_episodes=2, output=tmp_path / "e.json", progress=False
        )
    )
    assert content["finished"]
    assert content["provenance"]["checkpoint_hash"] == source.sha256
    assert "planner" not in content["config"]


def test_held_actions_count_as_the_steps_they_take_and_are_held_later(tmp_path):
    folder = run(tiny_run(tmp_path, "a2c", action_repeat=4, max_steps=960))
    curve = [json.loads(line)["steps"] for line in (folder / train_rl.CURVE).read_text().splitlines()]
    assert curve[:4] == [240, 480, 720, 960]
    facts = training_facts(CONTENDERS["sac-state"], folder)
    assert facts["env_steps"] == 4 * rl.spent(folder).steps >= 960
    policy, _ = make_policy(str(folder), make_task("TwoRooms-v0"))
    assert isinstance(policy, HeldPolicy)
    assert policy.steps_per_plan == 4


def test_a_run_goes_on_with_its_learning_curve(tmp_path):
    config = tiny_run(tmp_path, "sac")
    run(config)
    longer = run(replace(config, max_steps=960))
    assert rl.spent(longer).steps >= 960
    with np.load(longer / train_rl.EVALUATIONS) as curve:
        assert curve["timesteps"].tolist() == [240, 480, 720, 960]
    with pytest.raises(ValueError, match=r"another configuration; it differs in reward \(was None, now dense\)"):
        run(replace(config, reward="dense"))
    run(replace(config, reward="dense", overwrite=True))
    assert json.loads((longer / rl.CONFIG).read_text())["reward"] == "dense"
    assert rl.spent(longer).steps < 960


def test_numbers_are_checked_and_the_command_line_explains(tmp_path, capsys):
    config = tiny_run(tmp_path, "sac")
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        run(replace(config, num_envs=0))
    assert hyperparameters(replace(config, options={"gamma": 0.5}))["gamma"] == 0.5
    with pytest.raises(ValueError, match=r"options must be keywords of sac \(policy, env, .*\), got 'gama'"):
        hyperparameters(replace(config, options={"gama": 0.5}))
    with pytest.raises(SystemExit) as stop:
        main(["train-rl", "--help"])
    assert stop.value.code == 0
    assert "recurrent-ppo" in capsys.readouterr().out
