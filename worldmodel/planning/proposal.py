"""No search at all: execute what is proposed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worldmodel.planning.bounds import ActionBounds
from worldmodel.planning.plan import CostFn, Plan, Trace


@dataclass(frozen=True, kw_only=True)
class ProposalPlanner:
    """Returns the first plan that it is given, within the bounds: amortised planning, where a policy proposes.

    Attributes:
        bounds: What actions are allowed.
        horizon: Steps of a plan.
    """

    bounds: ActionBounds
    horizon: int = 1

    @torch.no_grad()
    def plan(
        self, cost: CostFn, *, init: Tensor | None, generators: Sequence[torch.Generator], record: bool = False
    ) -> Plan:
        """Plans for ``len(generators)`` environments; see :meth:`worldmodel.planning.Planner.plan`.

        Raises:
            ValueError: If nothing is proposed.
        """
        if init is None:
            raise ValueError("init must hold a proposed plan for each environment, got None")
        proposed = init if init.ndim == 3 else init[:, 0]
        actions = self.bounds.to(generators[0].device).project(proposed)
        costs = cost(actions[:, None])
        return Plan(
            actions=actions,
            cost=costs[:, 0],
            elites=actions[:, None][:, :0],
            num_iterations=torch.zeros(len(actions), dtype=torch.int64, device=actions.device),
            trace=Trace(
                best=costs,
                mean=costs,
                elite=costs,
                candidates=(actions[:, None],) if record else None,
                candidate_costs=(costs,) if record else None,
            ),
        )
