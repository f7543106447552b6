"""Training of a Video-JEPA: its stages, what each trains, on which batches, and how it is validated.

::

    model     videos ──► VideoObjective   trains encoder and predictor
    heads     videos, cells ──► Heads     trains detection head and pixel decoder on the finished model's latents

A supervised run is a ceiling: its first stage trains encoder, predictor and detection head on cells, end to end.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.data.labelled_images import Split, load_images
from pretrain.loop.collapse import measure_spread, warn_if_collapsed
from pretrain.loop.memory import built, require_batch
from pretrain.loop.stages import VALIDATION_SEED, BatchLoss, Stage, Training, adamw, muon
from pretrain.video.config import VideoConfig, VideoDataConfig
from pretrain.video.detection import HORIZONS, DetectionBatch, detection_batch, measure, rollout_forecaster
from pretrain.video.moving_mnist import MovingMNIST
from worldmodel.config import construct
from worldmodel.video.build import PixelSpec, build_decoder, build_detector, build_video_jepa
from worldmodel.video.checkpoint import VIDEO_JEPA
from worldmodel.video.heads import DetectionHead, PixelDecoder
from worldmodel.video.jepa import VideoJEPA
from worldmodel.video.objective import VideoObjective

NORMALIZATION_VIDEOS = 64
"""Videos on which normalisation is fitted."""
NUM_VIDEOS = 64
"""Videos of a validation."""
RANK_ROWS = 4096
"""Most positions of which the effective rank is computed."""

Sources = tuple[MovingMNIST, MovingMNIST]
"""Those of training and of validation videos."""


class HeadsTraining(nn.Module):
    """Detection head and pixel decoder on the latents of a model that stays as it is.

    Args:
        model: The model.
        detector: Learns from the latents of frames.
        decoder: Learns from the latents of frames.
        on_rollouts: Whether the detector learns from latents rolled out from the first frames too.
    """

    def __init__(
        self, model: VideoJEPA, detector: DetectionHead, decoder: PixelDecoder, *, on_rollouts: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.detector = detector
        self.decoder = decoder
        self.on_rollouts = on_rollouts

    def forward(self, batch: DetectionBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss to minimise and the metrics of a batch of videos and their cells."""
        context, num_frames = self.model.context, batch.pixels.shape[1]
        with torch.no_grad():
            latents = self.model.encode(batch.pixels)
            read, cells = [latents.flatten(0, 1)], [batch.cells.flatten(0, 1)]
            if self.on_rollouts:
                read += [self.model.rollout(latents[:, :context], num_frames - context).flatten(0, 1)]
                cells += [batch.cells[:, context:].flatten(0, 1)]
        detection = F.binary_cross_entropy_with_logits(self.detector(torch.cat(read)), torch.cat(cells))
        painting = F.mse_loss(self.decoder(latents.flatten(0, 1)), batch.pixels.flatten(0, 1) / 255)
        loss = detection + painting
        return loss, {"detection": detection.detach(), "painting": painting.detach(), "loss": loss.detach()}


class SupervisedTraining(nn.Module):
    """Encoder, predictor and detection head learn to tell the cells of frames seen and foretold from their labels.

    Args:
        model: The model.
        detector: The head.
        rollout_steps: Rounds of prediction.
    """

    def __init__(self, model: VideoJEPA, detector: DetectionHead, rollout_steps: int) -> None:
        super().__init__()
        self.model = model
        self.detector = detector
        self.rollout_steps = rollout_steps

    def forward(self, batch: DetectionBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss to minimise and the metrics of a batch of videos and their cells."""
        latents = self.model.encode(batch.pixels)
        rounds = self.model.unroll(latents, self.rollout_steps)
        foretold = batch.cells[:, self.model.context :]
        logits = self.detector.logits(torch.cat([latents, *rounds], dim=1).flatten(0, 1))
        cells = torch.cat([batch.cells, *[foretold] * len(rounds)], dim=1).flatten(0, 1)
        loss = F.binary_cross_entropy_with_logits(logits, cells)
        return loss, {"loss": loss.detach()}


def build_training(config: VideoConfig, device: torch.device) -> Training:
    """Builds what is to be trained, untrained, with its normalisation fitted, and the stages that train it.

    Raises:
        ValueError: If the data do not fit.
    """
    sources = build_source(config.data, "train"), build_source(config.data, "validation")
    shape = (1, config.data.size, config.data.size)
    require_batch("data.batch_size", config.data.batch_size, (config.data.num_frames, *shape))
    require_batch("heads.batch_size", config.heads.batch_size, (config.data.num_frames, *shape))
    model = built(lambda: build_video_jepa(config.model, shape), config.model)
    sample = sources[0].sample(NORMALIZATION_VIDEOS, np.random.default_rng([config.seed, 0]))
    model.normalizer.fit(sample.pixels)
    model.standardize(sample.pixels)
    detector = built(lambda: build_detector(config.model, shape), config.model)
    decoder = built(lambda: build_decoder(config.model, shape), config.model)
    if config.supervised:
        first = _supervised_stage(config, model, detector, sources)
    else:
        first = _model_stage(config, model, sources)
    stages = [first, _heads_stage(config, model, detector, decoder, sources)]
    parts = {"model": model, "detector": detector, "decoder": decoder}
    sections = {"model": config.model, "data": PixelSpec(pixel_shape=shape)}
    return Training(
        stages=stages,
        optimizer=muon(config.weight_decay) if config.optimizer == "muon" else adamw(config.weight_decay),
        save=lambda path, *more: VIDEO_JEPA.save(path, parts, sections, *more),
    )


def build_source(config: VideoDataConfig, split: Split) -> MovingMNIST:
    """The generator of a part's videos; no digit is in both parts."""
    return construct(MovingMNIST, load_images(config.digits, split, what="digits"), options=config)


def _model_stage(config: VideoConfig, model: VideoJEPA, sources: Sources) -> Stage:
    source, validation_source = sources
    objective = construct(VideoObjective, model, config.model.latent_channels, config.weights, options=config)
    frozen = [] if config.train_encoder else list(model.encoder.parameters())
    # A projector that nothing looks through gets no gradient.
    if not (config.weights.variance or config.weights.covariance or config.weights.sigreg):
        frozen += list(objective.projector.parameters())
    if config.weights.random_target:
        frozen += list(objective.random_encoder.parameters())
    return Stage(
        name="model",
        module=BatchLoss("objective", objective, "pixels"),
        frozen=frozen,
        groups=[{"params": _others(objective, frozen), "peak": config.learning_rate}],
        num_steps=config.num_steps,
        batch_size=config.data.batch_size,
        draw=source.sample,
        validate=lambda: validate_video(model, validation_source),
    )


def _supervised_stage(config: VideoConfig, model: VideoJEPA, detector: DetectionHead, sources: Sources) -> Stage:
    source, validation_source = sources
    module = SupervisedTraining(model, detector, config.rollout_steps)
    frozen = [] if config.train_encoder else list(model.encoder.parameters())
    return Stage(
        name="model",
        module=module,
        frozen=frozen,
        groups=[{"params": _others(module, frozen), "peak": config.learning_rate}],
        num_steps=config.num_steps,
        batch_size=config.data.batch_size,
        draw=lambda size, generator: detection_batch(source.sample(size, generator), config.model.grid),
        validate=lambda: validate_video(model, validation_source),
    )


def _others(module: nn.Module, frozen: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Parameters of a module that are not among these."""
    return [p for p in module.parameters() if not any(p is other for other in frozen)]


def _heads_stage(
    config: VideoConfig, model: VideoJEPA, detector: DetectionHead, decoder: PixelDecoder, sources: Sources
) -> Stage:
    source, validation_source = sources
    grid = config.model.grid
    parameters = [*detector.parameters(), *decoder.parameters()]

    def validate() -> dict[str, float]:
        videos = validation_source.sample(NUM_VIDEOS, np.random.default_rng(VALIDATION_SEED))
        horizons = HORIZONS[: config.data.num_frames - model.context]
        forecaster = rollout_forecaster(model, detector, horizons)
        precisions = measure(forecaster, [videos], context=model.context, grid=grid, horizons=horizons)
        metrics = {f"AP_{T}": value for T, value in zip(horizons, precisions.reference, strict=True)}
        return metrics | {"mAP": precisions.reference_mean, "strict_mAP": precisions.strict_mean}

    return Stage(
        name="heads",
        module=HeadsTraining(model, detector, decoder, on_rollouts=config.heads.on_rollouts),
        frozen=list(model.parameters()),
        groups=[{"params": parameters, "peak": config.heads.learning_rate}],
        num_steps=config.heads.num_steps,
        batch_size=config.heads.batch_size,
        draw=lambda size, generator: detection_batch(source.sample(size, generator), grid),
        validate=validate,
    )


@torch.no_grad()
def validate_video(model: VideoJEPA, source: MovingMNIST) -> dict[str, float]:
    """Measures a Video-JEPA on a fixed sample of validation videos.

    Returns:
        ``prediction_k``: squared error of latents rolled out k steps, over their variance, for the first, the middle
        and the last k, and ``copying_k``, that of taking the last known latent for them: a model that knows motion is
        far below. ``effective_rank`` of the latents' channels and ``latent_std``, their mean standard deviation.
    """
    videos = source.sample(NUM_VIDEOS, np.random.default_rng(VALIDATION_SEED))
    latents = model.encode(videos.pixels.to(next(model.parameters()).device))
    context = model.context
    future = latents[:, context:]
    guesses = {
        "prediction": model.rollout(latents[:, :context], future.shape[1]),
        "copying": latents[:, context - 1 : context],
    }
    # Of each channel, so that constants which differ between channels do not count as variation.
    rows = latents.movedim(2, -1).flatten(0, -2)
    variance = rows.var(dim=0).mean().clamp_min(1e-12)
    horizons = sorted({1, (future.shape[1] + 1) // 2, future.shape[1]})
    metrics: dict[str, float] = {}
    for name, guess in guesses.items():
        error = (guess - future).square().mean(dim=(0, 2, 3, 4)) / variance
        metrics |= {f"{name}_{k}": float(error[k - 1]) for k in horizons}
    spread = measure_spread(rows, RANK_ROWS)
    warn_if_collapsed(*spread.values())
    return metrics | spread
