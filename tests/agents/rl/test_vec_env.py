import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from agents.rl.vec_env import SB3VecEnv

ENV_ID = "envs:TwoRooms-v0"


def native(num_envs=3, **kwargs):
    settings = {"observation": "state", "autoreset_mode": "SameStep", "max_episode_steps": 5} | kwargs
    return SB3VecEnv(gym.make_vec(ENV_ID, num_envs=num_envs, **settings))


def held(num_envs=3, **kwargs):
    settings = {"observation": "state", "max_episode_steps": 5} | kwargs
    mode = {"autoreset_mode": "SameStep"}
    return SB3VecEnv(gym.make_vec(ENV_ID, num_envs=num_envs, vectorization_mode="sync", vector_kwargs=mode, **settings))


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return np.array_equal(a, b)


@pytest.mark.parametrize("make", [native, held])
@pytest.mark.parametrize("kwargs", [{}, {"terminate_on_success": True, "layout": (32, 30)}, {"observation": "pixels"}])
def test_equals_stable_baselines_own_vector_environment(make, kwargs):
    settings = {"observation": "state", "max_episode_steps": 5} | kwargs
    env, reference = make(**kwargs), DummyVecEnv([lambda: gym.make(ENV_ID, **settings)] * 3)
    env.seed(4)
    reference.seed(4)
    assert equal(env.reset(), reference.reset())
    assert equal(env.reset_infos, reference.reset_infos)
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(17):
        actions = rng.normal(0, 2, (3, 2)).astype(np.float32)
        (obs, rewards, dones, infos), expected = env.step(actions), reference.step(actions)
        assert equal(obs, expected[0])
        assert np.array_equal(rewards, expected[1])
        assert rewards.dtype == np.float32
        assert np.array_equal(dones, expected[2])
        assert equal(infos, expected[3])
        assert equal(env.reset_infos, reference.reset_infos)
        ends += dones.sum()
    assert ends >= 9


def test_truncation_is_told_from_termination():
    env = native(num_envs=2, terminate_on_success=True)
    env.set_options({"layout": (32, 18), "start": [[50, 44], [10, 10]], "goal": (50, 50)})
    env.reset()
    down = np.tile(np.array([[0.0, 1.0]]), (2, 1))
    env.step(down)
    _, _, dones, infos = env.step(down)
    assert dones.tolist() == [True, False]
    assert [info["TimeLimit.truncated"] for info in infos] == [False, False]
    assert infos[0]["terminal_observation"]["achieved_goal"].tolist() == [50.0, 46.0]
    assert "terminal_observation" not in infos[1]
    for _ in range(3):
        _, _, dones, infos = env.step(down)
    assert dones.tolist() == [False, True]
    assert infos[1]["TimeLimit.truncated"] is True


@pytest.mark.parametrize("make", [native, held])
def test_options_and_seeds_are_used_once(make):
    env = make()
    options = {"layout": (32, 18), "start": (10, 10), "goal": (20, 20)}
    env.set_options(options)
    assert env.reset()["observation"].tolist() == [[10.0, 10.0, 32.0, 18.0]] * 3
    assert not np.array_equal(env.reset()["observation"], [[10.0, 10.0, 32.0, 18.0]] * 3)
    env.seed(1)
    first = env.reset()
    second = env.reset()
    env.seed(1)
    assert equal(env.reset(), first)
    assert not equal(first, second)


def test_options_for_each_environment():
    env = native(num_envs=2)
    env.set_options([{"layout": (32, 18), "goal": (10, 10)}, {"layout": (33, 19), "goal": (50, 50)}])
    env.reset()
    assert [info["goal"].tolist() for info in env.reset_infos] == [[10.0, 10.0], [50.0, 50.0]]
    env.set_options(None)
    env.reset()
    for options in ([{}], [{"goal": (10, 10)}, {"start": (10, 10)}]):
        with pytest.raises(ValueError, match="options must be a dictionary or 2 of them with the same keys"):
            env.set_options(options)


@pytest.mark.parametrize("make", [native, held])
def test_attributes_and_methods(make):
    env = make(num_envs=3)
    env.reset()
    assert env.get_attr("render_mode") == [None] * 3
    assert env.get_attr("render_mode", indices=[1]) == [None]
    achieved = np.zeros((4, 2), dtype=np.float32)
    for indices in ([0], 0, [0, 2]):
        rewards = env.env_method("compute_reward", achieved, achieved, [{}] * 4, indices=indices)
        assert len(rewards) == np.size(indices)
        assert all(reward.tolist() == [0.0] * 4 for reward in rewards)
    assert not env.has_attr("no_such_thing")
    assert env.env_is_wrapped(gym.wrappers.TimeLimit) == [False] * 3


@pytest.mark.parametrize("make", [native, held])
@pytest.mark.parametrize("num_envs", [1, 2, 3])
def test_attributes_and_methods_answer_for_each_environment(make, num_envs):
    """As Stable-Baselines3's own vector environments do."""
    env = make(num_envs=num_envs)
    reference = DummyVecEnv([lambda: gym.make(ENV_ID, observation="state").unwrapped] * num_envs)
    for each in (env, reference):
        each.seed(7)
        each.reset()
    last = num_envs - 1
    for indices in (None, last, [last], [last, 0]):
        found, expected = (
            [
                each.env_method("optimal_path_length", indices=indices),
                each.get_attr("np_random_seed", indices=indices),
                each.get_attr("action_space", indices=indices),
                each.get_attr("observation_space", indices=indices),
            ]
            for each in (env, reference)
        )
        assert repr(found) == repr(expected)
        assert found == expected


def test_what_is_not_one_entry_for_each_environment_is_the_answer_of_all():
    env = native(num_envs=2)
    env.seed(3)
    env.reset()
    env.set_attr("sizes", (1, 2, 3))
    env.set_attr("notes", {"a": 1, "b": 2})
    env.set_attr("name", "ab")
    env.set_attr("image", np.zeros((2, 5)))
    assert env.get_attr("sizes", indices=[1]) == [(1, 2, 3)]
    assert env.get_attr("notes") == [{"a": 1, "b": 2}] * 2
    assert env.get_attr("name") == ["ab"] * 2
    assert [row.shape for row in env.get_attr("image")] == [(5,)] * 2
    # A reset without arguments gives observations and infos, of all environments, and so it does for two.
    (observation, infos), same = env.env_method("reset")
    assert observation is same[0]
    assert observation["observation"].shape == (2, 4)
    assert infos["is_success"].shape == (2,)
    # What is asked with arguments is answered as asked, though it has as many entries as there are environments.
    goals = np.array([[0.0, 0.0], [50.0, 50.0]], np.float32)
    (rewards,) = env.env_method("compute_reward", goals, goals[::-1], None, indices=[1])
    assert rewards.tolist() == [-1.0, -1.0]
    (rewards,) = env.env_method("compute_reward", achieved_goal=goals, desired_goal=goals, indices=[0])
    assert rewards.tolist() == [0.0, 0.0]


def test_set_attr():
    env = native()
    env.set_attr("note", "hello")
    assert env.get_attr("note") == ["hello"] * 3
    with pytest.raises(ValueError, match="indices must be None: attribute 'note' is shared"):
        env.set_attr("note", "hello", indices=[1])


def test_unknown_attributes():
    with pytest.raises(AttributeError, match="TwoRoomsVectorEnv has no attribute 'no_such_thing'"):
        native().get_attr("no_such_thing")
    with pytest.raises(AttributeError, match="TwoRoomsVectorEnv has no attribute 'no_such_thing'"):
        native().env_method("no_such_thing")


def test_images():
    env = native(num_envs=2, render_mode="rgb_array")
    env.reset()
    assert [image.shape for image in env.get_images()] == [(520, 520, 3)] * 2
    assert env.render().shape == (1040, 520, 3) or env.render().shape == (520, 1040, 3)
    env.close()


def test_wrapped_vector_environments():
    vector = gym.make_vec(ENV_ID, num_envs=2, autoreset_mode="SameStep", max_episode_steps=3, observation="state")
    env = SB3VecEnv(RecordEpisodeStatistics(vector))
    env.reset()
    for _ in range(3):
        infos = env.step(np.zeros((2, 2)))[3]
    assert [info["episode"]["l"] for info in infos] == [3, 3]
    assert env.env_method("compute_reward", np.zeros(2), np.zeros(2), {}) == [0.0, 0.0]


@pytest.mark.parametrize("mode", ["NextStep", "Disabled"])
def test_other_autoreset_modes_are_refused(mode):
    vector = gym.make_vec(ENV_ID, num_envs=2, autoreset_mode=mode)
    with pytest.raises(ValueError, match=r"vector_env must have autoreset mode AutoresetMode.SAME_STEP .* got Autore"):
        SB3VecEnv(vector)


def test_single_environments_are_refused():
    with pytest.raises(TypeError, match=r"vector_env must be a gymnasium.vector.VectorEnv, got TimeLimit"):
        SB3VecEnv(gym.make(ENV_ID))


def test_step_wait_needs_actions():
    env = native()
    env.reset()
    with pytest.raises(RuntimeError, match="step_async must be called before step_wait"):
        env.step_wait()


@pytest.mark.parametrize("observation", ["state", "pixels"])
def test_sac_with_hindsight_learns_a_few_steps(observation):
    env = VecMonitor(native(num_envs=2, observation=observation, max_episode_steps=8))
    model = SAC(
        "MultiInputPolicy",
        env,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 4},
        policy_kwargs={"net_arch": [8], "features_extractor_kwargs": {"cnn_output_dim": 8}},
        buffer_size=200,
        batch_size=8,
        learning_starts=20,
        train_freq=8,
        gradient_steps=1,
        seed=0,
        device="cpu",
    )
    before = [p.detach().clone() for p in model.policy.parameters()]
    model.learn(48)
    assert model.num_timesteps == 48
    assert any(not np.array_equal(a, b.detach()) for a, b in zip(before, model.policy.parameters(), strict=True))
    _, lengths = evaluate_policy(model, env, n_eval_episodes=2, return_episode_rewards=True)
    assert lengths == [8, 8]
