"""The improved cross-entropy method (iCEM)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from worldmodel.planning.bounds import ActionBounds
from worldmodel.planning.cem import check_momentum, fit_gaussian
from worldmodel.planning.plan import CostFn, Plan
from worldmodel.planning.search import SearchOptions, search

ICEM_OPTIONS = SearchOptions(noise_beta=2.0, keep_elites=0.3, sample_decay=1.25)
"""The method's own options, as published; ``dataclasses.replace`` them to change others."""


@dataclass(frozen=True, kw_only=True)
class ICEM:
    """CEM with coloured noise, elites kept and shifted, fewer samples as it narrows, and the mean as last candidate.

    Pinneri et al. (2020), "Sample-efficient cross-entropy method for real-time planning". Elites travel between
    searches in :attr:`worldmodel.planning.Plan.elites`; pass :func:`worldmodel.planning.warm_start` as ``init``.

    Attributes:
        bounds: What actions are allowed.
        options: How to search; by default :data:`ICEM_OPTIONS`. ``mean_candidate`` is always on.
        momentum: Weight of the old mean and standard deviation in the new ones, in [0, 1).

    Raises:
        ValueError: If the momentum is out of its range.
    """

    bounds: ActionBounds
    options: SearchOptions = field(default=ICEM_OPTIONS)
    momentum: float = 0.1

    def __post_init__(self) -> None:
        check_momentum(self.momentum)

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
            options=replace(self.options, mean_candidate=True),
            refine=fit_gaussian(self.momentum),
            init=init,
            generators=generators,
            record=record,
        )
