import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("mujoco")

from envs.domain import register
from envs.reacher.arm import GOAL_RADIUS, MAX_ELBOW, distance, fingertip, poses
from envs.reacher.domain import DOMAIN, ENV_ID, draw_episodes
from envs.reacher.explorer import SwingExplorer
from mujoco_rendering import require_mujoco

require_mujoco()

register(DOMAIN)


@given(st.floats(-3.14, 3.14), st.floats(-3, 3))
def test_poses_bring_the_fingertip_where_it_should_be(shoulder, elbow):
    place = fingertip(np.array([shoulder, elbow]))
    both = poses(place)
    assert fingertip(both) == pytest.approx(np.stack([place, place]), abs=1e-6)
    assert np.abs(both[..., 1]).max() <= MAX_ELBOW
    assert both[0, 1] >= 0 >= both[1, 1]


def test_poses_of_places_out_of_reach_come_close():
    assert fingertip(poses(np.array([30.0, 0.0]))) == pytest.approx(np.array([(21, 0), (21, 0)]))
    assert np.isfinite(poses(np.zeros(2))).all()


def test_the_expert_reaches_goals_and_stays():
    env, expert = gym.make(ENV_ID, observation="state"), DOMAIN.expert({})
    for seed in range(30):
        obs, info = env.reset(seed=seed)
        for _ in range(40):
            action, _ = expert.predict(obs)
            assert action in env.action_space
            obs, *_, info = env.step(action)
        assert info["distance"] < 0.1


def test_the_expert_takes_batches_of_states_only():
    state, pixels = (gym.make(ENV_ID, observation=kind) for kind in ("state", "pixels"))
    many = [state.reset(seed=seed)[0] for seed in range(3)]
    actions, memory = DOMAIN.expert({}).predict({key: np.stack([obs[key] for obs in many]) for key in many[0]}, "kept")
    assert np.array_equal(actions, [DOMAIN.expert({}).predict(obs)[0] for obs in many])
    assert memory == "kept"
    with pytest.raises(ValueError, match="the expert needs observations of kind 'state'"):
        DOMAIN.expert({}).predict(pixels.reset()[0])


def test_the_swinging_explorer_stays_slow_and_gets_around():
    env = gym.make(ENV_ID, observation="state")
    explorer, states = DOMAIN.explorers["swing"](env.observation_space, env.action_space, {}), []
    for seed in range(20):
        explorer.set_random_seed(seed)
        obs, _ = env.reset(seed=seed)
        memory = None
        for step in range(200):
            action, memory = explorer.predict(obs, memory, np.array([step == 0]))
            obs, *_ = env.step(action)
            states.append(obs["observation"])
    states = np.stack(states)
    assert np.percentile(np.abs(states[:, 4:6]), 95) < 12
    angles = np.arctan2(states[:, 2:4], states[:, :2])
    assert (np.histogram2d(*angles.T, bins=6)[0] > 0).all()


def test_the_swinging_explorer_is_deterministic_given_its_seed_and_takes_batches():
    env = gym.make(ENV_ID, observation="state")
    explorer = SwingExplorer(env.observation_space, env.action_space)
    batch = {key: np.stack([value] * 3) for key, value in env.reset(seed=0)[0].items()}
    runs = []
    for _ in range(2):
        explorer.set_random_seed(3)
        first, memory = explorer.predict(batch, None, np.ones(3, bool))
        second, memory = explorer.predict(batch, memory, np.array([False, True, False]))
        runs.append(np.stack([first, second]))
    assert np.array_equal(*runs)
    assert runs[0].shape == (2, 3, 2)
    with pytest.raises(ValueError, match=r"needs actions of shape \(2,\), got \(3,\)"):
        SwingExplorer(env.observation_space, gym.spaces.Box(-1, 1, (3,)))


@pytest.mark.parametrize("name", DOMAIN.recipes)
def test_episodes_of_manifests(name):
    recipe = dataclasses.replace(DOMAIN.recipes[name], num_episodes=15)
    episodes = draw_episodes(recipe)
    assert episodes == draw_episodes(recipe)
    assert len(episodes.seeds) == len(episodes.options) == 15
    assert (recipe.max_steps is not None) == ("near" in name)
    env = gym.make(recipe.env_id, observation="state")
    for seed, options in zip(episodes.seeds, episodes.options, strict=True):
        assert env.reset(seed=seed, options=options)[1]["distance"] >= GOAL_RADIUS
    away = [distance(fingertip(np.array(one["start"])), fingertip(np.array(one["goal"]))) for one in episodes.options]
    assert np.median(away) > 3
