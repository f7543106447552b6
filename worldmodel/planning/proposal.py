"""No search at all: execute a proposal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from worldmodel.planning.bounds import ActionBounds
from worldmodel.planning.plan import CostFn, Plan, Trace
from worldmodel.planning.search import check_finite, evaluate


@dataclass(frozen=True, kw_only=True)
class ProposalPlanner:
    """Returns the first plan that it is given, one step within the bounds: amortised planning, where a policy proposes.

    Attributes:
        bounds: Bounds of the actions.
    """

    own_options: ClassVar[type | None] = None
    bounds: ActionBounds

    @property
    def horizon(self) -> int:
        """Steps of a plan: one."""
        return 1

    @torch.no_grad()
    def plan(
        self, cost: CostFn, *, init: Tensor | None, generators: Sequence[torch.Generator], record: bool = False
    ) -> Plan:
        """Plans for ``len(generators)`` environments; see :meth:`worldmodel.planning.Planner.plan`.

        Costs cost time and decide nothing here: they are NaN unless recorded.

        Raises:
            ValueError: If nothing is proposed, or recorded costs have a wrong shape.
            FloatingPointError: If some environment's proposal holds NaN, or its recorded cost is not finite.
        """
        if init is None:
            raise ValueError("init must hold a proposed plan for each environment, got None")
        proposed = init if init.ndim == 3 else init[:, 0]
        undefined = proposed.isnan().flatten(1).any(1)
        if bool(undefined.any()):
            raise FloatingPointError(
                "init must hold proposed plans without NaN, got some with it for environments "
                f"{undefined.nonzero()[:, 0].tolist()}"
            )
        actions = self.bounds.to(generators[0].device).project(proposed)
        costs = actions.new_full((len(actions), 1), torch.nan)
        if record:
            costs = evaluate(cost, actions[:, None])
            check_finite(costs[:, 0])
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
