"""What may be written in many ways means the same in each."""

from collections import deque
from fractions import Fraction

import numpy as np
import pytest
import torch

from envs.two_rooms.env import TwoRoomsEnv
from envs.two_rooms.physics import Layout
from envs.two_rooms.vector import TwoRoomsVectorEnv

pytestmark = pytest.mark.usefixtures("without_type_checks")

HUGE = 10**400


@pytest.mark.parametrize(
    "point",
    [
        (10, 30),
        [10.0, 30.0],
        np.array([10, 30]),
        np.array([10, 30], dtype=np.float16),
        np.array([10.0, 30.0], dtype=object),
        (np.int64(10), np.float32(30)),
        (Fraction(20, 2), 30),
        torch.tensor([10, 30]),
        (torch.tensor(10.0), torch.tensor(30.0)),
    ],
)
def test_points_in_many_forms(point):
    for env, shape in ((TwoRoomsEnv(), (2,)), (TwoRoomsVectorEnv(2), (2, 2))):
        info = env.reset(seed=0, options={"layout": (32, 18), "start": point, "goal": None})[1]
        assert np.array_equal(info["position"], np.broadcast_to(np.float32([10, 30]), shape))


@pytest.mark.parametrize(
    "layout",
    [
        (32, 18),
        [32, 18],
        (32.0, 18.0),
        (32, 18, False),
        (32, 18, np.int64(0)),
        Layout(32, 18),
        Layout(32, 18, np.False_),
        Layout(np.array(32), np.array(18)),
        np.array([32, 18]),
        np.float32([32, 18, 0]),
        (np.int64(32), np.uint8(18)),
        torch.tensor([32, 18]),
    ],
)
def test_layouts_in_many_forms(layout):
    for env in (TwoRoomsEnv(), TwoRoomsVectorEnv(2)):
        assert (env.reset(seed=0, options={"layout": layout})[1]["layout"] == [32, 18]).all()
    assert TwoRoomsEnv(layout=layout).reset(seed=0)[1]["layout"].tolist() == [32, 18]


@pytest.mark.parametrize(
    "layout",
    [
        Layout(np.array([30, 31]), np.array([18, 19])),
        np.array([[30, 18], [31, 19]]),
        torch.tensor([[30, 18], [31, 19]]),
        ((30, 18), np.array([31, 19])),
        [torch.tensor([30, 18]), Layout(31, 19)],
    ],
)
def test_layouts_of_vectors_in_many_forms(layout):
    infos = TwoRoomsVectorEnv(2).reset(seed=0, options={"layout": layout})[1]
    assert infos["layout"].tolist() == [[30, 18], [31, 19]]
    one_door = TwoRoomsVectorEnv(2).reset(options={"layout": Layout(np.array([30, 31]), 18)})[1]
    assert one_door["layout"].tolist() == [[30, 18], [31, 18]]


def test_seeds_in_many_forms():
    expected = TwoRoomsEnv().reset(seed=7)[1]["position"]
    for seed in (np.int64(7), np.uint8(7)):
        assert np.array_equal(TwoRoomsEnv().reset(seed=seed)[1]["position"], expected)
    env = TwoRoomsVectorEnv(3)
    for seed in (7, np.int32(7), [7, 8, 9], (7, 8, 9), range(7, 10), deque([7, 8, 9]), np.arange(7, 10), np.array(7)):
        env.reset(seed=seed)
        assert env.np_random_seed == (7, 8, 9)
    env.reset(seed=[7, None, np.int64(9)])
    assert env.np_random_seed == (7, 8, 9)
    env.reset(seed=np.array([1, None, 3], dtype=object))
    assert env.np_random_seed == (1, 8, 3)
    assert TwoRoomsEnv().reset(seed=HUGE)[1]["position"].shape == (2,)


def test_settings_in_many_forms():
    env = TwoRoomsVectorEnv(np.int64(2), max_episode_steps=np.int32(5), terminate_on_success=np.True_)
    assert (type(env.num_envs), type(env.max_episode_steps)) == (int, int)
    assert env.task.terminate_on_success is True
    assert TwoRoomsVectorEnv(1, max_episode_steps=np.int64(-1)).max_episode_steps is None
    endless = TwoRoomsVectorEnv(1, max_episode_steps=HUGE)
    endless.reset(seed=0)
    assert not endless.step(np.zeros((1, 2)))[3].any()
    scalar = TwoRoomsEnv(observation=np.str_("state"), terminate_on_success=np.False_)
    scalar.reset(seed=0)
    assert scalar.step(np.zeros(2))[2] is False
