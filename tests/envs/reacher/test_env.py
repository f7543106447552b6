import sys

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("mujoco")

from gymnasium.utils.env_checker import check_env, data_equivalence
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import envs
from envs.offscreen import import_extra
from envs.reacher.arm import fingertip, poses
from envs.reacher.domain import DOMAIN, ENV_ID, draw_scene
from envs.reacher.drawing import read_positions
from envs.reacher.env import ReacherEnv
from mujoco_rendering import require_mujoco

require_mujoco()

envs.register(DOMAIN)
KINDS = ("pixels", "state")


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
    for _ in range(200):
        action = first.action_space.sample()
        results = first.step(action), second.step(action)
        assert data_equivalence(*results, exact=True)
    assert results[0][3]  # truncated
    assert data_equivalence(first.reset(), second.reset(), exact=True)
    first.close()  # closes the camera, which both look through
    assert data_equivalence(first.reset(seed=1), second.reset(seed=1), exact=True)


@pytest.mark.parametrize("observation", KINDS)
def test_nothing_of_the_past_is_left_after_a_reset(observation):
    env, runs = ReacherEnv(observation=observation), []
    actions = np.concatenate([np.random.default_rng(0).uniform(-1, 1, (20, 2)), np.ones((20, 2))])
    for _ in range(2):
        env.reset(options={"start": (0.5, 2.5, 3.0, -1.0), "goal": (1, 1)})
        runs.append([env.step(action) for action in actions])
        for _ in range(30):
            env.step([0.0, 1.0])
    assert data_equivalence(*runs, exact=True)
    assert runs[0][-1][4]["angles"][1] > 2.99  # at the elbow's limit


def test_the_dynamics_are_those_of_gymnasium():
    theirs, mujoco = gym.make("Reacher-v5").unwrapped, import_extra("mujoco", "this test")
    theirs.reset(seed=0)
    ours = ReacherEnv(observation="state")
    ours.reset(options={"start": np.concatenate([theirs.data.qpos[:2], theirs.data.qvel[:2]])})
    rng = np.random.default_rng(1)
    for step in range(200):
        action = (rng.uniform(-1, 1, 2) + np.array([0, np.sin(step / 30)])).clip(-1, 1).astype(np.float32)
        theirs.step(action)
        mujoco.mj_kinematics(theirs.model, theirs.data)  # which the original leaves a step behind
        _, _, _, _, info = ours.step(action)
        assert info["angles"] == pytest.approx(theirs.data.qpos[:2], abs=1e-9)
        assert info["position"] == pytest.approx(100 * theirs.get_body_com("fingertip")[:2], abs=1e-6)


def test_what_a_step_gives():
    env = gym.make(ENV_ID, observation="state", reward="dense")
    obs, info = env.reset(seed=0, options={"start": (np.pi / 2, 0), "goal": (0, 0)})
    assert obs["observation"] == pytest.approx([0, 1, 1, 0, 0, 0, 0, 21], abs=1e-5)
    assert obs["desired_goal"] == pytest.approx([21, 0])
    obs, reward, terminated, truncated, info = env.step(np.array([9.0, 0.0]))
    assert set(info) == {"is_success", "distance", "position", "goal", "angles"}
    assert obs["observation"][4] == pytest.approx(4.0, abs=0.05)
    assert reward == pytest.approx(-info["distance"] / 21)
    assert (terminated, truncated, info["is_success"]) == (False, False, False)
    obs["achieved_goal"][...] = 0  # arrays are the caller's own
    assert env.step(np.zeros(2))[0]["achieved_goal"].any()


def test_images_show_the_fingertip_where_it_is_and_goals_as_they_will_look():
    env, images, points = ReacherEnv(), [], []
    for pose in np.random.default_rng(0).uniform((-np.pi, -3), (np.pi, 3), (60, 2)):
        obs, info = env.reset(options={"start": pose, "goal": pose})
        assert info["is_success"]
        assert np.array_equal(obs["observation"], obs["desired_goal"])
        images.append(obs["observation"])
        points.append(info["position"])
    images = np.stack(images)
    assert read_positions(images) == pytest.approx(np.stack(points), abs=0.2)
    assert np.array_equal(read_positions(images[3]), read_positions(images)[3])
    assert np.array_equal(read_positions(np.moveaxis(images, -1, 1)), read_positions(images))
    with pytest.raises(ValueError, match="each image must show a fingertip, got one without it"):
        read_positions(np.zeros_like(images))


def test_images_of_a_moving_arm_are_of_this_moment_and_do_not_change_its_way():
    pixels, state = (ReacherEnv(observation=kind) for kind in KINDS)
    explorer = DOMAIN.explorers["swing"](state.observation_space, state.action_space, {})
    seen, _ = [env.reset(options={"start": (0, 1), "goal": (1, 1)}) for env in (pixels, state)][1]
    memory = None
    for _ in range(100):
        action, memory = explorer.predict(seen, memory)
        obs, _, _, _, info = pixels.step(action)
        seen, *_, same = state.step(action)
        assert read_positions(obs["observation"]) == pytest.approx(info["position"], abs=0.2)
        assert np.array_equal(same["angles"], info["angles"])


def test_images_tell_nothing_of_the_goal():
    env = ReacherEnv()
    images = [env.reset(options={"start": (1, 1), "goal": goal})[0]["observation"] for goal in ((0, 0), (-2, 1))]
    assert np.array_equal(*images)


@pytest.mark.parametrize("reward", DOMAIN.rewards)
@pytest.mark.parametrize("observation", KINDS)
def test_rewards_of_a_batch_are_those_of_its_members(observation, reward):
    env = ReacherEnv(observation=observation, reward=reward)
    goals = np.stack([env.reset(seed=seed)[0]["desired_goal"] for seed in range(6)])
    batch = env.compute_reward(goals, goals[::-1], [{}] * 6)
    assert batch.tolist() == [env.compute_reward(a, b) for a, b in zip(goals, goals[::-1], strict=True)]
    assert env.compute_reward(goals, goals[0]).tolist()[0] == 0.0
    with pytest.raises(ValueError, match=r"desired_goal must have shape \(\.\.\., .*\), got \(3,\)"):
        env.compute_reward(goals, np.zeros(3))


def test_success_begins_at_the_edge_and_counts_the_fingertip_only():
    env = ReacherEnv(observation="state")
    for away, success in ((1.99, True), (2.01, False)):
        turn = 2 * np.arcsin(away / 2 / 21)
        obs, info = env.reset(options={"start": (turn, 0), "goal": (0, 0)})
        assert info["distance"] == pytest.approx(away)
        assert info["is_success"] is success
        assert env.compute_reward(obs["achieved_goal"], obs["desired_goal"]) == (0.0 if success else -1.0)
    left, right = poses(fingertip(np.array([0.3, 1.2])))
    assert left == pytest.approx([0.3, 1.2])
    assert env.reset(options={"start": right, "goal": left})[1]["distance"] == pytest.approx(0, abs=1e-9)
    for seed in range(30):
        assert not env.reset(seed=seed)[1]["is_success"]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectors_of_environments(mode):
    kwargs = {"vector_kwargs": {"context": "spawn"}} if mode == "async" else {}
    vector = gym.make_vec(ENV_ID, num_envs=2, vectorization_mode=mode, **kwargs)
    single = gym.make(ENV_ID)
    try:
        for seen, alone in (
            (vector.reset(seed=[4, 5])[0], single.reset(seed=5)[0]),
            (vector.step(np.ones((2, 2), np.float32))[0], single.step(np.ones(2))[0]),
        ):
            assert data_equivalence({key: seen[key][1] for key in seen}, alone, exact=True)
    finally:
        vector.close()


def test_pictures():
    env = gym.make(ENV_ID, render_mode="rgb_array")
    env.reset(options={"start": (0.5, 1.0), "goal": (-2, -1)})
    info = env.step([0.3, 0.1])[4]
    picture = env.render()
    assert (picture.shape, picture.dtype) == ((512, 512, 3), np.uint8)
    column, row = DOMAIN.to_canvas(info["position"], 512).astype(int)
    assert picture[row, column].tolist() == [10, 190, 145]
    trail = np.stack([fingertip(np.array([0.5, 1.0])), info["position"]])
    assert np.array_equal(draw_scene(512, info, info["position"], trail), picture)
    column, row = DOMAIN.to_canvas(info["goal"] + [1.85, 0], 512).astype(int)
    assert picture[row, column].tolist() == [225, 60, 60]


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("keywords", "options", "message"),
    [
        ({"observation": "rgb"}, {}, "observation must be one of 'pixels', 'state', got 'rgb'"),
        ({"reward": 1}, {}, "reward must be one of 'sparse', 'dense', got 1"),
        ({"render_mode": "human"}, {}, "render_mode must be one of 'rgb_array', got 'human'"),
        ({}, [], r"options must be a dictionary of reset options or None, got \[\]"),
        ({}, {"wall": 3}, "reset option must be one of 'start', 'goal', got 'wall'"),
        ({}, {"start": (1, 1, 1)}, r"start must be finite numbers, two angles, or .*, got \(1, 1, 1\)"),
        ({}, {"goal": (1, 1, 0, 0)}, r"goal must be finite numbers, two angles, got \(1, 1, 0, 0\)"),
        ({}, {"goal": (1, np.nan)}, r"goal must be finite numbers, two angles, got \(1, nan\)"),
        ({}, {"start": (1, 1, 0, -201)}, r"start must have velocities from -200.0 to 200.0, got \[0.0, -201.0\]"),
        ({}, {"goal": (1, 3.1)}, "goal must have an elbow's angle from -3.0 to 3.0, got 3.1"),
    ],
)
def test_bad_settings_and_options(keywords, options, message):
    with pytest.raises(ValueError, match=message):
        ReacherEnv(**{"observation": "state"} | keywords).reset(options=options)


def test_bad_actions():
    env = ReacherEnv(observation="state")
    env.reset(seed=0)
    for action, message in (([np.nan, 0.0], "action must be finite"), ([1.0], r"action must have shape \(2,\)")):
        with pytest.raises(ValueError, match=message):
            env.step(action)


def test_missing_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(gym.error.DependencyNotInstalled, match=r'Reacher needs MuJoCo: pip install "worldmodel\['):
        gym.make(ENV_ID)
