import importlib
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.wrappers import RecordEpisodeStatistics, RecordVideo, TimeLimit
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import envs
from envs.two_rooms.env import TwoRoomsEnv
from envs.two_rooms.physics import Layout

IDS = ("TwoRooms-v0", "TwoRoomsFixed-v0")
EXPECTED_WARNINGS = ("symmetric and normalized",)  # actions are pixels, not fractions of the bound


def same(a, b):
    return data_equivalence(a, b, exact=True)


def unexpected(caught):
    return [
        str(w.message)
        for w in caught
        if not any(expected.lower() in str(w.message).lower() for expected in EXPECTED_WARNINGS)
    ]


@pytest.mark.parametrize("checker", [check_env, sb3_check_env], ids=["gymnasium", "sb3"])
@pytest.mark.parametrize("collision", ["stay", "bounce"])
@pytest.mark.parametrize("reward", ["sparse", "dense"])
@pytest.mark.parametrize("observation", ["pixels", "state"])
@pytest.mark.parametrize("env_id", IDS)
def test_checkers_accept_the_environment(env_id, observation, reward, collision, checker):
    env = gym.make(env_id, observation=observation, reward=reward, collision=collision, wall_orientation="horizontal")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checker(env.unwrapped)
    assert unexpected(caught) == []


@pytest.mark.parametrize("env_id", IDS)
def test_registration(env_id):
    importlib.reload(envs)  # a second import is harmless
    env = gym.make(f"envs:{env_id}")
    assert isinstance(env.unwrapped, TwoRoomsEnv)
    assert env.spec.max_episode_steps == 200
    _, info = env.reset(seed=0)
    if env_id == "TwoRoomsFixed-v0":
        assert info["layout"].tolist() == [32, 18]


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("observation", ["pixels", "state"])
@pytest.mark.parametrize("collision", ["stay", "bounce"])
def test_twin_rollouts_are_equal(env_id, observation, collision):
    first, second = (gym.make(env_id, observation=observation, collision=collision) for _ in range(2))
    assert same(first.reset(seed=3), second.reset(seed=3))
    first.action_space.seed(0)
    for _ in range(60):
        action = first.action_space.sample()
        assert same(first.step(action), second.step(action))
    assert same(first.reset(), second.reset())
    assert not same(first.reset(seed=4), second.reset(seed=5))


def test_observations_and_infos():
    options = {"layout": (30, 20), "start": (10, 40), "goal": (50.5, 41)}
    for name in ("pixels", "state"):
        env = gym.make("TwoRooms-v0", observation=name)
        obs, info = env.reset(seed=0, options=options)
        assert set(info) == {"is_success", "distance", "position", "goal", "layout"}
        assert obs in env.observation_space
        obs, reward, terminated, truncated, info = env.step(np.array([3.0, 4.0]))
        assert obs in env.observation_space
        assert (reward, terminated, truncated) == (-1.0, False, False)
        assert info["action"] == pytest.approx([1.47, 1.96])
        assert info["position"] == pytest.approx([11.47, 41.96])
        assert info["goal"].tolist() == [50.5, 41.0]
        assert info["layout"].tolist() == [30, 20]
        assert info["distance"] == pytest.approx(np.hypot(50.5 - 11.47, 41 - 41.96))
        assert info["blocked"] is False
        assert info["is_success"] is False
        if name == "state":
            assert obs["observation"] == pytest.approx([11.47, 41.96, 30, 20])
            assert obs["achieved_goal"] == pytest.approx([11.47, 41.96])
            assert obs["desired_goal"].tolist() == [50.5, 41.0]
        else:
            assert np.array_equal(obs["observation"], obs["achieved_goal"])
            assert np.array_equal(obs["observation"][1], obs["desired_goal"][1])
            assert obs["desired_goal"][0, 41, 50] == obs["desired_goal"][0].max()
            assert obs["observation"][0, 42, 11] == obs["observation"][0].max()
            assert not obs["observation"][1, 16:25, 29:32].any()
            assert obs["observation"][1, 25, 29:32].tolist() == [255] * 3


def test_state_of_horizontal_walls_and_their_layout():
    env = gym.make("TwoRoomsFixed-v0", wall_orientation="horizontal", observation="state")
    obs, info = env.reset(seed=0)
    assert info["layout"].tolist() == [32, 18, 1]
    assert Layout(*info["layout"].tolist()) == (32, 18, True)
    assert obs["observation"][2:].tolist() == [32.0, 18.0]
    sides = [info[name][1] < 32 for name in ("position", "goal")]
    assert sides[0] != sides[1]
    _, again = env.reset(options={"layout": info["layout"]})
    assert np.array_equal(info["layout"], again["layout"])


def test_horizontal_is_vertical_exchanged():
    vertical, horizontal = (
        gym.make("TwoRooms-v0", wall_orientation=name, observation="pixels") for name in ("vertical", "horizontal")
    )
    a, b = vertical.reset(seed=1)[0], horizontal.reset(seed=1)[0]
    rng = np.random.default_rng(0)
    for _ in range(40):
        assert all(np.array_equal(a[key], b[key].swapaxes(-1, -2)) for key in a)
        action = rng.normal(0, 2, 2).astype(np.float32)
        a, b = vertical.step(action)[0], horizontal.step(action[::-1])[0]


@pytest.mark.parametrize("observation", ["pixels", "state"])
def test_rewards_and_success(observation):
    options = {"layout": (30, 20), "start": (50, 44), "goal": (50, 50)}
    sparse, dense = (gym.make("TwoRooms-v0", observation=observation, reward=name) for name in ("sparse", "dense"))
    sparse.reset(options=options)
    dense.reset(options=options)
    for distance in (5, 4, 3, 2, 1, 0):
        action = np.array([0.0, 1.0])
        _, reward, terminated, _, info = sparse.step(action)
        assert info["distance"] == pytest.approx(distance)
        assert reward == (0.0 if distance < 4.5 else -1.0)
        assert info["is_success"] is (distance < 4.5)
        assert not terminated
        assert dense.step(action)[1] == pytest.approx(-distance / 65, abs=2e-4)


def test_a_smaller_goal_radius():
    options = {"layout": (30, 20), "start": (50, 44), "goal": (50, 50)}
    env = gym.make("TwoRooms-v0", goal_radius=2**0.5)
    env.reset(options=options)
    assert env.unwrapped.optimal_path_length() == pytest.approx(6 - 2**0.5)
    for distance in (5, 4, 3, 2, 1, 0):
        _, reward, _, _, info = env.step(np.array([0.0, 1.0]))
        assert info["is_success"] is (distance < 2**0.5)
        assert reward == (0.0 if distance < 2**0.5 else -1.0)
    picture = TwoRoomsEnv(goal_radius=1, render_mode="rgb_array"), TwoRoomsEnv(render_mode="rgb_array")
    small, usual = (env.reset(options=options) and env.render() for env in picture)
    assert 0 < (small != usual).any(-1).sum() < small.shape[0] ** 2 // 50


def test_terminate_on_success():
    env = gym.make("TwoRooms-v0", terminate_on_success=True)
    env.reset(options={"layout": (30, 20), "start": (50, 44), "goal": (50, 50)})
    assert env.step(np.array([0.0, 1.0]))[2] is False
    assert env.step(np.array([0.0, 1.0]))[2] is True


@pytest.mark.parametrize("observation", ["pixels", "state"])
@pytest.mark.parametrize("reward", ["sparse", "dense"])
def test_compute_reward_takes_batches(observation, reward):
    env = gym.make("TwoRooms-v0", observation=observation, reward=reward).unwrapped
    achieved, desired, expected = [], [], []
    env.reset(seed=0)
    for i in range(30):
        obs, value, *_ = env.step(env.action_space.sample())
        achieved.append(obs["achieved_goal"])
        desired.append(obs["desired_goal"])
        expected.append(value)
        if i % 10 == 9:
            env.reset()
    achieved, desired = np.stack(achieved), np.stack(desired)
    rewards = env.compute_reward(achieved, desired, [{}] * 30)
    assert rewards.dtype == np.float64
    assert rewards.tolist() == expected
    blocks = env.compute_reward(achieved.reshape(5, 6, *achieved.shape[1:]), desired.reshape(5, 6, *desired.shape[1:]))
    assert blocks.ravel().tolist() == expected
    relabelled = env.compute_reward(achieved, achieved[0], {})
    assert relabelled[0] == 0.0
    assert isinstance(env.compute_reward(achieved[0], desired[0], {}), float)


def test_compute_reward_needs_goals_of_the_right_shape():
    pixels, state = (gym.make("TwoRooms-v0", observation=name).unwrapped for name in ("pixels", "state"))
    image = pixels.reset(seed=0)[0]["achieved_goal"]
    with pytest.raises(ValueError, match=r"desired_goal must have shape \(..., 2, 65, 65\) .*'pixels', got \(2,\)"):
        pixels.compute_reward(image, np.zeros(2), {})
    with pytest.raises(ValueError, match=r"achieved_goal must have shape \(..., 2\) .*'state', got \(2, 65, 65\)"):
        state.compute_reward(image, np.zeros(2), {})
    with pytest.raises(ValueError, match=r"batch dimensions that match, got \(3,\) and \(4,\)"):
        state.compute_reward(np.zeros((3, 2)), np.zeros((4, 2)), {})
    with pytest.raises(ValueError, match="each image must show the agent"):
        pixels.compute_reward(image, np.zeros_like(image), {})


def test_random_starts_differ_and_follow_the_rules():
    env = gym.make("TwoRooms-v0", observation="state")
    env.reset(seed=0)
    layouts = set()
    for _ in range(100):
        _, info = env.reset()
        wall, door = info["layout"].tolist()
        layouts.add((wall, door))
        assert (info["position"][0] < wall) != (info["goal"][0] < wall)
        assert min(abs(info[name][0] - wall) for name in ("position", "goal")) >= 3.6 - 1e-5
    assert len(layouts) > 80


@pytest.mark.parametrize("name", ["start", "goal"])
@pytest.mark.parametrize("orientation", ["vertical", "horizontal"])
def test_one_given_point_puts_the_other_across_the_wall(name, orientation):
    env = gym.make("TwoRooms-v0", wall_orientation=orientation)
    axis = int(orientation == "horizontal")
    for point in ((10.0, 12.0), (55.0, 50.0)):
        for seed in range(8):
            _, info = env.reset(seed=seed, options={name: point})
            here, other = info["position"], info["goal"]
            if name == "goal":
                here, other = other, here
            assert here.tolist() == list(point)
            assert (here[axis] < info["layout"][0]) != (other[axis] < info["layout"][0])


def test_returned_arrays_are_the_callers():
    env = gym.make("TwoRooms-v0").unwrapped
    obs, info = env.reset(seed=0)
    goal, position = obs["desired_goal"].copy(), info["position"].copy()
    action = np.zeros(2, dtype=np.float32)
    for _ in range(2):
        for values in (obs, info):
            for value in values.values():
                if isinstance(value, np.ndarray):
                    value[...] = 0
        obs, _, _, _, info = env.step(action)
        assert np.array_equal(obs["desired_goal"], goal)
        assert np.array_equal(info["position"], position)
    assert not np.shares_memory(info["action"], action)


def test_layout_sets_and_fixed_layouts():
    env = gym.make("TwoRooms-v0", layout_set="held-out")
    for seed in range(20):
        wall, door = env.reset(seed=seed)[1]["layout"].tolist()
        assert 30 <= wall <= 34
        assert 28 <= door <= 36
    fixed = gym.make("TwoRooms-v0", layout=(25, 50))
    assert fixed.reset(seed=1)[1]["layout"].tolist() == [25, 50]
    assert fixed.reset(seed=1, options={"layout": (44, 10)})[1]["layout"].tolist() == [44, 10]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"observation": "rgb"}, "observation must be one of 'pixels', 'state', got 'rgb'"),
        ({"reward": "shaped"}, "reward must be one of 'sparse', 'dense', got 'shaped'"),
        ({"collision": "slide"}, "collision must be one of 'stay', 'bounce', got 'slide'"),
        ({"wall_orientation": "up"}, "wall_orientation must be one of 'vertical', 'horizontal', got 'up'"),
        ({"layout_set": "test"}, "layout_set must be one of 'train', 'validation', 'held-out', 'all', got 'test'"),
        ({"layout": (3, 4)}, "layout's wall must be an integer from 20 to 44, got 3"),
        ({"render_mode": "ansi"}, "render_mode must be one of 'human', 'rgb_array', got 'ansi'"),
    ],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TwoRoomsEnv(**kwargs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gaol": (1, 2)}, "reset option must be one of 'layout', 'start', 'goal', got 'gaol'"),
        ({"layout": (30.5, 20)}, "layout must be a pair of integers"),
        ({"layout": (30, 20), "start": (30, 30)}, r"start must lie in free space .*, got \[30.0, 30.0\]"),
        ({"goal": (2, 30)}, r"goal must lie in free space .*, got \[2.0, 30.0\]"),
        ({"goal": (np.nan, 30)}, "goal must be a pair of finite numbers"),
    ],
)
def test_bad_options(options, message):
    env = gym.make("TwoRooms-v0", disable_env_checker=True)
    with pytest.raises(ValueError, match=message):
        env.reset(seed=0, options=options)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(3), r"action must have shape \(2,\), got \(3,\)"),
        (np.zeros((1, 2)), r"action must have shape \(2,\), got \(1, 2\)"),
        (1.0, r"action must have shape \(2,\), got \(\)"),
        (["left", "up"], "action must be real numbers, got dtype <U4"),
        (np.array([1j, 0]), "action must be real numbers, got dtype complex128"),
        (None, "action must be real numbers, got dtype object"),
        ([1.0, np.nan], r"actions must be finite, got \[1.0, nan\]"),
        ([1e300, 0.0], r"actions must be finite, got \[inf, 0.0\]"),
    ],
)
def test_bad_actions(action, message):
    env = TwoRoomsEnv()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)


def test_a_rejected_action_changes_nothing():
    env, twin = TwoRoomsEnv(collision="bounce"), TwoRoomsEnv(collision="bounce")
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(ValueError, match="action must have shape"):
        env.step(np.zeros(3))
    assert same(env.step(np.ones(2)), twin.step(np.ones(2)))


@pytest.mark.parametrize("method", ["step", "render", "optimal_path_length"])
def test_needs_a_reset(method):
    env = TwoRoomsEnv(render_mode="rgb_array")
    with pytest.raises(ResetNeeded, match=f"reset must be called before {method}"):
        getattr(env, method)(*([np.zeros(2)] if method == "step" else []))


def test_time_limit():
    env = gym.make("TwoRooms-v0", observation="state")
    env.reset(seed=0)
    ends = [env.step(np.zeros(2))[2:4] for _ in range(200)]
    assert ends == [(False, False)] * 199 + [(False, True)]
    short = TimeLimit(TwoRoomsEnv(), max_episode_steps=3)
    short.reset(seed=0)
    assert [short.step(np.zeros(2))[3] for _ in range(3)] == [False, False, True]


def test_record_episode_statistics():
    env = RecordEpisodeStatistics(gym.make("TwoRooms-v0", max_episode_steps=5))
    env.reset(seed=0)
    for _ in range(5):
        info = env.step(np.zeros(2))[4]
    assert (info["episode"]["l"], info["episode"]["r"]) == (5, -5.0)


@pytest.mark.filterwarnings("ignore::UserWarning:gymnasium")
def test_record_video(tmp_path):
    env = gym.make("TwoRooms-v0", render_mode="rgb_array", max_episode_steps=6)
    env = RecordVideo(env, str(tmp_path), episode_trigger=lambda _: True, disable_logger=True)
    env.reset(seed=0)
    for _ in range(6):
        env.step(np.ones(2))
    env.close()
    assert [path.stat().st_size > 1000 for path in tmp_path.glob("*.mp4")] == [True]


def test_rgb_array_shows_scene_and_trail():
    env = gym.make("TwoRooms-v0", render_mode="rgb_array")
    env.reset(seed=0, options={"layout": (32, 18), "start": (10, 30), "goal": (50, 30)})
    first = env.render()
    assert first.shape == (520, 520, 3)
    assert first.dtype == np.uint8
    for _ in range(5):
        env.step(np.array([2.0, 0.0]))
    later = env.render()
    assert (first != later).any(-1)[:, 60:180].sum() > 500
    assert not (first != later).any(-1)[:, 250:].any()


def test_human_window():
    env = gym.make("TwoRooms-v0", render_mode="human")
    env.reset(seed=0)
    env.step(np.ones(2))
    assert env.render() is None
    assert env.unwrapped._window is not None
    env.close()
    env.close()
    assert env.unwrapped._window is None


def test_render_without_a_mode_warns():
    env = TwoRoomsEnv()
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None
