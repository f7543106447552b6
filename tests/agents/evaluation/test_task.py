"""Environments as somebody asked for them, with goal images around them or without."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from agents.evaluation.manifest import Manifest
from agents.evaluation.task import GoalImageConfig, make_task
from agents.saved import make_policy
from envs import GoalImage
from worldmodel.config import ConfigError, parse

SEEN = {"size": 16, "goal_steps": 6, "success": "observation[0:2]", "tolerance": 0.17}


def test_words_become_the_keyword():
    words = ["--size", "16", "--goal-steps", "6", "--success", "observation[0:2]", "--tolerance", "0.17"]
    config = parse(GoalImageConfig, words, prog="any", description="")
    assert config.keywords() == {"goal_image": SEEN}
    assert GoalImageConfig().keywords() == {}
    assert GoalImageConfig().join({"g": 9}) == {"g": 9}
    joined = config.join({"g": 9, "goal_image": {"size": 8, "axes": "HWC"}})
    assert joined == {"g": 9, "goal_image": SEEN | {"axes": "HWC"}}


def test_a_wrapped_environment_has_a_plain_domain_and_every_kind_that_it_can_show():
    task = make_task("Pendulum-v1", {"goal_image": SEEN})
    assert (task.domain.title, task.max_steps) == ("Pendulum-v1", 200)
    assert list(task.domain.observations) == ["pixels", "state"]
    assert task.domain.expert is None
    env = task.make("state")
    assert isinstance(env, GoalImage)
    space = env.observation_space
    assert space["observation"].high.tolist() == [1, 1, 8]
    assert space["desired_goal"].shape == (2,)
    assert task.make("pixels").observation_space == task.observation_space
    assert make_task("Pendulum-v1", {"goal_image": {"size": 16, "success": "info.x", "tolerance": 1}}).domain.keywords(
        observation="pixels"
    ) == {"goal_image": {"size": 16, "success": "info.x", "tolerance": 1, "observation": "pixels"}}


def test_kinds_show_the_same_episodes():
    task = make_task("Pendulum-v1", {"goal_image": SEEN})
    pixels, state = task.make("pixels"), task.make("state")
    for step in range(4):
        _, info = pixels.reset(seed=5) if not step else pixels.step([1.0])[::4]
        seen, other = state.reset(seed=5) if not step else state.step([1.0])[::4]
        assert info == other
        assert np.linalg.norm(seen["achieved_goal"] - seen["desired_goal"]) == pytest.approx(info["distance"], abs=1e-6)


def test_vectors_are_of_what_is_wrapped_even_where_the_domain_has_one_of_its_own():
    task = make_task("TwoRooms-v0", {"goal_image": {"image": "render", "size": 16, "goal_steps": 3}})
    assert (task.domain.title, list(task.domain.explorers)) == ("Two Rooms", ["random-walk"])
    many = task.vector("pixels", autoreset_mode=AutoresetMode.SAME_STEP)(2)
    assert isinstance(many, SyncVectorEnv)
    assert many.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    seen, _ = many.reset(seed=[3, 4])
    assert seen["observation"].shape == (2, 16, 16, 3)
    assert data_equivalence({key: value[1] for key, value in seen.items()}, task.make().reset(seed=4)[0])
    many.close()


def test_episodes_that_begin_where_actions_lead():
    task = make_task("Pendulum-v1", {"goal_image": SEEN})
    actions = np.linspace(-2, 2, 9)[:, None].tolist()
    episodes = tuple({"start_actions": actions[:n], "goal_actions": actions[n : n + 2]} for n in (0, 4, 7))
    manifest = Manifest("m", "Pendulum-v1", (3, 3, 5), episodes=episodes)
    many = task.vector("state")(3)
    seen, infos = many.reset(seed=[3, 3, 5], options=manifest.options(range(3)))
    single = task.make("state")
    for index, episode in enumerate(episodes):
        alone, info = single.reset(seed=manifest.seeds[index], options=dict(episode))
        assert infos["distance"][index] == info["distance"]
        for key, value in alone.items():
            np.testing.assert_array_equal(seen[key][index], value)
    assert (seen["observation"][0] != seen["observation"][1]).any()
    many.close()


def test_success_must_be_known_where_it_is_measured():
    def check(**arguments):
        make_task("Pendulum-v1", {"goal_image": {"size": 16, **arguments}}).check_success()

    make_task("Pendulum-v1").check_success()  # what it reports is seen when it is evaluated
    check(success="own")
    check(success="observation", tolerance=1.0)
    for arguments in ({}, {"goals": "explore"}, {"goals": "given"}):
        with pytest.raises(
            ConfigError, match=r"--goal-image.success must be given .*: a key of .*'own' or 'MODULE:FUN"
        ):
            check(**arguments)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"sise": 16}, "goal_image must be one of 'image', .*, 'observation', got 'sise'"),
        ({"image": "camera"}, r"image must be one of 'render', got 'camera'"),
        ({"success": "observation[5:9]", "tolerance": 1}, "must pick some of the 3 numbers of 'observation', got 'obs"),
    ],
)
def test_wrong_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_task("Pendulum-v1", {"goal_image": kwargs})


def test_wrong_words_are_named():
    with pytest.raises(ConfigError, match=r"goal_image must be given with --env-id only: .* got {'size': 64}"):
        GoalImageConfig(size=64).require_none()
    with pytest.raises(ConfigError, match=r"env_kwargs\['goal_image'\] must be a JSON object, got 5"):
        GoalImageConfig(size=64).join({"goal_image": 5})
    with pytest.raises(ConfigError, match="size must be at least 1, got 0"):
        GoalImageConfig(size=0)


def test_an_environment_without_images_says_what_would_show_it():
    with pytest.raises(ValueError, match=r"must be a Dict with images .*; --goal-image.size 64 would show it"):
        make_policy("two-rooms", make_task("Pendulum-v1"))
