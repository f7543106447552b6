"""Reinforcement learning under a budget: every algorithm by name, features, hindsight, saving and resuming."""

import gymnasium as gym
import numpy as np
import pytest
import torch

import envs  # noqa: F401 - registers Two Rooms
from agents import rl
from agents.features import ImageFeatures, LatentFeatures, VectorFeatures
from agents.vec_env import SB3VecEnv

ON_POLICY = {"a2c": {"n_steps": 4}, "ppo": {"n_steps": 8, "batch_size": 8, "n_epochs": 1}}
ON_POLICY["trpo"] = {"n_steps": 8, "batch_size": 8}
ON_POLICY["recurrent-ppo"] = {"n_steps": 8, "batch_size": 8, "n_epochs": 1}
OFF_POLICY = {"buffer_size": 500, "learning_starts": 30, "batch_size": 8, "train_freq": 1, "gradient_steps": 1}


def rooms(num_envs: int = 2, observation: str = "state", steps: int = 10) -> SB3VecEnv:
    return SB3VecEnv(
        gym.make_vec(
            "TwoRooms-v0",
            num_envs=num_envs,
            autoreset_mode="SameStep",
            observation=observation,
            max_episode_steps=steps,
        )
    )


def make(algorithm: str, env, features=VectorFeatures, **changes):
    hindsight = rl.is_off_policy(algorithm)
    options = OFF_POLICY if hindsight else ON_POLICY[algorithm]
    keywords = {"features": features, "hindsight": hindsight, "options": options} | changes
    return rl.make_model(algorithm, env, policy_options={"net_arch": [8]}, **keywords)


def write_config(folder, algorithm: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / rl.CONFIG).write_text(f'{{"algorithm": "{algorithm}", "observation": "state"}}')


@pytest.mark.parametrize("algorithm", list(rl.ALGORITHMS))
def test_every_algorithm_trains_saves_loads_and_goes_on(algorithm, tmp_path):
    env = rooms()
    write_config(tmp_path, algorithm)
    model = make(algorithm, env)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    spent = rl.train(model, tmp_path, max_steps=48, progress=False)
    assert 48 <= spent.steps <= 64
    assert any(not torch.equal(value, before[name]) for name, value in model.policy.state_dict().items())
    observation = env.reset()
    expected, _ = model.predict(observation, deterministic=True)
    loaded = rl.load(tmp_path)
    action, _ = loaded.predict(observation, deterministic=True)
    np.testing.assert_allclose(action, expected, rtol=1e-5, atol=1e-6)
    assert env.action_space.contains(action[0])
    again = rl.train(rl.load(tmp_path, env), tmp_path, max_steps=96, progress=False)
    assert again.steps >= 96
    assert again.seconds > spent.seconds
    assert rl.train(rl.load(tmp_path, env), tmp_path, max_steps=96, progress=False) == again


def test_time_is_a_budget(tmp_path):
    env = rooms()
    write_config(tmp_path, "a2c")
    spent = rl.train(make("a2c", env), tmp_path, max_seconds=0.2, progress=False)
    assert 0.2 <= spent.seconds < 10
    assert rl.train(rl.load(tmp_path, env), tmp_path, max_seconds=0.2, progress=False) == spent
    with pytest.raises(ValueError, match="max_seconds or max_steps must be given, got None for both"):
        rl.train(make("a2c", env), tmp_path)


def test_hindsight_relabels_with_true_rewards(tmp_path):
    env = rooms(num_envs=3)
    model = make("sac", env)
    rl.train(model, tmp_path, max_steps=120, progress=False)
    batch = model.replay_buffer.sample(64)
    achieved, wanted = (batch.next_observations[key].numpy() for key in ("achieved_goal", "desired_goal"))
    reached = np.linalg.norm(achieved - wanted, axis=-1) < 4.5
    np.testing.assert_array_equal(batch.rewards[:, 0].numpy() == 0.0, reached)
    assert reached.any()  # of goals that were relabelled; episodes of ten steps do not reach the true ones


def test_vectors_are_scaled_to_their_bounds():
    space = rooms().observation_space
    features = VectorFeatures(space)
    ends = [{key: torch.from_numpy(getattr(space[key], end))[None] for key in space} for end in ("low", "high")]
    low, high = (features(observation) for observation in ends)
    torch.testing.assert_close(low, -torch.ones(1, 6))
    torch.testing.assert_close(high, torch.ones(1, 6))
    unbounded = gym.spaces.Dict(dict(space.items()) | {"observation": gym.spaces.Box(-np.inf, np.inf, (4,))})
    with pytest.raises(ValueError, match="the space of 'observation' must be bounded, got"):
        VectorFeatures(unbounded)
    with pytest.raises(ValueError, match="must be a Dict whose 'observation' is a Box of 3 dimensions, got"):
        ImageFeatures(space)


@pytest.mark.parametrize("encoder", ["axial", "strided"])
def test_images_are_features_that_are_trained(encoder):
    env = rooms(observation="pixels")
    observation = env.reset()
    options = {"encoder": encoder, "latent_dim": 4, "sample": observation["observation"]}
    features = make("sac", env, ImageFeatures, feature_options=options, hindsight=False).policy.actor.features_extractor
    tensors = {key: torch.from_numpy(value) for key, value in observation.items()}
    out = features(tensors)
    assert out.shape == (2, 8)
    swapped = features(tensors | {"observation": tensors["desired_goal"], "desired_goal": tensors["observation"]})
    torch.testing.assert_close(swapped, out.roll(4, dims=1))  # one encoder for both
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in features.encoder.parameters())


def test_latents_come_from_a_frozen_encoder():
    env = rooms(observation="pixels")
    options = {"checkpoint": "two-rooms"}
    model = make("sac", env, LatentFeatures, feature_options=options, hindsight=False)
    frozen = {name: value.clone() for name, value in model.policy.actor.features_extractor.state_dict().items()}
    model.learn(40)
    for name, value in model.policy.actor.features_extractor.state_dict().items():
        assert torch.equal(value, frozen[name]), name


def test_errors_name_the_rule(tmp_path):
    with pytest.raises(ValueError, match=r"algorithm must be one of 'a2c', .*'tqc', got 'dqn'"):
        rl.is_off_policy("dqn")
    with pytest.raises(
        ValueError, match=r"hindsight needs an algorithm with a replay buffer \('ddpg', .*\), got 'ppo'"
    ):
        make("ppo", rooms(), hindsight=True)
    with pytest.raises(FileNotFoundError, match=r"must hold rl\.json"):
        rl.load(tmp_path)
