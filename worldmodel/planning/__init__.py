"""Sampling planners that minimise a cost over action sequences; they know neither the model nor the environment."""

from worldmodel.planning.bounds import ActionBounds
from worldmodel.planning.cem import CEM
from worldmodel.planning.cost import COST_KINDS, Measure, distance_measure, make_cost
from worldmodel.planning.icem import ICEM
from worldmodel.planning.mppi import MPPI
from worldmodel.planning.noise import coloured_noise
from worldmodel.planning.plan import CostFn, Plan, Planner, Trace, shift, warm_start
from worldmodel.planning.proposal import ProposalPlanner
from worldmodel.planning.search import SearchOptions

__all__ = [
    "CEM",
    "COST_KINDS",
    "ICEM",
    "MPPI",
    "ActionBounds",
    "CostFn",
    "Measure",
    "Plan",
    "Planner",
    "ProposalPlanner",
    "SearchOptions",
    "Trace",
    "coloured_noise",
    "distance_measure",
    "make_cost",
    "shift",
    "warm_start",
]
