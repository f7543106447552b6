"""Sampling planners that minimise a cost over action sequences; they know neither the model nor the environment."""

from typing import Any

from worldmodel.planning.bounds import ActionBounds
from worldmodel.planning.cem import CEM, ICEM, CEMOptions
from worldmodel.planning.cost import COST_KINDS, Measure, distance_measure, make_cost
from worldmodel.planning.mppi import MPPI, MPPIOptions
from worldmodel.planning.noise import coloured_noise
from worldmodel.planning.plan import FILLS, CostFn, Plan, Planner, SearchOptions, Trace, shift, warm_start
from worldmodel.planning.proposal import ProposalPlanner
from worldmodel.planning.search import SamplingPlanner

PLANNERS: dict[str, type[Any]] = {"mppi": MPPI, "cem": CEM, "icem": ICEM, "policy": ProposalPlanner}
"""Planners by name. One is built from its bounds, its ``options`` if it searches, and what ``own_options`` names."""

__all__ = [
    *("CEM", "COST_KINDS", "FILLS", "ICEM", "MPPI", "PLANNERS", "ActionBounds", "CEMOptions", "CostFn", "MPPIOptions"),
    *("Measure", "Plan", "Planner", "ProposalPlanner", "SamplingPlanner", "SearchOptions", "Trace"),
    *("coloured_noise", "distance_measure", "make_cost", "shift", "warm_start"),
]
