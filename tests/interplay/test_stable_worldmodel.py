"""Agents and planners of this project in stable-worldmodel's loops, with the library or without it.

``tests/worlds.py`` stands in for the library, with the same names and shapes; where that is installed, it is tried too.
"""

from importlib.util import find_spec

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import worlds
from agents import PlannerConfig, PlannerSolver, PlanningAgent, RandomPolicy, WithoutInfo, WorldPolicy
from agents.stable_worldmodel import CostModel
from envs.domain import Policy
from worldmodel.planning import CEM, ICEM, MPPI, ActionBounds, SearchOptions

SAME_ROOM = {"layout": (32, 18), "start": (10.0, 10.0), "goal": (24.0, 40.0)}


@pytest.fixture(params=["stand-in", "stable-worldmodel"])
def swm(request):
    """The library, or what stands in for it."""
    if request.param == "stand-in":
        return worlds
    if find_spec("stable_worldmodel") is None:
        pytest.skip("stable-worldmodel is not installed")
    import stable_worldmodel
    from stable_worldmodel.policy import WorldModelPolicy

    stable_worldmodel.WorldModelPolicy = WorldModelPolicy
    return stable_worldmodel


def rooms(swm, num_envs, **settings):
    return swm.World(
        "envs:TwoRooms-v0",
        num_envs=num_envs,
        pre_wrappers=[WithoutInfo],
        add_pixels=False,
        terminate_on_success=True,
        **settings,
    )


class PointCost:
    """The squared distance of a point from its goal at the end of a plan; keeps what it encoded, as LeWM does."""

    def __init__(self):
        self.num_samples = []

    def get_cost(self, info_dict, action_candidates):
        b, n = action_candidates.shape[:2]
        assert all(value.shape[:3] == (b, n, 1) for value in (info_dict["observation"], info_dict["desired_goal"]))
        if "emb" not in info_dict:
            info_dict["emb"] = info_dict["observation"][..., 0, :2], info_dict["desired_goal"][..., 0, :]
        start, goal = info_dict["emb"]
        self.num_samples.append(n)
        moved = action_candidates.unflatten(-1, (-1, 2)).sum((2, 3))
        return (start + moved - goal).square().sum(-1)


def make_planner(kind=CEM, block=2, horizon=4, **changes):
    options = {"num_samples": 64, "num_iterations": 3, "num_elites": 8} | changes
    bounds = ActionBounds([-2.45] * 2, [2.45] * 2, 2.45, block=block)
    return kind(bounds=bounds, options=SearchOptions(horizon=horizon, **options))


def test_an_agent_acts_in_a_world_as_in_gymnasium(swm):
    """The same episodes end in the same way after as many steps, also where environments are out of phase."""
    agent = PlanningAgent.from_pretrained("two-rooms", PlannerConfig(planner="policy"))
    world = rooms(swm, 2, max_episode_steps=20)
    world.set_policy(WorldPolicy(agent))
    found = world.evaluate(episodes=4, seed=0)
    world.close()
    env = gym.make("envs:TwoRooms-v0", max_episode_steps=20, terminate_on_success=True)
    expected = {}
    for seed in found["seeds"].tolist():
        observation, _ = env.reset(seed=seed)
        state, ended, success = None, False, False
        while not ended:
            action, state = agent.predict(observation, state, deterministic=True)
            observation, _, success, truncated, _ = env.step(action)
            ended = success or truncated
        expected[seed] = success
    assert dict(zip(found["seeds"].tolist(), found["episode_successes"].astype(bool).tolist(), strict=True)) == expected
    assert len(set(expected.values())) == 2  # 20 steps are enough for some


@pytest.mark.parametrize(
    ("kind", "changes"), [(CEM, {}), (MPPI, {}), (ICEM, {"sample_decay": 1.5, "keep_elites": 0.5})]
)
def test_a_cost_model_is_planned_with(swm, kind, changes):
    model, planner = PointCost(), make_planner(kind, **changes)
    world = rooms(swm, 2, max_episode_steps=60, observation="state")
    config = swm.PlanConfig(horizon=4, receding_horizon=2, action_block=2)
    world.set_policy(swm.WorldModelPolicy(PlannerSolver(model, planner), config))
    assert world.evaluate(episodes=3, seed=0, options=SAME_ROOM)["success_rate"] == 100
    world.close()
    assert len(set(model.num_samples)) > 1 or kind is not ICEM  # what a model keeps does not outlive a call


def test_planning_goes_on_from_a_plan_and_the_same_seed_plans_the_same():
    infos = {"observation": torch.rand(2, 1, 4).double() * 20, "desired_goal": torch.rand(2, 1, 2) * 20}
    few = {"num_samples": 9, "num_iterations": 1, "num_elites": 2}
    first, again, other = (PlannerSolver(PointCost(), make_planner(**few), seed=seed) for seed in (0, 0, 1))
    plans = first.solve(infos)["actions"]
    assert plans.shape == (2, 4, 4)
    assert torch.equal(again.solve(infos)["actions"], plans)
    assert not torch.equal(other.solve(infos)["actions"], plans)
    good = PlannerSolver(PointCost(), make_planner(num_samples=512, num_iterations=8)).solve(infos)
    started = first.solve(infos, init_action=good["actions"])
    assert all(cost <= best + 1e-4 for cost, best in zip(started["costs"], good["costs"], strict=True))
    together = PlannerSolver(PointCost(), make_planner(**few), batch_size=2)
    assert torch.equal(together.solve(infos)["actions"], plans)
    # A shorter one is continued with zeros.
    assert first.solve(infos, init_action=good["actions"][:, :1])["actions"].shape == (2, 4, 4)


def test_protocols():
    solver = PlannerSolver(PointCost(), make_planner())
    assert isinstance(PointCost(), CostModel)
    assert isinstance(RandomPolicy(spaces.Box(-1, 1, (2,))), Policy)
    assert (solver.action_dim, solver.horizon, solver.n_envs) == (4, 4, 0)
    if find_spec("stable_worldmodel"):
        from stable_worldmodel.solver import Solver

        assert isinstance(solver, Solver)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_block": 3}, r"planner must plan 6 numbers a step, action_block = 3 actions of Box.*, got 4"),
        ({"horizon": 5}, r"planner must have the horizon of config, 5, got 4"),
    ],
)
def test_planners_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        PlannerSolver(PointCost(), make_planner(), batch_size=0)
    config = worlds.PlanConfig(**{"horizon": 4, "receding_horizon": 1, "action_block": 2} | changes)
    space = spaces.Box(-2.45, 2.45, (3, 2), np.float32)
    with pytest.raises(ValueError, match=message):
        PlannerSolver(PointCost(), make_planner()).configure(action_space=space, n_envs=3, config=config)


def test_policies_name_what_is_missing():
    policy = WorldPolicy(RandomPolicy(spaces.Box(-1, 1, (2,))))
    with pytest.raises(ValueError, match=r"set_env must be called before get_action"):
        policy.get_action({})
    world = rooms(worlds, 1)
    world.set_policy(policy)
    with pytest.raises(ValueError, match=r"info_dict must hold 'achieved_goal', got 'pixels', 'step_idx'"):
        policy.get_action({"pixels": np.zeros((1, 1, 9, 9, 3)), "step_idx": np.zeros((1, 1))})


def test_an_environment_with_infos_needs_them_taken_away(swm):
    world = swm.World("envs:TwoRooms-v0", num_envs=1, add_pixels=False)
    world.set_policy(WorldPolicy(RandomPolicy(spaces.Box(-1, 1, (2,)))))
    with pytest.raises(AssertionError):
        world.evaluate(episodes=1, seed=0)
