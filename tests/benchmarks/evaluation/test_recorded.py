"""Episodes taken from recorded ones: reset and led to what was recorded."""

import numpy as np
import pytest

from agents.evaluation.task import GoalImageConfig, make_task
from benchmarks.evaluation.recorded import recorded_episodes
from benchmarks.evaluation.success import EvaluateConfig, run
from pretrain.collection.collect import CollectConfig, collect
from worldmodel.config import ConfigError

WORDS = {"size": 16, "goal_steps": 5, "success": "observation[0:2]", "tolerance": 0.05}


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    shown = GoalImageConfig(size=16, goal_steps=5)
    settings = {"num_episodes": 4, "max_episode_steps": 30, "progress": False}
    return collect(CollectConfig(env_id="Pendulum-v1", goal_image=shown, **settings))


def test_starts_and_goals_are_what_was_recorded(dataset):
    task = make_task("Pendulum-v1", {"goal_image": WORDS})
    manifest = recorded_episodes(task, dataset.id, 10, 6, seed=1)
    assert manifest == recorded_episodes(task, dataset.id, 10, 6, seed=1)
    assert (len(manifest), manifest.max_steps) == (6, 20)
    recorded = {
        about["seed"]: episode.observations["observation"]
        for about, episode in zip(dataset.storage.get_episode_metadata(range(4)), dataset, strict=True)
    }
    env = task.make()
    for seed, options in zip(manifest.seeds, manifest.episodes, strict=True):
        first = len(options["start_actions"])
        seen, info = env.reset(seed=seed, options=dict(options))
        np.testing.assert_array_equal(seen["observation"], recorded[seed][first])
        np.testing.assert_array_equal(seen["desired_goal"], recorded[seed][first + 10])
        assert not info["is_success"]


def test_evaluating_on_them(dataset, tmp_path):
    config = EvaluateConfig(
        policy="random",
        env_id="Pendulum-v1",
        goal_image=GoalImageConfig(**WORDS),
        goals_from=dataset.id,
        steps_ahead=5,
        num_episodes=4,
        num_envs=3,
        latency_episodes=0,
        output=tmp_path / "out.json",
        progress=False,
    )
    record = run(config)
    assert record.config["manifest"] == "Pendulum-v1, 5 steps ahead in pendulum/random-walk-v0"
    assert [row["num_steps"] for row in record.rows] == [10] * 4


def test_errors(dataset):
    shown = make_task("Pendulum-v1", {"goal_image": WORDS})
    with pytest.raises(ConfigError, match=r"goals_from must be given with --goal-image.*got 'pendulum/random-walk-v0'"):
        recorded_episodes(make_task("Pendulum-v1"), dataset.id, 5, 2, 0)
    with pytest.raises(ConfigError, match=r"episodes of at least 31 steps, .* got 'episodes of up to 30 steps'"):
        recorded_episodes(shown, dataset.id, 31, 2, 0)
    with pytest.raises(ConfigError, match=r"goals_from must be recorded in an environment with actions Box"):
        recorded_episodes(make_task("TwoRooms-v0", {"goal_image": {"image": "render"}}), dataset.id, 5, 2, 0)
    easy = make_task("Pendulum-v1", {"goal_image": WORDS | {"tolerance": 9}})
    with pytest.raises(ConfigError, match=r"so that 2 starts are not at their goals 5 steps later, got '0 of 40'"):
        recorded_episodes(easy, dataset.id, 5, 2, 0)
    with pytest.raises(ConfigError, match="goals_from must be given with --env-id only"):
        run(EvaluateConfig(policy="random", goals_from=dataset.id))
