"""What a world model can do, measured on windows it was not trained on."""

import logging
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pretrain.data.windows import WindowBatch, WindowSource
from worldmodel.jepa import JEPA
from worldmodel.nn.probes import Probe

logger = logging.getLogger(__name__)

NUM_WINDOWS = 256
"""Windows of a validation."""
VALIDATION_SEED = 20_000_003
"""Seed of the windows; the same at every validation."""
COLLAPSE_RANK = 2.0
"""Effective rank below which latents count as collapsed."""
COLLAPSE_STD = 0.1
"""Mean standard deviation of latent features, whose scale is 1, below which latents count as collapsed."""
BLOCKED_TOLERANCE = 0.01
"""A displacement that differs from the sum of its actions by more, in pixels, met a wall."""


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


def warn_if_collapsed(rank: float, std: float) -> None:
    """Warns of latents that hold next to nothing, by their effective rank and mean standard deviation."""
    # The rank knows no scale: latents that all but agree have a full one.
    if rank < COLLAPSE_RANK or std < COLLAPSE_STD:
        logger.warning("the latents have collapsed: effective rank %.2f, mean standard deviation %.3g", rank, std)


@runtime_checkable
class DiagnosingSource(Protocol):
    """A source of windows that knows more to measure in its environment."""

    def diagnose(self, model: JEPA, probe: Probe) -> dict[str, float]:
        """Measures a world model, through a probe that reads positions off latents."""
        ...


@torch.no_grad()
def validate(model: JEPA, probe: Probe | None, source: WindowSource) -> dict[str, float]:
    """Measures a world model on a fixed sample of validation windows.

    Args:
        model: The world model.
        probe: Reads positions off latents; without it only latent metrics are returned.
        source: Validation windows.

    Returns:
        ``prediction_k``: squared error of latents predicted k predictor steps ahead, for the first, the middle and the
        last k. ``effective_rank`` of the latents, and ``latent_std``, the mean standard deviation of their features.
        With a probe and known positions, in their units: ``probe_error``; ``rollout_error_k`` (through the probe) of
        rollouts that met no wall, and ``rollout_error_blocked_k`` of those that did (of windows whose actions are
        displacements). With known layouts, ``linear_probe_…``: mean absolute error of linear maps from latents to wall,
        door and position. With a probe, what the source's own ``diagnose(model, probe)`` returns, if it has one.
    """
    was_training = model.training
    model.eval()
    batch = source.sample(NUM_WINDOWS, np.random.default_rng(VALIDATION_SEED))
    latents = model.encode(batch.pixels)
    predicted = model.rollout(latents[:, 0], batch.actions)
    error = (predicted - latents[:, 1:]).square().mean(dim=-1).mean(dim=0)  # (T - 1,)
    horizons = sorted({1, (len(error) + 1) // 2, len(error)})
    metrics = {f"prediction_{k}": float(error[k - 1]) for k in horizons}
    flat = latents.flatten(0, 1)
    rank, std = effective_rank(flat), float(flat.std(dim=0).mean())
    metrics |= {"effective_rank": rank, "latent_std": std}
    warn_if_collapsed(rank, std)
    if probe is not None and batch.positions is not None:
        metrics |= _position_metrics(probe, latents, predicted, batch, horizons)
        if batch.layout is not None:
            metrics |= _linear_probes(latents, batch.positions, batch.layout)
    if probe is not None and isinstance(source, DiagnosingSource):
        metrics |= source.diagnose(model, probe)
    model.train(was_training)
    return metrics


def _position_metrics(
    probe: Probe, latents: Tensor, predicted: Tensor, batch: WindowBatch, horizons: list[int]
) -> dict[str, float]:
    positions = batch.positions
    assert positions is not None
    metrics = {"probe_error": float((probe(latents) - positions).norm(dim=-1).mean())}
    errors = (probe(predicted) - positions[:, 1:]).norm(dim=-1)  # (N, T - 1)
    intended = batch.actions.unflatten(-1, (-1, positions.shape[-1])).sum(dim=2)
    met_wall = (positions.diff(dim=1) - intended).norm(dim=-1) > BLOCKED_TOLERANCE
    for k in horizons:
        blocked = met_wall[:, :k].any(dim=1)
        for name, rows in (("rollout_error", ~blocked), ("rollout_error_blocked", blocked)):
            if rows.any():
                metrics[f"{name}_{k}"] = float(errors[rows, k - 1].mean())
    return metrics


def _linear_probes(latents: Tensor, positions: Tensor, layout: Tensor) -> dict[str, float]:
    """Errors of ridge regressions from latents, fitted on every other window and measured on the rest."""
    num_frames = latents.shape[1]
    targets = torch.cat([layout[:, None].expand(-1, num_frames, -1), positions], dim=-1).double()
    ones = torch.ones(*latents.shape[:2], 1, dtype=torch.float64, device=latents.device)
    inputs = torch.cat([latents.double(), ones], dim=-1)
    x, y = inputs[::2].flatten(0, 1), targets[::2].flatten(0, 1)
    ridge = 1e-6 * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    solution = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    wall, door, *position = (inputs[1::2] @ solution - targets[1::2]).abs().mean(dim=(0, 1)).tolist()
    return {
        "linear_probe_wall": wall,
        "linear_probe_door": door,
        "linear_probe_position": sum(position) / len(position),
    }
