"""The losses of joint-embedding predictive learning: pure functions of tensors, each returning a scalar.

The objective is ``L = L_pred + β L_cov + α L_var + δ L_time-sim + ω L_idm`` (EB-JEPA, arXiv 2602.03604, with the
variance and covariance terms of VICReg, arXiv 2105.04906), or with SIGReg (LeJEPA, arXiv 2511.08544) in place of
variance and covariance; ``L_pred`` and ``L_idm`` are mean squared errors. The objectives (such as
:mod:`worldmodel.objective`) say which latents a term is computed of.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from worldmodel.nn.randomness import step_generator


def variance(latents: Float[Tensor, "n d"], margin: float = 1.0) -> Float[Tensor, ""]:
    """VICReg's variance term: ``mean_d max(0, margin − sqrt(Var_n(z_d) + 1e-4))``.

    Args:
        latents: ``n`` samples of ``d`` features.
        margin: Standard deviation below which a feature is pushed to vary more.
    """
    std = torch.sqrt(latents.var(dim=0) + 1e-4)
    return F.relu(margin - std).mean()


def covariance(latents: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """VICReg's covariance term as in EB-JEPA: mean of the squared off-diagonal covariances, over ``d (d − 1)``."""
    n, d = latents.shape
    centred = latents - latents.mean(dim=0)
    cov = centred.T @ centred / (n - 1)
    return (cov.square().sum() - cov.diagonal().square().sum()) / (d * (d - 1))


def temporal_similarity(latents: Float[Tensor, "b t *d"]) -> Float[Tensor, ""]:
    """Mean squared difference of consecutive latents."""
    return F.mse_loss(latents[:, 1:], latents[:, :-1])


def contrast(
    first: Float[Tensor, "*b n d"], second: Float[Tensor, "*b n d"], temperature: float = 0.1
) -> Float[Tensor, ""]:
    """InfoNCE (arXiv 1807.03748) by squared distances: each row's partner is told from all other rows' partners.

    The mean cross-entropy of ``softmax_j(−|first_i − second_j|² / (d · temperature))``, and of the same the other way.

    Args:
        first: ``n`` samples of ``d`` features; with leading dimensions many such sets, each on its own.
        second: Their partners.
        temperature: Mean squared distance over features that counts as one nat.
    """
    n, d = first.shape[-2:]
    first, second = first.reshape(-1, n, d), second.reshape(-1, n, d)
    # |a − b|² = |a|² + |b|² − 2 a·b: far less memory than all differences.
    squares = first.square().sum(dim=-1)[:, :, None] + second.square().sum(dim=-1)[:, None]
    logits = torch.baddbmm(squares, first, second.mT, alpha=-2.0) / (-d * temperature)  # (B, n, n)
    partners = torch.arange(n, device=first.device).expand(len(first), n)
    return 0.5 * (F.cross_entropy(logits.mT, partners) + F.cross_entropy(logits, partners))


def sigreg(
    latents: Float[Tensor, "n d"],
    *,
    num_projections: int = 256,
    num_points: int = 17,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Sketched isotropic Gaussian regularisation (LeJEPA, arXiv 2511.08544, section 4).

    Projects the latents on random unit directions and averages the distance of each projection from the standard
    normal, ``∫ |φ_n(t) − exp(−t²/2)|² exp(−t²/2) dt`` with the empirical characteristic function ``φ_n``, integrated
    over ``[−3, 3]`` by the trapezoidal rule. This is the Epps–Pulley statistic without its factor ``n``, so that one
    weight suits batches of any size; EB-JEPA (arXiv 2602.03604) weights it this way.

    Args:
        latents: ``n`` samples of ``d`` features.
        num_projections: Number of random directions, drawn anew at each call.
        num_points: Number of integration points.
        generator: Source of the directions; on several processes it must be in the same state on each.
    """
    d = latents.shape[1]
    directions = torch.randn(d, num_projections, generator=generator, device=latents.device, dtype=latents.dtype)
    directions = F.normalize(directions, dim=0)
    # The integrand is even in t: integrate over [0, 3] and double.
    t = torch.linspace(0.0, 3.0, (num_points + 1) // 2, device=latents.device, dtype=latents.dtype)
    normal = torch.exp(-0.5 * t.square())
    angles = (latents @ directions)[..., None] * t  # (N, P, points)
    real, imaginary = angles.cos().mean(dim=0), angles.sin().mean(dim=0)
    error = ((real - normal).square() + imaginary.square()) * normal
    return 2.0 * torch.trapezoid(error, t, dim=-1).mean()


def regularise(
    loss: Float[Tensor, ""],
    views: Sequence[Float[Tensor, "n d"]],
    *,
    variance_weight: float,
    covariance_weight: float,
    sigreg_weight: float,
    seed: int,
    step: int,
    max_rows: int | None = None,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Adds to a loss the terms that keep latents from collapsing; a weight of 0 leaves a term out.

    Args:
        loss: The loss.
        views: Latents. Variance and covariance are summed over views; SIGReg, along the same directions for each, is
            averaged.
        variance_weight: Weight of the variance.
        covariance_weight: Weight of the covariance.
        sigreg_weight: Weight of SIGReg.
        seed: Seed of SIGReg's random choices.
        step: Training step; the choices depend on it too.
        max_rows: Most samples that SIGReg looks at, chosen at random; None: all.

    Returns:
        The loss, and each term unweighted.
    """
    terms: dict[str, Tensor] = {}
    # Statistics need float32.
    with torch.autocast(loss.device.type, enabled=False):
        named = (("variance", variance_weight, variance), ("covariance", covariance_weight, covariance))
        for name, weight, term in named:
            if weight:
                terms[name] = torch.stack([term(rows) for rows in views]).sum()
                loss = loss + weight * terms[name]
        if sigreg_weight:
            values = []
            for rows in views:
                generator = step_generator(rows.device, seed, step)
                if max_rows is not None and len(rows) > max_rows:
                    rows = rows[torch.randperm(len(rows), generator=generator, device=rows.device)[:max_rows]]
                values.append(sigreg(rows, generator=generator))
            terms["sigreg"] = torch.stack(values).mean()
            loss = loss + sigreg_weight * terms["sigreg"]
    return loss, terms
