import dataclasses

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

from envs.domain import register
from envs.point_maze.domain import DOMAINS, ENV_IDS, draw_episodes
from envs.point_maze.explorer import WanderExplorer
from envs.point_maze.mazes import (
    GOAL_RADIUS,
    MAPS,
    clearance,
    distance,
    free_cells,
    is_free,
    sample_places,
    shortest_path,
    shortest_path_to_disc,
)
from mujoco_rendering import require_mujoco

require_mujoco()

DOMAIN = DOMAINS[0]
for one in DOMAINS:
    register(one)


@pytest.mark.parametrize("maze", MAPS)
def test_the_expert_reaches_goals_and_stays(maze):
    env, expert = gym.make(ENV_IDS[maze], observation="state"), DOMAIN.expert({})
    for seed in range(12):
        obs, info = env.reset(seed=seed)
        for _ in range(300):
            action, _ = expert.predict(obs)
            assert action in env.action_space
            obs, *_, info = env.step(action)
        assert info["is_success"]


def test_the_expert_takes_batches_of_states_only():
    state, pixels = (gym.make(ENV_IDS["medium"], observation=kind) for kind in ("state", "pixels"))
    many = [state.reset(seed=seed)[0] for seed in range(3)]
    actions, memory = DOMAIN.expert({}).predict({key: np.stack([obs[key] for obs in many]) for key in many[0]}, "kept")
    assert np.array_equal(actions, [DOMAIN.expert({}).predict(obs)[0] for obs in many])
    assert memory == "kept"
    with pytest.raises(ValueError, match="the expert needs observations of kind 'state'"):
        DOMAIN.expert({}).predict(pixels.reset()[0])
    many[0]["observation"][4] = 7
    with pytest.raises(ValueError, match=r"must be the side of a maze, .*, got 7"):
        DOMAIN.expert({}).predict(many[0])


@pytest.mark.parametrize("observation", ["pixels", "state"])
def test_the_wandering_explorer_gets_around(observation):
    env = gym.make(ENV_IDS["umaze"], observation=observation)
    explorer, cells = DOMAIN.explorers["wander"](env.observation_space, env.action_space, {}), free_cells("umaze")
    visited, touched = [], 0
    for seed in range(3):
        explorer.set_random_seed(seed)
        obs, info = env.reset(seed=seed)
        track, memory = [info["position"]], None
        for step in range(300):
            action, memory = explorer.predict(obs, memory, np.array([step == 0]))
            assert action in env.action_space
            obs, *_, info = env.step(action)
            track.append(info["position"])
        visited.append(len(set(distance(np.stack(track)[:, None], cells).argmin(1))) / len(cells))
        touched += (clearance("umaze", np.stack(track)) < 0.11).any()
    assert np.mean(visited) > 0.6
    assert touched


def test_who_bumps_is_held_up_by_walls_more_often():
    env = gym.make(ENV_IDS["medium"], observation="state")
    held = {}
    for name in ("wander", "bump"):
        explorer, close = DOMAIN.explorers[name](env.observation_space, env.action_space, {}), []
        for seed in range(4):
            explorer.set_random_seed(seed)
            (obs, info), memory = env.reset(seed=seed), None
            for step in range(300):
                action, memory = explorer.predict(obs, memory, np.array([step == 0]))
                obs, *_, info = env.step(action)
                close.append(clearance("medium", info["position"][None])[0] < 0.11)
        held[name] = np.mean(close)
    assert held["bump"] > 1.2 * held["wander"]


def test_the_wandering_explorer_is_deterministic_given_its_seed_and_takes_batches():
    env = gym.make(ENV_IDS["medium"], observation="state")
    explorer = WanderExplorer(env.observation_space, env.action_space)
    seen = [env.reset(seed=seed)[0] for seed in range(3)]
    batch = {key: np.stack([one[key] for one in seen]) for key in seen[0]}
    runs = []
    for _ in range(2):
        explorer.set_random_seed(3)
        first, memory = explorer.predict(batch, None, np.ones(3, bool))
        second, memory = explorer.predict(batch, memory, np.array([False, True, False]))
        runs.append(np.stack([first, second]))
    assert np.array_equal(*runs)
    assert runs[0].shape == (2, 3, 2)
    with pytest.raises(ValueError, match="the wandering explorer needs PointMaze, got observations"):
        WanderExplorer(gym.spaces.Box(0, 1, (5,)), env.action_space)


def test_mazes_are_those_of_gymnasium_robotics():
    from gymnasium_robotics.envs.maze import maps

    for maze, rows in (("umaze", maps.U_MAZE), ("medium", maps.MEDIUM_MAZE)):
        assert MAPS[maze] == tuple("".join("#" if cell == 1 else " " for cell in row) for row in rows)


def test_clearance():
    points = np.array([(-1, 1), (-1, 1.3), (1.4, 0), (0.7, 0.6), (0, 0), (9, 9)])
    expected = [0.5, 0.2, 0.1, np.hypot(0.2, 0.1), 0, 0]
    assert clearance("umaze", points) == pytest.approx(expected)
    assert is_free("umaze", points).tolist() == [True, True, True, True, False, False]


@pytest.mark.parametrize("maze", MAPS)
def test_shortest_paths_keep_clear_of_walls(maze):
    rng = np.random.default_rng(0)
    for start, goal in sample_places(maze, rng, 60).reshape(-1, 2, 2):
        length, ends = shortest_path(maze, start, goal[None])
        points = np.concatenate([start[None], ends])
        legs = distance(points[1:], points[:-1])
        assert length == pytest.approx(legs.sum())
        assert ends[-1].tolist() == goal.tolist()
        along = points[:-1, None] + np.linspace(0, 1, 50)[:, None] * np.diff(points, axis=0)[:, None]
        assert clearance(maze, along).min() >= 0.1 - 1e-5
        assert shortest_path(maze, goal, start[None])[0] == pytest.approx(length)
        to_disc = shortest_path_to_disc(maze, start, goal)
        assert to_disc == 0 or length - GOAL_RADIUS - 1e-9 <= to_disc + 0.05 <= length


def test_a_path_around_the_middle_wall_and_to_nowhere():
    length, ends = shortest_path("umaze", np.array([-1.0, 1.0]), np.array([[-1.0, -1.0]]))
    assert ends == pytest.approx(np.array([(0.6, 0.6), (0.6, -0.6), (-1, -1)]))
    assert length == pytest.approx(2 * np.hypot(1.6, 0.4) + 1.2)
    assert shortest_path("umaze", np.array([-1.0, 1.0]), np.zeros((1, 2)))[0] == np.inf


@pytest.mark.parametrize("name", DOMAIN.recipes)
def test_episodes_of_manifests(name):
    recipe = dataclasses.replace(DOMAIN.recipes[name], num_episodes=8)
    episodes = draw_episodes(recipe)
    assert episodes == draw_episodes(recipe)
    assert len(episodes.seeds) == len(episodes.options) == 8
    env, is_near = gym.make(recipe.env_id, observation="state"), recipe.max_steps is not None
    assert is_near == ("near" in name) == (episodes.shortest_paths is None)
    for seed, options in zip(episodes.seeds, episodes.options, strict=True):
        _, info = env.reset(seed=seed, options=options)
        assert GOAL_RADIUS <= info["distance"] < (1.3 if is_near else 12)
    if not is_near:
        straight = [distance(one["start"], one["goal"]) for one in episodes.options]
        assert (np.array(episodes.shortest_paths) >= np.array(straight) - GOAL_RADIUS - 1e-3).all()
