"""Whatever the action space, every action that a policy returns is in it."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from action_boxes import action_boxes, max_norms, outside
from agents.actions import check_action_space, to_space
from agents.offline.agent import OfflineAgent
from agents.rl.codes import CodedPolicy, profiles
from agents.rl.held_actions import HeldPolicy
from agents.scripted import RandomPolicy
from agents.world_model.agent import PlanningAgent
from worldmodel.build import DataSpec
from worldmodel.planning import CEM, ICEM, MPPI, ActionBounds, ProposalPlanner, SearchOptions

SINGLE = {key: np.zeros((1, 4, 4), np.uint8) for key in ("observation", "desired_goal")}
BATCH = {key: np.zeros((3, 1, 4, 4), np.uint8) for key in ("observation", "desired_goal")}


def size(space):
    return math.prod(space.shape)


def assert_in_space(policy, space, num_steps=2, observations=(SINGLE, BATCH)):
    """Single actions and batches of them are in the space, step after step."""
    for observation in observations:
        state = None
        for _ in range(num_steps):
            actions, state = policy.predict(observation, state, deterministic=False)
            batch = actions[None] if observation is SINGLE else actions
            assert len(batch) == (1 if observation is SINGLE else 3)
            for i in range(len(batch)):
                assert space.contains(batch[i, ...]), (batch[i, ...], space)


@given(space=action_boxes(), seed=st.integers(0, 2**32), given_dtype=st.sampled_from([np.float32, np.float64]))
def test_any_numbers_are_brought_into_the_space(space, seed, given_dtype):
    with np.errstate(over="ignore"):
        numbers = outside(space, 30, seed).astype(given_dtype)
    actions = to_space(numbers.reshape(30, -1), space)
    assert actions.shape == (30, *space.shape)
    assert all(space.contains(actions[i, ...]) for i in range(30))
    assert np.array_equal(to_space(actions, space), actions)
    inside = (numbers >= space.low) & (numbers <= space.high)
    assert np.array_equal(actions[inside], numbers[inside].astype(space.dtype))


def test_what_is_in_a_space_keeps_every_bit():
    space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    actions = np.float32([[-0.0, 1e-45], [1.0, -1.0]])
    assert to_space(actions, space).tobytes() == actions.tobytes()
    unbounded = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    assert to_space(np.array([[1e300, 2.5]]), unbounded).tolist() == [[math.inf, 2.5]]
    integers = spaces.Box(-3, 5, (2,), np.int32)
    assert integers.contains(to_space([[1e30, -2.7]], integers)[0])


def test_what_is_no_number_is_explained():
    space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    with pytest.raises(FloatingPointError, match=r"actions must be numbers, got NaN for environments \[1\]"):
        to_space(np.array([[0.0, 1.0], [math.nan, 0.0]]), space)


def test_spaces_that_do_not_fit_are_explained():
    check_action_space(None, 2)
    check_action_space(spaces.Box(-1, 1, (1, 2)), 2)
    with pytest.raises(ValueError, match=r"action_space must have 2 dimensions as the model, got Box\(.*\(3,\)"):
        check_action_space(spaces.Box(-1, 1, (3,)), 2)
    with pytest.raises(ValueError, match=r"action_space must be a Box or None, got Discrete\(3\)"):
        check_action_space(spaces.Discrete(3), 1)


class Still(nn.Module):
    """A model in which something changes, whatever the actions."""

    def __init__(self, action_dim, frame_skip=2):
        super().__init__()
        self.action_dim, self.frame_skip, self.context = action_dim, frame_skip, 1
        self.idle_action = torch.zeros(action_dim)

    def encode(self, pixels):
        return torch.zeros(len(pixels), 1)

    def states(self, latents, actions):
        return latents

    def rollout(self, states, actions):
        return states[:, None] + actions.clamp(-1.0, 1.0).sum(-1, keepdim=True)


class Anything:
    """An actor that proposes any numbers."""

    def __init__(self, space, seed):
        self.numbers = torch.from_numpy(outside(space, 200, seed).reshape(200, -1)).float()

    def policy(self, states, goals):
        self.numbers = self.numbers.roll(-1, 0)
        return self.numbers[: len(states)]


@pytest.mark.parametrize("kind", [MPPI, CEM, ICEM, ProposalPlanner])
@given(
    data=st.data(),
    space=action_boxes(),
    seed=st.integers(0, 2**32),
    constant_blocks=st.booleans(),
    propose=st.booleans(),
    fill=st.sampled_from(["last", "zeros"]),
    execute=st.sampled_from(["best", "mean"]),
)
def test_plans_are_in_the_space(kind, data, space, seed, constant_blocks, propose, fill, execute):
    constant_blocks = constant_blocks or propose or kind is ProposalPlanner
    block = 1 if constant_blocks else 2
    bounds = ActionBounds(space.low.reshape(-1), space.high.reshape(-1), data.draw(max_norms(space)), block=block)
    planner = kind(bounds=bounds)
    if kind is not ProposalPlanner:
        options = {"num_samples": 8, "num_elites": 3, "min_std": 0.0, "keep_elites": 0.5, "execute": execute}
        planner = kind(bounds=bounds, options=SearchOptions(**options))
    agent = PlanningAgent(
        Still(size(space)),
        planner,
        lambda latents, goals: latents.sum((1, 2)),
        actor=Anything(space, seed) if propose or kind is ProposalPlanner else None,
        constant_blocks=constant_blocks,
        fill=fill,
        action_space=space,
        seed=seed,
    )
    assert_in_space(agent, space, num_steps=5)


class Method(nn.Module):
    """An offline method that acts by any numbers."""

    def __init__(self, space, seed):
        super().__init__()
        self.actor = Anything(space, seed)

    def act(self, pixels, goals):
        return self.actor.policy(pixels, goals)


@given(data=st.data(), space=action_boxes(), seed=st.integers(0, 2**32))
def test_what_offline_agents_do_is_in_the_space(data, space, seed):
    norm = data.draw(max_norms(space))
    corners = [tuple(map(float, corner.reshape(-1))) for corner in (space.low, space.high)]
    largest = max(map(abs, (*corners[0], *corners[1])))
    data_spec = DataSpec(
        pixel_shape=(1, 4, 4),
        action_dim=size(space),
        action_low=corners[0],
        action_high=corners[1],
        action_max_norm=None if norm is None or norm < 1e-5 * largest else norm,
    )
    assert_in_space(OfflineAgent(Method(space, seed), data_spec, space), space, num_steps=20)


def test_offline_agents_explain_what_does_not_fit():
    space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    data = DataSpec(pixel_shape=(1, 4, 4), action_dim=2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))
    with pytest.raises(ValueError, match="action_space must have 2 dimensions as the model, got"):
        OfflineAgent(Method(space, 0), data, spaces.Box(-1, 1, (3,)))
    method = Method(space, 0)
    method.actor.numbers[1, 1] = math.nan  # the second environment's
    agent = OfflineAgent(method, data)
    method.actor.numbers = method.actor.numbers.roll(1, 0)
    with pytest.raises(FloatingPointError, match=r"actions must be numbers, got NaN for environments \[1\]"):
        agent.predict(BATCH)


@given(space=action_boxes(), seed=st.integers(0, 2**32))
def test_random_actions_are_in_the_space(space, seed):
    assert_in_space(RandomPolicy(space, seed), space, num_steps=10)


def test_random_actions_are_uniform_in_the_widest_box_too():
    space = spaces.Box(-1.7e308, 1.7e308, (2,), np.float64)
    actions, _ = RandomPolicy(space).predict(np.zeros((2000, 4)))
    np.testing.assert_allclose(np.quantile(actions / 1.7e308, [0.25, 0.5, 0.75]), [-0.5, 0.0, 0.5], atol=0.05)


class Reinforced:
    """Acts as policies of Stable-Baselines3 do: scales numbers to the space by itself, with its rounding."""

    def __init__(self, space, seed):
        self.action_space = space
        self.numbers = outside(space, 200, seed).reshape(200, -1)

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        images = observation["observation"]
        num_envs = len(images) if images.ndim in (2, 4) else 1
        self.numbers = np.roll(self.numbers, -1, 0)
        with np.errstate(over="ignore"):
            actions = self.numbers[:num_envs].reshape(num_envs, *self.action_space.shape).astype(np.float32)
        return (actions if images.ndim in (2, 4) else actions[0, ...]), state


@given(space=action_boxes(), seed=st.integers(0, 2**32))
def test_held_actions_are_in_the_space(space, seed):
    assert_in_space(HeldPolicy(Reinforced(space, seed), 2), space, num_steps=20)


class Algorithm(BaseAlgorithm):
    """A model of Stable-Baselines3 that acts as it likes."""

    def __init__(self, space, seed, code_dim):
        code = spaces.Box(-np.inf, np.inf, (code_dim,))
        self.observation_space = spaces.Dict({"observation": code, "achieved_goal": code, "desired_goal": code})
        self.policy_ = Reinforced(space, seed)
        self.action_space = space

    def _setup_model(self): ...

    def learn(self, *_, **__):
        return self

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return self.policy_.predict(observation, state, episode_start, deterministic)


@given(space=action_boxes(), seed=st.integers(0, 2**32))
def test_what_policies_on_codes_do_is_in_the_space(space, seed):
    code = profiles((1, 4, 4))
    policy = CodedPolicy(Algorithm(space, seed, code.dim), code)
    assert_in_space(policy, space, num_steps=20)
    assert_in_space(HeldPolicy(policy, 3), space, num_steps=7)
