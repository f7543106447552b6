"""Model predictive path integral control (MPPI)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodel.planning.bounds import ActionBounds
from worldmodel.planning.plan import CostFn, Plan
from worldmodel.planning.search import SearchOptions, search

SMALLEST = torch.finfo(torch.float32).tiny
"""The smallest normal number of single precision; a lower temperature counts as this."""


@dataclass(frozen=True, kw_only=True)
class MPPI:
    """Averages the elites with weights ``exp(−(cost − lowest cost) / temperature)``.

    Williams et al. (2016), "Aggressive driving with model predictive path integral control", in the form of TD-MPC
    (Hansen et al. 2022): several iterations, weights over the elites only, and a standard deviation that follows them.

    Attributes:
        bounds: What actions are allowed.
        options: How to search.
        temperature: In units of the cost. The lower, the more the best candidate counts; a high one weighs all elites
            alike. It is the reciprocal of TD-MPC's (which multiplies the cost: its 0.5 is 2 here).

    Raises:
        ValueError: If the temperature is not positive.
    """

    bounds: ActionBounds
    options: SearchOptions = field(default_factory=SearchOptions)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")

    @property
    def horizon(self) -> int:
        """Steps of a plan."""
        return self.options.horizon

    def plan(
        self, cost: CostFn, *, init: Tensor | None, generators: Sequence[torch.Generator], record: bool = False
    ) -> Plan:
        """Plans for ``len(generators)`` environments; see :meth:`worldmodel.planning.Planner.plan`."""
        return search(
            cost,
            bounds=self.bounds,
            options=self.options,
            refine=self._refine,
            init=init,
            generators=generators,
            record=record,
        )

    def _refine(
        self,
        elites: Float[Tensor, "b k t a"],
        costs: Float[Tensor, "b k"],
        mean: Float[Tensor, "b t a"],
        std: Float[Tensor, "b t a"],
    ) -> tuple[Float[Tensor, "b t a"], Float[Tensor, "b t a"]]:
        temperature = max(self.temperature, SMALLEST)  # single precision would make it 0, and weights 0 / 0
        weights = torch.softmax((costs[:, :1] - costs) / temperature, 1)[:, :, None, None]
        mean = (weights * elites).sum(1)
        return mean, (weights * (elites - mean[:, None]).square()).sum(1).sqrt()
