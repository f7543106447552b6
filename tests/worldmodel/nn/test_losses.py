"""Each loss against a closed form."""

import math

import numpy as np
import pytest
import torch

from worldmodel.nn import losses


def normal(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_contrast_of_two_pairs_by_hand():
    first, second = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    # Each is 1/2 from its partner, and 1 from the other's; a temperature of 1/2 makes these 1 and 2 nats.
    expected = math.log(1 + math.exp(-1.0))
    assert losses.contrast(first, second, temperature=0.5).item() == pytest.approx(expected, rel=1e-6)


def test_contrast_is_the_logarithm_of_the_number_where_nothing_tells_pairs_apart_and_falls_to_zero():
    same = torch.ones(7, 3)
    assert losses.contrast(same, same).item() == pytest.approx(math.log(7), rel=1e-6)
    apart = 100.0 * normal(7, 3)
    assert losses.contrast(apart, apart).item() == pytest.approx(0.0, abs=1e-6)


def test_contrast_does_not_ask_which_is_first():
    first, second = normal(5, 4), normal(5, 4, seed=1)
    torch.testing.assert_close(losses.contrast(first, second), losses.contrast(second, first))


def test_contrast_of_many_sets_is_the_mean_over_them():
    first, second = normal(12, 4).view(3, 4, 4), normal(12, 4, seed=1).view(3, 4, 4)
    each = [losses.contrast(a, b) for a, b in zip(first, second, strict=True)]
    torch.testing.assert_close(losses.contrast(first, second), torch.stack(each).mean())


@pytest.mark.parametrize("margin", [1.0, 0.5, 3.0])
def test_variance_of_data_with_known_standard_deviations(margin):
    # Values ±s have the unbiased standard deviation s · sqrt(n / (n − 1)).
    n, scales = 10, [0.2, 1.0, 2.0]
    signs = torch.tensor([1.0, -1.0]).repeat(n // 2)
    latents = torch.stack([scale * signs for scale in scales], dim=1)
    expected = np.mean([max(0.0, margin - math.sqrt(s * s * n / (n - 1) + 1e-4)) for s in scales])
    assert losses.variance(latents, margin).item() == pytest.approx(expected, rel=1e-6)


def test_variance_of_collapsed_latents_is_nearly_the_margin_whatever_their_mean():
    assert losses.variance(torch.full((8, 3), 7.0)).item() == pytest.approx(1.0 - 0.01)


def test_variance_asks_narrow_features_to_widen_and_leaves_wide_ones_alone():
    latents = (normal(64, 2) * torch.tensor([0.1, 5.0])).requires_grad_()
    losses.variance(latents).backward()
    widened = latents.detach() - 0.1 * latents.grad
    assert widened[:, 0].std() > latents[:, 0].std()
    assert torch.equal(latents.grad[:, 1], torch.zeros(64))


def test_covariance_of_constructed_data():
    # Features x, 2x, y with x and y orthogonal: the only off-diagonal covariances are Cov(x, 2x) = 2 · Var(x), twice.
    x, y = torch.tensor([1.0, 1.0, -1.0, -1.0]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    latents = torch.stack([x, 2 * x, y], dim=1) + torch.tensor([5.0, -3.0, 1.0])
    expected = 2 * (2 * 4 / 3) ** 2 / (3 * 2)
    assert losses.covariance(latents).item() == pytest.approx(expected, rel=1e-6)


def test_covariance_equals_numpys_and_is_zero_for_uncorrelated_features():
    latents = normal(50, 6)
    cov = np.cov(latents.double().numpy().T)
    expected = np.mean(cov[~np.eye(6, dtype=bool)] ** 2)
    assert losses.covariance(latents).item() == pytest.approx(expected, rel=1e-4)
    uncorrelated = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert losses.covariance(uncorrelated).item() == 0.0


def test_temporal_similarity_is_the_mean_squared_difference_of_neighbours():
    latents = torch.tensor([0.0, 1.0, 3.0])[None, :, None].expand(2, 3, 4)
    assert losses.temporal_similarity(latents).item() == pytest.approx((1 + 4) / 2)
    assert losses.temporal_similarity(torch.ones(2, 3, 4, 5, 5)).item() == 0.0


def test_temporal_similarity_does_not_compare_trajectories():
    apart = torch.tensor([0.0, 100.0])[:, None, None].expand(2, 3, 4)
    assert losses.temporal_similarity(apart).item() == 0.0


def epps_pulley(samples: np.ndarray, low: float = -3.0, high: float = 3.0, num_points: int = 20_001) -> float:
    """The Epps–Pulley statistic of samples ``(n,)`` over ``n``, integrated finely and without using any symmetry."""
    t = np.linspace(low, high, num_points)
    phi = np.array([np.exp(1j * s * samples).mean() for s in t])
    return float(np.trapezoid(np.abs(phi - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2), t))


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_sigreg_of_one_feature_is_the_epps_pulley_integral(shift):
    # In one dimension every direction is ±1, and the statistic does not see the sign.
    latents = normal(64, 1, seed=3) * 1.3 + shift
    expected = epps_pulley(latents[:, 0].double().numpy(), num_points=2001)
    assert losses.sigreg(latents, num_points=201).item() == pytest.approx(expected, rel=1e-3)
    assert losses.sigreg(latents).item() == pytest.approx(expected, rel=0.03)


def test_sigreg_averages_the_integral_over_unit_directions():
    latents = normal(32, 5, seed=4) * torch.tensor([0.5, 1.0, 2.0, 1.0, 0.1]) + 0.3
    directions = torch.randn(5, 3, generator=torch.Generator().manual_seed(9))
    directions = (directions / directions.norm(dim=0)).double().numpy()
    projected = latents.double().numpy() @ directions
    expected = np.mean([epps_pulley(projected[:, p], num_points=2001) for p in range(3)])
    generator = torch.Generator().manual_seed(9)
    got = losses.sigreg(latents, num_projections=3, num_points=201, generator=generator).item()
    assert got == pytest.approx(expected, rel=1e-3)


def test_sigreg_of_normal_samples_has_its_expected_value():
    # E|φ_n − φ|² = (1 − φ²) / n for samples of the law itself.
    t = np.linspace(-3, 3, 2001)
    normal_cf = np.exp(-(t**2) / 2)
    expected = float(np.trapezoid((1 - normal_cf**2) * normal_cf, t))
    for n in (64, 512):
        values = [
            losses.sigreg(normal(n, 8, seed), generator=torch.Generator().manual_seed(seed)).item()
            for seed in range(30)
        ]
        assert n * np.mean(values) == pytest.approx(expected, rel=0.1), n


@pytest.mark.parametrize(
    "change",
    [
        lambda z: torch.zeros_like(z),
        lambda z: z + 1.0,
        lambda z: 0.3 * z,
        lambda z: 3.0 * z,
        lambda z: z[:, :1].expand(-1, z.shape[1]),
        lambda z: torch.sign(z[:, :1]) * torch.tensor([1.0] + [0.0] * (z.shape[1] - 1)),
    ],
    ids=["collapsed", "shifted", "too narrow", "too wide", "rank one", "two points"],
)
def test_sigreg_is_much_larger_for_anything_but_an_isotropic_gaussian(change):
    latents = normal(512, 8)
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    gaussian = losses.sigreg(latents, generator=generators[0]).item()
    other = losses.sigreg(change(latents).contiguous(), generator=generators[1]).item()
    assert other > 10 * gaussian


def test_sigreg_is_reproducible_and_draws_other_directions_each_time():
    latents, generator = normal(32, 4) * torch.tensor([0.1, 1.0, 1.0, 3.0]), torch.Generator().manual_seed(1)
    first, second = (losses.sigreg(latents, num_projections=4, generator=generator).item() for _ in range(2))
    again = losses.sigreg(latents, num_projections=4, generator=torch.Generator().manual_seed(1)).item()
    assert first == again
    assert first != second


def test_descending_sigreg_makes_collapsed_latents_gaussian():
    latents = (0.1 * normal(128, 3) + 2.0).requires_grad_()
    optimizer = torch.optim.Adam([latents], lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        optimizer.zero_grad()
        losses.sigreg(latents, num_projections=32, generator=generator).backward()
        optimizer.step()
    assert latents.mean(dim=0).abs().max() < 0.1
    assert torch.allclose(torch.cov(latents.detach().T), torch.eye(3), atol=0.2)


@pytest.mark.parametrize("loss", [losses.variance, losses.covariance, losses.sigreg])
def test_gradients_reach_every_sample(loss):
    latents = (0.5 * normal(16, 4)).requires_grad_()
    loss(latents).backward()
    assert torch.isfinite(latents.grad).all()
    assert (latents.grad.abs().sum(dim=1) > 0).all()


def test_regularisers_are_as_exact_under_autocast():
    latents = torch.from_numpy(np.random.default_rng(0).normal(size=(64, 8))).float()

    def terms() -> dict[str, torch.Tensor]:
        weights = {"variance_weight": 1.0, "covariance_weight": 1.0, "sigreg_weight": 1.0}
        return losses.regularise(torch.zeros(()), [latents], **weights, seed=0, step=0)[1]

    with torch.autocast("cpu", torch.bfloat16):
        coarse = terms()
    assert coarse == terms()
