"""The cross-entropy method (CEM)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from worldmodel.planning.bounds import ActionBounds
from worldmodel.planning.plan import CostFn, Plan
from worldmodel.planning.search import Refine, SearchOptions, search


@dataclass(frozen=True, kw_only=True)
class CEM:
    """Fits a diagonal Gaussian to the elites, again and again.

    Rubinstein (1999), "The cross-entropy method for combinatorial and continuous optimization", with smoothed updates.

    Attributes:
        bounds: What actions are allowed.
        options: How to search.
        momentum: Weight of the old mean and standard deviation in the new ones, in [0, 1).

    Raises:
        ValueError: If the momentum is out of its range.
    """

    bounds: ActionBounds
    options: SearchOptions = field(default_factory=SearchOptions)
    momentum: float = 0.0

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
            options=self.options,
            refine=fit_gaussian(self.momentum),
            init=init,
            generators=generators,
            record=record,
        )


def check_momentum(momentum: float) -> None:
    """Raises ValueError unless ``momentum`` is in [0, 1)."""
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")


def fit_gaussian(momentum: float) -> Refine:
    """The rule of the cross-entropy method: mean and standard deviation of the elites, smoothed.

    Args:
        momentum: Weight of the old mean and standard deviation.

    Returns:
        The rule, for :func:`worldmodel.planning.search.search`.
    """

    def refine(elites: Tensor, costs: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        new_mean = elites.mean(1)
        new_std = (elites - new_mean[:, None]).square().mean(1).sqrt()
        return torch.lerp(new_mean, mean, momentum), torch.lerp(new_std, std, momentum)

    return refine
