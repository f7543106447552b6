import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import envs
from envs.push_t.domain import DOMAIN, ENV_ID, draw_scene
from envs.push_t.drawing import draw
from envs.push_t.geometry import distance_to_block

pytest.importorskip("pymunk")
envs.register(DOMAIN)
KINDS = ("pixels", "state")
POSE = (100.0, 100.0, 250.0, 250.0, 0.5)
EPISODE = {"start": POSE, "goal": (120.0, 300.0, 300.0, 200.0, -2.0), "start_velocity": (30.0, -40.0)}


@pytest.mark.parametrize("checker", [check_env, sb3_check_env], ids=["gymnasium", "sb3"])
@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"observation": "state"},
        {"size": 96, "reward": "dense", "control": "absolute"},
        {"observation": "state", "control": "absolute", "reward": "dense"},
    ],
    ids=str,
)
def test_checkers_accept_the_environment(keywords, checker):
    checker(gym.make(ENV_ID, **keywords).unwrapped)


@pytest.mark.parametrize("observation", KINDS)
def test_twin_rollouts_are_equal(observation):
    first, second = (gym.make(ENV_ID, observation=observation) for _ in range(2))
    assert data_equivalence(first.reset(seed=3), second.reset(seed=3), exact=True)
    first.action_space.seed(0)
    for _ in range(100):
        action = first.action_space.sample()
        assert data_equivalence(first.step(action), second.step(action), exact=True)
    assert data_equivalence(first.reset(), second.reset(), exact=True)
    assert not data_equivalence(first.reset(seed=3)[0], first.reset(seed=4)[0], exact=True)


def push_through(env, options):
    """Walks to the block and pushes it; the states on the way."""
    states = [env.reset(options=options)[0]["observation"]]
    for step in range(40):
        seen = states[-1]
        states.append(env.step(np.clip((seen[2:4] + step - seen[:2]) / 100, -1, 1))[0]["observation"])
    return np.stack(states)


def test_the_same_options_give_the_same_episode_whatever_happened_before():
    env, fresh = (gym.make(ENV_ID, observation="state") for _ in range(2))
    states = push_through(env, EPISODE)
    assert np.abs(states[-1, 2:4] - states[0, 2:4]).max() > 30  # the block was pushed
    push_through(env, {"start": (300, 300, 150, 200, 1.0)})
    assert np.array_equal(push_through(env, EPISODE), states)
    assert np.array_equal(push_through(fresh, EPISODE), states)


def test_another_process_gives_the_same_episode():
    program = f"""
import gymnasium as gym, numpy as np
from envs.push_t.env import PushTEnv
{"def push_through" + __import__("inspect").getsource(push_through).split("def push_through")[1]}
print(push_through(PushTEnv(observation="state"), {EPISODE!r}).tobytes().hex())
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    expected = push_through(gym.make(ENV_ID, observation="state"), EPISODE)
    assert run.stdout.strip() == expected.tobytes().hex()


def test_reset_from_options():
    env = gym.make(ENV_ID, observation="state")
    obs, info = env.reset(options=EPISODE)
    turned = [np.cos(0.5), np.sin(0.5)]
    assert obs["observation"] == pytest.approx([100, 100, 250, 250, *turned, 30, -40])
    assert obs["desired_goal"] == pytest.approx([120, 300, 300, 200, np.cos(-2), np.sin(-2)])
    assert info["block"] == pytest.approx([250, 250, 0.5])
    assert info["goal"].tolist() == list(EPISODE["goal"])
    named = {"agent": POSE[:2], "block": POSE[2:4], "angle": POSE[4]}
    same, _ = env.reset(options=EPISODE | {"start": named})
    assert data_equivalence(obs, same, exact=True)
    assert np.array_equal(env.reset(seed=0, options={"start": POSE})[0]["achieved_goal"], obs["achieved_goal"])


def test_what_a_step_gives():
    for observation in KINDS:
        env = gym.make(ENV_ID, observation=observation, reward="dense")
        env.reset(options=EPISODE | {"start_velocity": None})
        obs, reward, terminated, truncated, info = env.step(np.array([9.0, 0.0]))
        assert set(info) == {"is_success", "distance", "position", "velocity", "block", "goal", "action"}
        assert info["action"].tolist() == [1.0, 0.0]
        assert info["position"] == pytest.approx([100 + 26, 100], abs=5)  # critically damped: 26 % of the way in 0.1 s
        assert info["distance"] > 100
        assert reward == pytest.approx(-info["distance"] / 512, abs=3 / 512)
        assert (terminated, truncated, info["is_success"]) == (False, False, False)
        obs["achieved_goal"][...] = 0  # arrays are the caller's own
        assert obs["observation"].any()
        assert env.step(np.zeros(2))[0]["achieved_goal"].any()


def test_both_controls_lead_to_the_same_place():
    relative, absolute = (
        gym.make(ENV_ID, control=control, observation="state") for control in ("relative", "absolute")
    )
    for env in (relative, absolute):
        env.reset(options=EPISODE | {"start_velocity": (0.0, 0.0)})
    a = relative.step(np.array([0.5, -0.25], dtype=np.float32))[0]
    b = absolute.step(np.array([150, 75], dtype=np.float32))[0]
    assert data_equivalence(a, b, exact=True)
    for _ in range(30):
        relative.step(np.array([-1.0, 0.0]))
    assert relative.step(np.zeros(2))[4]["position"][0] == pytest.approx(0, abs=1)  # targets stay on the board


@given(st.integers(0, 2**31), st.floats(0.1, 1.0))
def test_states_stay_in_their_space(seed, scale):
    env = gym.make(ENV_ID, observation="state").unwrapped
    obs, _ = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    for _ in range(10):
        assert obs in env.observation_space
        towards = obs["observation"][2:4] - obs["observation"][:2]
        obs = env.step(np.clip(towards / 100 + scale * rng.normal(size=2), -1, 1))[0]


@given(st.integers(0, 2**31))
def test_episodes_start_fairly(seed):
    _, info = gym.make(ENV_ID, observation="state").reset(seed=seed)
    assert not info["is_success"]
    for pose in (np.append(info["position"], info["block"]), info["goal"]):
        assert distance_to_block(pose[:2], pose[2:]) > 15
        assert np.abs(pose[:2] - 250).max() <= 200
        assert np.abs(pose[2:4] - 250).max() <= 150


@pytest.mark.parametrize("size", [64, 96])
def test_images_show_start_and_goal(size):
    env = gym.make(ENV_ID, size=size)
    obs, _ = env.reset(seed=0, options=EPISODE)
    shown = draw(np.array([EPISODE["start"], EPISODE["goal"]]), size)
    for key, image in zip(("observation", "achieved_goal", "desired_goal"), shown[[0, 0, 1]], strict=True):
        assert np.array_equal(obs[key], image)
    there, info = env.reset(seed=0, options={"start": EPISODE["goal"], "goal": EPISODE["goal"]})
    assert np.array_equal(there["observation"], obs["desired_goal"])
    assert info["is_success"]
    assert info["distance"] == 0


@pytest.mark.parametrize("reward", DOMAIN.rewards)
@pytest.mark.parametrize("observation", KINDS)
def test_rewards_of_a_batch_are_those_of_its_members(observation, reward):
    env = gym.make(ENV_ID, observation=observation, reward=reward).unwrapped
    goals = np.stack([env.reset(seed=seed)[0]["desired_goal"] for seed in range(8)])
    batch = env.compute_reward(goals, goals[::-1], [{}] * 8)
    assert batch.tolist() == [env.compute_reward(a, b) for a, b in zip(goals, goals[::-1], strict=True)]
    assert env.compute_reward(goals, goals[0]).tolist()[0] == 0.0
    assert env.compute_reward(goals[:, None], goals).shape == (8, 8)
    for wrong in (np.zeros(3), goals[:3]):
        with pytest.raises(ValueError, match=r"desired_goal must have"):
            env.compute_reward(goals, wrong)


@given(st.integers(0, 2**31), st.floats(0.0, 30.0))
def test_success_can_be_read_off_images_but_for_its_edge(seed, spread):
    rng = np.random.default_rng(seed)
    pixels, state = (gym.make(ENV_ID, observation=kind).unwrapped for kind in KINDS)
    _, info = state.reset(seed=seed)
    start, shift = info["goal"], rng.uniform(-1, 1, 5) * np.array([spread] * 4 + [spread / 57])
    if distance_to_block(start[:2] + shift[:2], start[2:] + shift[2:]) <= 15:
        return
    _, info = state.reset(options={"start": start + shift, "goal": start})
    obs, _ = pixels.reset(options={"start": start + shift, "goal": start})
    reward = pixels.compute_reward(obs["achieved_goal"], obs["desired_goal"])
    assert (reward == 0) == info["is_success"] or abs(info["distance"] - 20) < 5


def test_success_ends_episodes_where_it_should():
    for terminate in (False, True):
        env = gym.make(ENV_ID, terminate_on_success=terminate)
        env.reset(options={"start": POSE, "goal": (130.0, *POSE[1:])})
        steps = [env.step([0.3, 0.0]) for _ in range(3)]
        first = next(step for step in steps if step[4]["is_success"])
        assert first[2] is terminate


def test_truncation():
    env = gym.make(ENV_ID, observation="state")
    env.reset(seed=0)
    assert [env.step(np.zeros(2))[3] for _ in range(300)] == [False] * 299 + [True]


def test_pictures():
    env = gym.make(ENV_ID, render_mode="rgb_array")
    env.reset(options=EPISODE)
    info = env.step([1.0, 0.0])[4]
    picture = env.render()
    assert np.array_equal(picture, draw_scene(512, info, info["position"], np.array([POSE[:2], info["position"]])))
    column, row = DOMAIN.to_canvas(info["goal"][:2] + np.array([15, 0]), 512).astype(int)
    assert picture[row, column].tolist() == [40, 160, 100]  # the ring where the agent is to be
    column, row = DOMAIN.to_canvas(info["position"], 512).astype(int)
    assert picture[row, column].tolist() == [240, 90, 40]


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("keywords", "options", "message"),
    [
        ({"observation": "rgb"}, {}, "observation must be one of 'pixels', 'state', got 'rgb'"),
        ({"control": "torque"}, {}, "control must be one of 'relative', 'absolute', got 'torque'"),
        ({"reward": 1}, {}, "reward must be one of 'sparse', 'dense', got 1"),
        ({"size": 65}, {}, "size must be one of 64, 96, got 65"),
        ({"terminate_on_success": "yes"}, {}, "terminate_on_success must be True or False, got 'yes'"),
        ({}, [], r"options must be a dictionary of reset options or None, got \[\]"),
        ({}, {"layout": 3}, "reset option must be one of 'start', 'goal', 'start_velocity', got 'layout'"),
        ({}, {"start": (1, 2, 3)}, r"start must be five finite numbers .*, got \(1, 2, 3\)"),
        ({}, {"goal": (1, 2, 3, 4, np.nan)}, r"goal must be five finite numbers .*, got \(1, 2, 3, 4, nan\)"),
        ({}, {"start": {"agent": (1, 2)}}, r"start must have the entries 'agent', 'block', 'angle', got \['agent'\]"),
        (
            {},
            {"start": {"agent": 1, "block": (200, 200), "angle": 0}},
            r"start\['agent'\] must be two finite numbers \(x, y\), got 1",
        ),
        ({}, {"start": (-16, 100, 250, 250, 0)}, r"start must have the agent on the board, .*, got \[-16"),
        ({}, {"goal": (100, 100, 250, 480, 0)}, r"goal must have the block's centre on the board, .*, got \[100"),
        ({}, {"start": (250, 260, 250, 250, 0)}, r"start must not have the agent's centre inside the block, got"),
        ({}, {"start_velocity": 3}, r"start_velocity must be two finite numbers \(x, y\), got 3"),
        ({}, {"start_velocity": (3e3, 0)}, r"start_velocity must be at most 2000 px/s each way, got \[3000"),
    ],
)
def test_bad_settings_and_options(keywords, options, message):
    with pytest.raises(ValueError, match=message):
        gym.make(ENV_ID, **keywords).reset(options=options)


def test_bad_actions():
    env = gym.make(ENV_ID).unwrapped
    with pytest.raises(ResetNeeded, match="reset must be called before step"):
        env.step([0.0, 0.0])
    env.reset(seed=0)
    for action, message in (([np.nan, 0.0], "action must be finite"), ([1.0], r"action must have shape \(2,\)")):
        with pytest.raises(ValueError, match=message):
            env.step(action)


def test_without_pymunk(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymunk", None)
    for make in (gym.make, gym.make_vec):
        with pytest.raises(ImportError, match=r'^Push-T needs pymunk: pip install "worldmodel\[pusht\]"$'):
            make(ENV_ID)
