"""Training of an Image-JEPA: what is trained, on which views, and how it is validated.

::

    joint-embedding    images ──► two views ──► ImageObjective     trains encoder and projector
                                     └──► h, detached ──► linear probe
    supervised         images ──► one view ──► encoder ──► linear classifier    the baseline that sees labels
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.data.labelled_images import Split, load_images
from pretrain.image.augmentation import Augmentation, augmentation_of
from pretrain.image.config import ImageConfig
from pretrain.image.evaluation import knn_accuracy, represent
from pretrain.loop.collapse import measure_spread, warn_if_collapsed
from pretrain.loop.memory import built, require_batch
from pretrain.loop.stages import VALIDATION_SEED, Stage, Training, adamw, lars, select
from worldmodel.config import construct
from worldmodel.image.build import ImagesSpec, build_image_jepa
from worldmodel.image.checkpoint import IMAGE_JEPA
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
    def pixel_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of the images."""
        _, channels, height, width = self.all.pixels.shape
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """One more than the largest label."""
        return int(self.all.labels.max()) + 1

    def sample(self, size: int, generator: np.random.Generator) -> ImageBatch:
        """Draws so many, with replacement."""
        return select(self.all, torch.from_numpy(generator.integers(len(self.all.labels), size=size)))

    def subset(self, size: int) -> ImageBatch:
        """So many different ones, always the same; all where there are fewer."""
        order = np.random.default_rng(VALIDATION_SEED).permutation(len(self.all.labels))
        return select(self.all, torch.from_numpy(order[:size]))


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
    source, validation_source = ImageSource(config.data.images, "train"), ImageSource(config.data.images, "validation")
    require_batch("data.batch_size", config.data.batch_size, source.pixel_shape)
    model = built(lambda: build_image_jepa(config.model, source.pixel_shape), config.model)
    sample = source.sample(NORMALIZATION_IMAGES, np.random.default_rng([config.seed, 0]))
    model.normalizer.fit(sample.pixels)
    classifier = nn.Linear(model.latent_dim, source.num_classes)
    stage = _stage(config, model, classifier, source, validation_source.subset(NUM_QUERIES))
    parts = {"model": model, "classifier": classifier}
    sections = {
        "model": config.model,
        "data": ImagesSpec(pixel_shape=source.pixel_shape, num_classes=source.num_classes),
    }
    is_lars = config.optimizer == "lars"
    return Training(
        stages=[stage],
        optimizer=lars(config.weight_decay, config.trust_coefficient) if is_lars else adamw(config.weight_decay),
        save=lambda path, *more: IMAGE_JEPA.save(path, parts, sections, *more),
    )


def _stage(
    config: ImageConfig, model: ImageJEPA, classifier: nn.Linear, source: ImageSource, queries: ImageBatch
) -> Stage:
    name = config.data.augmentation
    augmentation = Augmentation(augmentation_of(config.data.images) if name == "auto" else name, source.pixel_shape)
    bank = source.subset(NUM_BANK)
    module: nn.Module
    if config.objective == "supervised":
        module = SupervisedTraining(model, classifier, augmentation, config.seed)
        trained, projector = list(model.parameters()), None
    else:
        objective = construct(ImageObjective, model, config.weights, options=config)
        module = JointEmbeddingTraining(objective, classifier, augmentation, config.seed)
        trained, projector = list(objective.parameters()), objective.projector
    probe = {"params": list(classifier.parameters()), "peak": config.probe_learning_rate, "trust_coefficient": 1.0}
    return Stage(
        name="model",
        module=module,
        groups=[{"params": trained, "peak": config.learning_rate}, probe],
        num_steps=config.num_steps,
        batch_size=config.data.batch_size,
        draw=source.sample,
        validate=lambda: validate_images(model, classifier, bank, queries, projector),
    )


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
    metrics = {"probe_accuracy": float(probe), "knn_accuracy": neighbours.rate, **measure_spread(latents)}
    if projector is not None:
        metrics["projected_std"] = float(projector(latents.to(device)).std(dim=0).mean())
        # Representations have no scale of their own.
        warn_if_collapsed(metrics["effective_rank"], metrics["projected_std"])
    return metrics
