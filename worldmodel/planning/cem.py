"""The cross-entropy method: as it is (CEM), and improved for planning (iCEM)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from worldmodel.config import ProperFraction, config
from worldmodel.planning.search import SamplingPlanner


@config
class CEMOptions:
    """What :class:`CEM` and :class:`ICEM` add to the options of a search."""

    momentum: ProperFraction = 0.1
    """CEM and iCEM: weight of the old mean and standard deviation in the new ones."""


@dataclass(frozen=True, kw_only=True)
class CEM(SamplingPlanner):
    """Fits a diagonal Gaussian to the elites, again and again.

    Rubinstein (1999), "The cross-entropy method for combinatorial and continuous optimization", with smoothed updates.
    """

    own_options: ClassVar[type] = CEMOptions
    momentum: float = CEMOptions.momentum

    def refine(self, elites: Tensor, costs: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the elites, smoothed."""
        new_mean = elites.mean(1)
        new_std = (elites - new_mean[:, None]).square().mean(1).sqrt()
        return torch.lerp(new_mean, mean, self.momentum), torch.lerp(new_std, std, self.momentum)


@dataclass(frozen=True, kw_only=True)
class ICEM(CEM):
    """CEM whose last iteration has the mean as a candidate.

    Pinneri et al. (2020), "Sample-efficient cross-entropy method for real-time planning". The rest of that method is in
    the options: coloured noise (``noise_beta``), kept elites (``keep_elites``), fewer samples as it narrows
    (``sample_decay``). Elites travel between searches in :attr:`worldmodel.planning.Plan.elites`; pass
    :func:`worldmodel.planning.warm_start` as ``init``.
    """

    mean_candidate: ClassVar[bool] = True
