"""Reinforcement learning under a budget: every algorithm by name, features, hindsight, saving and resuming."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents import rl
from agents.rl.codes import CodedPolicy, CodedVecEnv, latents, open_code, profiles
from agents.rl.features import CodeFeatures, ImageFeatures, VectorFeatures
from agents.rl.held_actions import HeldPolicy
from envs.two_rooms.task import Settings, image_positions
from rl_rooms import make, rooms, write_config
from worldmodel.checkpoint import load_pretrained


@pytest.mark.parametrize("algorithm", list(rl.ALGORITHMS))
def test_every_algorithm_trains_saves_loads_and_goes_on(algorithm, tmp_path):
    env = rooms()
    write_config(tmp_path, algorithm)
    model = make(algorithm, env)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    spent = rl.train(model, tmp_path, max_steps=48, progress=False)
    assert 48 <= spent.steps < 48 + 2 * model.n_steps if hasattr(model, "rollout_buffer") else spent.steps == 48
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
    box = gym.spaces.Box(np.array([-np.inf, 0, 0, 0], np.float32), 4, (4,))
    partly = VectorFeatures(gym.spaces.Dict(dict(space.items()) | {"observation": box}))
    seen = torch.tensor([[7.0, 4.0, 2.0, 0.0]])
    torch.testing.assert_close(partly(ends[0] | {"observation": seen})[0, :4], torch.tensor([7.0, 1, 0, -1]))
    with pytest.raises(ValueError, match="must be a Dict whose 'observation' is a Box of 3 dimensions, got"):
        ImageFeatures(space)


def test_images_are_features_that_are_trained():
    env = rooms(observation="pixels")
    observation = env.reset()
    seen = {"observation": "pixels", "kept_as": None, "features": "images"}
    options = {"encoder": "strided", "latent_dim": 4}
    model = make("sac", env, observation["observation"], feature_options=options, hindsight=False, **seen)
    features = model.policy.actor.features_extractor
    tensors = {key: torch.from_numpy(value) for key, value in observation.items()}
    out = features(tensors)
    assert out.shape == (2, 8)
    swapped = features(tensors | {"observation": tensors["desired_goal"], "desired_goal": tensors["observation"]})
    torch.testing.assert_close(swapped, out.roll(4, dims=1))  # one encoder for both
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in features.encoder.parameters())


def coded(code, num_envs: int = 3) -> CodedVecEnv:
    reward = Settings(observation="state").compute_reward
    return CodedVecEnv(rooms(num_envs, observation="pixels"), code, image_positions, reward, 2)


def test_codes_are_what_the_encoders_make_of_images():
    images = rooms(observation="pixels").reset()["observation"]
    means = profiles((2, 65, 65))(images)
    assert means.shape == (2, 260)
    np.testing.assert_allclose(means[:, :65], images[:, 0].mean(axis=-1), rtol=1e-5)
    np.testing.assert_allclose(means[:, 195:], images[:, 1].mean(axis=-2), rtol=1e-5)
    model = load_pretrained("two-rooms").model
    np.testing.assert_array_equal(latents("two-rooms")(images), model.encode(torch.from_numpy(images)).detach().numpy())


@pytest.mark.parametrize(("kind", "argument"), [(profiles, (2, 65, 65)), (latents, "two-rooms")])
def test_coded_environments_are_those_with_images(kind, argument):
    code = kind(argument)
    images, codes = rooms(3, observation="pixels"), coded(code)
    for env in (images, codes):
        env.seed(5)
    seen, found = images.reset(), codes.reset()
    assert codes.observation_space.contains({key: value[0] for key, value in found.items()})
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(12):
        for key in seen:
            np.testing.assert_allclose(found[key][:, : code.dim], code(seen[key]), rtol=1e-5, atol=1e-5)
        actions = rng.uniform(-2.45, 2.45, (3, 2)).astype(np.float32)
        (seen, *rest, infos), (found, *others, coded_infos) = images.step(actions), codes.step(actions)
        for value, other in zip(rest, others, strict=True):
            np.testing.assert_array_equal(value, other)
        rewards = codes.env_method("compute_reward", found["achieved_goal"], found["desired_goal"], [], indices=[0])
        np.testing.assert_array_equal(
            rewards[0], images.env_method("compute_reward", seen["achieved_goal"], seen["desired_goal"], [])[0]
        )
        for info, other in zip(infos, coded_infos, strict=True):
            assert ("terminal_observation" in info) == ("terminal_observation" in other)
            if "terminal_observation" in info:
                ends += 1
                for key, image in info["terminal_observation"].items():
                    np.testing.assert_allclose(
                        other["terminal_observation"][key][: code.dim], code(image[None])[0], rtol=1e-5, atol=1e-5
                    )
    assert ends == 3


@pytest.mark.parametrize("algorithm", ["sac", "recurrent-ppo"])
def test_a_policy_on_codes_acts_on_images_and_misses_no_position(algorithm):
    code = profiles((2, 65, 65))
    env = coded(code)
    sample = env.reset()["observation"]
    seen = {"observation": "pixels", "kept_as": "profiles", "features": "codes"}
    model = make(algorithm, env, sample, feature_options={"feature_dim": 4}, **seen)
    model.learn(60)
    images = rooms(3, observation="pixels").reset()
    policy = CodedPolicy(model, code)
    actions, _ = policy.predict(images, deterministic=True)
    positions = {key: image_positions(images[key]) for key in ("achieved_goal", "desired_goal")}
    full = {
        key: np.concatenate([code(images[key]), positions[key]], axis=-1, dtype=np.float32)
        for key in ("achieved_goal", "desired_goal")
    }
    expected, _ = model.predict(full | {"observation": code(images["observation"])}, deterministic=True)
    np.testing.assert_array_equal(actions, expected)
    single, _ = policy.predict({key: value[1] for key, value in images.items()}, deterministic=True)
    np.testing.assert_allclose(single, actions[1], rtol=1e-5, atol=1e-5)
    held, drawn = HeldPolicy(policy, 2), []
    for _ in range(2):
        held.set_random_seed(3)
        drawn.append(held.predict(images)[0])
    np.testing.assert_array_equal(*drawn)
    assert not np.array_equal(drawn[0], held.predict(images)[0])


def test_code_features_train_one_network_or_none():
    env = coded(profiles((2, 65, 65)))
    observation = {key: torch.from_numpy(value) for key, value in env.reset().items()}
    sample = observation["observation"].numpy()
    features = CodeFeatures(env.observation_space, sample, hidden_dim=8, feature_dim=4)
    assert features(observation).shape == (3, 8)
    features(observation).sum().backward()
    assert all(parameter.grad is not None for parameter in features.parameters())
    plain = CodeFeatures(env.observation_space, sample, num_layers=0)
    assert not list(plain.parameters())
    present = plain(observation)[:, :260]
    changed = sample.std(axis=0) > 0.01 * sample.std(axis=0).max()
    standardised = (sample - sample.mean(axis=0)) / sample.std(axis=0).clip(1e-9)
    np.testing.assert_allclose(present.numpy()[:, changed], standardised[:, changed], rtol=1e-3, atol=1e-3)


def test_errors_name_the_rule(tmp_path):
    with pytest.raises(ValueError, match=r"algorithm must be one of 'a2c', .*'tqc', got 'dqn'"):
        rl.is_off_policy("dqn")
    with pytest.raises(ValueError, match="hindsight must be False for 'ppo', which has no replay buffer, got True"):
        make("ppo", rooms(), hindsight=True)
    with pytest.raises(ValueError, match="code must be one of 'profiles', 'latents', got 'sketch'"):
        open_code("sketch", tmp_path, (2, 65, 65))
    with pytest.raises(FileNotFoundError, match=r"must hold rl\.json"):
        rl.load(tmp_path)
