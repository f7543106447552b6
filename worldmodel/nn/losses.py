"""The losses of joint-embedding predictive learning: pure functions of tensors, each returning a scalar.

The objective is ``L = L_pred + β L_cov + α L_var + δ L_time-sim + ω L_idm`` (EB-JEPA, arXiv 2602.03604, with the
variance and covariance terms of VICReg, arXiv 2105.04906), or with SIGReg (LeJEPA, arXiv 2511.08544) in place of
variance and covariance. How the terms are weighted and to which latents they apply is in
:mod:`worldmodel.objective`.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def prediction(predicted: Float[Tensor, "*b d"], target: Float[Tensor, "*b d"]) -> Float[Tensor, ""]:
    """Mean squared error between predicted and encoded latents."""
    return F.mse_loss(predicted, target)


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


def inverse_dynamics(predicted: Float[Tensor, "*b a"], actions: Float[Tensor, "*b a"]) -> Float[Tensor, ""]:
    """Mean squared error of actions recovered from consecutive latents."""
    return F.mse_loss(predicted, actions)


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
    weight suits batches of any size; so weighs EB-JEPA (arXiv 2602.03604).

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
