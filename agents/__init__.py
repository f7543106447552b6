"""Policies with Stable-Baselines3's ``predict`` protocol, and their evaluation."""

from typing import TYPE_CHECKING

from worldmodel import exports

if TYPE_CHECKING:
    from agents.appearance import ShiftedPolicy
    from agents.evaluation.evaluate import evaluate
    from agents.evaluation.manifest import Manifest
    from agents.evaluation.results import EvalResult
    from agents.evaluation.task import make_task
    from agents.offline.agent import OfflineAgent
    from agents.world_model.agent import PlanningAgent
    from agents.saved import make_policy, open_source
    from agents.scripted import RandomPolicy
    from agents.stable_worldmodel import PlannerSolver, WithoutInfo, WorldPolicy
    from agents.world_model.config import PlannerConfig

__getattr__ = exports(
    __name__,
    {
        "appearance": "ShiftedPolicy",
        "evaluation.evaluate": "evaluate",
        "evaluation.manifest": "Manifest",
        "evaluation.results": "EvalResult",
        "evaluation.task": "make_task",
        "offline.agent": "OfflineAgent",
        "world_model.agent": "PlanningAgent",
        "saved": "make_policy open_source",
        "scripted": "RandomPolicy",
        "stable_worldmodel": "PlannerSolver WithoutInfo WorldPolicy",
        "world_model.config": "PlannerConfig",
    },
)
