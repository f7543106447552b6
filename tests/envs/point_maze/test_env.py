import sys

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

from gymnasium.utils.env_checker import check_env, data_equivalence
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import envs
from envs.offscreen import import_extra
from envs.point_maze import physics
from envs.point_maze.domain import DOMAINS, ENV_IDS, draw_scene
from envs.point_maze.drawing import find_mazes, find_positions, read_positions
from envs.point_maze.env import PointMazeEnv
from envs.point_maze.mazes import MAPS, clearance, free_cells
from mujoco_rendering import require_mujoco

require_mujoco()

DOMAIN = DOMAINS[0]
for one in DOMAINS:
    envs.register(one)
KINDS = ("pixels", "state")
ENV_ID = ENV_IDS["umaze"]
EPISODE = {"start": (-1.0, 1.0), "goal": (-1.0, -1.0)}


def places(maze, count=60):
    """Places of the ball, a third of them at a wall."""
    rng, half = np.random.default_rng(0), len(MAPS[maze]) / 2
    found = rng.uniform(-half, half, (50 * count, 2))
    found = found[clearance(maze, found) >= 0.1]
    at_walls = found[clearance(maze, found) < 0.15][: count // 3]
    return np.concatenate([at_walls, found[: count - len(at_walls)]])


@pytest.mark.parametrize("checker", [check_env, sb3_check_env], ids=["gymnasium", "sb3"])
@pytest.mark.parametrize("reward", DOMAIN.rewards)
@pytest.mark.parametrize("observation", KINDS)
def test_checkers_accept_the_environment(observation, reward, checker):
    checker(gym.make(ENV_ID, observation=observation, reward=reward).unwrapped)


@pytest.mark.parametrize("maze", MAPS)
@pytest.mark.parametrize("observation", KINDS)
def test_twin_rollouts_are_equal(observation, maze):
    first, second = (gym.make(ENV_IDS[maze], observation=observation) for _ in range(2))
    assert data_equivalence(first.reset(seed=3), second.reset(seed=3), exact=True)
    first.action_space.seed(0)
    for _ in range(300):
        action = first.action_space.sample()
        results = first.step(action), second.step(action)
        assert data_equivalence(*results, exact=True)
    assert results[0][3]  # truncated
    assert data_equivalence(first.reset(), second.reset(), exact=True)
    first.close()  # closes the camera, which both look through
    assert data_equivalence(first.reset(seed=1), second.reset(seed=1), exact=True)


@pytest.mark.parametrize("observation", KINDS)
def test_nothing_of_the_past_is_left_after_a_reset(observation):
    env = gym.make(ENV_ID, observation=observation).unwrapped
    rng, runs = np.random.default_rng(0), []
    actions = np.concatenate([rng.uniform(-1, 1, (20, 2)), np.ones((40, 2))])  # ends in a corner, at two walls
    for _ in range(2):
        env.reset(options={"start": (1.3, 1.3, 2.0, -1.0), "goal": (-1, -1)})
        runs.append([env.step(action) for action in actions])
        for _ in range(30):
            env.step([1.0, 0.5])
    assert data_equivalence(*runs, exact=True)
    assert clearance("umaze", runs[0][-1][4]["position"]) < 0.105


@pytest.mark.parametrize("maze", MAPS)
def test_the_dynamics_are_those_of_gymnasium_robotics(maze):
    original = import_extra("gymnasium_robotics", "this test").envs.maze
    theirs = import_extra("gymnasium_robotics.envs.maze.point_maze", "this test").PointMazeEnv(
        maze_map={"umaze": original.maps.U_MAZE, "medium": original.maps.MEDIUM_MAZE}[maze]
    )
    seen, _ = theirs.reset(seed=0)
    ours = PointMazeEnv(maze=maze, observation="state")
    ours.reset(options={"start": seen["achieved_goal"]})
    rng = np.random.default_rng(1)
    for _ in range(300):
        action = np.clip(0.5 + rng.normal(size=2), -1.5, 1.5).astype(np.float32)
        seen, *_ = theirs.step(action)
        ours.step(action)
        assert np.array_equal(ours._ball.state, seen["observation"])


def test_velocities_are_clipped_and_what_a_step_gives():
    env = gym.make(ENV_ID, observation="state", reward="dense")
    obs, _ = env.reset(seed=0, options={"start": (-1.0, 1.0, 6.0, 0.0), "goal": (1.0, 1.0)})
    assert obs["observation"].tolist() == [-1, 1, 6, 0, 5]
    obs, reward, terminated, truncated, info = env.step(np.array([9.0, 0.0]))
    assert obs["observation"][2] == pytest.approx(5.0 + 0.24, abs=0.02)
    assert set(info) == {"is_success", "distance", "position", "goal", "maze"}
    assert info["position"] == pytest.approx([-1 + 0.0523, 1.0], abs=1e-3)
    assert reward == pytest.approx(-info["distance"] / 5)
    assert (terminated, truncated, info["is_success"], info["maze"]) == (False, False, False, "umaze")
    obs["achieved_goal"][...] = 0  # arrays are the caller's own
    assert env.step(np.zeros(2))[0]["achieved_goal"].any()


@pytest.mark.parametrize("maze", MAPS)
def test_images_show_the_ball_where_it_is_and_goals_as_they_will_look(maze):
    env, images, points = gym.make(ENV_IDS[maze]).unwrapped, [], places(maze)
    for point in points:
        obs, info = env.reset(options={"start": point, "goal": point})
        assert info["is_success"]
        assert np.array_equal(obs["observation"], obs["desired_goal"])
        images.append(obs["observation"])
    images = np.stack(images)
    assert read_positions(images, maze) == pytest.approx(points, abs=0.01)
    assert np.array_equal(read_positions(images[3], maze), read_positions(images, maze)[3])
    assert (find_mazes(images) == list(MAPS).index(maze)).all()
    assert np.array_equal(find_positions(np.moveaxis(images, -1, 1)), read_positions(images, maze))
    greens = (images[..., 1] > images[..., 0].astype(int) + 20) & (images[..., 1] > images[..., 2].astype(int) + 20)
    assert greens.sum((1, 2)).min() >= 7  # some three pixels across
    with pytest.raises(ValueError, match="each image must show a ball, got one without it"):
        read_positions(np.zeros_like(images), maze)


def test_images_of_a_moving_ball_are_of_this_moment_and_do_not_change_its_way():
    pixels, state = (PointMazeEnv(observation=kind) for kind in KINDS)
    rng = np.random.default_rng(0)
    for env in (pixels, state):
        env.reset(options={"start": (-1.3, 1.3, 0.0, 0.0), "goal": (1, 1)})
    for _ in range(100):
        action = np.clip(rng.normal((0.6, 0.2), 1.0), -1, 1)
        obs, _, _, _, info = pixels.step(action)
        assert read_positions(obs["observation"], "umaze") == pytest.approx(info["position"], abs=0.01)
        assert np.array_equal(state.step(action)[4]["position"], info["position"])


def test_images_tell_nothing_of_the_goal():
    env = gym.make(ENV_ID).unwrapped
    images = [env.reset(options={"start": (1, 1), "goal": goal})[0]["observation"] for goal in ((-1, 1), (-1, -1))]
    assert np.array_equal(*images)
    assert not (images[0][..., 0] > 2 * images[0][..., 1].astype(int)).any()  # nothing red


@pytest.mark.parametrize("reward", DOMAIN.rewards)
@pytest.mark.parametrize("observation", KINDS)
def test_rewards_of_a_batch_are_those_of_its_members(observation, reward):
    env = gym.make(ENV_ID, observation=observation, reward=reward).unwrapped
    goals = np.stack([env.reset(seed=seed)[0]["desired_goal"] for seed in range(6)])
    batch = env.compute_reward(goals, goals[::-1], [{}] * 6)
    assert batch.tolist() == [env.compute_reward(a, b) for a, b in zip(goals, goals[::-1], strict=True)]
    assert env.compute_reward(goals, goals[0]).tolist()[0] == 0.0
    with pytest.raises(ValueError, match=r"desired_goal must have shape \(\.\.\., .*\), got \(3,\)"):
        env.compute_reward(goals, np.zeros(3))


def test_success_begins_at_the_edge():
    env = gym.make(ENV_ID, observation="state").unwrapped
    for away, success in ((0.4499, True), (0.4501, False)):
        obs, info = env.reset(options={"start": (-1 + away, 1.0), "goal": (-1.0, 1.0)})
        assert info["is_success"] is success
        assert env.compute_reward(obs["achieved_goal"], obs["desired_goal"]) == (0.0 if success else -1.0)
    for seed in range(30):
        assert not env.reset(seed=seed)[1]["is_success"]


@pytest.mark.parametrize("observation", KINDS)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectors_of_environments(mode, observation):
    kwargs = {"vector_kwargs": {"context": "spawn"}} if mode == "async" else {}
    vector = gym.make_vec(ENV_ID, num_envs=2, vectorization_mode=mode, observation=observation, **kwargs)
    single = gym.make(ENV_ID, observation=observation)
    try:
        for seen, alone in (
            (vector.reset(seed=[4, 5])[0], single.reset(seed=5)[0]),
            (vector.step(np.ones((2, 2), np.float32))[0], single.step(np.ones(2))[0]),
        ):
            assert data_equivalence({key: seen[key][1] for key in seen}, alone, exact=True)
    finally:
        vector.close()


def test_options_stay_as_they_are_given():
    env = gym.make(ENV_ID, observation="state")
    for options in (EPISODE, {"start": EPISODE["start"]}, {"goal": EPISODE["goal"]}, {"goal": None}):
        _, info = env.reset(seed=7, options=options)
        for key, name in (("start", "position"), ("goal", "goal")):
            if options.get(key):
                assert info[name].tolist() == list(options[key])
    (x, y), cells = info["position"], free_cells("umaze")
    assert np.abs(cells - (x, y)).max(1).min() <= 0.25


def test_pictures():
    env = gym.make(ENV_ID, render_mode="rgb_array")
    env.reset(options=EPISODE)
    info = env.step([1.0, 0.0])[4]
    picture = env.render()
    assert (picture.shape, picture.dtype) == ((512, 512, 3), np.uint8)
    assert picture[256 + 128, 128 - 55].tolist() == [225, 60, 60]  # the ring: 128 pixels a metre, the goal at (−1, −1)
    scene = draw_scene(512, info, info["position"], np.array([EPISODE["start"], info["position"]]))
    column, row = DOMAIN.to_canvas(info["position"], 512).astype(int)
    assert scene[row, column].tolist() == [92, 184, 92]


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("keywords", "options", "message"),
    [
        ({"maze": "large"}, {}, "maze must be one of 'umaze', 'medium', got 'large'"),
        ({"observation": "rgb"}, {}, "observation must be one of 'pixels', 'state', got 'rgb'"),
        ({"reward": 1}, {}, "reward must be one of 'sparse', 'dense', got 1"),
        ({"render_mode": "human"}, {}, "render_mode must be one of 'rgb_array', got 'human'"),
        ({}, [], r"options must be a dictionary of reset options or None, got \[\]"),
        ({}, {"wall": 3}, "reset option must be one of 'start', 'goal', got 'wall'"),
        ({}, {"start": (1, 1, 1)}, r"start must be finite numbers \(x, y\) or \(x, y, velocity .*\), got \(1, 1, 1\)"),
        ({}, {"goal": (1, 1, 0, 0)}, r"goal must be finite numbers \(x, y\), got \(1, 1, 0, 0\)"),
        ({}, {"goal": (1, np.nan)}, r"goal must be finite numbers \(x, y\), got \(1, nan\)"),
        ({}, {"start": (0, 0)}, r"start must lie in the maze, 0.1 m clear of its walls, got \[0.0, 0.0\]"),
        ({}, {"goal": (1, 1.45)}, r"goal must lie in the maze, .*, got \[1.0, 1.45\]"),
        ({}, {"start": (1, 1, 0, -7)}, r"start must have velocities from -6.0 to 6.0, got \[0.0, -7.0\]"),
        ({}, {"goal": (9, 9)}, r"goal must lie in the maze, .*, got \[9.0, 9.0\]"),
    ],
)
def test_bad_settings_and_options(keywords, options, message):
    with pytest.raises(ValueError, match=message):
        PointMazeEnv(**{"observation": "state"} | keywords).reset(options=options)


def test_bad_actions_and_seeds():
    env = PointMazeEnv(observation="state")
    env.reset(seed=0)
    for action, message in (([np.nan, 0.0], "action must be finite"), ([1.0], r"action must have shape \(2,\)")):
        with pytest.raises(ValueError, match=message):
            env.step(action)


def test_missing_packages(monkeypatch):
    monkeypatch.setattr(physics, "load", physics.load.__wrapped__)  # forget what is loaded
    monkeypatch.setitem(sys.modules, "gymnasium_robotics.envs.maze.point_maze", None)
    with pytest.raises(gym.error.DependencyNotInstalled, match=r'PointMaze needs MuJoCo: pip install "worldmodel\['):
        gym.make(ENV_ID)
