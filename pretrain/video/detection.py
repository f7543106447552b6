"""Where digits are: the grid cells that hold one, forecasts of these cells, and how good forecasts are.

Two kinds of cells are told apart, by what counts as a digit's centre:

::

    drawn   centre of the bounding box of each connected shape in the frame, as EB-JEPA labels its videos: where digits
            overlap there is one shape, where a stroke is broken there are two
    true    where the digits really are

A forecast of round T tells, for each frame t after the first K (the model's context), the cells from what is known T
frames before, or from the first K frames where these are later: ``known(t, T, K) = max(t − T, K − 1)`` is the last
frame that it has seen.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from pretrain.video.moving_mnist import VideoBatch
from worldmodel.video.jepa import VideoJEPA

KINDS = ("drawn", "true")
"""Kinds of cells, in the order of the detection head's outputs."""
HORIZONS = tuple(range(1, 9))
"""Rounds T of forecasts: AP_1 to AP_8 (EB-JEPA, arXiv 2602.03604)."""
BATCH_SIZE = 64
"""Videos over which the reference computes an average precision before averaging."""
CHUNK = 16
"""Videos that are encoded at once."""

Forecaster = Callable[[VideoBatch], list[Float[np.ndarray, "b t kinds rows columns"]]]
"""From videos to the forecast of each of ``HORIZONS``: scores of the cells of the frames after the context."""


class DetectionBatch(NamedTuple):
    """Videos and the cells that hold a digit's centre.

    Attributes:
        pixels: uint8 ``(B, T, 1, S, S)``.
        cells: float32 ``(B, T, 2, G, G)``, 1 where a centre of the kind is.
    """

    pixels: UInt8[Tensor, "b t 1 s s"]
    cells: Float[Tensor, "b t 2 g g"]


class AveragePrecisions(NamedTuple):
    """Average precisions of forecasts, one for each of ``HORIZONS``.

    Attributes:
        reference: By EB-JEPA's protocol: drawn cells of all frames ``t ≥ T`` that are forecast, averaged over batches.
        strict: True cells of the frames that are exactly T steps ahead, all videos together.
        reference_interval: 95 % interval of the mean of ``reference``, by the spread over batches; of zero width where
            there is one batch.
    """

    reference: list[float]
    strict: list[float]
    reference_interval: tuple[float, float]

    @property
    def reference_mean(self) -> float:
        """The reference's mAP."""
        return float(np.mean(self.reference))

    @property
    def strict_mean(self) -> float:
        """Mean over horizons of the strict average precisions."""
        return float(np.mean(self.strict))


def detection_batch(videos: VideoBatch, grid: int) -> DetectionBatch:
    """Adds cells of both kinds to videos whose centres are known.

    Raises:
        ValueError: If they are not.
    """
    if videos.centres is None:
        raise ValueError("true cells need videos with known centres, got centres None")
    digits = (videos.pixels if videos.foreground is None else videos.foreground)[:, :, 0].numpy()
    cells = np.stack([drawn_cells(digits, grid), true_cells(videos.centres.numpy(), digits.shape[-1], grid)], axis=2)
    return DetectionBatch(videos.pixels, torch.from_numpy(cells.astype(np.float32)))


def true_cells(centres: Float[np.ndarray, "b t k 2"], size: int, grid: int) -> Bool[np.ndarray, "b t g g"]:
    """Cells that hold a centre, given as (x, y) in pixels from the first pixel's centre."""
    places = np.floor((centres + 0.5) * (grid / size)).astype(int).clip(0, grid - 1)
    cells = np.zeros((*centres.shape[:2], grid, grid), bool)
    b, t = np.indices(centres.shape[:3])[:2]
    cells[b, t, places[..., 1], places[..., 0]] = True
    return cells


def drawn_cells(pixels: UInt8[np.ndarray, "b t s s"], grid: int) -> Bool[np.ndarray, "b t g g"]:
    """Cells that hold the centre of the bounding box of a connected shape."""
    from scipy import ndimage  # of the extra "video"

    batch_size, num_frames, size, _ = pixels.shape
    # Diagonal neighbours belong together; frames do not.
    neighbours = np.zeros((3, 3, 3), bool)
    neighbours[1] = True
    labels, _ = ndimage.label(pixels.reshape(-1, size, size) > 0, neighbours)
    cells = np.zeros((batch_size * num_frames, grid, grid), bool)
    for frame, rows, columns in ndimage.find_objects(labels):
        y, x = (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2
        cells[frame.start, min(int(y * grid / size), grid - 1), min(int(x * grid / size), grid - 1)] = True
    return cells.reshape(batch_size, num_frames, grid, grid)


def known(frame: int, horizon: int, context: int) -> int:
    """The last frame that a forecast of ``frame`` has seen.

    Example:
        >>> [known(t, 3, 2) for t in (2, 3, 4, 5, 6)]
        [1, 1, 1, 2, 3]
    """
    return max(frame - horizon, context - 1)


def measure(
    forecaster: Forecaster,
    batches: Iterable[VideoBatch],
    *,
    context: int,
    grid: int,
    horizons: Sequence[int] = HORIZONS,
) -> AveragePrecisions:
    """Average precisions of a forecaster's cells.

    Args:
        forecaster: What forecasts.
        batches: Videos with known centres.
        context: Frames it sees before the first forecast.
        grid: Cells along a side.
        horizons: The horizons of its forecasts.
    """
    by_batch: list[list[float]] = []
    strict: list[tuple[list[NDArray], list[NDArray]]] = [([], []) for _ in horizons]
    for videos in batches:
        cells = detection_batch(videos, grid).cells.numpy()[:, context:]
        forecasts = forecaster(videos)
        precisions = []
        for (truths, scores), horizon, forecast in zip(strict, horizons, forecasts, strict=True):
            first = max(horizon, context) - context
            precisions.append(_average_precision(cells[:, first:, 0], forecast[:, first:, 0]))
            # Exactly this many steps after the last known frame.
            truths.append(cells[:, horizon - 1 :, 1].ravel())
            scores.append(forecast[:, horizon - 1 :, 1].ravel())
        by_batch.append(precisions)
    means = np.mean(by_batch, axis=1)
    spread = 1.96 * float(means.std(ddof=1)) / len(means) ** 0.5 if len(means) > 1 else 0.0
    return AveragePrecisions(
        np.mean(by_batch, axis=0).tolist(),
        [_average_precision(np.concatenate(truths), np.concatenate(scores)) for truths, scores in strict],
        (float(means.mean()) - spread, float(means.mean()) + spread),
    )


def rollout_forecaster(model: VideoJEPA, detector: nn.Module, horizons: Sequence[int] = HORIZONS) -> Forecaster:
    """Forecasts by rolling latents out and detecting in them."""

    @torch.no_grad()
    def forecast(videos: VideoBatch) -> list[NDArray]:
        parts = []
        for latents in _encoded(model, videos):
            rounds = model.unroll(latents, max(horizons))
            parts.append([_scores(detector, rounds[horizon - 1]) for horizon in horizons])
        return [np.concatenate(scores) for scores in zip(*parts, strict=True)]

    return forecast


def copying_forecaster(model: VideoJEPA, detector: nn.Module, horizons: Sequence[int] = HORIZONS) -> Forecaster:
    """Forecasts that nothing moves: the cells detected in the last known frame."""

    def forecast(videos: VideoBatch) -> list[NDArray]:
        scores = _encoded_scores(model, detector, videos)
        frames = range(model.context, scores.shape[1])
        return [scores[:, [known(t, horizon, model.context) for t in frames]] for horizon in horizons]

    return forecast


def seeing_forecaster(model: VideoJEPA, detector: nn.Module, horizons: Sequence[int] = HORIZONS) -> Forecaster:
    """Forecasts nothing: the cells detected in the frames themselves, the best that the head can do."""

    def forecast(videos: VideoBatch) -> list[NDArray]:
        return [_encoded_scores(model, detector, videos)[:, model.context :]] * len(horizons)

    return forecast


def _encoded(model: VideoJEPA, videos: VideoBatch) -> Iterator[Tensor]:
    """Latents ``(B, T, D, H, W)`` of all frames, some videos at a time, on the model's device."""
    for chunk in videos.pixels.split(CHUNK):
        yield model.encode(chunk.to(model.normalizer.pixel_mean.device))


@torch.no_grad()
def _encoded_scores(model: VideoJEPA, detector: nn.Module, videos: VideoBatch) -> NDArray[np.float32]:
    """Logits ``(B, T, kinds, G, G)`` in the latents of all frames."""
    return np.concatenate([_scores(detector, latents) for latents in _encoded(model, videos)])


def _scores(detector: nn.Module, latents: Tensor) -> NDArray[np.float32]:
    """Logits ``(B, T, kinds, G, G)`` in latents ``(B, T, D, H, W)``."""
    return detector(latents.flatten(0, 1)).unflatten(0, latents.shape[:2]).float().cpu().numpy()


def _average_precision(truths: NDArray, scores: NDArray) -> float:
    from sklearn.metrics import average_precision_score  # of the extra "video"

    return float(average_precision_score(truths.ravel() > 0.5, scores.ravel()))
