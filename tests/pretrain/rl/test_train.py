"""``worldmodel train-rl``: a run is resumed, evaluated like any policy, and protected from other configurations."""

import json
from dataclasses import replace

import numpy as np
import pytest

from agents import rl
from agents.evaluation.task import GoalImageConfig, make_task
from agents.rl.held_actions import HeldPolicy
from agents.rl.vec_env import SB3VecEnv
from agents.saved import make_policy, open_source
from benchmarks.comparison import training
from benchmarks.comparison.contenders import CONTENDERS
from benchmarks.evaluation.success import EvaluateConfig
from benchmarks.evaluation.success import run as evaluate
from pretrain.rl import train as train_rl
from pretrain.rl.train import TrainRLConfig, hyperparameters, run
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
    ("algorithm", "observation"), [("sac", "state"), ("a2c", "pixels"), ("tqc", "latents"), ("ppo", "state")]
)
def test_a_run_is_a_policy_like_any_other(algorithm, observation, tmp_path):
    config = tiny_run(tmp_path, algorithm, observation=observation)
    folder = run(config)
    assert 480 <= rl.spent(folder).steps <= (480 if rl.is_off_policy(algorithm) else 800)
    with np.load(folder / train_rl.EVALUATIONS) as curve:
        assert curve["timesteps"].tolist()[:2] == [240, 480]
        assert curve["successes"].shape[1] == 2
    source = open_source(str(folder))
    assert source.kind == "rl"
    task = make_task("TwoRooms-v0")
    _, seen = make_policy(str(folder), task)
    assert seen == ("state" if observation == "state" else "pixels")
    content = evaluate(
        EvaluateConfig(
            policy=str(folder), manifest="validation", num_episodes=2, output=tmp_path / "e.json", progress=False
        )
    )
    assert content.finished
    assert content.provenance["checkpoint_hash"] == content.config["weights"] == source.sha256
    assert "planner" not in content.config


def test_held_actions_count_as_the_steps_they_take_and_are_held_later(tmp_path):
    folder = run(tiny_run(tmp_path, "a2c", action_repeat=4, max_steps=960))
    curve = [json.loads(line)["steps"] for line in (folder / train_rl.CURVE).read_text().splitlines()]
    assert curve[:4] == [240, 480, 720, 960]
    facts = training.costs(CONTENDERS["two-rooms"]["sac-state"], folder)
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


def test_a_run_goes_on_without_its_replay_buffer(tmp_path, monkeypatch):
    # Images are too large to be saved: transitions are collected anew before anything is learned from them.
    config = tiny_run(tmp_path, "sac", observation="pixels", encoder="strided")
    folder = run(config)
    assert not (folder / rl.REPLAY).exists()
    models, train = [], rl.train
    monkeypatch.setattr(
        rl, "train", lambda model, *rest, **keywords: [models.append(model), train(model, *rest, **keywords)][1]
    )
    run(replace(config, max_steps=960))
    assert rl.spent(folder).steps == 960
    assert models[0].learning_starts == 480 + 450


def test_what_came_after_the_last_save_is_not_kept(tmp_path):
    config = tiny_run(tmp_path, "a2c")
    folder = run(config)
    (folder / rl.PROGRESS).write_text(json.dumps({"steps": 240, "seconds": 1.0}))
    run(replace(config, max_steps=500))
    steps = [json.loads(line)["steps"] for line in (folder / train_rl.CURVE).read_text().splitlines()]
    with np.load(folder / train_rl.EVALUATIONS) as curve:
        assert steps == curve["timesteps"].tolist()
    assert steps[0] == 240
    assert len(steps) == len(set(steps))
    assert steps == sorted(steps)


def test_no_two_seeds_and_no_two_parts_of_a_run_share_episodes(tmp_path, monkeypatch):
    seeds = []
    monkeypatch.setattr(SB3VecEnv, "seed", lambda self, seed=None: seeds.append(seed))
    for seed in (0, 1):
        config = tiny_run(tmp_path, "a2c", seed=seed)
        for max_steps in (480, 960):
            run(replace(config, max_steps=max_steps, output=tmp_path / str(seed)))
    # Each part seeds both environments as they are made, then twice the one it trains in: as Stable-Baselines3 does.
    assert len(seeds) == 4 * 4
    trained = seeds[3::4]
    assert all(abs(a - b) > 256 for i, a in enumerate(trained) for b in trained[:i])


def test_numbers_are_checked_and_the_command_line_explains(tmp_path, capsys):
    config = tiny_run(tmp_path, "sac")
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        run(replace(config, num_envs=0))
    assert hyperparameters(replace(config, options={"gamma": 0.5}))["gamma"] == 0.5
    with pytest.raises(
        ValueError, match=r"options must be keywords of sac \(learning_rate, buffer_size, .*\), got 'gama'"
    ):
        hyperparameters(replace(config, options={"gama": 0.5}))
    with pytest.raises(ValueError, match=r"options must be keywords of sac .*, got 'seed'"):
        run(replace(config, options={"seed": 1}))
    with pytest.raises(ValueError, match=r"max_minutes or max_steps must be given, got \(None, None\)"):
        run(replace(config, max_steps=None))
    with pytest.raises(ValueError, match=r"max_minutes must be greater than 0, got 0\.0"):
        run(replace(config, max_minutes=0.0))
    with pytest.raises(ValueError, match=r"max_steps must be at least action_repeat \(4\), got 3"):
        run(replace(config, action_repeat=4, max_steps=3))
    assert not config.output.exists()
    with pytest.raises(SystemExit) as stop:
        main(["train-rl", "--help"])
    assert stop.value.code == 0
    assert "recurrent-ppo" in capsys.readouterr().out


SEEN = GoalImageConfig(size=16, goal_steps=5, success="observation[0:2]", tolerance=0.3)


def test_an_environment_without_goals_gets_some(tmp_path):
    config = tiny_run(tmp_path, "sac", env_id="Pendulum-v1", goal_image=SEEN)
    folder = run(config)
    assert rl.read_run(folder).goal_image == SEEN.keywords()["goal_image"]
    assert run(replace(config, max_steps=500)) == folder
    with pytest.raises(ValueError, match=r"differs in goal_image.tolerance \(was 0.3, now 0.5\)"):
        run(replace(config, goal_image=replace(SEEN, tolerance=0.5)))
    settings = {"env_id": "Pendulum-v1", "num_episodes": 2, "latency_episodes": 0, "progress": False}
    content = evaluate(EvaluateConfig(policy=str(folder), goal_image=SEEN, output=tmp_path / "e.json", **settings))
    assert len(content.rows) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "observations hold observation and desired_goal; --goal-image.size 64 would give it goals, got"),
        ({"goal_image": GoalImageConfig(size=16)}, "--goal-image.success must be given"),
        (
            {"goal_image": replace(SEEN, success="own")},
            "observation of Pendulum-v1 must be one of 'pixels', got 'state'",
        ),
    ],
)
def test_environments_without_goals_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(tiny_run(tmp_path, "sac", env_id="Pendulum-v1", **changes))
