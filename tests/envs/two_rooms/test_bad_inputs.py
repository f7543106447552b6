"""Whatever is handed to an environment works or ends in one line that names the thing, the rule and the value."""

import sys
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import psutil
import pytest
import torch
from gymnasium.error import ResetNeeded

from envs.inputs import shown
from envs.two_rooms.env import TwoRoomsEnv
from envs.two_rooms.physics import Layout
from envs.two_rooms.vector import TwoRoomsVectorEnv

pytestmark = pytest.mark.usefixtures("without_type_checks")

HUGE = 10**400
ENDLESS = 10**5000  # Python refuses to write so many digits
NAN, INF = float("nan"), float("inf")

CHOICES = [
    (name, f"{name} must be one of {words}", value, got)
    for name, words in (
        ("observation", "'pixels', 'state'"),
        ("reward", "'sparse', 'dense'"),
        ("collision", "'stay', 'bounce'"),
        ("wall_orientation", "'vertical', 'horizontal'"),
        ("layout_set", "'train', 'validation', 'held-out', 'all'"),
        ("render_mode", ""),
    )
    for value, got in (
        ("rgb", "'rgb'"),
        ("", "''"),
        (b"pixels", "b'pixels'"),
        (1, "1"),
        (False, "False"),
        (NAN, "nan"),
        ({"pixels"}, "{'pixels'}"),
        (["pixels"], "['pixels']"),
        ({"pixels": 1}, "{'pixels': 1}"),
        (np.array(["pixels", "state"]), "array(['pixels', 'state']"),
    )
]
FLAGS = [
    ("terminate_on_success", "terminate_on_success must be True or False", value, got)
    for value, got in (
        ("yes", "'yes'"),
        ("", "''"),
        (b"", "b''"),
        (None, "None"),
        (0, "0"),
        (1.0, "1.0"),
        (np.int64(1), "np.int64(1)"),
        (np.array([True]), "array([ True])"),
        ([], "[]"),
    )
]
RADII = [
    ("goal_radius", "goal_radius must be a number above 0 and at most 4.5", value, got)
    for value, got in (
        (0, "0"),
        (-1.0, "-1.0"),
        (4.6, "4.6"),
        (NAN, "nan"),
        (INF, "inf"),
        (HUGE, "1000"),
        ("2", "'2'"),
        (None, "None"),
        (True, "True"),
        ([1.0], "[1.0]"),
    )
]
PAIR = "layout must be a pair of integers (wall, door)"
NOT_A_LAYOUT = [
    (b"  ", "b'  '"),
    (bytearray(b"  "), "bytearray(b'  ')"),
    (memoryview(b"  "), "<memory at"),
    ("32", "'32'"),
    (("32", "18"), "('32', '18')"),
    ((b"32", b"18"), "(b'32', b'18')"),
    ({32, 18}, "{"),
    ({32: 1, 18: 1}, "{32: 1, 18: 1}"),
    (32, "32"),
    (True, "True"),
    ((True, 18), "(True, 18)"),
    ((None, 18), "(None, 18)"),
    ((32, NAN), "(32, nan)"),
    ((INF, 18), "(inf, 18)"),
    ((32.5, 18), "(32.5, 18)"),
    ((32 + 0j, 18), "((32+0j), 18)"),
    ((HUGE, 18), "(1000"),
    ((ENDLESS, 18), "a value of type tuple"),
    ((), "()"),
    ((32,), "(32,)"),
    ((32, 18, 0, 0), "(32, 18, 0, 0)"),
    ((32, 18, "yes"), "(32, 18, 'yes')"),
    ((32, 18, None), "(32, 18, None)"),
    ((32, 18, 2), "(32, 18, 2)"),
    ((32, 18, NAN), "(32, 18, nan)"),
    (np.zeros((0,)), "array([]"),
    (np.zeros((2, 2, 2)), "array("),
    (np.array(32), "array(32)"),
    (np.array(["32", "18"]), "array(['32', '18']"),
    (np.array([True, False]), "array([ True, False])"),
    (torch.zeros(2, requires_grad=True), "tensor("),
    (iter((32, 18)), "<tuple_iterator"),
    (SimpleNamespace(wall=32), "namespace(wall=32)"),
]
LAYOUTS = [("layout", PAIR, value, got) for value, got in NOT_A_LAYOUT]
RANGES = [
    ("layout", "layout's wall must be an integer from 20 to 44", (10**30, 18), "1000"),
    ("layout", "layout's door must be an integer from 10 to 54", (32, -18), "-18"),
    ("layout", "layout must have a vertical wall in this environment", (32, 18, True), "(32, 18, True)"),
]
NOT_A_POINT = [
    (("10", "30"), "('10', '30')"),
    ((b"10", b"30"), "(b'10', b'30')"),
    ("10", "'10'"),
    (b"  ", "b'  '"),
    (bytearray(b"  "), "bytearray(b'  ')"),
    ({10, 30}, "{"),
    ({10: 30}, "{10: 30}"),
    (10, "10"),
    (True, "True"),
    ((True, 30), "(True, 30)"),
    ((None, 30), "(None, 30)"),
    ((NAN, 30), "(nan, 30)"),
    ((10, -INF), "(10, -inf)"),
    ((1e300, 30), "(1e+300, 30)"),
    ((HUGE, 30), "(1000"),
    ((ENDLESS, 30), "a value of type tuple"),
    ((10 + 1j, 30), "((10+1j), 30)"),
    ((), "()"),
    ((10,), "(10,)"),
    ((10, 30, 50), "(10, 30, 50)"),
    (np.array(["10", "30"]), "array(['10', '30']"),
    (np.array([10, None]), "array([10, None]"),
    (np.array([True, True]), "array([ True,  True])"),
    (np.array(10.0), "array(10.)"),
    (np.zeros((2, 2, 2)), "array("),
    (torch.zeros(2, requires_grad=True), "tensor("),
    (iter((10, 30)), "<tuple_iterator"),
]
POINTS = [(name, f"{name} must be a pair of", *row) for name in ("start", "goal") for row in NOT_A_POINT]
OUTSIDE = [
    ("start", "start must lie in free space (4 < x, y < 60, outside the wall at 32", point, got)
    for point, got in (((4, 30), "[4.0, 30.0]"), ((32, 40), "[32.0, 40.0]"), ((10**30, 30), "[1.00000"))
]
NOT_OPTIONS = [
    (5, "5"),
    (0, "0"),
    (True, "True"),
    ("", "''"),
    (b"start", "b'start'"),
    ([], "[]"),
    ([("start", (10, 30))], "[('start', (10, 30))]"),
    ({"start"}, "{'start'}"),
    (np.array([1]), "array([1])"),
]
NOT_A_SEED = [
    (-1, "-1"),
    (np.int64(-5), "np.int64(-5)"),
    (1.0, "1.0"),
    (NAN, "nan"),
    (np.float32(1), "np.float32(1.0)"),
    ("1", "'1'"),
    (b"1", "b'1'"),
    (True, "True"),
    (np.True_, "np.True_"),
    ([1], "[1]"),
    ({1}, "{1}"),
    ({1: 1}, "{1: 1}"),
]
NOT_SEEDS = [
    ([1, "x", 3], "environment 1: seed must be a non-negative integer or None", "'x'"),
    ([-1, 0, 1], "environment 0: seed must be a non-negative integer or None", "-1"),
    ([1, 2, 2.5], "environment 2: seed must be a non-negative integer or None", "2.5"),
    ([1, True, 2], "environment 1: seed must be a non-negative integer or None", "True"),
    ([1, [2], 3], "environment 1: seed must be a non-negative integer or None", "[2]"),
    (np.array([1.0, 2.0, 3.0]), "environment 0: seed must be a non-negative integer or None", "1.0"),
    (np.array([[1], [2], [3]]), "environment 0: seed must be a non-negative integer or None", "[1]"),
    (np.array([True, False, True]), "environment 0: seed must be a non-negative integer or None", "True"),
    ([1, 2], "seed must be an integer or a list of 3", "2 of them"),
    (np.arange(4), "seed must be an integer or a list of 3", "4 of them"),
    ((), "seed must be an integer or a list of 3", "0 of them"),
    ("123", "seed must be an integer or a list of 3", "'123'"),
    (b"abc", "seed must be an integer or a list of 3", "b'abc'"),
    (bytearray(b"abc"), "seed must be an integer or a list of 3", "bytearray(b'abc')"),
    (memoryview(b"abc"), "seed must be an integer or a list of 3", "<memory at"),
    ({1, 2, 3}, "seed must be an integer or a list of 3", "{1, 2, 3}"),
    ({1: 1, 2: 2, 3: 3}, "seed must be an integer or a list of 3", "{1: 1, 2: 2, 3: 3}"),
    (1j, "seed must be an integer or a list of 3", "1j"),
    (iter([1, 2, 3]), "seed must be an integer or a list of 3", "<list_iterator"),
    (-1, "seed must be a non-negative integer or None", "-1"),
    (1.0, "seed must be a non-negative integer or None", "1.0"),
    (True, "seed must be a non-negative integer or None", "True"),
    (np.float64(2), "seed must be a non-negative integer or None", "2.0"),
]
BATCHED_OPTIONS = [
    ("start", [(10, 30), (10, 31), (32, 40)], "environment 2: start must lie in free space", "[32.0, 40.0]"),
    ("start", [(10, 30), ("10", "31"), (10, 32)], "environment 1: start must be a pair of numbers", "('10', '31')"),
    ("goal", [(10, 30), (10, NAN), (10, 32)], "environment 1: goal must be a pair of finite numbers", "(10, nan)"),
    ("goal", [(10, 30), (10,), (10, 32)], "environment 1: goal must be a pair of finite numbers", "(10,)"),
    ("goal", [(10, 30), None, (10, 32)], "option 'goal' must be given for all environments or none", "None for 1"),
    ("goal", [None, (10, 30), (10, 32)], "option 'goal' must be given for all environments or none", "None for 0"),
    ("goal", [{10, 30}, {10, 31}, {10, 32}], "environment 0: goal must be a pair of numbers", "[{"),
    ("start", [(10, 30)], "option 'start' must be given once or 3 times", "1"),
    ("start", np.zeros((0, 2)), "option 'start' must be given once or 3 times", "0"),
    ("start", np.zeros((2, 2)), "option 'start' must be given once or 3 times", "2"),
    ("start", [[[1, 2], [3]], [[1, 2], [3]], [[1, 2], [3]]], "environment 0: start must be a pair of", "[[1, 2], [3]]"),
    ("layout", [(32, 18), (32.5, 18), (32, 18)], f"environment 1: {PAIR}", "(32.5, 18)"),
    ("layout", [(32, 18), b"  ", (32, 18)], f"environment 1: {PAIR}", "b'  '"),
    ("layout", [(32, 18), (3, 18), (32, 18)], "environment 1: layout's wall must be an integer from 20 to 44", "3"),
    (
        "layout",
        Layout(np.array([32, 33]), np.array([18, 19, 20])),
        "layout must have as many walls as doors",
        "Layout(",
    ),
    ("layout", Layout(np.array([32, 33]), 18), "option 'layout' must be given once or 3 times", "2"),
    ("layout", Layout("32", "18"), f"environment 0: {PAIR}", "Layout("),
]
ACTIONS = [
    ("ab", "must be real numbers", "dtype <U2"),
    (b"ab", "must be real numbers", "b'ab'"),
    (bytearray(b"ab"), "must be real numbers", "bytearray(b'ab')"),
    (["1", "2"], "must be real numbers", "dtype <U1"),
    ([True, 0.5], "must be real numbers", "[True, 0.5]"),
    (np.array([True, False]), "must be real numbers", "dtype bool"),
    ({1, 2}, "must be real numbers", "dtype object"),
    ({1: 2}, "must be real numbers", "dtype object"),
    ([1, None], "must be real numbers", "dtype object"),
    ([HUGE, 0], "must be real numbers", "dtype object"),
    ([1j, 0], "must be real numbers", "dtype complex128"),
    (torch.zeros(2, requires_grad=True), "must be real numbers that numpy can read", "tensor("),
    ([[1], [2, 3]], "must have shape (2,)", "[[1], [2, 3]]"),
    ([], "must have shape (2,)", "(0,)"),
    (3, "must have shape (2,)", "()"),
    ([NAN, 0], "must be finite", "[nan, 0.0]"),
    ([INF, 0], "must be finite", "[inf, 0.0]"),
]
IMAGE = np.zeros((2, 65, 65), dtype=np.uint8)
SEEN = IMAGE.copy()
SEEN[0, 30, 30] = 255
GOALS = [
    ("state", (np.array([NAN, 30.0]), (1.0, 2.0)), "achieved_goal must be finite, got [nan, 30.0]"),
    ("state", ((1.0, 2.0), [[1.0, 2.0], [3.0, INF]]), "desired_goal must be finite, got [3.0, inf]"),
    ("state", (("1", "2"), (1, 2)), "achieved_goal must be an array of real numbers, got ('1', '2')"),
    ("state", ((1, 2), b"  "), "desired_goal must be an array of real numbers, got b'  '"),
    ("state", ((1, 2), (True, 2)), "desired_goal must be an array of real numbers, got (True, 2)"),
    ("state", ((1, 2), (None, 2)), "desired_goal must be an array of real numbers, got (None, 2)"),
    ("state", ((1, 2), [(1, 2), (3,)]), "desired_goal must be an array of real numbers, got [(1, 2), (3,)]"),
    ("state", ((1, 2), None), "desired_goal must be an array of real numbers, got None"),
    ("state", ((1, 2), {1, 2}), "desired_goal must be an array of real numbers, got {1, 2}"),
    ("state", ((1, 2), 1j), "desired_goal must be an array of real numbers, got 1j"),
    ("state", ((1, 2), 1), "desired_goal must have shape (..., 2) with observation 'state', got ()"),
    ("pixels", (SEEN / 255, SEEN), "achieved_goal must be uint8 images with observation 'pixels', got dtype float64"),
    ("pixels", (SEEN, SEEN.astype(np.float32)), "desired_goal must be uint8 images .* dtype float32"),
    ("pixels", (SEEN, SEEN.astype(np.int64)), "desired_goal must be uint8 images .* dtype int64"),
    ("pixels", (SEEN > 0, SEEN), "achieved_goal must be an array of real numbers, got array([[[False"),
    ("pixels", (SEEN * np.float64(NAN), SEEN), "achieved_goal must be uint8 images .* dtype float64"),
    ("pixels", (SEEN, IMAGE), "desired_goal: each image must show the agent in channel 0, got a black channel"),
]


def check_message(caught, *parts):
    """The message is one line with all the parts, one after the other."""
    message, at = str(caught.value), 0
    assert "\n" not in message
    assert len(message) < 400
    for part in parts:
        assert part in message[at:]
        at = message.index(part, at) + len(part)


@pytest.mark.parametrize("kind", [TwoRoomsEnv, TwoRoomsVectorEnv])
@pytest.mark.parametrize(("name", "rule", "value", "got"), CHOICES + FLAGS + RADII + LAYOUTS + RANGES)
def test_settings(kind, name, rule, value, got):
    with pytest.raises(ValueError) as caught:
        kind(**{name: value})
    check_message(caught, rule, "got ", got)


@pytest.mark.parametrize(("name", "rule", "value", "got"), LAYOUTS + RANGES + POINTS + OUTSIDE)
def test_options(name, rule, value, got):
    for env, prefix in ((TwoRoomsEnv(layout=(32, 18)), ""), (TwoRoomsVectorEnv(2, layout=(32, 18)), "environment 0: ")):
        if isinstance(value, np.ndarray) and value.ndim > 1 and prefix:
            prefix, value = "", [value] * 2  # what is batched is told apart by place
        with pytest.raises(ValueError) as caught:
            env.reset(seed=0, options={name: value})
        check_message(caught, prefix, rule, "got ", got)


def test_ragged_options_of_one_environment():
    env = TwoRoomsEnv()
    for name, rule in (("layout", PAIR), ("start", "start must be a pair of numbers (x, y)")):
        with pytest.raises(ValueError) as caught:
            env.reset(options={name: ([30, 31], [18])})
        check_message(caught, rule, "got ([30, 31], [18])")


@pytest.mark.parametrize(("options", "got"), NOT_OPTIONS)
def test_what_is_no_options(options, got):
    for env in (TwoRoomsEnv(), TwoRoomsVectorEnv(2), gym.make("envs:TwoRooms-v0")):
        with pytest.raises(ValueError) as caught:
            env.reset(options=options)
        check_message(caught, "options must be a dictionary of reset options or None, got ", got)


@pytest.mark.parametrize("key", ["gaol", 1, None, b"start", ("start",), NAN])
def test_unknown_options(key):
    for env in (TwoRoomsEnv(), TwoRoomsVectorEnv(2)):
        with pytest.raises(ValueError) as caught:
            env.reset(options={key: (10, 30)})
        check_message(caught, "reset option must be one of 'layout', 'start', 'goal'", f"got {key!r}")


@pytest.mark.parametrize(("seed", "got"), NOT_A_SEED)
def test_seeds(seed, got):
    for env in (TwoRoomsEnv(), gym.make("envs:TwoRooms-v0")):
        with pytest.raises(ValueError) as caught:
            env.reset(seed=seed)
        check_message(caught, "seed must be a non-negative integer or None, got ", got)


@pytest.mark.parametrize(("seed", "rule", "got"), NOT_SEEDS)
def test_seeds_of_vectors(seed, rule, got):
    with pytest.raises(ValueError) as caught:
        TwoRoomsVectorEnv(3).reset(seed=seed)
    check_message(caught, rule, "got ", got)


@pytest.mark.parametrize(("name", "value", "rule", "got"), BATCHED_OPTIONS)
def test_options_of_vectors(name, value, rule, got):
    with pytest.raises(ValueError) as caught:
        TwoRoomsVectorEnv(3, layout=(32, 18)).reset(seed=0, options={name: value})
    check_message(caught, rule, "got ", got)


@pytest.mark.parametrize(
    ("mask", "error", "rule"),
    [
        ([True, False], TypeError, "reset_mask must be an array of bool, got [True, False]"),
        ("yes", TypeError, "reset_mask must be an array of bool, got 'yes'"),
        (True, TypeError, "reset_mask must be an array of bool, got True"),
        ({0}, TypeError, "reset_mask must be an array of bool, got {0}"),
        (np.array([1, 0]), TypeError, "reset_mask must be an array of bool, got array([1, 0])"),
        (np.array([NAN, 0]), TypeError, "reset_mask must be an array of bool, got array([nan,  0.])"),
        (torch.tensor([True, True]), TypeError, "reset_mask must be an array of bool, got tensor("),
        (np.array([True]), ValueError, "reset_mask must have shape (2,) with at least one True, got array([ True])"),
        (np.array(True), ValueError, "reset_mask must have shape (2,) with at least one True, got array(True)"),
        (
            np.ones((2, 99), bool),
            ValueError,
            "reset_mask must have shape (2,) with at least one True, got array([[ True",
        ),
        (np.array([False, False]), ValueError, "reset_mask must have shape (2,) with at least one True, got array"),
        (np.array([True, False]), ResetNeeded, "the first reset must reset all environments, got a reset_mask"),
    ],
)
def test_reset_masks(mask, error, rule):
    with pytest.raises(error) as caught:
        TwoRoomsVectorEnv(2).reset(options={"reset_mask": mask})
    check_message(caught, rule)


@pytest.mark.parametrize(("action", "rule", "got"), ACTIONS)
def test_actions(action, rule, got):
    env = TwoRoomsEnv()
    env.reset(seed=0)
    with pytest.raises(ValueError) as caught:
        env.step(action)
    check_message(caught, "action", rule, "got ", got)


@pytest.mark.parametrize(
    ("actions", "rule"),
    [
        ([[True, 0], [0, 0]], "actions must be real numbers, got [[True, 0], [0, 0]]"),
        ([["1", "2"], ["3", "4"]], "actions must be real numbers, got dtype <U1"),
        ([b"ab", b"cd"], "actions must be real numbers, got dtype |S2"),
        ([[0, 0], [0, None]], "actions must be real numbers, got dtype object"),
        ([[0, 0], [0]], "actions must have shape (2, 2), got [[0, 0], [0]]"),
        (np.zeros((3, 2)), "actions must have shape (2, 2), got (3, 2)"),
        ([[0, 0], [0, NAN]], "actions must be finite, got [0.0, nan]"),
    ],
)
def test_actions_of_vectors(actions, rule):
    env = TwoRoomsVectorEnv(2)
    env.reset(seed=0)
    with pytest.raises(ValueError) as caught:
        env.step(actions)
    check_message(caught, rule)


@pytest.mark.parametrize("kind", [TwoRoomsEnv, TwoRoomsVectorEnv])
@pytest.mark.parametrize(("observation", "goals", "rule"), GOALS)
def test_goals_of_rewards(kind, observation, goals, rule):
    with pytest.raises(ValueError) as caught:
        kind(observation=observation).compute_reward(*goals)
    check_message(caught, *rule.split(" .* "))


@pytest.mark.parametrize("name", ["num_envs", "max_episode_steps"])
@pytest.mark.parametrize("value", [0, -3, 2.0, -1.0, NAN, "2", b"2", True, [2], {2}, np.array([2, 3]), np.float64(2)])
def test_counts(name, value):
    with pytest.raises(ValueError) as caught:
        TwoRoomsVectorEnv(**{name: value})
    check_message(caught, f"{name} must be a positive integer, got ", shown(value))


@pytest.mark.parametrize("mode", ["now", b"NextStep", 1, True, None, NAN, {"NextStep"}, ["NextStep"], np.zeros(2)])
def test_autoreset_modes(mode):
    with pytest.raises(ValueError) as caught:
        TwoRoomsVectorEnv(2, autoreset_mode=mode)
    check_message(caught, "autoreset_mode must be one of 'NextStep', 'SameStep', 'Disabled', got ", shown(mode))


@pytest.mark.parametrize("observation", ["pixels", "state"])
@pytest.mark.parametrize(
    "num_envs", [10**12, np.int64(10**12), 10**19, HUGE, ENDLESS], ids=["10^12", "numpy", "10^19", "huge", "endless"]
)
def test_more_environments_than_fit(num_envs, observation):
    with pytest.raises(ValueError) as caught:
        gym.make_vec("envs:TwoRooms-v0", num_envs=num_envs, observation=observation)
    check_message(caught, "num_envs must fit into memory, got ", shown(int(num_envs))[:20], "GB", "GB are free")


def test_what_fits_is_what_memory_is_free(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=3 * 10**9))
    with pytest.raises(ValueError, match="got 30000: about 4 GB, 3 GB are free"):
        TwoRoomsVectorEnv(30_000)
    TwoRoomsVectorEnv(30_000, observation="state")


def test_a_rejected_reset_begins_nothing():
    for env, bad in ((TwoRoomsEnv(), {"seed": -1}), (TwoRoomsVectorEnv(2), {"seed": [1, -1]})):
        info = env.reset(seed=0)[1]
        with pytest.raises(ValueError):
            env.reset(**bad)
        with pytest.raises(ValueError):
            env.reset(seed=1, options=5)
        assert np.array_equal(env.step(np.zeros_like(info["position"]))[4]["position"], info["position"])


def test_values_are_shown_in_one_short_line():
    assert shown(np.zeros((2, 2))) == "array([[0., 0.], [0., 0.]])"
    assert len(shown("a" * 1000)) == 160
    assert shown(b"  ") == "b'  '"
    assert shown(10 ** sys.get_int_max_str_digits()) == "a value of type int"
