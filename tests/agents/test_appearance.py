"""A policy that sees shifted images: the clock of each episode travels in the state, and nothing else changes."""

import copy

import numpy as np
import pytest

from agents.appearance import ShiftedPolicy, ShiftedState
from envs.appearance import GOAL_STEP, shift


class Watcher:
    """A policy that remembers what it was given; its own state counts calls."""

    timings = (1.0, 2.0)

    def __init__(self):
        self.given = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.given.append((observation, state, episode_start, deterministic))
        return np.zeros((len(observation["observation"]), 2)), (state or 0) + 1


def images(count, seed):
    """Different images, each with a plain background."""
    found = np.full((count, 3, 32, 32), 200, np.uint8)
    found[:, :, 8:16, 8:16] = np.random.default_rng(seed).integers(0, 50, (count, 3, 8, 8))
    return found


def observe(count=2, seed=0, **others):
    return {"observation": images(count, seed), "desired_goal": images(count, 100), **others}


def play(policy, observations, starts=None):
    """All that a policy was given, step by step."""
    state = None
    for step, observation in enumerate(observations):
        _, state = policy.predict(observation, state, None if starts is None else starts[step], True)
    return [given for given, *_ in policy.policy.given]


def test_images_and_goals_are_shifted_by_the_episodes_clock():
    observations = [observe(seed=step) for step in range(3)]
    policy = ShiftedPolicy(Watcher(), "distractor")
    _, first = policy.predict(observations[0], None, np.ones(2, bool), True)
    assert first.seeds[0] != first.seeds[1]
    policy.policy.given.clear()
    for step, seen in enumerate(play(policy, observations)):
        for key, at in (("observation", step), ("desired_goal", GOAL_STEP)):
            assert np.array_equal(seen[key], shift("distractor", observations[step][key], step=at, seed=first.seeds))
    assert [state for _, state, *_ in policy.policy.given] == [None, 1, 2]
    assert all(deterministic for *_, deterministic in policy.policy.given)
    assert np.array_equal(observations[0]["observation"], images(2, 0))


def test_each_environment_has_a_clock_of_its_own():
    policy = ShiftedPolicy(Watcher(), "distractor")
    _, state = policy.predict(observe(seed=0))
    _, state = policy.predict(observe(seed=1), state, np.array([False, True]))
    _, state = policy.predict(observe(seed=2), state, np.array([False, False]))
    assert state.steps.tolist() == [2, 1]
    alone = ShiftedPolicy(Watcher(), "distractor")
    second = [{key: value[1:] for key, value in observe(seed=seed).items()} for seed in (1, 2)]
    seen = play(alone, second)
    assert np.array_equal(seen[1]["observation"][0], policy.policy.given[-1][0]["observation"][1])
    assert np.array_equal(seen[1]["desired_goal"][0], policy.policy.given[-1][0]["desired_goal"][1])


def test_a_goal_that_changes_is_shown_at_once():
    policy = ShiftedPolicy(Watcher(), "brightness")
    _, state = policy.predict(observe())
    changed = observe()
    changed["desired_goal"][1] = images(1, 7)
    policy.predict(changed, state)
    assert np.array_equal(policy.policy.given[-1][0]["desired_goal"], shift("brightness", changed["desired_goal"]))


def test_the_same_state_gives_the_same():
    policy = ShiftedPolicy(Watcher(), "distractor")
    _, state = policy.predict(observe())
    kept = copy.deepcopy(state)
    for _ in range(2):
        policy.predict(observe(seed=1), state)
    (first, *_), (second, *_) = policy.policy.given[-2:]
    assert np.array_equal(first["observation"], second["observation"])
    assert (state.steps.tolist(), state.seeds.tolist()) == (kept.steps.tolist(), kept.seeds.tolist())


def test_one_environment_sees_single_images():
    batch, one = ShiftedPolicy(Watcher(), "distractor"), ShiftedPolicy(Watcher(), "distractor")
    observation = observe(count=1)
    batch.predict(observation)
    one.predict({key: value[0] for key, value in observation.items()})
    for key in observation:
        assert one.policy.given[0][0][key].shape == (3, 32, 32)
        assert np.array_equal(one.policy.given[0][0][key], batch.policy.given[0][0][key][0])


def test_achieved_goals_are_images_of_the_present_and_all_else_stays():
    policy = ShiftedPolicy(Watcher(), "distractor")
    policy.predict(observe(achieved_goal=images(2, 0), speed=np.array([1.0, 2.0])))
    seen = policy.policy.given[0][0]
    assert np.array_equal(seen["achieved_goal"], seen["observation"])
    assert seen["speed"].tolist() == [1, 2]


def test_the_agents_pixels_are_asked_for():
    policy = ShiftedPolicy(Watcher(), "agent-colour", lambda images: np.ones((len(images), 32, 32)))
    policy.predict(observe())
    seen, given = policy.policy.given[0][0]["observation"], images(2, 0)
    assert np.array_equal(seen, given[:, [1, 0, 2]])


def test_what_else_a_policy_has_is_its_own():
    policy = ShiftedPolicy(Watcher(), "brightness")
    assert policy.timings == (1.0, 2.0)
    assert not hasattr(policy, "set_random_seed")
    assert copy.deepcopy(policy).name == "brightness"


def test_a_shift_that_cannot_be_done_is_refused():
    with pytest.raises(ValueError, match=r"appearance must be one of .*, got 'dark'"):
        ShiftedPolicy(Watcher(), "dark")
    with pytest.raises(ValueError, match=r"appearance must be one of .* got 'agent-size'"):
        ShiftedPolicy(Watcher(), "agent-size")


def test_another_state_is_refused():
    policy = ShiftedPolicy(Watcher(), "brightness")
    with pytest.raises(ValueError, match=r"state must be a ShiftedState of images of shape \(2, .*, got int"):
        policy.predict(observe(), 3)
    _, state = policy.predict(observe(count=3))
    assert isinstance(state, ShiftedState)
    with pytest.raises(ValueError, match=r"state must be .* got ShiftedState of images of shape \(3, "):
        policy.predict(observe(), state)
    with pytest.raises(ValueError, match="observation must be a dict with uint8 images"):
        policy.predict(np.zeros(3))
