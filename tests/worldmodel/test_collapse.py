"""Collapse of latents: it is measured rightly, reported, and prevented by the regularisers."""

import logging
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pretrain.data.windows import WindowBatch
from pretrain.loop.collapse import COLLAPSE_RANK, effective_rank
from pretrain.world_model.validation import validate
from worldmodel.build import DataSpec, ModelConfig, build_model
from worldmodel.jepa import JEPA
from worldmodel.objective import LossWeights, Objective

PREDICTION_ONLY = LossWeights(covariance=0.0, variance=0.0, temporal_similarity=0.0, inverse_dynamics=0.0)
REGULARISERS = {
    "vicreg": LossWeights(covariance=8.0, variance=16.0, temporal_similarity=0.0, inverse_dynamics=0.0),
    "sigreg": LossWeights(covariance=0.0, variance=0.0, temporal_similarity=0.0, inverse_dynamics=0.0, sigreg=10.0),
}


class DotWindows:
    """Windows of a bright dot on a 16 × 16 image that moves by its actions."""

    num_frames = 4
    frame_skip = 1
    context = 1
    pixel_shape = (1, 16, 16)
    action_dim = 2
    action_low = (-1.0, -1.0)
    action_high = (1.0, 1.0)
    action_max_norm = None
    simulation = None
    longest = None

    def sample(self, batch_size: int, generator: np.random.Generator, per_scene: int = 1) -> WindowBatch:
        actions = generator.uniform(-1, 1, size=(batch_size, 3, 2)).astype(np.float32)
        start = generator.uniform(4, 11, size=(batch_size, 1, 2)).astype(np.float32)
        positions = np.concatenate([start, start + actions.cumsum(axis=1)], axis=1)
        grid = np.stack(np.meshgrid(np.arange(16), np.arange(16)), -1)
        distance = np.square(positions[:, :, None, None] - grid).sum(-1)
        pixels = (255 * np.exp(-distance / 4)).astype(np.uint8)[:, :, None]
        return WindowBatch(torch.from_numpy(pixels), torch.from_numpy(actions))

    def whole_episodes(
        self, count: int, num_frames: int, per_scene: int, generator: np.random.Generator
    ) -> Iterator[WindowBatch]:
        yield self.sample(count, generator)


def isotropic(n: int, d: int) -> torch.Tensor:
    """``n`` samples whose covariance is exactly isotropic."""
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(samples - samples.mean(dim=0))[0]


def test_effective_rank_of_equal_latents_is_zero():
    row = torch.randn(16, generator=torch.Generator().manual_seed(0))
    assert effective_rank(row.expand(1000, 16)) == 0.0
    assert effective_rank(torch.zeros(10, 4)) == 0.0


def test_effective_rank_of_latents_on_a_line_is_one():
    along = torch.linspace(-1, 1, 100)[:, None]
    assert effective_rank(along * torch.ones(16) + 3.0) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("d", [2, 16])
def test_effective_rank_of_isotropic_latents_is_their_dimension(d):
    assert effective_rank(isotropic(500, d)) == pytest.approx(d, rel=1e-6)
    assert effective_rank(5.0 * isotropic(500, d) + 7.0) == pytest.approx(d, rel=1e-6)


def test_effective_rank_of_two_unequal_directions_has_the_closed_form():
    values = np.array([3.0, 1.0]) / 4.0
    expected = np.exp(-(values * np.log(values)).sum())
    latents = isotropic(200, 4) * torch.tensor([3.0, 1.0, 0.0, 0.0])
    assert effective_rank(latents) == pytest.approx(expected, rel=1e-6)


def trained(weights: LossWeights, num_steps: int = 60) -> tuple[JEPA, Objective]:
    source = DotWindows()
    torch.manual_seed(0)
    config = ModelConfig(
        encoder="strided",
        latent_dim=16,
        encoder_channels=(16, 16),
        patch=4,
        predictor="mlp",
        predictor_hidden_dim=32,
        frame_skip=1,
    )
    data = DataSpec(pixel_shape=(1, 16, 16), action_dim=2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))
    model = build_model(config, data)
    generator = np.random.default_rng(0)
    model.fit_normalization(*source.sample(64, generator)[:2])
    objective = Objective(model, weights, rollout_steps=3)
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    for step in range(num_steps):
        batch = source.sample(32, generator)
        loss, _, _ = objective(batch.pixels, batch.actions, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, objective


def spread(model: JEPA) -> float:
    """Mean standard deviation of latent features on fresh windows."""
    batch = DotWindows().sample(128, np.random.default_rng(1))
    with torch.no_grad():
        return float(model.encode(batch.pixels).flatten(0, 1).std(dim=0).mean())


@pytest.mark.parametrize("regulariser", list(REGULARISERS))
def test_prediction_alone_collapses_latents_and_regularisers_prevent_it(regulariser, caplog):
    untrained, _ = trained(PREDICTION_ONLY, num_steps=0)
    alone, _ = trained(PREDICTION_ONLY)
    regularised, _ = trained(REGULARISERS[regulariser])
    assert spread(alone) < 0.3 * spread(untrained)
    assert spread(regularised) > 0.7
    assert spread(alone) < 0.2 * spread(regularised)
    # The effective rank alone would not show it: what is left of the latents points in all directions.
    assert validate(regularised, None, DotWindows())["latent_std"] > 0.7
    assert "collapsed" not in caplog.text
    assert validate(alone, None, DotWindows())["latent_std"] < 0.1
    assert "collapsed" in caplog.text


def test_validation_warns_of_latents_on_a_line(caplog):
    model, _ = trained(PREDICTION_ONLY, num_steps=0)
    with caplog.at_level(logging.WARNING, logger="pretrain.loop.collapse"):
        assert validate(model, None, DotWindows())["effective_rank"] > COLLAPSE_RANK
    assert not caplog.records
    model.norm.weight.data[1:] = 0.0  # one feature varies, and more than enough
    model.norm.weight.data[0] = 100.0
    with caplog.at_level(logging.WARNING, logger="pretrain.loop.collapse"):
        metrics = validate(model, None, DotWindows())
    assert metrics["effective_rank"] < COLLAPSE_RANK
    assert metrics["latent_std"] > 1.0
    assert "collapsed" in caplog.text


def test_validation_is_reproducible_and_restores_the_mode():
    model, _ = trained(PREDICTION_ONLY, num_steps=0)
    model.train()
    first, second = (validate(model, None, DotWindows()) for _ in range(2))
    assert first == second
    assert model.training
    assert set(first) == {"prediction_1", "prediction_2", "prediction_3", "effective_rank", "latent_std"}
