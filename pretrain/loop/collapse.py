"""Collapse: whether latents still tell inputs apart."""

import logging

import torch
from jaxtyping import Float
from torch import Tensor

logger = logging.getLogger(__name__)

COLLAPSE_RANK = 2.0
"""Effective rank below which latents count as collapsed."""
COLLAPSE_STD = 0.1
"""Mean standard deviation of latent features, whose scale is 1, below which latents count as collapsed."""


def effective_rank(latents: Float[Tensor, "n d"]) -> float:
    """Exponential of the entropy of the normalised singular values of centred latents (RankMe, arXiv 2210.02885).

    Returns:
        A number from 1 (all latents on a line) to ``d``; 0 where all latents are equal.
    """
    latents = latents.double()  # first, so that equal latents equal their mean
    values = torch.linalg.svdvals(latents - latents.mean(dim=0))
    if values.sum() < 1e-9:
        return 0.0
    p = values / values.sum()
    return float(torch.exp(-(p * p.clamp_min(1e-12).log()).sum()))


def measure_spread(latents: Float[Tensor, "n d"], max_rows: int | None = None) -> dict[str, float]:
    """How far latents spread: ``effective_rank``, and ``latent_std``, the mean standard deviation of their features.

    Args:
        latents: Latents.
        max_rows: About how many of them the rank is computed of, evenly spaced; None: of all.
    """
    every = max(1, len(latents) // max_rows) if max_rows else 1
    return {"effective_rank": effective_rank(latents[::every]), "latent_std": float(latents.std(dim=0).mean())}


def warn_if_collapsed(rank: float, std: float) -> None:
    """Warns of latents that hold next to nothing, by their effective rank and mean standard deviation."""
    # The rank knows no scale: latents that all but agree have a full one.
    if rank < COLLAPSE_RANK or std < COLLAPSE_STD:
        logger.warning("the latents have collapsed: effective rank %.2f, mean standard deviation %.3g", rank, std)
