"""Attribution of failures: the oracle is right, and faults are named by what mends them."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.evaluation.evaluate import EvalResult
from agents.evaluation.results import Episode
from agents.evaluation.task import make_task
from agents.world_model.config import PlannerConfig
from benchmarks.analysis.attribution import (
    STATE_SCALE,
    AttributeConfig,
    OracleModel,
    _failures,
    _variants,
    run,
)
from benchmarks.records.store import read_record
from envs.domain import find_domain
from envs.simulation import state_size
from worldmodel.build import build_model
from worldmodel.checkpoint import load_pretrained


def test_the_oracle_imagines_what_happens(checkpoint):
    model = load_pretrained(checkpoint).model
    simulation = find_domain("two-rooms").simulation()
    oracle, num_states = OracleModel(model, simulation), state_size(simulation)
    env = gym.make("envs:TwoRooms-v0")
    blocked = 0
    for seed in range(6):
        observation, info = env.reset(seed=seed)
        start = oracle.encode(torch.from_numpy(observation["observation"][None]))
        env.action_space.seed(seed)
        actions = np.repeat(np.stack([env.action_space.sample() for _ in range(5)]), 4, axis=0)
        imagined = oracle.rollout(start, torch.from_numpy(actions.reshape(1, 5, 8)))
        for t, action in enumerate(actions):
            before = info["position"].copy()
            observation, _, _, _, info = env.step(action)
            blocked += bool(np.array_equal(before, info["position"]))
            if t % 4 == 3:
                state = imagined[0, t // 4, -num_states:].numpy() / STATE_SCALE
                np.testing.assert_allclose(state[:2], info["position"], atol=0.05)
                seen = model.encode(torch.from_numpy(observation["observation"][None]))[0].detach()
                torch.testing.assert_close(imagined[0, t // 4, :-num_states], seen, atol=0.05, rtol=0.05)
    assert blocked > 0


def test_the_oracle_replaces_what_sees_one_image(checkpoint):
    pretrained = load_pretrained(checkpoint)
    model = build_model(replace(pretrained.sections["model"], context=2), pretrained.data)
    with pytest.raises(ValueError, match=r"the world model must have model.context 1 to be replaced, got 2"):
        OracleModel(model, find_domain("two-rooms").simulation())


def test_all_but_the_actor_alone_plan_as_often(checkpoint):
    planner = PlannerConfig(horizon=2, num_samples=8, num_elites=4, replan_every=6)
    config = AttributeConfig(policy=str(checkpoint), planner=planner)
    agents = _variants(config, load_pretrained(checkpoint), make_task("TwoRooms-v0", {}))
    assert {name: agent.steps_per_plan for name, agent in agents.items()} == {
        "as configured": 6,
        "true dynamics": 6,
        "larger budget": 6,
        "actor alone": 1,
    }


def result(successes):
    rows = tuple(
        Episode(index=i, final_success=s, ever_success=s, steps_to_goal=None, num_steps=1, total_reward=0.0)
        for i, s in enumerate(successes)
    )
    return EvalResult("m", "h", len(rows), 1, 0, True, rows)


def test_faults_are_named_by_what_mends_them():
    rows = _failures(
        {
            "as configured": result([True, False, False, False]),
            "true dynamics": result([False, True, False, False]),
            "larger budget": result([True, True, True, False]),
        }
    )
    assert [(row["episode"], row["fault"]) for row in rows] == [(1, "model"), (2, "search"), (3, "cost")]


@pytest.mark.parametrize(("cost", "replan_every"), [("value", None), ("closest", None), ("value", 6)])
def test_a_small_attribution(checkpoint, tmp_path, monkeypatch, cost, replan_every):
    rendered = []
    monkeypatch.setattr("benchmarks.analysis.attribution.video.run", lambda config: rendered.append(config) or [])
    search = {"num_samples": 8, "num_elites": 4, "num_iterations": 1, "horizon": 2}
    planner = PlannerConfig(**search, cost=cost, replan_every=replan_every)
    config = AttributeConfig(
        policy=str(checkpoint),
        num_episodes=2,
        num_envs=2,
        planner=planner,
        output=tmp_path / "a.json",
        num_videos=1,
        videos=tmp_path,
        progress=False,
    )
    record = run(config)
    assert [row["variant"] for row in record.rows] == ["as configured", "true dynamics", "larger budget", "actor alone"]
    assert record.rows[0]["gain"]["difference"] == 0.0
    failed = 2 - round(2 * record.rows[0]["summary"]["final_success"])
    assert len(record.facts["failures"]) == failed
    assert read_record(tmp_path / "a.json") == record
    # A video of the first failure, if there is one, says whose fault it was.
    assert len(rendered) == min(failed, 1)
    for failure, config in zip(record.facts["failures"], rendered, strict=False):
        assert config.episodes == (failure["episode"],)
        assert config.output == tmp_path / f"failed-validation-{failure['episode']}-{failure['fault']}"


def test_a_scripted_policy_has_no_model():
    with pytest.raises(ValueError, match="policy must be a checkpoint, got 'random'"):
        run(AttributeConfig(policy="random"))
