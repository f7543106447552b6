"""Environments of this project in TorchRL: what it steps and resets is what Gymnasium gives."""

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torchrl")

from torchrl.envs import GymEnv, GymWrapper
from torchrl.envs.utils import check_env_specs

import envs

OBSERVATION = ("observation", "achieved_goal", "desired_goal")
IDS = [domain.env_id for domain in envs.domains() if domain.name in ("two-rooms", "pillars", "pendulum")]


def assert_same(data, observation):
    for key in OBSERVATION:
        np.testing.assert_array_equal(data[key].numpy(), observation[key])


@pytest.mark.parametrize("env_id", IDS)
def test_steps_resets_and_ends_are_those_of_gymnasium(env_id):
    env, plain = GymEnv(f"envs:{env_id}", max_episode_steps=5), gym.make(env_id, max_episode_steps=5)
    check_env_specs(env)
    env.set_seed(7)  # resets, too
    observation, _ = plain.reset(seed=7)
    observation, _ = plain.reset()
    played = env.rollout(20)
    assert len(played) == 5  # the episode's
    for step in played:
        assert_same(step, observation)
        observation, reward, terminated, truncated, _ = plain.step(step["action"].numpy())
        assert_same(step["next"], observation)
        assert step["next", "reward"].item() == np.float32(reward)
        assert (step["next", "terminated"].item(), step["next", "truncated"].item()) == (terminated, truncated)
    assert_same(env.reset(), plain.reset()[0])


@pytest.mark.parametrize("vectorization_mode", [None, "sync"])
def test_vector_environments_that_torchrl_resets_itself(vectorization_mode):
    """With autoreset "Disabled", of native vector environments as of others."""
    mode = {"autoreset_mode": "Disabled"}
    how = mode if vectorization_mode is None else {"vectorization_mode": "sync", "vector_kwargs": mode}
    settings = {"num_envs": 2, "max_episode_steps": 3, "observation": "state"} | how
    env, plain = GymWrapper(gym.make_vec("TwoRooms-v0", **settings)), gym.make_vec("TwoRooms-v0", **settings)
    env.set_seed(3)
    plain.reset(seed=3)
    observation, _ = plain.reset()
    played = env.rollout(7, break_when_any_done=False)
    assert played["next", "done"].sum(1).flatten().tolist() == [2, 2]
    for step in played.unbind(1):
        assert_same(step, observation)
        observation, rewards, _, truncated, _ = plain.step(step["action"].numpy())
        assert_same(step["next"], observation)
        np.testing.assert_array_equal(step["next", "reward"].flatten().numpy(), rewards.astype(np.float32))
        if truncated.any():
            observation, _ = plain.reset(options={"reset_mask": truncated})


def test_a_mode_that_torchrl_cannot_take_is_refused():
    with pytest.raises(RuntimeError, match="auto-reset mode must be one of SAME_STEP or DISABLED"):
        GymWrapper(gym.make_vec("TwoRooms-v0", num_envs=2))  # NextStep, Gymnasium's default
