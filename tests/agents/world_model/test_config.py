"""Agents from configurations and checkpoints."""

import ast
import dataclasses
import inspect
import itertools
import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.world_model.agent import PlanningAgent
from agents.world_model.config import PlannerConfig, bounds_from_space, build_planner
from worldmodel.build import DataSpec, ModelConfig, build_model
from worldmodel.checkpoint import WORLD_MODEL, CheckpointError
from worldmodel.planning import ActionBounds, ProposalPlanner, SearchOptions

SPACE = spaces.Box(-1.0, 1.0, (2,), np.float32)


def test_a_configuration_reaches_the_planner():
    config = PlannerConfig(planner="cem", horizon=7, momentum=0.25, noise_beta=0.5, tolerance=0.1, budget_ms=30.0)
    planner = build_planner(config, bounds_from_space(SPACE, 0.5))
    assert planner.options == SearchOptions(horizon=7, noise_beta=0.5, tolerance=0.1, budget_ms=30.0)
    assert planner.momentum == 0.25
    assert planner.init_std == pytest.approx(0.4 * 0.5)  # of as far as the bounds go
    assert planner.min_std == pytest.approx(0.05 * 0.4 * 0.5)
    assert PlannerConfig(cost="last").cost_options == {}
    assert PlannerConfig(cost="reach", reach_scale=0.5).cost_options == {"weight": 2.0, "scale": 0.5}
    policy = build_planner(PlannerConfig(planner="policy", replan_every=2), bounds_from_space(SPACE))
    assert (type(policy), policy.horizon) == (ProposalPlanner, 1)
    assert build_planner(PlannerConfig(init_std=0.3, min_std=0.2), bounds_from_space(SPACE)).min_std == 0.2


def test_every_option_has_help():
    kinds = [kind for kind in PlannerConfig.__mro__ if kind.__module__.startswith(("worldmodel", "agents"))]
    sources = [ast.parse(inspect.getsource(kind)).body[0].body for kind in kinds if kind.__name__ != "_Options"]
    described = {
        node.target.id
        for body in sources
        for node, after in itertools.pairwise(body)
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }
    assert described == {field.name for field in dataclasses.fields(PlannerConfig)}


def test_wrong_configurations_are_explained():
    with pytest.raises(ValueError, match="action_space must be a Box, got Discrete"):
        bounds_from_space(spaces.Discrete(3))
    with pytest.raises(ValueError, match="init_std must be given where actions are unbounded"):
        build_planner(PlannerConfig(), ActionBounds([-np.inf], [np.inf]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"planner": "shooting"}, "planner must be one of 'mppi', 'cem', 'icem', 'policy', got 'shooting'"),
        ({"horizon": "3"}, "horizon must be an integer, got '3'"),
        ({"num_samples": 32.5}, "num_samples must be an integer, got 32.5"),
        ({"num_elites": 33}, r"num_elites must be at most num_samples \(32\), got 33"),
        ({"replan_every": 0}, "replan_every must be at least 1, got 0"),
        ({"replan_every": 1.5}, "replan_every must be an integer, got 1.5"),
        ({"cost": "foo"}, "cost must be one of 'value', 'summed', 'last', 'closest', 'reach', got 'foo'"),
        ({"reach_weight": math.nan}, "reach_weight must be a finite number, got nan"),
        ({"momentum": math.nan}, "momentum must be a finite number, got nan"),
        ({"momentum": 1.0}, "momentum must be less than 1, got 1.0"),
        ({"temperature": 0.0}, "temperature must be greater than 0, got 0.0"),
        ({"horizon": 10**9}, "horizon must be at most 10000, got 1000000000"),
        ({"num_iterations": 10**9}, "num_iterations must be at most 100000, got 1000000000"),
    ],
)
def test_options_out_of_their_range_are_explained(without_type_checks, changes, message):
    with pytest.raises(ValueError, match=message):
        PlannerConfig(**changes)


def test_a_search_that_does_not_fit_into_memory_is_refused_before_it_begins():
    size = "num_iterations 2 × num_samples 2000000000 × horizon 3"
    with pytest.raises(ValueError, match=rf"the noise of a search \({size}\) must fit into memory, got 96 GB for"):
        build_planner(PlannerConfig(num_samples=2_000_000_000), bounds_from_space(SPACE))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An untrained model for Dot, saved."""
    path = tmp_path_factory.mktemp("checkpoints") / "dot"
    data = DataSpec(
        pixel_shape=(1, 32, 32), action_dim=2, action_low=(-1.0, -0.5), action_high=(1.0, 0.5), action_max_norm=0.75
    )
    config = ModelConfig(frame_skip=2)
    WORLD_MODEL.save(path, {"model": build_model(config, data)}, {"model": config, "data": data})
    return path


QUICK = PlannerConfig(cost="reach", horizon=2, num_samples=8, num_elites=2, num_iterations=1)


def test_from_pretrained_takes_the_bounds_of_the_training_data(checkpoint):
    agent = PlanningAgent.from_pretrained(checkpoint, QUICK)
    bounds = agent.planner.bounds
    assert (bounds.low.tolist(), bounds.high.tolist(), bounds.max_norm) == ([-1.0, -0.5], [1.0, 0.5], 0.75)
    observation = dict.fromkeys(("observation", "desired_goal"), np.zeros((1, 32, 32), np.uint8))
    action, state = agent.predict(observation)
    assert (action.shape, len(state.envs[0].pending)) == ((2,), 1)
    hwc = {key: image.transpose(1, 2, 0) for key, image in observation.items()}
    np.testing.assert_array_equal(agent.predict(hwc)[0], action)
    with pytest.raises(ValueError, match=r"pixels must have shape .* got \(2, 16, 16, 3\)"):
        agent.predict(dict.fromkeys(observation, np.zeros((16, 16, 3), np.uint8)))


def test_from_pretrained_takes_an_action_space_and_options(checkpoint):
    config = dataclasses.replace(QUICK, constant_blocks=False, cost="last", replan_every=3)
    agent = PlanningAgent.from_pretrained(checkpoint, config, action_space=SPACE, max_norm=0.25, seed=4, record=True)
    assert (agent.planner.bounds.high.tolist(), agent.planner.bounds.max_norm) == ([1.0, 1.0], 0.25)
    assert (agent.planner.bounds.block, agent.steps_per_plan, agent.seed) == (2, 3, 4)
    states, goals = torch.randn(3, 2, 9), torch.randn(3, 5)
    torch.testing.assert_close(agent.measure(states, goals), (states[:, -1, 4:] - goals).square().mean(-1))
    with pytest.raises(ValueError, match="action_space must have 2 dimensions"):
        PlanningAgent.from_pretrained(checkpoint, QUICK, action_space=spaces.Box(-1, 1, (3,)))


def test_a_plan_is_executed_no_longer_than_it_is(checkpoint):
    """Its environment steps are known with the model: planner steps times frame_skip."""
    longest = PlanningAgent.from_pretrained(checkpoint, dataclasses.replace(QUICK, replan_every=4))
    assert longest.steps_per_plan == 4
    with pytest.raises(ValueError, match=r"replan_every must be in \[1, horizon · frame_skip = 4\], got 5"):
        PlanningAgent.from_pretrained(checkpoint, dataclasses.replace(QUICK, replan_every=5))
    assert PlanningAgent.from_pretrained(checkpoint, QUICK).steps_per_plan == 2


@pytest.mark.parametrize("changes", [{"cost": "value"}, {"planner": "policy"}])
def test_a_checkpoint_without_an_actor_is_explained(checkpoint, changes):
    config = dataclasses.replace(QUICK, **changes)
    with pytest.raises(ValueError, match=r"needs a checkpoint with an actor and critics; .*dot has none"):
        PlanningAgent.from_pretrained(checkpoint, config)


def test_a_missing_checkpoint_is_explained():
    with pytest.raises(CheckpointError):
        PlanningAgent.from_pretrained("no-such-checkpoint")
