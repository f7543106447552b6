"""Training of an Image-JEPA: what is trained, on which views, and how it is validated.

::

    joint-embedding    images ──► two views ──► ImageObjective     trains encoder and projector
                                     └──► h, detached ──► linear probe
    supervised         images ──► one view ──► encoder ──► linear classifier    the baseline that sees labels
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.data.labelled_images import Split, load_images
from pretrain.image.augmentation import Augmentation, augmentation_of
from pretrain.image.config import ImageConfig
from pretrain.image.evaluation import knn_accuracy, represent
from pretrain.loop.collapse import effective_rank, warn_if_collapsed
from pretrain.loop.memory import built, require_batch
from pretrain.loop.stages import VALIDATION_SEED, Optimizers, Stage, Training, adamw, lars
from worldmodel.image.build import build_classifier, build_image_jepa
from worldmodel.image.checkpoint import save_image_jepa
from worldmodel.image.jepa import ImageJEPA
from worldmodel.image.objective import ImageObjective
from worldmodel.nn.distributed import process_rank

NORMALIZATION_IMAGES = 4_096
"""Images on which normalisation is fitted."""
NUM_BANK = 5_000
"""Training images whose neighbours vote at a validation."""
NUM_QUERIES = 2_000
"""Images of a validation."""
VIEWS_STREAM = 3
"""Distinguishes the seeds of views from those of batches."""


class ImageBatch(NamedTuple):
    """Images and what they show.

    Attributes:
        pixels: uint8 ``(B, C, H, W)``.
        labels: int64 ``(B,)``.
    """

    pixels: UInt8[Tensor, "b c h w"]
    labels: Int[Tensor, " b"]


class ImageSource:
    """Draws images of a set, each as likely as any other.

    Args:
        images: Name of the set, or its folder (:mod:`pretrain.data.labelled_images`).
        split: Which part of it.
    """

    def __init__(self, images: str, split: Split) -> None:
        loaded = load_images(images, split)
        self.all = ImageBatch(torch.from_numpy(loaded.images), torch.from_numpy(loaded.labels.astype(np.int64)))

    @property
    def pixel_shape(self) -> tuple[int, ...]:
        """``(C, H, W)`` of the images."""
        return tuple(self.all.pixels.shape[1:])

    @property
    def num_classes(self) -> int:
        """One more than the largest label."""
        return int(self.all.labels.max()) + 1

    def sample(self, size: int, generator: np.random.Generator) -> ImageBatch:
        """Draws so many, with replacement."""
        return self._take(generator.integers(len(self.all.labels), size=size))

    def subset(self, size: int) -> ImageBatch:
        """So many different ones, always the same; all where there are fewer."""
        return self._take(np.random.default_rng(VALIDATION_SEED).permutation(len(self.all.labels))[:size])

    def _take(self, chosen: np.ndarray) -> ImageBatch:
        rows = torch.from_numpy(chosen)
        return ImageBatch(self.all.pixels[rows], self.all.labels[rows])


class JointEmbeddingTraining(nn.Module):
    """The objective on two views and the linear probe beside it, in one ``forward`` so that DDP sees both."""

    def __init__(self, objective: ImageObjective, classifier: nn.Linear, augmentation: Augmentation, seed: int) -> None:
        super().__init__()
        self.objective = objective
        self.classifier = classifier
        self.augmentation = augmentation
        self.seed = seed

    def forward(self, batch: ImageBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss to minimise and the metrics of a batch of images."""
        views = self.augmentation.views(batch.pixels, view_seed(self.seed, step))
        loss, metrics, latents = self.objective(views, step)
        metrics["loss"] = loss.detach()
        entropy, accuracy = _classify(self.classifier, latents.flatten(0, 1), batch.labels.repeat(len(views)))
        return loss + entropy, metrics | {"probe_loss": entropy.detach(), "probe_accuracy": accuracy}


class SupervisedTraining(nn.Module):
    """Encoder and linear classifier on labels: what the same network reaches with them."""

    def __init__(self, model: ImageJEPA, classifier: nn.Linear, augmentation: Augmentation, seed: int) -> None:
        super().__init__()
        self.model = model
        self.classifier = classifier
        self.augmentation = augmentation
        self.seed = seed

    def forward(self, batch: ImageBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss to minimise and the metrics of a batch of images."""
        views = self.augmentation.views(batch.pixels, view_seed(self.seed, step), num_views=1)
        loss, accuracy = _classify(self.classifier, self.model.encode(views[0]), batch.labels)
        return loss, {"loss": loss.detach(), "probe_accuracy": accuracy}


def view_seed(seed: int, step: int) -> tuple[int, ...]:
    """What selects the views of a step: the run's seed, the process and the step, so that runs resume exactly."""
    return seed, VIEWS_STREAM, process_rank(), step


def _classify(classifier: nn.Linear, latents: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and accuracy."""
    logits = classifier(latents).float()
    return F.cross_entropy(logits, labels), (logits.argmax(dim=-1) == labels).float().mean().detach()


def build_training(config: ImageConfig, device: torch.device) -> Training:
    """Builds what is to be trained, untrained, with its normalisation fitted, and the stage that trains it.

    Raises:
        ValueError: If the data do not fit.
    """
    source, validation_source = (ImageSource(config.data.images, split) for split in ("train", "validation"))
    require_batch("data.batch_size", config.data.batch_size, source.pixel_shape)
    model = built(lambda: build_image_jepa(config.model, source.pixel_shape), config.model)
    sample = source.sample(NORMALIZATION_IMAGES, np.random.default_rng([config.seed, 0]))
    model.normalizer.fit(sample.pixels)
    classifier = build_classifier(model, source.num_classes)

    def save(path: Path, training: Mapping[str, Any], beside: Mapping[str, bytes]) -> None:
        save_image_jepa(path, model, classifier, config.model, training=training, beside=beside)

    stage = _stage(config, model, classifier, source, validation_source)
    return Training(stages=[stage], save=save)


def _stage(
    config: ImageConfig,
    model: ImageJEPA,
    classifier: nn.Linear,
    source: ImageSource,
    validation_source: ImageSource,
) -> Stage:
    name = config.data.augmentation
    augmentation = Augmentation(augmentation_of(config.data.images) if name == "auto" else name, source.pixel_shape)
    bank, queries = source.subset(NUM_BANK), validation_source.subset(NUM_QUERIES)
    module: nn.Module
    if config.objective == "supervised":
        module = SupervisedTraining(model, classifier, augmentation, config.seed)
        trained, projector = list(model.parameters()), None
    else:
        objective = ImageObjective(model, config.weights, projector=config.projector, seed=config.seed)
        module = JointEmbeddingTraining(objective, classifier, augmentation, config.seed)
        trained, projector = list(objective.parameters()), objective.projector
    probe = {"params": list(classifier.parameters()), "peak": config.probe_learning_rate, "trust_coefficient": 1.0}
    return Stage(
        name="model",
        module=module,
        groups=[{"params": trained, "peak": config.learning_rate}, probe],
        optimizer=_optimizer(config),
        # The probe must not shrink the model's gradient.
        clipped=trained,
        clip_norm=config.clip_norm,
        num_steps=config.num_steps,
        batch_size=config.data.batch_size,
        draw=source.sample,
        validate=lambda: validate_images(model, classifier, bank, queries, projector),
    )


def _optimizer(config: ImageConfig) -> Optimizers:
    if config.optimizer == "lars":
        return lars(config.weight_decay, config.trust_coefficient)
    return adamw(config.weight_decay)


@torch.no_grad()
def validate_images(
    model: ImageJEPA,
    classifier: nn.Linear,
    bank: ImageBatch,
    queries: ImageBatch,
    projector: nn.Module | None,
) -> dict[str, float]:
    """Measures representations of images that were not trained on.

    Args:
        model: The Image-JEPA.
        classifier: The linear probe trained beside it.
        bank: Training images, whose neighbours vote.
        queries: Validation images.
        projector: What the objective looks through; with it, collapse is warned of.

    Returns:
        ``probe_accuracy`` of the linear probe and ``knn_accuracy`` of the nearest neighbours; ``effective_rank`` of the
        representations and ``latent_std``, the mean standard deviation of their features; with a projector
        ``projected_std``, that of projected features, whose scale the regularisers set to 1.
    """
    latents = represent(model, queries.pixels)
    device = classifier.weight.device
    probe = (classifier(latents.to(device)).argmax(dim=-1).cpu() == queries.labels).float().mean()
    neighbours = knn_accuracy(
        represent(model, bank.pixels).numpy(), bank.labels.numpy(), latents.numpy(), queries.labels.numpy()
    )
    rank = effective_rank(latents)
    metrics = {
        "probe_accuracy": float(probe),
        "knn_accuracy": neighbours.rate,
        "effective_rank": rank,
        "latent_std": float(latents.std(dim=0).mean()),
    }
    if projector is not None:
        metrics["projected_std"] = float(projector(latents.to(device)).std(dim=0).mean())
        # Representations have no scale of their own.
        warn_if_collapsed(rank, metrics["projected_std"])
    return metrics
