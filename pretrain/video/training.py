"""Training of a Video-JEPA: its stages, what each trains, on which batches, and how it is validated.

::

    model     videos ──► VideoObjective   trains encoder and predictor
    heads     videos, cells ──► Heads     trains detection head and pixel decoder on the finished model's latents
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.data.labelled_images import Split, load_images
from pretrain.loop.collapse import effective_rank, warn_if_collapsed
from pretrain.loop.memory import built, require_batch
from pretrain.loop.stages import VALIDATION_SEED, Optimizers, Stage, Training, adamw, muon
from pretrain.video.config import VideoConfig, VideoDataConfig
from pretrain.video.detection import HORIZONS, DetectionBatch, detection_batch, measure, rollout_forecaster
from pretrain.video.moving_mnist import MovingMNIST
from worldmodel.video.build import build_decoder, build_detector, build_video_jepa
from worldmodel.video.checkpoint import save_video_jepa
from worldmodel.video.heads import DetectionHead, PixelDecoder
from worldmodel.video.jepa import VideoJEPA
from worldmodel.video.objective import VideoObjective

NORMALIZATION_VIDEOS = 64
"""Videos on which normalisation is fitted."""
NUM_VIDEOS = 64
"""Videos of a validation."""
RANK_ROWS = 4096
"""Most positions of which the effective rank is computed."""


class VideoTraining(nn.Module):
    """The objective, in one ``forward`` so that data parallelism sees it."""

    def __init__(self, objective: VideoObjective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss to minimise and the metrics of a batch of videos."""
        loss, metrics, _ = self.objective(batch.pixels, step)
        return loss, metrics | {"loss": loss.detach()}


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


def build_training(config: VideoConfig, device: torch.device) -> Training:
    """Builds what is to be trained, untrained, with its normalisation fitted, and the stages that train it.

    Raises:
        ValueError: If the data do not fit.
    """
    source, validation_source = (build_source(config.data, split) for split in ("train", "validation"))
    shape = (1, config.data.size, config.data.size)
    require_batch("data.batch_size", config.data.batch_size, (config.data.num_frames, *shape))
    require_batch("heads.batch_size", config.heads.batch_size, (config.data.num_frames, *shape))
    model = built(lambda: build_video_jepa(config.model, shape), config.model)
    sample = source.sample(NORMALIZATION_VIDEOS, np.random.default_rng([config.seed, 0]))
    model.normalizer.fit(sample.pixels)
    detector = built(lambda: build_detector(config.model, shape), config.model)
    decoder = built(lambda: build_decoder(config.model, shape), config.model)

    def save(path: Path, training: Mapping[str, Any], beside: Mapping[str, bytes]) -> None:
        save_video_jepa(path, model, detector, decoder, config.model, training=training, beside=beside)

    stages = [
        _model_stage(config, model, source, validation_source),
        _heads_stage(config, model, detector, decoder, source, validation_source),
    ]
    return Training(stages=stages, save=save)


def build_source(config: VideoDataConfig, split: Split) -> MovingMNIST:
    """The generator of a part's videos; no digit is in both parts."""
    return MovingMNIST(
        load_images(config.digits, split, what="digits"),
        num_digits=config.num_digits,
        size=config.size,
        speed=config.speed,
        num_frames=config.num_frames,
    )


def _model_stage(config: VideoConfig, model: VideoJEPA, source: MovingMNIST, validation_source: MovingMNIST) -> Stage:
    objective = VideoObjective(
        model,
        config.model.latent_channels,
        config.weights,
        rollout_steps=config.rollout_steps,
        projector=config.projector,
        centred=config.centred,
        seed=config.seed,
    )
    frozen = [] if config.train_encoder else list(model.encoder.parameters())
    # A projector that nothing looks through gets no gradient.
    if not (config.weights.variance or config.weights.covariance or config.weights.sigreg):
        frozen += list(objective.projector.parameters())
    trained = [p for p in objective.parameters() if not any(p is other for other in frozen)]
    return Stage(
        name="model",
        module=VideoTraining(objective),
        frozen=frozen,
        groups=[{"params": trained, "peak": config.learning_rate}],
        optimizer=_optimizer(config),
        clipped=trained,
        clip_norm=config.clip_norm,
        num_steps=config.num_steps,
        batch_size=config.data.batch_size,
        draw=source.sample,
        validate=lambda: validate_video(model, validation_source),
    )


def _heads_stage(
    config: VideoConfig,
    model: VideoJEPA,
    detector: DetectionHead,
    decoder: PixelDecoder,
    source: MovingMNIST,
    validation_source: MovingMNIST,
) -> Stage:
    grid = config.model.grid
    parameters = [*detector.parameters(), *decoder.parameters()]

    def validate() -> dict[str, float]:
        videos = validation_source.sample(NUM_VIDEOS, np.random.default_rng(VALIDATION_SEED))
        horizons = HORIZONS[: config.data.num_frames - model.context]
        device = next(model.parameters()).device
        forecaster = rollout_forecaster(model, detector, horizons, device)
        precisions = measure(forecaster, [videos], context=model.context, grid=grid, horizons=horizons)
        metrics = {f"AP_{T}": value for T, value in zip(horizons, precisions.reference, strict=True)}
        return metrics | {"mAP": precisions.reference_mean, "strict_mAP": precisions.strict_mean}

    return Stage(
        name="heads",
        module=HeadsTraining(model, detector, decoder, on_rollouts=config.heads.on_rollouts),
        frozen=list(model.parameters()),
        groups=[{"params": parameters, "peak": config.heads.learning_rate}],
        optimizer=_optimizer(config),
        clipped=parameters,
        clip_norm=config.clip_norm,
        num_steps=config.heads.num_steps,
        batch_size=config.heads.batch_size,
        draw=lambda size, generator: detection_batch(source.sample(size, generator), grid),
        validate=validate,
    )


def _optimizer(config: VideoConfig) -> Optimizers:
    """Of the model and of the heads."""
    make = muon if config.optimizer == "muon" else adamw
    return make(config.weight_decay)


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
    predicted = model.rollout(latents[:, :context], future.shape[1])
    # Of each channel, so that constants which differ between channels do not count as variation.
    variance = latents.movedim(2, -1).flatten(0, -2).var(dim=0).mean().clamp_min(1e-12)
    error = (predicted - future).square().mean(dim=(0, 2, 3, 4)) / variance
    copied = (latents[:, context - 1 : context] - future).square().mean(dim=(0, 2, 3, 4)) / variance
    horizons = sorted({1, (len(error) + 1) // 2, len(error)})
    metrics = {f"prediction_{k}": float(error[k - 1]) for k in horizons}
    metrics |= {f"copying_{k}": float(copied[k - 1]) for k in horizons}
    rows = latents.movedim(2, -1).flatten(0, -2)
    rank = effective_rank(rows[:: max(1, len(rows) // RANK_ROWS)])
    std = float(rows.std(dim=0).mean())
    warn_if_collapsed(rank, std)
    return metrics | {"effective_rank": rank, "latent_std": std}
