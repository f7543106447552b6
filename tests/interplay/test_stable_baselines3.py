"""Agents in Stable-Baselines3's evaluation, environments in its callbacks; what VecNormalize would spoil is refused."""

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecMonitor, VecNormalize

from agents import PlannerConfig, PlanningAgent, make_policy, make_task, rl
from rl_rooms import described, make, rooms

PPO_OPTIONS = {"n_steps": 8, "batch_size": 8, "n_epochs": 1}
SAC_OPTIONS = {"buffer_size": 200, "learning_starts": 8, "batch_size": 8}


@pytest.fixture(scope="module")
def agent():
    return PlanningAgent.from_pretrained("two-rooms", PlannerConfig(planner="policy"))


def one_by_one(num_envs, observation, steps=6):
    return DummyVecEnv([lambda: gym.make("TwoRooms-v0", observation=observation, max_episode_steps=steps)] * num_envs)


def evaluated(policy, env, num_episodes=3):
    """Sums of rewards, lengths, and how far each episode ended from its goal."""
    ends = []

    def look(now, _):
        if now["done"]:
            ends.append(now["info"]["distance"])

    env.seed(5)
    options = {"n_eval_episodes": num_episodes, "callback": look, "return_episode_rewards": True, "warn": False}
    return *evaluate_policy(policy, env, **options), ends


@pytest.mark.parametrize("kind", ["planning", "expert", "random"])
def test_evaluate_policy_takes_every_agent_and_both_kinds_of_vector_environments(agent, kind):
    task = make_task("TwoRooms-v0")
    policies = [(agent, "pixels")] * 2 if kind == "planning" else [make_policy(kind, task, seed=1) for _ in range(2)]
    native, single = (
        evaluated(policy, env(2, observation=sees, steps=6))
        for env, (policy, sees) in zip((rooms, one_by_one), policies, strict=True)
    )
    assert native == single
    assert native[1] == [6] * 3
    assert len(set(native[2])) == 3


@pytest.mark.parametrize("wrap", [rooms, one_by_one])
def test_normalized_images_are_refused(agent, wrap):
    for keys, first in ((None, "observation"), (["desired_goal"], "desired_goal")):
        env = VecNormalize(wrap(2, observation="pixels"), training=False, norm_obs_keys=keys)
        with pytest.raises(ValueError, match=rf"^{first} must have dtype uint8, got float32$"):
            evaluate_policy(agent, env, n_eval_episodes=1, warn=False)


def test_normalized_rewards_change_no_action(agent):
    plain, env = (VecMonitor(rooms(2, observation="pixels", steps=4)) for _ in range(2))
    assert evaluated(agent, VecNormalize(env, training=False, norm_obs=False)) == evaluated(agent, plain)


def test_stacked_images_are_refused(agent):
    with pytest.raises(ValueError, match=r"pixels must have shape \(\.\.\., 2, 65, 65\) or .*, got \(4, 4, 65, 65\)"):
        evaluate_policy(agent, VecFrameStack(rooms(2, observation="pixels"), 2), n_eval_episodes=1, warn=False)


def test_vec_normalize_gives_the_same_around_native_vector_environments():
    envs = [VecNormalize(make_env(3, observation="state", steps=4)) for make_env in (rooms, one_by_one)]
    for env in envs:
        env.seed(0)
    seen = [env.reset() for env in envs]
    rng = np.random.default_rng(0)
    for _ in range(9):
        actions = rng.normal(0, 2, (3, 2)).astype(np.float32)
        (seen[0], rewards, dones, infos), (seen[1], others, ends, told) = (env.step(actions) for env in envs)
        assert all(np.array_equal(seen[0][key], seen[1][key]) for key in seen[0])
        assert np.array_equal(rewards, others)
        assert np.array_equal(dones, ends)
        for info, other in zip(infos, told, strict=True):
            assert ("terminal_observation" in info) == ("terminal_observation" in other)
    assert abs(seen[0]["observation"]).max() <= 10


def test_runs_that_keep_no_statistics_refuse_vec_normalize(tmp_path):
    env = VecMonitor(VecNormalize(rooms()))
    rule = r"env must be without VecNormalize, whose statistics a run does not keep .*, got it in VecMonitor"
    with pytest.raises(ValueError, match=rule):
        rl.make_model(described("sac", rooms()), env)
    with pytest.raises(ValueError, match=rule):
        rl.Evaluation(env, num_episodes=1, every=1)
    make("sac", rooms())


@pytest.mark.parametrize(("algorithm", "kind"), [(PPO, "one"), (PPO, "normalized"), (SAC, "native")])
def test_eval_callback_measures_and_keeps_the_best_model(algorithm, kind, tmp_path):
    options = PPO_OPTIONS if algorithm is PPO else SAC_OPTIONS
    if kind == "one":
        train, evaluate = (Monitor(gym.make("TwoRooms-v0", observation="state", max_episode_steps=8)) for _ in "ab")
    else:
        train, evaluate = (VecMonitor(rooms(2, steps=8)) for _ in "ab")
    if kind == "normalized":
        train, evaluate = VecNormalize(train), VecNormalize(evaluate, training=False, norm_reward=False)
    model = algorithm("MultiInputPolicy", train, policy_kwargs={"net_arch": [8]}, seed=0, device="cpu", **options)
    told = EvalCallback(
        evaluate, n_eval_episodes=3, eval_freq=8, log_path=tmp_path, best_model_save_path=tmp_path, verbose=0
    )
    model.learn(32, callback=told)
    with np.load(tmp_path / "evaluations.npz") as found:
        steps = found["timesteps"].tolist()
        assert steps == list(range(steps[0], 33, steps[0]))
        assert found["ep_lengths"].tolist() == [[8, 8, 8]] * len(steps)
        assert found["results"].min() >= -8  # of −1 a step, as they are
        assert found["successes"].shape == (len(steps), 3)  # what the environment calls is_success
    observation = evaluate.reset() if kind != "one" else evaluate.reset()[0]
    assert algorithm.load(tmp_path / "best_model").predict(observation)[0].shape[-1] == 2
    if kind == "normalized":  # the callback hands the training's statistics over
        assert np.array_equal(evaluate.obs_rms["observation"].mean, train.obs_rms["observation"].mean)
