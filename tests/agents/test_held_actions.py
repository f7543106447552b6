"""Held actions: in environments, and by policies, whoever's episode begins when."""

import gymnasium as gym
import numpy as np
import pytest

from agents.held_actions import HeldPolicy, RepeatedActions
from agents.vec_env import SB3VecEnv

ENV_ID = "envs:TwoRooms-v0"


def test_repeated_actions_are_single_ones_in_a_row():
    settings = {"observation": "state", "autoreset_mode": "SameStep", "max_episode_steps": 6}
    repeated, plain = (gym.make_vec(ENV_ID, num_envs=2, **settings) for _ in range(2))
    repeated = SB3VecEnv(RepeatedActions(repeated, 4))
    repeated.seed(2)
    found, (expected, _) = repeated.reset(), plain.reset(seed=[2, 3])
    assert same(found, expected)
    rng = np.random.default_rng(0)
    for times in (4, 2, 4, 2):  # the last action of an episode is cut off by its end
        actions = rng.normal(0, 2, (2, 2)).astype(np.float32)
        for _ in range(times):
            expected, rewards, _, truncated, _ = plain.step(actions)
        found, found_rewards, dones, infos = repeated.step(actions)
        assert same(found, expected)
        np.testing.assert_array_equal(found_rewards, rewards.astype(np.float32))
        assert dones.tolist() == truncated.tolist() == [times == 2] * 2
        assert all("terminal_observation" in info for info in infos) == (times == 2)
    reward = repeated.env_method("compute_reward", found["achieved_goal"], found["desired_goal"], [], indices=[0])
    assert reward[0].shape == (2,)
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        RepeatedActions(plain, 0)


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


class Counting:
    """Acts by the number of its call, and counts in its state how often each environment was decided for."""

    def __init__(self) -> None:
        self.calls = 0

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.calls += 1
        num_envs = len(np.atleast_2d(observation))
        counts = np.zeros((1, num_envs, 1)) if state is None else state[0]
        if episode_start is not None:
            counts = np.where(np.reshape(episode_start, (1, -1, 1)), 0, counts)
        actions = np.full((num_envs, 2), float(self.calls))
        return (actions if np.ndim(observation) > 1 else actions[0]), (counts + 1,)


def test_a_policy_decides_when_its_action_is_over_or_an_episode_begins():
    policy = HeldPolicy(Counting(), 3)
    observation = np.zeros((2, 4))
    starts = np.zeros((9, 2), dtype=bool)
    starts[0] = True
    starts[4, 1] = True
    state, actions, counts = None, [], []
    for start in starts:
        action, state = policy.predict(observation, state, start)
        actions.append(action[:, 0].tolist())
        counts.append(state.inner[0][0, :, 0].tolist())
    # The second environment begins anew at step 4, and decides at 4 and 7 from then on; the first at 0, 3 and 6.
    assert actions == [[1, 1]] * 3 + [[2, 2], [2, 3], [2, 3], [4, 3], [4, 5], [4, 5]]
    assert counts == [[1, 1]] * 3 + [[2, 2], [2, 1], [2, 1], [3, 1], [3, 2], [3, 2]]
    assert len(policy.timings) == policy.policy.calls == 5
    assert policy.steps_per_plan == 3


def test_a_single_environment_gets_single_actions():
    policy = HeldPolicy(Counting(), 2)
    state, actions = None, []
    for _ in range(4):
        action, state = policy.predict(np.zeros(4), state)
        assert action.shape == (2,)
        actions.append(action[0])
    assert actions == [1, 1, 2, 2]
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        HeldPolicy(Counting(), 0)
