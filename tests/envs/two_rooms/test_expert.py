import gymnasium as gym
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import envs  # noqa: F401
from envs.two_rooms.layouts import LAYOUT_SETS, sample_endpoints, sample_layouts
from envs.two_rooms.physics import MAX_STEP, Layout, is_free, shortest_path_to_goal_disc
from envs.two_rooms.pictures.rendering import render
from envs.two_rooms.policies.expert import ExpertPolicy, read_layout, read_observation


def play(env, policy, steps, options=None, seed=0):
    """Success after each step ``(steps, N)``, path lengths to first success and whether any step was blocked."""
    observation, infos = env.reset(seed=seed, options=options)
    position, path, state = infos["position"], np.zeros(env.num_envs), None
    success, reached, blocked = [], infos["is_success"], False
    for _ in range(steps):
        actions, state = policy.predict(observation, state, np.zeros(env.num_envs, dtype=bool), deterministic=True)
        observation, _, _, _, infos = env.step(actions)
        path += np.where(reached, 0.0, np.linalg.norm(infos["position"] - position, axis=1))
        position, reached = infos["position"], reached | infos["is_success"]
        blocked |= infos["blocked"].any()
        success.append(infos["is_success"])
    return np.array(success), path, blocked


@pytest.mark.parametrize("layout_set", LAYOUT_SETS)
@pytest.mark.parametrize("collision", ["stay", "bounce"])
@pytest.mark.parametrize("orientation", ["vertical", "horizontal"])
def test_reaches_every_goal_and_stays(layout_set, collision, orientation):
    env = gym.make_vec(
        "TwoRooms-v0",
        num_envs=300,
        observation="state",
        layout_set=layout_set,
        collision=collision,
        wall_orientation=orientation,
    )
    env.reset(seed=0)
    optimum = env.optimal_path_length()
    success, path, blocked = play(env, ExpertPolicy(orientation), 70)
    assert success[-1].all()
    assert (np.diff(success.astype(int), axis=0) >= 0).all()  # once there, it stays
    assert not blocked
    assert (path >= optimum - 1e-3).all()
    assert (np.minimum(1.0, optimum / path)).mean() > 0.93


@pytest.mark.parametrize("orientation", ["vertical", "horizontal"])
def test_reads_pixels(orientation):
    env = gym.make_vec("TwoRooms-v0", num_envs=100, wall_orientation=orientation, layout_set="all")
    success, _, blocked = play(env, ExpertPolicy(), 70)
    assert success[-1].all()
    assert not blocked


def test_stays_for_a_whole_episode():
    env = gym.make_vec("TwoRooms-v0", num_envs=20, observation="state", collision="bounce")
    success, _, _ = play(env, ExpertPolicy(), 200)
    assert success[60:].all()


def test_reaches_goals_from_anywhere_in_free_space():
    """Starts and goals next to walls, in the door and in one room, as reset options allow them."""
    rng = np.random.default_rng(0)
    layout = sample_layouts(rng, 4000, "all")
    start, goal = (rng.uniform(4.01, 59.99, (4000, 2)).astype(np.float32) for _ in range(2))
    wall, door = layout.wall.astype(float), layout.door.astype(float)
    for points, first in ((start, 0), (goal, 500)):
        for offset in (0, 1000, 2000):
            rows = slice(first + offset, first + offset + 700)
            n = len(points[rows])
            points[rows, 0] = wall[rows] + rng.uniform(-2.2, 2.2, n)
            points[rows, 1] = door[rows] + rng.uniform(-4.4, 4.4, n)
    valid = is_free(start, layout) & is_free(goal, layout)
    options = {"layout": np.stack(layout[:2], -1)[valid], "start": start[valid], "goal": goal[valid]}
    env = gym.make_vec("TwoRooms-v0", num_envs=int(valid.sum()), observation="state")
    success, _, _ = play(env, ExpertPolicy(), 70, options)
    assert valid.sum() > 2000
    assert success[-1].all()


@given(
    length=st.floats(2.4, 2.5),
    excess=st.floats(0.0, 2e-6),
    angle=st.sampled_from([0.0, 0.5, 1.0, 1.5, 0.25, 0.1]),
    start=st.floats(10.0, 20.0),
)
def test_actions_are_in_the_action_space(length, excess, angle, start):
    """Where the way is as long as a step, or longer by as little as the physics lets pass, too."""
    space = gym.make("TwoRooms-v0").action_space
    for distance in (length, MAX_STEP * (1 + excess)):
        goal = start + distance * np.cos(np.pi * angle), 20.0 + distance * np.sin(np.pi * angle)
        state = {"observation": np.array([start, 20.0, 32.0, 18.0]), "desired_goal": np.array(goal)}
        assert space.contains(ExpertPolicy().predict(state)[0])


def test_single_and_batched_observations_give_the_same():
    for observation in ("state", "pixels"):
        env = gym.make_vec("TwoRooms-v0", num_envs=3, observation=observation)
        obs, _ = env.reset(seed=0)
        policy = ExpertPolicy()
        actions, state = policy.predict(obs, "passed through")
        assert state == "passed through"
        assert actions.shape == (3, 2)
        assert actions.dtype == np.float32
        single, _ = policy.predict({key: value[1] for key, value in obs.items()})
        assert single.shape == (2,)
        assert np.array_equal(single, actions[1])


@pytest.mark.parametrize("horizontal", [False, True])
def test_reads_layouts_off_images(horizontal):
    rng = np.random.default_rng(0)
    layout = sample_layouts(rng, 300, "all", horizontal=horizontal)
    start, _ = sample_endpoints(rng, layout)
    found = read_layout(render(start, layout))
    assert np.array_equal(found.wall, layout.wall)
    assert np.array_equal(found.door, layout.door)
    assert np.array_equal(found.horizontal, layout.horizontal)


def test_optimal_path_length_is_that_of_the_physics():
    length = shortest_path_to_goal_disc(np.array([[20.0, 40.0]]), np.array([[44.0, 40.0]]), Layout(32, 18))
    env = gym.make("TwoRooms-v0")
    env.reset(options={"layout": (32, 18), "start": (20, 40), "goal": (44, 40)})
    assert env.unwrapped.optimal_path_length() == pytest.approx(length[0])


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (np.zeros(4), "observation must be a dictionary with 'observation' and 'desired_goal', got ndarray"),
        ({"observation": np.zeros(4)}, "got \\['observation'\\]"),
        ({"observation": np.zeros(3), "desired_goal": np.zeros(2)}, r"observation must have shape .*, got \(3,\)"),
    ],
)
def test_foreign_observations(observation, message):
    with pytest.raises(ValueError, match=message):
        read_observation(observation)


def test_unknown_orientation():
    with pytest.raises(ValueError, match="wall_orientation must be one of 'vertical', 'horizontal', got 'diagonal'"):
        ExpertPolicy("diagonal")
