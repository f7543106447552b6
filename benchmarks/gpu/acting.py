"""Evaluation of what was trained on a GPU, and how long planner and actor take for an action."""

import time
from typing import Any

import numpy as np
import torch

from agents.evaluation.task import make_task
from agents.saved import make_policy
from agents.world_model.agent import PlanningAgent
from agents.world_model.config import PlannerConfig
from benchmarks.evaluation import success
from benchmarks.evaluation.config import EvaluateConfig
from benchmarks.gpu.config import GpuConfig
from benchmarks.gpu.training import Finding, folder_of
from envs.domain import VALIDATION, find_domain
from worldmodel.checkpoint import shipped_checkpoints
from worldmodel.config import changed

WHO = {"planner": "mppi", "actor": "policy"}
"""Who acts, and the planner that does."""
NUM_ENVS = (1, 50)
"""Environments that actions are planned for at once."""
WARM_UP, PLANS, TINY_PLANS = 5, 50, 2
"""Plans that do not count, and those that do."""


def evaluate(config: GpuConfig, name: str) -> Finding:
    """Plays validation episodes with the world model that was trained in an environment."""
    record = success.run(
        EvaluateConfig(
            policy=str(folder_of(config, name)),
            manifest=f"{name}/{VALIDATION}",
            num_episodes=config.num_episodes,
            device=config.device,
            latency_episodes=0,
            output=config.runs / f"evaluation-{name}.json",
            overwrite=True,
            progress=False,
        )
    )
    told = record.facts["summary"]
    kept = ("num_episodes", "final_success", "final_success_interval", "ever_success", "ever_success_interval")
    return Finding({key: told[key] for key in kept})


def policy_of(config: GpuConfig, name: str, planner: str) -> tuple[PlanningAgent, str | None]:
    """The agent of the shipped checkpoint of an environment, or else of the one trained here, and what it sees."""
    source = name if name in shipped_checkpoints() else str(folder_of(config, name))
    task = make_task(find_domain(name).env_id)
    options = changed(PlannerConfig(), {"planner": planner})
    agent, observation = make_policy(source, task, planner=options, device=config.device)
    assert isinstance(agent, PlanningAgent)
    return agent, observation


def first_observation(name: str, observation: str | None, num_envs: int) -> dict[str, Any]:
    """What so many environments show at first."""
    env = make_task(find_domain(name).env_id).vector(observation)(num_envs)
    try:
        return env.reset(seed=0)[0]
    finally:
        env.close()


def act(config: GpuConfig, name: str) -> Finding:
    """Milliseconds of a plan and of an action, encoding of image and goal included, for one environment and many."""
    rows = []
    for who, planner in WHO.items():
        agent, seen = policy_of(config, name, planner)
        for num_envs in NUM_ENVS[: 1 if config.tiny else None]:
            shown = first_observation(name, seen, num_envs)
            taken = [_milliseconds(agent, shown) for _ in range(WARM_UP + (TINY_PLANS if config.tiny else PLANS))]
            p50, p95 = np.percentile(taken[WARM_UP:], [50, 95])
            rows.append(
                {
                    "who": who,
                    "num_envs": num_envs,
                    "plan_p50_ms": float(p50),
                    "plan_p95_ms": float(p95),
                    "action_p50_ms": float(p50) / agent.steps_per_plan / num_envs,
                }
            )
    return Finding({"rows": rows})


def _milliseconds(agent: PlanningAgent, shown: dict[str, Any]) -> float:
    """Of a plan from nothing. The actions come back to the host, so what the device does is over by then."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    agent.predict(shown, None, None, deterministic=True)
    return 1000 * (time.perf_counter() - began)
