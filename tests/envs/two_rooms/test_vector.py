import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import envs  # noqa: F401
from envs.two_rooms.physics import Layout
from envs.two_rooms.vector import TwoRoomsVectorEnv

MODES = ("NextStep", "SameStep", "Disabled")
SETTINGS = (
    {},
    {"observation": "state", "reward": "dense", "terminate_on_success": True},
    {"collision": "bounce", "reward": "dense", "wall_orientation": "horizontal", "layout_set": "validation"},
    {"observation": "state", "collision": "bounce", "layout": (24, 40), "terminate_on_success": True},
)


def same(a, b):
    return data_equivalence(a, b, exact=True)


def pair(num_envs, mode, **kwargs):
    native = gym.make_vec("TwoRooms-v0", num_envs=num_envs, autoreset_mode=mode, **kwargs)
    sync = gym.make_vec(
        "TwoRooms-v0", num_envs=num_envs, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **kwargs
    )
    return native, sync


def ordered(infos):
    """Infos with dictionaries of an object array made comparable."""
    return {
        key: list(value) if isinstance(value, np.ndarray) and value.dtype == object else value
        for key, value in infos.items()
    }


def goal_seeking(observation, rng, n):
    """Actions that reach goals now and then, so that episodes end at different times."""
    noise = rng.normal(0, 2, (n, 2))
    if observation["observation"].shape[1:] == (4,):
        noise += np.sign(observation["desired_goal"] - observation["achieved_goal"])
    return noise.astype(np.float32)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kwargs", SETTINGS, ids=lambda kwargs: "-".join(map(str, kwargs.values())) or "default")
def test_equals_scalar_environments_exactly(mode, kwargs):
    n = 3
    native, sync = pair(n, mode, max_episode_steps=11, **kwargs)
    rng = np.random.default_rng(1)
    a, b = native.reset(seed=7), sync.reset(seed=7)
    assert same(a, b)
    ended, ends = np.zeros(n, dtype=bool), 0
    for _ in range(45):
        actions = goal_seeking(a[0], rng, n)
        a, b = native.step(actions), sync.step(actions)
        assert same(a[:4], b[:4])
        assert same(ordered(a[4]), ordered(b[4]))
        ended = a[2] | a[3]
        ends += ended.sum()
        if mode == "Disabled" and ended.any():
            a, b = (env.reset(options={"reset_mask": ended.copy()}) for env in (native, sync))
            assert same(a, b)
    assert ends >= 9


@pytest.mark.parametrize("mode", MODES)
def test_episodes_ending_apart_equal_scalar_ones(mode):
    """Each place ends at its own time: some start in the goal's disc, some are reset late."""
    native, sync = pair(4, mode, observation="state", terminate_on_success=True, max_episode_steps=30)
    layout, starts, goals = (32, 18), [[10, 10], [20, 10], [24, 10], [26, 50]], [[28.0, 10.0]] * 4
    a, _ = native.reset(seed=[3, 1, 4, 1], options={"layout": layout, "start": starts, "goal": goals})
    for env, start, seed in zip(sync.envs, starts, [3, 1, 4, 1], strict=True):
        env.reset(seed=seed, options={"layout": layout, "start": start, "goal": goals[0]})
    sync._autoreset_envs[:] = False
    ends = []
    for step in range(40):
        actions = np.tile(np.array([2.0, 0.0], dtype=np.float32), (4, 1))
        a, b = native.step(actions), sync.step(actions)
        assert same(a[:4], b[:4])
        assert same(ordered(a[4]), ordered(b[4]))
        ended = a[2] | a[3]
        ends += [step] * int(ended.any())
        if mode == "Disabled" and ended.any():
            mask = ended.copy()
            a, b = (env.reset(options={"reset_mask": mask.copy()}) for env in (native, sync))
            assert same(a, b)
    assert len(set(ends)) >= 4


def test_twin_rollouts_are_equal():
    first, second = (gym.make_vec("TwoRoomsFixed-v0", num_envs=4, collision="bounce") for _ in range(2))
    assert same(first.reset(seed=3), second.reset(seed=3))
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = rng.normal(0, 3, (4, 2))
        assert same(first.step(actions), second.step(actions))
    assert not same(first.reset(seed=3)[0], first.reset()[0])


def test_places_are_independent_of_the_number_of_environments():
    few, many = (gym.make_vec("TwoRooms-v0", num_envs=n, collision="bounce") for n in (2, 5))
    a, b = few.reset(seed=[5, 9])[0], many.reset(seed=[1, 5, 2, 9, 3])[0]
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = rng.normal(0, 2, (5, 2)).astype(np.float32)
        assert all(np.array_equal(a[key], b[key][[1, 3]]) for key in a)
        a, b = few.step(actions[[1, 3]])[0], many.step(actions)[0]
    assert all(np.array_equal(a[key], b[key][[1, 3]]) for key in a)


@pytest.mark.parametrize(("limit", "expected"), [(5, 5), (200, 200), (None, None), (-1, None)])
def test_max_episode_steps(limit, expected):
    env = gym.make_vec("TwoRooms-v0", num_envs=2, max_episode_steps=limit, observation="state")
    env.reset(seed=0)
    truncated_at = None
    for step in range(1, 211):
        truncations = env.step(np.zeros((2, 2), dtype=np.float32))[3]
        if truncations.any():
            assert truncations.all()
            truncated_at = step
            break
    assert truncated_at == expected


def test_registered_limit_is_200():
    env = gym.make_vec("TwoRooms-v0", num_envs=2)
    assert env.unwrapped.max_episode_steps == 200


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_declares_its_autoreset_mode(mode):
    for given in (mode, mode.value):
        env = gym.make_vec("TwoRooms-v0", num_envs=2, autoreset_mode=given)
        assert env.metadata["autoreset_mode"] is mode
    assert TwoRoomsVectorEnv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def test_spaces_contain_observations_and_arrays_are_not_reused():
    env = gym.make_vec("TwoRooms-v0", num_envs=3)
    before, infos = env.reset(seed=0)
    assert before in env.observation_space
    kept = {key: value.copy() for key, value in before.items()}
    positions = infos["position"].copy()
    after, _, _, _, infos_after = env.step(env.action_space.sample())
    assert after in env.observation_space
    assert all(np.array_equal(kept[key], before[key]) for key in kept)
    assert not np.shares_memory(after["observation"], after["achieved_goal"])
    for values in (after, infos_after):
        for value in values.values():
            value[...] = 0  # vandalism must not reach the environment
    again = env.step(np.zeros((3, 2), dtype=np.float32))
    assert np.array_equal(again[0]["desired_goal"], kept["desired_goal"])
    assert np.array_equal(again[4]["goal"], infos["goal"])
    assert np.abs(again[4]["position"] - positions).max() < 2.5


def test_new_step_ignores_actions_of_episodes_that_start():
    env = gym.make_vec("TwoRooms-v0", num_envs=2, max_episode_steps=1, observation="state")
    env.reset(seed=0)
    env.step(np.ones((2, 2), dtype=np.float32))
    _, rewards, terminations, truncations, infos = env.step(np.full((2, 2), np.nan, dtype=np.float32))
    assert rewards.tolist() == [0.0, 0.0]
    assert not (terminations | truncations).any()
    assert "action" not in infos


@pytest.mark.parametrize("batched", [False, True])
def test_options_once_or_for_each(batched):
    env = gym.make_vec("TwoRooms-v0", num_envs=2, observation="state")
    options = {"layout": (32, 18), "start": (10.0, 30.0), "goal": np.array([50.0, 31.0])}
    if batched:
        options = {key: np.stack([value, value]) for key, value in options.items()}
    observation, infos = env.reset(seed=0, options=options)
    assert observation["observation"].tolist() == [[10.0, 30.0, 32.0, 18.0]] * 2
    assert infos["goal"].tolist() == [[50.0, 31.0]] * 2
    assert env.optimal_path_length() == pytest.approx([40.0 + 1.0] * 2, abs=6.0)


def test_options_as_layouts():
    env = gym.make_vec("TwoRooms-v0", num_envs=2)
    _, infos = env.reset(options={"layout": Layout(np.array([30, 31]), np.array([20, 21]))})
    assert infos["layout"].tolist() == [[30, 20], [31, 21]]
    _, infos = env.reset(options={"layout": Layout(30, 20)})
    assert infos["layout"].tolist() == [[30, 20], [30, 20]]
    _, infos = env.reset(options={"layout": [Layout(30, 20), Layout(40, 21)]})
    assert infos["layout"].tolist() == [[30, 20], [40, 21]]


def test_layouts_of_infos_can_be_given_back():
    for orientation in ("vertical", "horizontal"):
        env = gym.make_vec("TwoRooms-v0", num_envs=3, wall_orientation=orientation)
        _, infos = env.reset(seed=0)
        _, again = env.reset(options={"layout": infos["layout"], "start": infos["position"], "goal": infos["goal"]})
        assert np.array_equal(infos["layout"], again["layout"])
        assert np.array_equal(infos["position"], again["position"])
        assert Layout(*infos["layout"][0]).horizontal == (orientation == "horizontal")


def test_reset_mask_resets_the_masked_only():
    env = gym.make_vec("TwoRooms-v0", num_envs=3, autoreset_mode="Disabled", max_episode_steps=4)
    env.reset(seed=0)
    before = env.step(np.ones((3, 2), dtype=np.float32))[0]
    mask = np.array([False, True, False])
    options = {"reset_mask": mask}
    after, infos = env.reset(seed=[1, 2, 3], options=options)
    assert options == {"reset_mask": mask}
    assert np.array_equal(after["observation"][[0, 2]], before["observation"][[0, 2]])
    assert not np.array_equal(after["observation"][1], before["observation"][1])
    assert infos["_position"].tolist() == mask.tolist()
    assert not infos["position"][[0, 2]].any()
    for _ in range(3):
        truncations = env.step(np.zeros((3, 2), dtype=np.float32))[3]
    assert truncations.tolist() == [True, False, True]
    with pytest.raises(ResetNeeded, match=r"episodes \[0, 2\] ended and must be reset"):
        env.step(np.zeros((3, 2), dtype=np.float32))


def test_record_episode_statistics():
    for mode in ("NextStep", "SameStep"):
        env = RecordEpisodeStatistics(
            gym.make_vec("TwoRooms-v0", num_envs=2, max_episode_steps=5, autoreset_mode=mode, observation="state")
        )
        env.reset(seed=0)
        for _ in range(5):
            infos = env.step(np.zeros((2, 2), dtype=np.float32))[4]
        assert infos["episode"]["l"].tolist() == [5, 5]
        assert infos["episode"]["r"].tolist() == [-5.0, -5.0]


def test_render_gives_a_frame_for_each():
    env = gym.make_vec("TwoRooms-v0", num_envs=2, render_mode="rgb_array", max_episode_steps=3)
    env.reset(seed=0)
    for _ in range(5):
        env.step(np.ones((2, 2), dtype=np.float32))
    frames = env.render()
    assert [(frame.shape, frame.dtype) for frame in frames] == [((520, 520, 3), np.uint8)] * 2
    assert not np.array_equal(*frames)
    env.close()


def test_render_without_a_mode_warns():
    env = gym.make_vec("TwoRooms-v0", num_envs=2)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None


def test_random_numbers_are_those_of_the_places():
    env = gym.make_vec("TwoRooms-v0", num_envs=2)
    env.reset(seed=5)
    assert env.unwrapped.np_random_seed == (5, 6)
    assert len(env.unwrapped.np_random) == 2
    fresh = TwoRoomsVectorEnv(2)
    assert len(set(fresh.np_random_seed)) == 2


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_envs": 0}, "num_envs must be a positive integer, got 0"),
        ({"max_episode_steps": 0}, "max_episode_steps must be a positive integer, got 0"),
        ({"max_episode_steps": True}, "max_episode_steps must be a positive integer, got True"),
        ({"autoreset_mode": "now"}, "autoreset_mode must be one of 'NextStep', 'SameStep', 'Disabled', got 'now'"),
        ({"render_mode": "human"}, "render_mode must be one of 'rgb_array', got 'human'"),
        ({"collision": "slide"}, "collision must be one of 'stay', 'bounce', got 'slide'"),
    ],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TwoRoomsVectorEnv(**kwargs)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"seed": [1, 2, 3]}, ValueError, "seed must be an integer or a list of 2, got 3"),
        ({"options": {"gaol": 1}}, ValueError, "reset option must be one of 'layout', .*'reset_mask', got 'gaol'"),
        ({"options": {"layout": (5, 20)}}, ValueError, "environment 0: layout's wall must be an integer from 20 to 44"),
        ({"options": {"layout": 5}}, ValueError, "layout must be a pair of integers"),
        ({"options": {"layout": [(30, 20)] * 3}}, ValueError, "option 'layout' must be given once or 2 times, got 3"),
        (
            {"options": {"layout": (30, 20), "start": [(10, 10), (30, 40)]}},
            ValueError,
            "environment 1: start must lie in free space",
        ),
        ({"options": {"reset_mask": [True, False]}}, TypeError, "reset_mask must be an array of bool"),
        ({"options": {"reset_mask": np.array([1, 0])}}, TypeError, "reset_mask must be an array of bool"),
        ({"options": {"reset_mask": np.array([True])}}, ValueError, "reset_mask must have shape"),
        ({"options": {"reset_mask": np.zeros(2, dtype=bool)}}, ValueError, "at least one True"),
        ({"options": {"reset_mask": np.array([True, False])}}, ResetNeeded, "first reset must reset all"),
    ],
)
def test_bad_resets(arguments, error, message):
    with pytest.raises(error, match=message):
        gym.make_vec("TwoRooms-v0", num_envs=2).reset(**arguments)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros(2), r"actions must have shape \(2, 2\), got \(2,\)"),
        ([[1.0, 2.0], [1.0]], r"actions must have shape \(2, 2\), got"),
        (np.zeros((2, 2), dtype=bool), "actions must be real numbers, got dtype bool"),
        (np.array([[0, 0], [np.nan, 1]]), r"actions must be finite, got \[nan, 1.0\]"),
        (np.array([[0, 0], [1e300, 1]]), r"actions must be finite, got \[inf, 1.0\]"),
    ],
)
def test_bad_actions(actions, message):
    env = gym.make_vec("TwoRooms-v0", num_envs=2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(actions)


@pytest.mark.parametrize("method", ["step", "render", "optimal_path_length"])
def test_needs_a_reset(method):
    env = gym.make_vec("TwoRooms-v0", num_envs=2, render_mode="rgb_array")
    with pytest.raises(ResetNeeded, match="reset must be called before"):
        getattr(env, method)(*([np.zeros((2, 2))] if method == "step" else []))


def test_no_vector_kwargs_but_plain_keywords():
    with pytest.raises(gym.error.Error, match="vector_kwargs"):
        gym.make_vec("TwoRooms-v0", num_envs=2, vector_kwargs={"autoreset_mode": "SameStep"})
