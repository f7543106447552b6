"""Coloured noise for action sequences: power-law spectra, unit variance."""

import functools

import torch
from jaxtyping import Float
from torch import Tensor


def coloured_noise(
    num_samples: int, horizon: int, action_dim: int, beta: float, generator: torch.Generator
) -> Float[Tensor, "n t a"]:
    """Gaussian sequences whose power spectrum falls as ``1 / f^beta``, of variance 1 at every time.

    Timmer & Koenig (1995), "On generating power law noise": independent complex Gaussians for the frequencies, scaled
    by ``f^(−beta/2)``, transformed back. The zero frequency gets the weight of the lowest other one, so that sequences
    may drift. Used for planning by iCEM (Pinneri et al. 2020): ``beta`` 0 is white noise, 1 is pink, 2 is red; the
    larger, the slower the actions change.

    Args:
        num_samples: Number of sequences.
        horizon: Time steps of a sequence.
        action_dim: Independent dimensions.
        beta: Exponent of the spectrum, at least 0.
        generator: Source of randomness; the noise is made on its device.

    Returns:
        float32 noise; time runs along dimension 1.
    """
    device = generator.device
    if beta == 0 or horizon == 1:
        return torch.randn(num_samples, horizon, action_dim, generator=generator, device=device)
    scale = _spectrum_scale(horizon, float(beta), device)
    parts = torch.randn(num_samples, action_dim, *scale.shape, generator=generator, device=device)
    spectrum = torch.view_as_complex(parts.mul_(scale))
    return torch.fft.irfft(spectrum, n=horizon, dim=-1).transpose(1, 2)


@functools.lru_cache(maxsize=64)  # plans come one after another with the same few
def _spectrum_scale(horizon: int, beta: float, device: torch.device) -> Float[Tensor, "f 2"]:
    """Standard deviations of the real and imaginary part of each frequency; treat as constant."""
    num_frequencies = horizon // 2 + 1
    weights = torch.arange(num_frequencies, dtype=torch.float64)
    weights[0] = 1.0
    weights = weights ** (-beta / 2)
    # The zero and, for even horizons, the highest frequency are real, with the power of both halves in the real part.
    is_real = torch.zeros(num_frequencies, dtype=torch.bool)
    is_real[0] = True
    is_real[-1] |= horizon % 2 == 0
    power = torch.where(is_real, 2.0, 4.0) * weights**2
    weights = weights * horizon / power.sum().sqrt()
    scale = torch.stack([torch.where(is_real, 2**0.5, 1.0) * weights, torch.where(is_real, 0.0, weights)], -1)
    return scale.to(device, torch.float32)
