import re
import textwrap

import gymnasium as gym
import numpy as np
import psutil
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Dict
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TimeLimit

import envs.vector
from envs.vector import Batch, Places, declare, values_of_places, with_masks

MODES = tuple(AutoresetMode)
LIMIT = 6
ACTIONS = Box(-1, 1, (1,), np.float32)
OBSERVATIONS = Dict(place=Box(-99, 99, (1,), np.float32))


class Dots:
    """Dots on a line, which succeed beyond 3."""

    def __init__(self, num):
        self.places, self.begun = np.zeros((num, 1), np.float32), np.zeros(num, bool)

    def begin(self, which, episodes):
        self.places[which] = np.reshape(episodes, (-1, 1))
        self.begun[which] = True

    def step(self, actions, resting=None):
        self.places = self.places + actions
        return actions

    def view(self, moved=None, /):
        info = {"is_success": self.places[:, 0] > 3}
        told = {} if moved is None else {"action": moved.copy()}
        return {"place": self.places.copy()}, info["is_success"] - 1.0, info | told

    def check_begun(self, method):
        if not self.begun.all():
            raise ResetNeeded(f"reset must be called before {method}")


def draw(generator, options):
    start = options.get("start", generator.uniform(-1, 1))
    if abs(start) > 9:
        raise ValueError(f"start must be at most 9, got {start}")
    return start


class DotEnv(gym.Env):
    """One of the dots."""

    observation_space, action_space = OBSERVATIONS, ACTIONS

    def __init__(self):
        self._dots = Dots(1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._dots.begin([0], [draw(self.np_random, options or {})])
        return self._seen()[:2]

    def step(self, action):
        observation, info, reward = self._seen(self._dots.step(action[None]))
        return observation, reward, False, False, info

    def _seen(self, moved=None):
        observation, rewards, info = self._dots.view(moved)
        single = {key: value[0] if value.ndim > 1 else value.item() for key, value in info.items()}
        return {"place": observation["place"][0]}, single, float(rewards[0])


def documented():
    """The vector environment as the module's docstring has it."""
    code = re.search(r"^    class .*?(?=^\S)", envs.vector.__doc__, re.M | re.S).group()
    names = {name: getattr(envs.vector, name) for name in ("AutoresetMode", "Places", "VectorEnv", "declare")}
    space = names | {"Dots": Dots, "draw": draw, "OBSERVATIONS": OBSERVATIONS, "ACTIONS": ACTIONS}
    exec(textwrap.dedent(code), space)
    return space["DotsVectorEnv"]


def ordered(infos):
    return {
        key: list(value) if isinstance(value, np.ndarray) and value.dtype == object else value
        for key, value in infos.items()
    }


@pytest.mark.parametrize("mode", MODES)
def test_the_documented_environment_equals_scalar_ones(mode):
    native = documented()(3, max_episode_steps=LIMIT, autoreset_mode=mode.value)
    scalar = SyncVectorEnv([lambda: TimeLimit(DotEnv(), LIMIT)] * 3, autoreset_mode=mode)
    rng = np.random.default_rng(0)
    assert data_equivalence(native.reset(seed=4), scalar.reset(seed=4), exact=True)
    assert native.np_random_seed == (4, 5, 6)
    ends = 0
    for _ in range(4 * LIMIT):
        actions = rng.uniform(-1, 1, (3, 1)).astype(np.float32)
        a, b = native.step(actions), scalar.step(actions)
        assert data_equivalence(a[:4], b[:4], exact=True)
        assert data_equivalence(ordered(a[4]), ordered(b[4]), exact=True)
        ends += a[3].sum()
        if mode == AutoresetMode.DISABLED and a[3].any():
            a, b = (env.reset(options={"reset_mask": a[3].copy()}) for env in (native, scalar))
            assert data_equivalence(a, b, exact=True)
    assert ends >= 9


def test_options_are_for_all_places_or_for_each():
    env = documented()(2)
    assert env.reset(options={"start": 2.0})[0]["place"].tolist() == [[2], [2]]
    for options, message in (
        ({"start": 11.0}, "environment 0: start must be at most 9, got 11"),
        ({"goal": 1}, "reset option must be one of 'start', 'reset_mask', got 'goal'"),
        ({"start": np.zeros((3, 1))}, "option 'start' must be given once or 2 times, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            env.reset(options=options)


def test_resets_that_are_needed():
    env = documented()(2, max_episode_steps=1, autoreset_mode="Disabled")
    with pytest.raises(ResetNeeded, match="reset must be called before step"):
        env.step(None)
    with pytest.raises(ResetNeeded, match="the first reset must reset all environments"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions must have shape \(2, 1\), got \(1, 1\)"):
        env.step(np.zeros((1, 1)))
    env.step(np.zeros((2, 1)))
    with pytest.raises(ResetNeeded, match=r"episodes \[0, 1\] ended and must be reset before the next step"):
        env.step(np.zeros((2, 1)))


def test_success_ends_episodes_where_it_terminates():
    env = VectorEnv()
    declare(env, 2, OBSERVATIONS, ACTIONS, autoreset_mode="NextStep")
    dots = Dots(2)
    assert isinstance(dots, Batch)
    places = Places(env, dots, draw, max_episode_steps=-1, terminates=True)
    assert places.max_episode_steps is None
    places.reset(0, {"start": 2.5}, names=("start",))
    ended = places.step([[1], [0]], dots.step)
    assert (ended[1].tolist(), ended[2].tolist(), ended[3].tolist()) == ([0, -1], [True, False], [False, False])
    again = places.step([[1], [1]], dots.step)  # the first place begins anew and earns nothing
    assert (again[1].tolist(), again[2].tolist()) == ([0, 0], [False, True])
    assert again[4]["action"].tolist() == [[0], [1]]
    assert again[4]["_action"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_envs": 0}, "num_envs must be a positive integer, got 0"),
        ({"autoreset_mode": "now"}, "autoreset_mode must be one of 'NextStep', 'SameStep', 'Disabled', got 'now'"),
        ({"max_episode_steps": 0}, "max_episode_steps must be a positive integer, got 0"),
    ],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(ValueError, match=message):
        documented()(**kwargs)


def test_what_does_not_fit_into_memory_and_how_it_is_drawn(monkeypatch):
    with pytest.raises(ValueError, match="num_envs must fit into memory, got 1000000000000: about 1524000 GB, "):
        documented()(10**12)
    monkeypatch.setattr(type(psutil.virtual_memory()), "available", 0)
    documented()(1000)  # what is small is not weighed
    with pytest.raises(ValueError, match="render_mode must be one of 'rgb_array', got 'human'"):
        declare(Seen(), 1, OBSERVATIONS, ACTIONS, autoreset_mode="NextStep", render_mode="human")


class Seen(VectorEnv):
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012


def test_masks_of_infos():
    mask = np.array([True, False])
    infos = with_masks({"a": np.array([[1, 2], [3, 4]]), "b": np.array([None, "x"], object)}, mask)
    assert infos["a"].tolist() == [[1, 2], [0, 0]]
    assert infos["b"].tolist() == [None, "x"]
    assert (infos["_a"].tolist(), infos["_b"].tolist()) == ([True, False], [True, False])
    assert not np.shares_memory(infos["_a"], mask)


@pytest.mark.parametrize(
    ("value", "batched"),
    [(3, False), ((1, 2), False), ([(1, 2)], True), ([{"x": 1}], True), (np.zeros(2), False), (np.zeros((2, 2)), True)],
)
def test_values_of_places(value, batched):
    assert values_of_places(value) is (value if batched else None)
