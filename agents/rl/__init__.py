"""Reinforcement learning with Stable-Baselines3 and sb3-contrib."""

from typing import TYPE_CHECKING

from worldmodel import exports

if TYPE_CHECKING:
    from agents.rl.algorithms import ALGORITHMS, check_options, check_rollouts, is_off_policy
    from agents.rl.codes import CodedPolicy, open_code
    from agents.rl.evaluation import Evaluation
    from agents.rl.held_actions import HeldPolicy
    from agents.rl.models import load, load_to_act, make_model
    from agents.rl.storage.files import BEST, CONFIG, CURVE, EVALUATIONS, FORMAT, MODEL, OLD_REPLAY, PROGRESS, REPLAY
    from agents.rl.storage.files import Progress, RunConfig, RunFiles, read_files, read_run, spent, write_run
    from agents.rl.training import train

__getattr__ = exports(
    __name__,
    {
        "algorithms": "ALGORITHMS check_options check_rollouts is_off_policy",
        "codes": "CodedPolicy open_code",
        "evaluation": "Evaluation",
        "held_actions": "HeldPolicy",
        "models": "load load_to_act make_model",
        "storage.files": "BEST CONFIG CURVE EVALUATIONS FORMAT MODEL OLD_REPLAY PROGRESS REPLAY "
        "Progress RunConfig RunFiles read_files read_run spent write_run",
        "training": "train",
    },
)
