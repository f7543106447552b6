from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import envs
from envs.push_t.domain import DOMAIN, ENV_ID, draw_episodes
from envs.push_t.geometry import TOLERANCE, distance, to_goals

pytest.importorskip("pymunk")
envs.register(DOMAIN)


@pytest.mark.parametrize("name", DOMAIN.recipes)
def test_episodes_of_manifests(name):
    recipe = DOMAIN.recipes[name]
    recipe = replace(recipe, num_episodes=6) if "near" in name else recipe  # the expert takes its time
    episodes = draw_episodes(recipe)
    assert episodes == draw_episodes(recipe)
    assert len(episodes.seeds) == len(episodes.options) == recipe.num_episodes
    starts, goals = (np.array([options[key] for options in episodes.options]) for key in ("start", "goal"))
    assert (distance(to_goals(starts), to_goals(goals)) >= TOLERANCE).all()
    env = gym.make(ENV_ID, observation="state")
    for options in episodes.options[:10]:
        assert not env.reset(options=options)[1]["is_success"]


def test_recipes_draw_different_episodes():
    drawn = {name: draw_episodes(replace(recipe, num_episodes=3)) for name, recipe in DOMAIN.recipes.items()}
    assert len({str(episodes.options) for episodes in drawn.values()}) == len(drawn)
    assert {name for name, episodes in drawn.items() if "start_velocity" in episodes.options[0]} == {
        "near",
        "validation-near",
    }


def test_near_goals_can_be_reached_in_time():
    """The block moved in some of them, and no agent is farther away than it can go in 25 steps."""
    episodes = draw_episodes(replace(DOMAIN.recipes["near"], num_episodes=8))
    starts, goals = (np.array([options[key] for options in episodes.options]) for key in ("start", "goal"))
    assert (np.abs(goals - starts)[:, 2:4].max(1) > 5).sum() >= 3
    assert np.abs(goals - starts)[:, :2].max() < 25 * 50


def test_positions_are_read_off_images():
    env = gym.make(ENV_ID)
    obs, info = env.reset(seed=0)
    assert DOMAIN.read_positions(obs["observation"][None])[0] == pytest.approx(info["position"], abs=0.6)
