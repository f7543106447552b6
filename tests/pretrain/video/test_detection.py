"""Cells that hold digits, forecasts of them, and their average precision."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.data.labelled_images import LabelledImages, load_images
from pretrain.video.detection import (
    HORIZONS,
    copying_forecaster,
    detection_batch,
    drawn_cells,
    known,
    measure,
    rollout_forecaster,
    seeing_forecaster,
    true_cells,
)
from pretrain.video.moving_mnist import MovingMNIST, VideoBatch
from worldmodel.nn.normalize import Normalizer
from worldmodel.video.jepa import VideoJEPA

# A digit that is one bright square of 4 × 4 pixels in the middle of 8 × 8: drawn and true centres agree.
SQUARE = np.zeros((1, 1, 8, 8), np.uint8)
SQUARE[..., 2:6, 2:6] = 255
SQUARES = LabelledImages(SQUARE, np.zeros(1, np.uint8))


def one_square(num_frames: int = 10, speed: float = 3.0) -> MovingMNIST:
    return MovingMNIST(SQUARES, num_digits=1, size=32, speed=speed, num_frames=num_frames)


class Pixels(nn.Module):
    """The image is its own latent."""

    def forward(self, images):
        return images


class Repeat(nn.Module):
    """Predicts that nothing moves."""

    def forward(self, history):
        return history[:, -1]


class BrightestCell(nn.Module):
    """Detects the cell of 4 × 4 pixels where the centre of all brightness is, for both kinds."""

    def forward(self, latents):
        weight = latents[:, 0] / latents[:, 0].sum(dim=(1, 2), keepdim=True).clamp_min(1e-6)
        pixel = torch.arange(latents.shape[-1]) + 0.5
        y, x = (weight.sum(dim=2) * pixel).sum(dim=1), (weight.sum(dim=1) * pixel).sum(dim=1)
        grid = latents.shape[-1] // 4
        cells = torch.zeros(len(latents), 2, grid, grid)
        cells[torch.arange(len(latents)), :, (y / 4).long(), (x / 4).long()] = 1.0
        return cells


def test_true_cells_follow_the_centres():
    # The first pixel's centre is 0: its left edge is -0.5, the eighth pixel's right edge is 7.5.
    centres = np.array([[[[7.4, 0.0], [7.5, 8.0]]]], np.float32)  # one video, one frame, two digits, (x, y)
    cells = true_cells(centres, 64, 8)
    assert cells.shape == (1, 1, 8, 8)
    assert sorted(map(tuple, np.argwhere(cells[0, 0]))) == [(0, 0), (1, 1)]


def test_drawn_cells_are_centres_of_boxes_of_connected_shapes():
    frame = np.zeros((1, 2, 64, 64), np.uint8)
    frame[0, 0, 0:4, 0:4] = 1  # its box ends at 4: centre (2, 2)
    frame[0, 0, 4:30, 4:6] = 1  # touches the first at a corner: one shape, box 30 × 6, centre (15, 3)
    frame[0, 0, 40:44, 50:60] = 9  # centre (42, 55)
    frame[0, 1, 63, 63] = 255  # another frame does not join
    cells = drawn_cells(frame, 8)
    assert sorted(map(tuple, np.argwhere(cells[0, 0]))) == [(1, 0), (5, 6)]
    assert sorted(map(tuple, np.argwhere(cells[0, 1]))) == [(7, 7)]


def test_drawn_and_true_cells_mostly_agree_on_a_single_digit():
    source = MovingMNIST(load_images("digits", "validation"), num_digits=1, num_frames=3)
    cells = detection_batch(source.sample(64, np.random.default_rng(0)), 8).cells.numpy()
    assert (cells[:, :, 1].sum(axis=(2, 3)) == 1).all()
    both = (cells[:, :, 0] * cells[:, :, 1]).sum() / cells[:, :, 1].sum()
    assert 0.5 < both < 1  # boxes are not centred on the square that a digit comes in, but nearly


def test_cells_are_of_the_digits_alone_where_there_is_a_background():
    plain, textured = (
        MovingMNIST(load_images("digits", "validation"), num_frames=3, background=share) for share in (0.0, 0.5)
    )
    cells = [detection_batch(source.sample(4, np.random.default_rng(0)), 8).cells for source in (plain, textured)]
    assert torch.equal(*cells)


def test_cells_need_known_centres():
    videos = VideoBatch(torch.zeros(1, 2, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="known centres, got centres None"):
        detection_batch(videos, 8)


def test_known_frames():
    assert [known(t, 1, 2) for t in range(2, 6)] == [1, 2, 3, 4]
    assert [known(t, 8, 2) for t in range(2, 10)] == [1] * 8


def test_copying_is_perfect_exactly_where_nothing_moves():
    model = VideoJEPA(Pixels(), Repeat(), Normalizer((1, 32, 32), 0))
    still = [one_square(speed=0.0).sample(16, np.random.default_rng(0))]
    moving = [one_square().sample(64, np.random.default_rng(0))]
    for forecaster in (copying_forecaster(model, BrightestCell()), rollout_forecaster(model, BrightestCell())):
        assert measure(forecaster, still, context=2, grid=8).reference == [1.0] * 8
        precisions = measure(forecaster, moving, context=2, grid=8)
        assert precisions.reference[0] > 2 * precisions.reference[7]
        assert precisions.strict[7] < 0.1
    assert measure(seeing_forecaster(model, BrightestCell()), moving, context=2, grid=8).strict == [1.0] * 8
    # To repeat the last latent is to copy it.
    copied, rolled = (make(model, BrightestCell())(moving[0]) for make in (copying_forecaster, rollout_forecaster))
    for a, b in zip(copied, rolled, strict=True):
        np.testing.assert_array_equal(a, b)


def test_average_precisions_pool_as_they_say():
    videos = one_square().sample(4, np.random.default_rng(1))
    cells = detection_batch(videos, 8).cells.numpy()[:, 2:]

    def forecaster(batch):
        forecasts = []
        for horizon in HORIZONS:
            scores = cells.copy()
            scores[:, : horizon - 1] = 1 - scores[:, : horizon - 1]  # wrong wherever fewer steps were rolled out
            forecasts.append(scores)
        return forecasts

    precisions = measure(forecaster, [videos], context=2, grid=8)
    assert precisions.strict == [1.0] * 8
    assert precisions.strict_mean == 1.0
    # t ≥ T lets in one frame that was rolled out less far, from T = 2 on.
    assert precisions.reference[0] == 1.0
    assert all(value < 0.9 for value in precisions.reference[1:])
    assert math.isclose(precisions.reference_mean, sum(precisions.reference) / 8)
