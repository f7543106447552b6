"""What particles foretell: where a digit must go, how far two frames leave it open, and that they bounce."""

import numpy as np
import pytest
import torch

from pretrain.data.labelled_images import LabelledImages
from pretrain.video.detection import HORIZONS, detection_batch, measure
from pretrain.video.moving_mnist import MovingMNIST, VideoBatch, draw
from pretrain.video.particles import particle_forecaster

SQUARES = LabelledImages(np.full((1, 1, 8, 8), 255, np.uint8), np.zeros(1, np.uint8))


def source(num_digits: int = 1, num_frames: int = 10) -> MovingMNIST:
    return MovingMNIST(SQUARES, num_digits=num_digits, size=32, speed=3.0, num_frames=num_frames)


def drawn_at(corners: np.ndarray) -> VideoBatch:
    """A video of one square at these corners."""
    corners = corners[None, :, None].astype(float)  # (1, T, 1, 2)
    pixels = draw(SQUARES.images[np.zeros((1, 1), int), 0], corners, 32)
    centres = torch.from_numpy((corners + 3.5).astype(np.float32))
    return VideoBatch(torch.from_numpy(pixels[:, :, None]), centres, torch.zeros(1, 1, dtype=torch.int64))


def test_scores_are_probabilities_that_spread_with_the_horizon():
    videos = source(num_digits=2).sample(8, np.random.default_rng(0))
    forecasts = particle_forecaster(source(num_digits=2), context=2, grid=8)(videos)
    assert len(forecasts) == len(HORIZONS)
    for forecast in forecasts:
        assert forecast.shape == (8, 8, 2, 8, 8)
        assert forecast.min() >= 0.0
        assert forecast.max() <= 1.0
        # Two digits are in two cells at most, or in one together.
        assert (forecast[:, :, 1].sum(axis=(-2, -1)) <= 2 + 1e-5).all()
    likeliest = [forecast[:, -1, 1].max(axis=(-2, -1)).mean() for forecast in forecasts]
    assert likeliest[0] > likeliest[-1]


def test_they_are_calibrated():
    videos = source().sample(300, np.random.default_rng(1))
    cells = detection_batch(videos, 8).cells.numpy()[:, 2:]
    for horizon, forecast in zip(HORIZONS, particle_forecaster(source(), context=2, grid=8)(videos), strict=True):
        for kind in (0, 1):
            scores, truths = forecast[:, horizon - 1 :, kind], cells[:, horizon - 1 :, kind]
            unsure = (scores > 0.3) & (scores < 0.7)
            if unsure.sum() > 200:
                assert truths[unsure].mean() == pytest.approx(scores[unsure].mean(), abs=0.08)
    precisions = measure(particle_forecaster(source(), context=2, grid=8), [videos], context=2, grid=8)
    assert precisions.strict[0] > 0.93
    assert precisions.strict[0] > precisions.strict[4] > precisions.strict[7] > 0.4


def test_they_bounce_off_the_border():
    # At 3 pixels a frame it goes right, along one axis, and the border is at 24.
    x = np.array([15, 18, 21, 24, 21, 18, 15, 12, 9, 6])
    videos = drawn_at(np.stack([x, np.full(10, 12)], -1))
    one_ahead = particle_forecaster(source(), context=2, grid=8)(videos)[0][0, :, 1]  # (frames, G, G)
    rows, columns = np.unravel_index(one_ahead.reshape(8, -1).argmax(axis=1), (8, 8))
    np.testing.assert_array_equal(columns, (x[2:] + 4) // 4)
    np.testing.assert_array_equal(rows, 4)


def test_a_path_that_cannot_be_is_forecast_from_what_agrees_longest():
    jumps = np.array([[2, 2], [20, 20], [2, 2], [20, 20]])
    forecasts = particle_forecaster(source(num_frames=4), context=2, grid=8)(drawn_at(jumps))
    assert all(np.isfinite(forecast).all() for forecast in forecasts)


def test_particles_need_to_know_digits():
    videos = source().sample(1, np.random.default_rng(0))._replace(digits=None)
    with pytest.raises(ValueError, match="particles need videos with known centres and digits, got None"):
        particle_forecaster(source(), context=2, grid=8)(videos)
