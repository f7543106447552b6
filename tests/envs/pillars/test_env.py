import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import envs
from envs.pillars.domain import DOMAIN, ENV_ID, draw_scene
from envs.pillars.scene import is_free, pillars_of

envs.register(DOMAIN)
KINDS = ("pixels", "state")
EPISODE = {"layout": 3, "start": (4, 4), "goal": (60, 4)}


@pytest.mark.parametrize("checker", [check_env, sb3_check_env], ids=["gymnasium", "sb3"])
@pytest.mark.parametrize("reward", DOMAIN.rewards)
@pytest.mark.parametrize("observation", KINDS)
def test_checkers_accept_the_environment(observation, reward, checker):
    checker(gym.make(ENV_ID, observation=observation, reward=reward).unwrapped)


@pytest.mark.parametrize("observation", KINDS)
def test_twin_rollouts_are_equal(observation):
    first, second = (gym.make(ENV_ID, observation=observation) for _ in range(2))
    assert data_equivalence(first.reset(seed=3), second.reset(seed=3), exact=True)
    first.action_space.seed(0)
    for _ in range(100):
        action = first.action_space.sample()
        results = first.step(action), second.step(action)
        assert data_equivalence(*results, exact=True)
    assert results[0][3]  # truncated
    assert data_equivalence(first.reset(), second.reset(), exact=True)


def test_what_a_step_gives():
    for observation in KINDS:
        env = gym.make(ENV_ID, observation=observation, reward="dense")
        env.reset(seed=0, options=EPISODE)
        obs, reward, terminated, truncated, info = env.step(np.array([9.0, 0.5]))
        assert set(info) == {"is_success", "distance", "position", "goal", "layout"}
        assert info["position"].tolist() == [6.5, 5.25]
        assert info["distance"] == pytest.approx(np.hypot(53.5, 1.25))
        assert reward == pytest.approx(-info["distance"] / 64, abs=0.1 / 64)
        assert (terminated, truncated, info["is_success"], info["layout"]) == (False, False, False, 3)
        obs["achieved_goal"][...] = 0  # arrays are the caller's own
        assert obs["observation"].any()
        assert env.step(np.zeros(2))[0]["achieved_goal"].any()


def test_blocked_steps_are_not_taken():
    env = gym.make(ENV_ID)
    env.reset(options={"start": (2.5, 30), "layout": 3})
    assert env.step([-1.0, 0.0])[4]["position"].tolist() == [2.5, 30]


@given(st.integers(0, 2**31), st.integers(0, 999), st.floats(0.1, 3.0))
def test_no_step_enters_a_pillar(seed, layout, scale):
    env = gym.make(ENV_ID, observation="state", layout=layout)
    _, info = env.reset(seed=seed)
    places, rng = [info["position"], info["goal"]], np.random.default_rng(seed)
    drift = rng.normal(size=2)
    for _ in range(99):
        places.append(env.step(drift + scale * rng.normal(size=2))[4]["position"])
    assert is_free(np.stack(places), pillars_of(layout)).all()


@pytest.mark.parametrize("reward", DOMAIN.rewards)
@pytest.mark.parametrize("observation", KINDS)
def test_rewards_of_a_batch_are_those_of_its_members(observation, reward):
    env = gym.make(ENV_ID, observation=observation, reward=reward).unwrapped
    goals = np.stack([env.reset(seed=seed)[0]["desired_goal"] for seed in range(8)])
    batch = env.compute_reward(goals, goals[::-1], [{}] * 8)
    assert batch.tolist() == [env.compute_reward(a, b) for a, b in zip(goals, goals[::-1], strict=True)]
    assert env.compute_reward(goals, goals[0]).tolist()[0] == 0.0
    with pytest.raises(ValueError, match=r"desired_goal must have shape \(\.\.\., .*\), got \(3,\)"):
        env.compute_reward(goals, np.zeros(3))


def test_termination_on_success():
    options = {"layout": 3, "start": (4, 4), "goal": (9, 4)}
    for terminate in (False, True):
        env = gym.make(ENV_ID, terminate_on_success=terminate)
        env.reset(options=options)
        assert env.step([1.0, 0.0])[1:3] == (0.0, terminate)


@pytest.mark.parametrize("layout_set", ["train", "validation", "held-out"])
def test_the_expert_reaches_every_goal_and_stays(layout_set):
    env, expert = gym.make(ENV_ID, observation="state", layout_set=layout_set), DOMAIN.expert({})
    for seed in range(100):
        obs, info = env.reset(seed=seed)
        for _ in range(35):
            action, _ = expert.predict(obs)
            assert action in env.action_space
            obs, _, _, _, info = env.step(action)
        assert info["is_success"]


def test_the_expert_takes_batches_of_states_only():
    state, pixels = (gym.make(ENV_ID, observation=kind) for kind in ("state", "pixels"))
    many = [state.reset(seed=seed)[0] for seed in range(3)]
    actions, memory = DOMAIN.expert({}).predict({key: np.stack([obs[key] for obs in many]) for key in many[0]}, "kept")
    assert np.array_equal(actions, [DOMAIN.expert({}).predict(obs)[0] for obs in many])
    assert memory == "kept"
    with pytest.raises(ValueError, match="the expert needs observations of kind 'state'"):
        DOMAIN.expert({}).predict(pixels.reset()[0])


def test_pictures():
    env = gym.make(ENV_ID, render_mode="rgb_array")
    env.reset(options=EPISODE)
    info = env.step([1.0, 0.0])[4]
    trail = np.array([[4, 4], [6.5, 4]])
    assert np.array_equal(env.render(), draw_scene(512, info, info["position"], trail))
    column, row = DOMAIN.to_canvas(info["goal"] + [3.7, 0], 512).astype(int)
    assert env.render()[row, column].tolist() == [30, 150, 100]


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("keywords", "options", "message"),
    [
        ({"observation": "rgb"}, {}, "observation must be one of 'pixels', 'state', got 'rgb'"),
        ({"reward": 1}, {}, "reward must be one of 'sparse', 'dense', got 1"),
        ({"layout_set": "test"}, {}, "layout_set must be one of 'train', 'validation', 'held-out', 'all', got 'test'"),
        ({"layout": 1000}, {}, "layout must be an integer from 0 to 999, got 1000"),
        ({"terminate_on_success": "yes"}, {}, "terminate_on_success must be True or False, got 'yes'"),
        ({}, [], r"options must be a dictionary of reset options or None, got \[\]"),
        ({}, {"wall": 3}, "reset option must be one of 'layout', 'start', 'goal', got 'wall'"),
        ({}, {"layout": 1.5}, "layout must be an integer from 0 to 999, got 1.5"),
        ({}, {"start": (1, "2")}, r"start must be a pair of finite numbers \(x, y\), got \(1, '2'\)"),
        ({}, {"goal": (1, np.nan)}, r"goal must be a pair of finite numbers \(x, y\), got \(1, nan\)"),
        ({}, {"goal": (1, 30)}, r"goal must lie in free space .*, got \[1.0, 30.0\]"),
    ],
)
def test_bad_settings_and_options(keywords, options, message):
    with pytest.raises(ValueError, match=message):
        gym.make(ENV_ID, **keywords).reset(options=options)


def test_bad_actions():
    env = gym.make(ENV_ID)
    env.reset(seed=0)
    for action, message in (([np.nan, 0.0], "action must be finite"), ([1.0], r"action must have shape \(2,\)")):
        with pytest.raises(ValueError, match=message):
            env.unwrapped.step(action)
