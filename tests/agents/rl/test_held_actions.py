"""Held actions: in environments, and by policies, whoever's episode begins when."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from agents.rl.held_actions import HeldPolicy, RepeatedActions
from agents.rl.vec_env import SB3VecEnv

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


class Towards(Counting):
    """The same, for goals."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return super().predict(observation["desired_goal"], state, episode_start, deterministic)


@pytest.mark.parametrize("episode_start", [None, np.zeros(2, bool)])
def test_a_new_goal_is_decided_for_at_once(episode_start):
    policy = HeldPolicy(Towards(), 3)
    goals = np.zeros((2, 4))  # the environments write their goals into one array
    observation = {"observation": np.zeros((2, 4)), "desired_goal": goals}
    state, actions, counts = None, [], []
    for step in range(8):
        if step == 4:
            goals[1, 2] = 1.0
        action, state = policy.predict(observation, state, episode_start)
        actions.append(action[:, 0].tolist())
        counts.append(state.inner[0][0, :, 0].tolist())
    # The second environment decides anew at step 4, and holds that until step 7; the first at 0, 3 and 6.
    assert actions == [[1, 1]] * 3 + [[2, 2], [2, 3], [2, 3], [4, 3], [4, 5]]
    assert counts == [[1, 1]] * 3 + [[2, 2], [2, 3], [2, 3], [3, 3], [3, 4]]


def test_a_new_goal_of_a_single_environment_is_decided_for_at_once():
    policy = HeldPolicy(Towards(), 4)
    state, actions = None, []
    for goal in (0, 0, 1, 1, 1, 1, 1, 0):
        action, state = policy.predict({"desired_goal": np.full(4, goal, np.uint8)}, state)
        assert action.shape == (2,)
        actions.append(action[0])
    assert actions == [1, 1, 2, 2, 2, 2, 3, 4]


def test_a_goal_may_be_an_image():
    policy = HeldPolicy(Imagined(), 4)
    goals = np.zeros((2, 1, 5, 5), np.uint8)
    _, state = policy.predict({"desired_goal": goals})
    goals = goals.copy()
    goals[0, 0, 4, 4] = 9
    actions, _ = policy.predict({"desired_goal": goals}, state)
    assert actions[:, 0].tolist() == [2, 1]


class Imagined(Counting):
    """The same, for images of goals."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return super().predict(observation["desired_goal"].reshape(2, -1), state, episode_start, deterministic)


class Shaped:
    """Acts by the number of its call, in a space of matrices."""

    action_space = spaces.Box(-1.0, 100.0, (2, 3), np.float32)

    def __init__(self):
        self.calls = 0

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.calls += 1
        batch = observation.shape[:-1]
        return np.full((*batch, 2, 3), float(self.calls), np.float32), None


def test_actions_may_have_any_shape():
    policy = HeldPolicy(Shaped(), 2)
    state, actions = None, []
    for start in ([True] * 3, [False, True, False], [False] * 3):
        action, state = policy.predict(np.zeros((3, 4)), state, start)
        assert action.shape == (3, 2, 3)
        actions.append(action[:, 1, 2].tolist())
    assert actions == [[1, 1, 1], [1, 2, 1], [3, 2, 3]]
    policy, state = HeldPolicy(Shaped(), 2), None
    for expected in (1, 1, 2):
        action, state = policy.predict(np.zeros(4), state)
        assert action.tolist() == [[expected] * 3] * 2


def test_what_is_no_state_flag_or_goal_is_explained(without_type_checks):
    policy = HeldPolicy(Towards(), 2)
    observation = {"desired_goal": np.zeros((2, 4))}
    _, state = policy.predict(observation)
    with pytest.raises(ValueError, match="state must be a HeldState, as predict returns it, or None, got tuple"):
        policy.predict(observation, ())
    with pytest.raises(ValueError, match=r"episode_start must hold a bool, or 0 or 1, .* got \['False', 'True'\]"):
        policy.predict(observation, state, ["False", "True"])
    with pytest.raises(ValueError, match=r"episode_start must have shape \(2,\) .* got \(3,\)"):
        policy.predict(observation, state, [False] * 3)
    with pytest.raises(ValueError, match=r"desired_goal must have shape \(2, 4\) as in the step before, got \(3, 4\)"):
        policy.predict({"desired_goal": np.zeros((3, 4))}, state)


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
