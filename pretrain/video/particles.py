"""The most that can be foretold: particles that agree with where digits were drawn in the frames seen.

::

    guesses of position and heading ──► drift ──► those drawn where the digit was, in each frame seen ──► where they go

Digits are drawn at whole pixels, so two frames tell a velocity to a pixel a frame; each further one tells it better.
The particles know which pixels belong to which digit: a model, which has to see that, can forecast at most as much.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from pretrain.video.detection import HORIZONS, Forecaster, drawn_cells, known, true_cells
from pretrain.video.moving_mnist import MovingMNIST, VideoBatch, draw, drift

NUM_GUESSES = 20_000
"""Guesses of a digit's position and heading."""
NUM_PARTICLES = 256
"""Particles kept of a digit, for true cells."""
NUM_DRAWN = 24
"""Of these, how many are drawn, all digits together, for drawn cells."""


def particle_forecaster(
    source: MovingMNIST, *, context: int, grid: int, horizons: tuple[int, ...] = HORIZONS, seed: int = 0
) -> Forecaster:
    """Forecasts from the digits' places in all frames seen, given how digits move.

    Args:
        source: The generator of the videos.
        context: Frames seen before the first forecast.
        grid: Cells along a side.
        horizons: How far to forecast.
        seed: Seed of the guesses.

    Raises:
        ValueError: When it is called with videos whose centres or digits are unknown.
    """
    margin = (source.side - 1) / 2
    rng = np.random.default_rng(seed)

    def forecast(videos: VideoBatch) -> list[NDArray]:
        if videos.centres is None or videos.digits is None:
            raise ValueError("particles need videos with known centres and digits, got None")
        corners = np.round(videos.centres.numpy() - margin).astype(int)  # (B, T, K, 2)
        num_frames = corners.shape[1]
        pairs = {(known(t, horizon, context), t) for horizon in horizons for t in range(context, num_frames)}
        scores = np.zeros((len(corners), num_frames, num_frames, 2, grid, grid), np.float32)  # by frame seen last
        for b, places in enumerate(corners):
            images = source.digits.images[videos.digits[b].numpy(), 0]
            paths = [_guessed(rng, places[:, k], source) for k in range(places.shape[1])]
            for last in {last for last, _ in pairs}:
                ahead = [t for t in range(num_frames) if (last, t) in pairs]
                kept = np.stack([_agreeing(rng, *path, last)[:, ahead] for path in paths], axis=2)  # (N, n, K, 2)
                frames = draw(np.broadcast_to(images, (NUM_DRAWN, *images.shape)), kept[:NUM_DRAWN], source.size)
                scores[b, last, ahead, 0] = drawn_cells(frames, grid).mean(axis=0)
                places_kept = np.floor(kept) + margin
                each = [true_cells(places_kept[:, :, [k]], source.size, grid).mean(axis=0) for k in range(len(paths))]
                scores[b, last, ahead, 1] = 1 - np.prod([1 - cells for cells in each], axis=0)
        frames_ahead = range(context, num_frames)
        return [np.stack([scores[:, known(t, h, context), t] for t in frames_ahead], axis=1) for h in horizons]

    return forecast


def _guessed(
    rng: np.random.Generator, corners: Int[np.ndarray, "t 2"], source: MovingMNIST
) -> tuple[Float[np.ndarray, "n t 2"], Int[np.ndarray, " n"]]:
    """Paths of guesses, and in how many of the first frames each is drawn where the digit was."""
    limit = source.size - source.side
    position = np.minimum(corners[0] + rng.uniform(size=(1, NUM_GUESSES, 2)), limit)
    heading = rng.uniform(0.0, 2 * np.pi, size=(1, NUM_GUESSES))
    velocity = source.speed * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    paths = drift(position, velocity, len(corners), limit)[0].swapaxes(0, 1)
    agrees = (np.floor(paths) == corners).all(axis=-1)
    return paths, np.where(agrees.all(axis=1), len(corners), (~agrees).argmax(axis=1))


def _agreeing(
    rng: np.random.Generator, paths: Float[np.ndarray, "n t 2"], agreed: Int[np.ndarray, " n"], last: int
) -> Float[np.ndarray, "m t 2"]:
    """Guesses that agree with all frames until ``last``, or if there are none, with as many of them as any."""
    among = np.flatnonzero(agreed >= min(last + 1, agreed.max()))
    return paths[rng.choice(among, NUM_PARTICLES)]
