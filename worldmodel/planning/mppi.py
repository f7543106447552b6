"""Model predictive path integral control (MPPI)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from worldmodel.config import Positive, config
from worldmodel.planning.search import SamplingPlanner

SMALLEST = torch.finfo(torch.float32).tiny
"""The smallest normal number of single precision; a lower temperature counts as this."""


@config
class MPPIOptions:
    """What :class:`MPPI` adds to the options of a search."""

    temperature: Positive = 0.1
    """MPPI: cost difference that lowers an elite's weight by a factor e."""


@dataclass(frozen=True, kw_only=True)
class MPPI(SamplingPlanner):
    """Averages the elites with weights ``exp(−(cost − lowest cost) / temperature)``.

    Williams et al. (2016), "Aggressive driving with model predictive path integral control", in the form of TD-MPC
    (Hansen et al. 2022): several iterations, weights over the elites only, and a standard deviation that follows them.
    The temperature is the reciprocal of TD-MPC's, which multiplies the cost: its 0.5 is 2 here.
    """

    own_options: ClassVar[type] = MPPIOptions
    temperature: float = MPPIOptions.temperature

    def refine(self, elites: Tensor, costs: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted mean and standard deviation of the elites."""
        temperature = max(self.temperature, SMALLEST)  # else single precision makes it 0, and weights 0 / 0
        weights = torch.softmax((costs[:, :1] - costs) / temperature, 1)[:, :, None, None]
        mean = (weights * elites).sum(1)
        return mean, (weights * (elites - mean[:, None]).square()).sum(1).sqrt()
