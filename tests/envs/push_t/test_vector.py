import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode

import envs
from envs.push_t.domain import DOMAIN, ENV_ID

pytest.importorskip("pymunk")
envs.register(DOMAIN)
MODES = ("NextStep", "SameStep", "Disabled")
SETTINGS = (
    {},
    {"observation": "state", "reward": "dense", "terminate_on_success": True},
    {"control": "absolute", "size": 96, "reward": "dense"},
)
START, GOAL = (100.0, 100.0, 250.0, 250.0, 0.5), (150.0, 100.0, 250.0, 250.0, 0.5)


def same(a, b):
    return data_equivalence(a, b, exact=True)


def pair(num_envs, mode, **kwargs):
    native = gym.make_vec(ENV_ID, num_envs=num_envs, autoreset_mode=mode, **kwargs)
    sync = gym.make_vec(
        ENV_ID, num_envs=num_envs, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **kwargs
    )
    return native, sync


def ordered(infos):
    """Infos with dictionaries of an object array made comparable."""
    return {
        key: list(value) if isinstance(value, np.ndarray) and value.dtype == object else value
        for key, value in infos.items()
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kwargs", SETTINGS, ids=lambda kwargs: "-".join(map(str, kwargs.values())) or "default")
def test_equals_scalar_environments_exactly(mode, kwargs):
    n = 3
    native, sync = pair(n, mode, max_episode_steps=9, **kwargs)
    rng = np.random.default_rng(1)
    a, b = native.reset(seed=7), sync.reset(seed=7)
    assert same(a, b)
    ends = 0
    for _ in range(25):
        info = a[1] if len(a) == 2 else a[4]
        towards = info["block"][:, :2] - info["position"] + rng.normal(0, 40, (n, 2))
        actions = towards / 100 if native.single_action_space.low[0] < 0 else info["position"] + towards
        a, b = native.step(actions.astype(np.float32)), sync.step(np.float32(actions))
        assert same(a[:4], b[:4])
        assert same(ordered(a[4]), ordered(b[4]))
        ended = a[2] | a[3]
        ends += ended.sum()
        if mode == "Disabled" and ended.any():
            reset, expected = (env.reset(options={"reset_mask": ended.copy()}) for env in (native, sync))
            assert same(reset, expected)
    assert ends >= 6


@pytest.mark.parametrize("mode", MODES)
def test_episodes_ending_apart_equal_scalar_ones(mode):
    """Each place ends at its own time: the nearer it starts to the goal, the sooner."""
    native, sync = pair(3, mode, observation="state", terminate_on_success=True, max_episode_steps=8)
    starts = np.array([START, (60.0, *START[1:]), (400.0, *START[1:])])
    a, _ = native.reset(seed=[3, 1, 4], options={"start": starts, "goal": GOAL})
    for env, start, seed in zip(sync.envs, starts, [3, 1, 4], strict=True):
        env.reset(seed=seed, options={"start": start, "goal": GOAL})
    sync._autoreset_envs[:] = False
    ends = []
    for step in range(14):
        actions = np.tile(np.array([0.4, 0.0], dtype=np.float32), (3, 1))
        a, b = native.step(actions), sync.step(actions)
        assert same(a[:4], b[:4])
        assert same(ordered(a[4]), ordered(b[4]))
        ended = a[2] | a[3]
        ends += [step] * int(ended.any())
        if mode == "Disabled" and ended.any():
            a, b = (env.reset(options={"reset_mask": ended.copy()}) for env in (native, sync))
            assert same(a, b)
    assert len(set(ends)) >= 3


def test_options_of_each_place_or_of_all():
    env = gym.make_vec(ENV_ID, num_envs=2, observation="state")
    poses = [{"agent": START[:2], "block": START[2:4], "angle": START[4]}, GOAL]
    obs, info = env.reset(options={"start": poses, "goal": GOAL, "start_velocity": [[1, 2], [3, 4]]})
    assert obs["observation"][:, [0, 6, 7]].tolist() == [[100, 1, 2], [150, 3, 4]]
    assert info["is_success"].tolist() == [False, True]
    single, _ = env.reset(options={"start": poses[0]})
    assert np.array_equal(single["observation"][0, :6], obs["achieved_goal"][0])
    for options, message in (
        ({"start": [START] * 3}, "option 'start' must be given once or 2 times, got 3"),
        ({"start": [START, (1, 2)]}, "environment 1: start must be five finite numbers"),
        ({"wall": 1}, "reset option must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            env.reset(options=options)
    assert np.array_equal(env.reset(seed=1)[0]["observation"][1], env.reset(seed=[None, 2])[0]["observation"][1])


def test_reset_masks():
    env = gym.make_vec(ENV_ID, num_envs=2, autoreset_mode="Disabled", observation="state", max_episode_steps=2)
    with pytest.raises(ResetNeeded, match="the first reset must reset all environments"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(seed=0)
    before = env.step(np.ones((2, 2), dtype=np.float32))[0]["observation"]
    after = env.reset(options={"reset_mask": np.array([True, False])})[0]["observation"]
    assert np.array_equal(before[1], after[1])
    assert not np.array_equal(before[0], after[0])
    assert env.step(np.zeros((2, 2), dtype=np.float32))[3].tolist() == [False, True]
    with pytest.raises(ResetNeeded, match=r"episodes \[1\] ended and must be reset"):
        env.step(np.zeros((2, 2), dtype=np.float32))
    for mask in ([True, False], np.array([1, 0])):
        with pytest.raises(TypeError, match="reset_mask must be an array of bool"):
            env.reset(options={"reset_mask": mask})


def test_places_are_independent_of_the_number_of_environments():
    few, many = (gym.make_vec(ENV_ID, num_envs=n) for n in (2, 5))
    a, b = few.reset(seed=[5, 9])[0], many.reset(seed=[1, 5, 2, 9, 3])[0]
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = rng.uniform(-1, 1, (5, 2)).astype(np.float32)
        assert all(np.array_equal(a[key], b[key][[1, 3]]) for key in a)
        a, b = few.step(actions[[1, 3]])[0], many.step(actions)[0]
    assert all(np.array_equal(a[key], b[key][[1, 3]]) for key in a)


@pytest.mark.parametrize(("limit", "expected"), [(5, 5), (None, None), (-1, None)])
def test_max_episode_steps(limit, expected):
    env = gym.make_vec(ENV_ID, num_envs=2, max_episode_steps=limit, observation="state")
    env.reset(seed=0)
    ended = [bool(env.step(np.zeros((2, 2), dtype=np.float32))[3].any()) for _ in range(8)]
    assert (ended.index(True) + 1 if any(ended) else None) == expected
    assert gym.make_vec(ENV_ID, num_envs=1).unwrapped.max_episode_steps == 300


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_declares_its_autoreset_mode(mode):
    for given in (mode, mode.value):
        assert gym.make_vec(ENV_ID, num_envs=2, autoreset_mode=given).metadata["autoreset_mode"] is mode


def test_pictures_and_bad_actions():
    env = gym.make_vec(ENV_ID, num_envs=2, render_mode="rgb_array")
    with pytest.raises(ResetNeeded, match="reset must be called before step"):
        env.step(np.zeros((2, 2), dtype=np.float32))
    env.reset(seed=0)
    assert [picture.shape for picture in env.render()] == [(512, 512, 3)] * 2
    for actions, message in (
        (np.full((2, 2), np.inf), "action must be finite"),
        (np.zeros(2), "actions must have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(actions)
