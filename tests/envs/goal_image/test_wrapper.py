import functools
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.utils.env_checker import check_env, data_equivalence
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import envs
from envs.goal_image import GoalImage, make

KEYED = {"success": "observation[0:2]", "tolerance": 0.5}
PENDULUM = {"size": 16, "goal_steps": 8} | KEYED


class Dot(gym.Env):
    """A dot on a line of 16 pixels; its observations are as the test wants them."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, kind="state", seeded=True, action_space=None, render_mode=None):
        self.render_mode, self.kind, self.seeded = render_mode, kind, seeded
        self.action_space = Box(-1, 1, (2, 1), np.float32) if action_space is None else action_space
        place = Box(0, 15, (1,), np.float32)
        image = Box(0, 255, (16, 16, 3), np.uint8)
        self.observation_space = {"state": place, "dict": Dict(place=place, camera=image), "image": image}[kind]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        generator = self.np_random if self.seeded else np.random.default_rng()
        self.x = float((options or {}).get("x", generator.uniform(4, 12)))
        return self._observation(), {"success": self.x > 14}

    def step(self, action):
        self.x = float(np.clip(self.x + action.sum(), 0, 15))
        return self._observation(), 0.0, False, False, {"success": self.x > 14, "x": self.x}

    def render(self):
        image = np.zeros((16, 16, 3), np.uint8)
        image[8, round(self.x)] = 255
        return image

    def _observation(self):
        place = np.array([self.x], np.float32)
        return {"state": place, "dict": {"place": place, "camera": self.render()}, "image": self.render()}[self.kind]


gym.register("Dot-v0", Dot, max_episode_steps=20)


def go_right(env, generator):
    """A goal that is a function of the environment."""
    env.unwrapped.x = 15.0
    return env.unwrapped._observation()


def is_close(observation, info, goal, goal_info):
    """Success that is a function."""
    return abs(float(observation[0] - goal[0])) < 1


@pytest.mark.parametrize(
    ("env_id", "kwargs", "arguments"),
    [
        ("Pendulum-v1", {}, PENDULUM),
        ("Pendulum-v1", {}, PENDULUM | {"observation": "state"}),
        ("Dot-v0", {}, {"size": None}),
        ("Dot-v0", {"kind": "dict"}, {"size": (8, 12), "success": "place", "tolerance": 1.0}),
        ("Dot-v0", {"kind": "image"}, {"goals": f"{__name__}:go_right"}),
        ("Dot-v0", {}, {"success": is_close}),
        ("MountainCarContinuous-v0", {}, {"size": 32, "success": "own"}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*(is different from the unwrapped|minimum value|maximum value|symmetric)")
@pytest.mark.filterwarnings("ignore:Your action space")
def test_checkers_accept_what_is_wrapped(env_id, kwargs, arguments):
    env = make(env_id, goal_image=arguments, **kwargs)
    check_env(env, skip_render_check=True)
    sb3_check_env(env)
    twin = make(env_id, goal_image=arguments, **kwargs)
    assert data_equivalence(env.reset(seed=5), twin.reset(seed=5), exact=True)
    for _ in range(5):
        action = env.action_space.sample()
        assert data_equivalence(env.step(action), twin.step(action), exact=True)
    assert data_equivalence(env.reset(), twin.reset(), exact=True)


def test_goals_are_what_the_explorer_reaches():
    env = make("Dot-v0", goal_image={"success": "observation", "tolerance": 0.25, "size": None, "goal_steps": 5})
    goals = {}
    for seed in (0, 1, 0):
        obs, info = env.reset(seed=seed)
        goal = int(obs["desired_goal"][8, :, 0].argmax())
        assert goals.setdefault(seed, goal) == goal
        here = int(obs["observation"][8, :, 0].argmax())
        assert info["distance"] == pytest.approx(abs(here - goal), abs=1)
    assert goals[0] != goals[1]


@pytest.mark.parametrize(
    ("arguments", "options", "pictures"),
    [
        ({}, {}, 3),  # the start twice, to see that it is the same, and the goal
        ({"observation": "state", "success": "observation", "tolerance": 1.0}, {}, 2),
        ({}, {"goal": np.zeros((16, 16, 3), np.uint8)}, 1),
    ],
)
def test_a_reset_draws_no_more_than_it_needs(monkeypatch, arguments, options, pictures):
    env = make("Dot-v0", goal_image={"size": 16} | arguments)
    drawn = []
    draw = env.env.render
    monkeypatch.setattr(env.env, "render", lambda: drawn.append(draw()) or drawn[-1])
    env.reset(seed=0, options=options)
    assert len(drawn) == pictures


def test_success_by_a_value():
    env = make("Dot-v0", goal_image={"success": "observation", "tolerance": 1.5, "goals": go_right, "size": 16})
    obs, info = env.reset(seed=0, options={"x": 10})
    assert (info["distance"], info["is_success"]) == (5.0, False)
    assert obs["desired_goal"][8, 15].tolist() == [255] * 3
    for step in range(1, 3):
        obs, reward, _, _, info = env.step(np.ones((2, 1), np.float32))
        assert info["distance"] == pytest.approx(5 - 2 * step)
        assert info["is_success"] == (step == 2)
        assert reward == -1.0  # the picture is another one
    info = env.step(np.full((2, 1), 0.5, np.float32))
    assert info[1] == 0.0
    assert info[4]["distance"] == 0.0


def test_success_of_other_kinds():
    def success(arguments, x):
        env = make("Dot-v0", goal_image=arguments)
        env.reset(seed=0, options={"x": x})
        return env.step(np.zeros((2, 1), np.float32))[4].get("is_success")

    assert success({"goals": go_right}, 15) is True  # the environment's own
    assert success({"goals": go_right}, 4) is False
    assert success({"success": "own"}, 15) is True
    assert success({"goals": go_right, "success": is_close}, 14.5) is True
    assert success({"goals": go_right, "success": f"{__name__}:is_close"}, 13) is False
    assert success({}, 15) is None  # nobody knows what success is where goals are explored
    with pytest.raises(ValueError, match=r"success 'info\.x' must be in info, got success"):
        success({"success": "info.x", "tolerance": 1.0}, 3)


def test_goals_that_are_given():
    env = make("Dot-v0", goal_image={"goals": "given", "size": 16, "success": "observation", "tolerance": 1.0})
    with pytest.raises(ValueError, match="options must hold a 'goal'"):
        env.reset(seed=0)
    goal = np.zeros((16, 16, 3), np.uint8)
    obs, info = env.reset(seed=0, options={"goal": goal, "x": 3})
    assert np.array_equal(obs["desired_goal"], goal)
    assert "is_success" not in info  # no value of it is known
    info = env.reset(seed=0, options={"goal": goal, "goal_value": 3.5, "x": 3})[1]
    assert (info["distance"], info["is_success"]) == (0.5, True)
    for wrong in (goal[:8], goal.astype(float)):
        with pytest.raises(ValueError, match=r"goal must be a uint8 image of shape \(16, 16, 3\), got"):
            env.reset(seed=0, options={"goal": wrong})


def test_starts_and_goals_of_recorded_episodes():
    env = make("Dot-v0", goal_image={"size": 16, "success": "observation", "tolerance": 0.1})
    half = np.full((3, 2, 1), 0.25)
    half[2] = np.nan  # padding
    obs, info = env.reset(seed=0, options={"x": 5, "start_actions": half, "goal_actions": half * 2})
    assert obs["observation"][8, 6, 0] == 255
    assert obs["desired_goal"][8, 8, 0] == 255
    assert info["distance"] == pytest.approx(2)


def test_environments_that_start_differently_each_time_are_refused():
    env = make("Dot-v0", seeded=False, goal_image={})
    with pytest.raises(ValueError, match="must start the same way whenever it is reset with the same seed"):
        [env.reset(seed=0) for _ in range(9)]
    given = make("Dot-v0", seeded=False, goal_image={"goals": "given", "size": 16})
    given.reset(seed=0, options={"goal": np.zeros((16, 16, 3), np.uint8)})


def test_rewards_of_batches_are_those_of_their_members():
    for observation in ("pixels", "state"):
        env = make("Pendulum-v1", goal_image=PENDULUM | {"observation": observation})
        goals = np.stack([env.reset(seed=seed)[0]["desired_goal"] for seed in range(6)])
        batch = env.compute_reward(goals, goals[::-1], [{}] * 6)
        assert batch.tolist() == [env.compute_reward(a, b) for a, b in zip(goals, goals[::-1], strict=True)]
        assert env.compute_reward(goals, goals).tolist() == [0.0] * 6


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectors(mode):
    options = {"context": "spawn"} if mode == "async" else {}
    wrap = functools.partial(GoalImage, **PENDULUM)
    many = gym.make_vec("Pendulum-v1", 2, mode, options, [wrap], render_mode="rgb_array")
    single = make("Pendulum-v1", goal_image=PENDULUM)
    try:
        obs, infos = many.reset(seed=[7, 8])
        for index, seed in enumerate((7, 8)):
            alone, info = single.reset(seed=seed)
            assert all(np.array_equal(obs[key][index], alone[key]) for key in alone)
            assert infos["distance"][index] == info["distance"]
    finally:
        many.close()


def test_the_specification_makes_it_again(tmp_path):
    env = make("Pendulum-v1", goal_image=PENDULUM)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert data_equivalence(env.reset(seed=1), again.reset(seed=1), exact=True)
    film = gym.wrappers.RecordVideo(again, str(tmp_path), disable_logger=True)
    film.reset(seed=0)
    while not film.step(film.action_space.sample())[3]:
        pass
    film.close()
    assert list(tmp_path.glob("*.mp4"))


def test_hindsight_replay_takes_it():
    env = make("Pendulum-v1", max_episode_steps=10, goal_image=PENDULUM | {"observation": "state"})
    agent = SAC("MultiInputPolicy", env, replay_buffer_class=HerReplayBuffer, learning_starts=20, buffer_size=100)
    agent.learn(40)
    assert agent.replay_buffer.size() == 40


@pytest.mark.parametrize(
    ("kwargs", "arguments", "message"),
    [
        ({"action_space": Discrete(3)}, {}, r"actions must be a Box, got Discrete\(3\); gymnasium.wrappers.Transform"),
        ({"action_space": Box(-np.inf, np.inf, (1,))}, {}, "actions must be bounded.*TransformAction.*RescaleAction"),
        ({}, {"goals": "elsewhere"}, "goals must be one of 'explore', 'given', a function, 'module:function', got"),
        ({}, {"goals": "nowhere:function"}, "goals must name a function that can be imported.*PYTHONPATH"),
        ({}, {"goals": f"{__name__}:KEYED"}, "goals must name a function, got"),
        ({}, {"explorer": "nobody"}, "explorer must be one of 'random-walk', got 'nobody'"),
        ({}, {"goal_steps": 0}, "goal_steps must be a positive integer, got 0"),
        ({}, {"success": "place"}, "success must be one of 'observation', 'own', 'info.KEY', 'MODULE:FUNCTION', got"),
        ({}, {"success": "observation[0"}, "success must be a key, such as"),
        ({}, {"success": "observation"}, "tolerance must be a positive number .* got None"),
        ({}, {"success": "observation", "tolerance": -1}, "tolerance must be a positive number .* got -1"),
        ({}, {"observation": "words"}, "observation must be one of 'pixels', 'state', got 'words'"),
        ({}, {"observation": "state"}, "observation 'state' needs success to be a key"),
        ({"kind": "image"}, {"observation": "state", "success": "info.x", "tolerance": 1}, "needs .*"),
    ],
)
def test_errors(kwargs, arguments, message):
    with pytest.raises(ValueError, match=message):
        make("Dot-v0", goal_image=arguments, **kwargs)


def test_it_stands_at_the_top_and_costs_nothing_until_it_is_used():
    assert envs.GoalImage is GoalImage
    with pytest.raises(AttributeError, match="module 'envs' has no attribute 'Goal'"):
        envs.Goal  # noqa: B018 - a name that is not there
    code = "import envs, sys; assert 'PIL' not in sys.modules; envs.GoalImage; sys.exit('PIL' not in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
