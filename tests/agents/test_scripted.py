import numpy as np
import pytest
from gymnasium import spaces

from agents.scripted import RandomPolicy

SPACE = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([0.0, 3.0], np.float32))


def test_actions_are_uniform_in_the_box():
    policy = RandomPolicy(SPACE)
    actions = np.concatenate([policy.predict(np.zeros((8, 4)))[0] for _ in range(1000)])
    assert actions.dtype == np.float32
    assert all(SPACE.contains(action) for action in actions[:100])
    np.testing.assert_allclose(actions.mean(0), [-0.5, 1.5], atol=0.05)
    np.testing.assert_allclose(actions.std(0), np.array([1.0, 3.0]) / np.sqrt(12), atol=0.03)
    for dimension, high in ((0, 0.0), (1, 3.0)):
        assert actions[:, dimension].max() == pytest.approx(high, abs=0.01)


@pytest.mark.parametrize(
    ("observation", "shape"),
    [
        (np.zeros(4), (2,)),
        (np.zeros((3, 4)), (3, 2)),
        (np.zeros((2, 9, 9), np.uint8), (2,)),
        (np.zeros((5, 2, 9, 9), np.uint8), (5, 2)),
        ({"observation": np.zeros((5, 2, 9, 9), np.uint8)}, (5, 2)),
        ({"observation": np.zeros(4), "desired_goal": np.zeros(2)}, (2,)),
    ],
)
def test_one_action_for_each_environment(observation, shape):
    action, state = RandomPolicy(SPACE).predict(observation, "carried")
    assert action.shape == shape
    assert state == "carried"


def test_an_environment_gets_its_actions_in_a_vector_of_any_size():
    few, many = (RandomPolicy(SPACE, seed=3) for _ in range(2))
    for _ in range(5):
        np.testing.assert_array_equal(few.predict(np.zeros((2, 4)))[0], many.predict(np.zeros((6, 4)))[0][:2])


def test_same_seed_same_actions():
    def run(policy):
        return np.stack([policy.predict(np.zeros((2, 4)))[0] for _ in range(4)])

    policy = RandomPolicy(SPACE, seed=1)
    first = run(policy)
    assert len(np.unique(first.reshape(8, 2), axis=0)) == 8
    policy.set_random_seed(1)
    np.testing.assert_array_equal(run(policy), first)
    assert not np.array_equal(run(RandomPolicy(SPACE, seed=2)), first)


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(-np.inf, np.inf, (2,))])
def test_spaces_without_a_box_are_explained(space):
    with pytest.raises(ValueError, match="action_space must be a bounded Box, got"):
        RandomPolicy(space)


def test_observations_of_unknown_batching_are_explained():
    with pytest.raises(ValueError, match=r"observation must have 1 or 3 dimensions, .* got shape \(\)"):
        RandomPolicy(SPACE).predict(3)
    with pytest.raises(ValueError, match="observation must hold at least one array, got an empty dict"):
        RandomPolicy(SPACE).predict({})


def test_flags_of_episodes_tell_how_many_environments_there_are():
    policy = RandomPolicy(spaces.Box(-1, 1, (2,)))
    for shape, flags, actions in (
        ((16, 16), 1, (2,)),  # a grey image
        ((3, 16, 16), 3, (3, 2)),
        ((1, 5), 1, (1, 2)),
        ((5,), 1, (2,)),
        ((), 1, (2,)),
        ((2, 4, 8, 8, 3), 2, (2, 2)),  # stacks of frames
        ((4, 8, 8, 3), 1, (2,)),
    ):
        assert policy.predict(np.zeros(shape), episode_start=np.ones(flags, bool))[0].shape == actions, shape
