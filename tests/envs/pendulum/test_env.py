import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import envs
from envs.pendulum.domain import DOMAIN, ENV_ID, NEAR, draw_episodes, draw_scene
from envs.pendulum.drawing import draw, read_angles, tip
from envs.pendulum.env import PendulumEnv
from envs.pendulum.physics import angle_between, step

envs.register(DOMAIN)
KINDS = ("pixels", "state")


@pytest.mark.parametrize("checker", [check_env, sb3_check_env], ids=["gymnasium", "sb3"])
@pytest.mark.parametrize("reward", DOMAIN.rewards)
@pytest.mark.parametrize("observation", KINDS)
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized", "ignore:Your action space")
def test_checkers_accept_the_environment(observation, reward, checker):
    checker(gym.make(ENV_ID, observation=observation, reward=reward).unwrapped)


@pytest.mark.parametrize("observation", KINDS)
def test_twin_rollouts_are_equal(observation):
    first, second = (gym.make(ENV_ID, observation=observation, goals="any") for _ in range(2))
    assert data_equivalence(first.reset(seed=3), second.reset(seed=3), exact=True)
    first.action_space.seed(0)
    for _ in range(200):
        action = first.action_space.sample()
        results = first.step(action), second.step(action)
        assert data_equivalence(*results, exact=True)
    assert results[0][3]  # truncated
    assert data_equivalence(first.reset(), second.reset(), exact=True)


def test_the_dynamics_are_those_of_gymnasium():
    ours, theirs = gym.make(ENV_ID, observation="state"), gym.make("Pendulum-v1")
    theirs.reset(seed=0)
    ours.reset(options={"start": theirs.unwrapped.state})
    ours.action_space.seed(0)
    for _ in range(200):
        action = 2 * ours.action_space.sample()  # half of them out of bounds
        assert np.array_equal(ours.step(action)[0]["observation"], theirs.step(action)[0])


def test_steps_of_a_batch_are_those_of_its_members():
    rng = np.random.default_rng(0)
    states, torques = rng.normal(size=(50, 2)) * (3, 6), rng.normal(size=50) * 2
    assert np.array_equal(step(states, torques), [step(a, b) for a, b in zip(states, torques, strict=True)])


@given(st.floats(-3.14, 3.14), st.sampled_from([32, 64, 96]))
def test_angles_are_read_off_images(angle, size):
    assert np.degrees(angle_between(read_angles(draw(angle, size)), angle)) < 1.0


def test_images_without_a_pendulum_are_refused():
    with pytest.raises(ValueError, match="each image must show a pendulum"):
        read_angles(np.full((2, 64, 64, 3), 255, np.uint8))


def test_success_must_last():
    env = gym.make(ENV_ID, observation="state", hold=3)
    _, info = env.reset(options={"start": (0.0, 0.0)})
    assert info["distance"] == 0.0
    seen = [info["is_success"], *(env.step([0.0])[4]["is_success"] for _ in range(3))]
    assert seen == [False, False, True, True]
    env.reset(options={"start": (0.17, 0.0)})  # 9.7 degrees, and falling
    assert not any(env.step([0.0])[4]["is_success"] for _ in range(9))


@pytest.mark.parametrize("reward", DOMAIN.rewards)
@pytest.mark.parametrize("observation", KINDS)
def test_rewards_of_a_batch_are_those_of_its_members(observation, reward):
    env = gym.make(ENV_ID, observation=observation, reward=reward, goals="any").unwrapped
    goals = np.stack([env.reset(seed=seed)[0]["desired_goal"] for seed in range(8)])
    batch = env.compute_reward(goals, goals[::-1], [{}] * 8)
    assert batch.tolist() == [env.compute_reward(a, b) for a, b in zip(goals, goals[::-1], strict=True)]
    assert env.compute_reward(goals, goals).tolist() == [0.0] * 8


def test_the_goal_image_shows_the_goal():
    obs, info = gym.make(ENV_ID, goals="any").reset(seed=1)
    assert np.array_equal(obs["desired_goal"], draw(info["goal"], 64))
    obs, info = gym.make(ENV_ID).reset(seed=1)
    assert info["goal"] == 0.0
    assert np.array_equal(obs["desired_goal"], draw(0.0, 64))


def test_the_expert_swings_up_and_stays():
    env, expert = gym.make(ENV_ID, observation="state"), DOMAIN.expert({})
    for seed in range(30):
        obs, info = env.reset(seed=seed)
        for _ in range(200):
            obs, _, _, _, info = env.step(expert.predict(obs)[0])
        assert info["is_success"]


def test_the_expert_reaches_what_is_near():
    env, expert = gym.make(ENV_ID, observation="state", **NEAR), DOMAIN.expert(NEAR)
    recipe = DOMAIN.recipes["validation-near"]
    reached = 0
    for options in draw_episodes(recipe).options[:30]:
        obs, info = env.reset(options=options)
        for _ in range(50):
            if not info["is_success"]:
                obs, _, _, _, info = env.step(expert.predict(obs)[0])
        reached += info["is_success"]
    assert reached >= 27


def test_the_expert_takes_batches_of_states_only():
    pixels, state = (gym.make(ENV_ID, observation=kind) for kind in KINDS)
    many = [state.reset(seed=seed)[0] for seed in range(3)]
    actions, memory = DOMAIN.expert({}).predict({key: np.stack([obs[key] for obs in many]) for key in many[0]}, "kept")
    assert np.array_equal(actions, [DOMAIN.expert({}).predict(obs)[0] for obs in many])
    assert memory == "kept"
    with pytest.raises(ValueError, match="the expert needs observations of kind 'state'"):
        DOMAIN.expert({}).predict(pixels.reset()[0])


@pytest.mark.parametrize("name", DOMAIN.recipes)
def test_episodes_are_always_the_same_and_not_solved(name):
    recipe = DOMAIN.recipes[name]
    episodes = draw_episodes(recipe)
    assert episodes == draw_episodes(recipe)
    env = gym.make(ENV_ID, observation="state", **recipe.env_kwargs | {"hold": 1})
    assert not any(env.reset(options=options)[1]["is_success"] for options in episodes.options)


def test_pictures():
    env = gym.make(ENV_ID, render_mode="rgb_array")
    env.reset(options={"start": (3, 0)})
    info = env.step([1.0])[4]
    trail = np.stack([tip(3.0), info["position"]])
    assert np.array_equal(env.render(), draw_scene(512, info, info["position"], trail))
    column, row = DOMAIN.to_canvas(tip(0.0), 512).astype(int)
    assert env.render()[row, column].tolist() == [30, 150, 100]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 1.0}, "start must be a finite angle and angular velocity, got 1.0"),
        ({"start": (0, np.nan)}, "start must be a finite angle"),
        ({"goal": "up"}, "goal must be a finite angle, got 'up'"),
        ({"layout": 3}, "reset option must be one of 'start', 'goal', got 'layout'"),
    ],
)
def test_reset_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        gym.make(ENV_ID).unwrapped.reset(options=options)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"observation": "words"}, "observation must be one of"),
        ({"goals": "down"}, "goals must be one of 'upright', 'any', got 'down'"),
        ({"hold": 0}, "hold must be a positive integer, got 0"),
        ({"size": -1}, "size must be a positive integer, got -1"),
        ({"render_mode": "human"}, "render_mode must be one of 'rgb_array'"),
    ],
)
def test_arguments_are_checked(kwargs, message):
    with pytest.raises(ValueError, match=message):
        PendulumEnv(**kwargs)


def test_actions_are_checked():
    env = gym.make(ENV_ID, disable_env_checker=True)
    env.reset(seed=0)
    for action, message in ([np.nan], "action must be finite"), ([1.0, 2.0], r"action must have shape \(1,\)"):
        with pytest.raises(ValueError, match=message):
            env.step(action)


def test_the_explorer_hangs_swings_and_turns_over():
    env = gym.make(ENV_ID, observation="state")
    explorer = DOMAIN.explorers["swing"](env.observation_space, env.action_space, {})
    energies = []
    for seed in range(10):
        (obs, _), memory = env.reset(seed=seed), None
        explorer.set_random_seed(seed)
        for number in range(200):
            action, memory = explorer.predict(obs, memory, np.array([number == 0]))
            assert action in env.action_space
            obs = env.step(action)[0]
            cos, _, speed = obs["observation"]
            energies.append(cos + speed**2 / 30)
    assert np.quantile(energies, 0.1) < -0.6
    assert np.quantile(energies, 0.9) > 0.8


def test_the_explorer_takes_batches():
    env = gym.make(ENV_ID, observation="state")
    explorer = DOMAIN.explorers["swing"](env.observation_space, env.action_space, {})
    many = [env.reset(seed=seed)[0] for seed in range(3)]
    actions, memory = explorer.predict({key: np.stack([obs[key] for obs in many]) for key in many[0]})
    assert actions.shape == (3, 1)
    assert memory.energy.shape == (3,)
    with pytest.raises(ValueError, match=r"needs actions of shape \(1,\), got \(2,\)"):
        DOMAIN.explorers["swing"](env.observation_space, gym.spaces.Box(-1, 1, (2,)), {})
