import numpy as np
import pytest
import torch

from worldmodel.planning import CEM, ActionBounds, SearchOptions, coloured_noise


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("horizon", [1, 2, 3, 20, 33])
def test_variance_is_one_at_every_time(beta, horizon):
    noise = coloured_noise(20_000, horizon, 2, beta, generator())
    assert noise.shape == (20_000, horizon, 2)
    assert noise.dtype == torch.float32
    variance = noise.square().mean((0, 2))
    torch.testing.assert_close(variance, torch.ones(horizon), atol=0.05, rtol=0)
    torch.testing.assert_close(noise.mean((0, 2)), torch.zeros(horizon), atol=0.03, rtol=0)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_spectrum_falls_with_the_exponent(beta):
    horizon = 256
    noise = coloured_noise(400, horizon, 1, beta, generator())[..., 0]
    power = torch.fft.rfft(noise).abs().square().mean(0).numpy()[1:-1]
    frequencies = np.arange(1, len(power) + 1)
    slope = np.polyfit(np.log(frequencies), np.log(power), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.05)


def test_dimensions_are_independent():
    noise = coloured_noise(20_000, 8, 2, 1.0, generator())
    assert (noise[..., 0] * noise[..., 1]).mean().abs() < 0.02


def test_redder_noise_changes_more_slowly():
    steps = [coloured_noise(500, 20, 1, beta, generator()).diff(dim=1).square().mean() for beta in (0.0, 1.0, 2.0)]
    assert steps[0] > steps[1] > steps[2]


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_an_environment_gets_its_noise_whoever_is_beside_it(beta):
    options = SearchOptions(horizon=9, num_samples=13, num_elites=2, noise_beta=beta, zero_candidate=False)
    planner = CEM(bounds=ActionBounds([-1.0] * 3, [1.0] * 3), options=options)

    def candidates(*seeds):
        generators = [generator(seed) for seed in seeds]
        plan = planner.plan(lambda a: a.square().sum((2, 3)), init=None, generators=generators, record=True)
        return plan.trace.candidates[0]

    together = candidates(*range(5))
    for seed in range(5):
        assert torch.equal(together[seed], candidates(seed)[0])
    assert not torch.equal(together[0], together[1])
