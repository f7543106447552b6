"""How good image representations are: a linear probe and nearest neighbours on a frozen encoder.

Both learn from the representations of training images and are measured on those of test images. Settings are chosen on
a part of the training images.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from agents.evaluation.statistics import wilson_interval
from worldmodel.image.jepa import ImageJEPA

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

CHUNK = 512
"""Images that are encoded at once."""
NUM_NEIGHBOURS = 20
"""Neighbours that vote."""
TEMPERATURE = 0.07
"""A neighbour at cosine distance d has weight exp(−d / temperature), as in arXiv 1805.01978."""
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths C of the linear probe's regularisation to choose from."""
HELD_BACK = 0.2
"""Part of the training images on which the strength is chosen."""
MAX_ITERATIONS = 1_000
"""Most iterations of the linear probe's optimiser."""


@dataclass(frozen=True)
class Accuracy:
    """How many of the test images were classified correctly.

    Attributes:
        correct: Images that were.
        total: Test images.
    """

    correct: int
    total: int

    @property
    def rate(self) -> float:
        """The share that was."""
        return self.correct / self.total

    def to_dict(self) -> dict[str, float | int | list[float]]:
        """As JSON types, with Wilson's 95% interval."""
        interval = list(wilson_interval(self.correct, self.total))
        return {"accuracy": self.rate, "interval": interval, "correct": self.correct, "total": self.total}


@torch.no_grad()
def represent(model: ImageJEPA, pixels: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """Representations of images by a model in evaluation mode, computed chunk by chunk on its device."""
    device = next(model.parameters()).device
    return torch.cat([model.encode(chunk.to(device)).cpu() for chunk in pixels.split(CHUNK)])


def knn_accuracy(
    bank: Float[np.ndarray, "n d"],
    bank_labels: Int[np.ndarray, " n"],
    queries: Float[np.ndarray, "m d"],
    labels: Int[np.ndarray, " m"],
) -> Accuracy:
    """Weighted vote of the nearest neighbours by cosine distance.

    Args:
        bank: Representations of training images.
        bank_labels: Their classes.
        queries: Representations of test images.
        labels: Their classes.
    """
    from sklearn.neighbors import KNeighborsClassifier  # of the extra "images"

    voters = KNeighborsClassifier(
        n_neighbors=min(NUM_NEIGHBOURS, len(bank)),
        metric="cosine",
        weights=lambda distances: np.exp(-distances / TEMPERATURE),
    )
    return _accuracy(voters.fit(bank, bank_labels).predict(queries), labels)


def linear_accuracy(
    train: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, " n"],
    test: Float[np.ndarray, "m d"],
    labels: Int[np.ndarray, " m"],
) -> tuple[Accuracy, float]:
    """Multinomial logistic regression on standardised representations.

    The regularisation is chosen on a held-back part of the training images; then all of them are fitted.

    Args:
        train: Representations of training images.
        train_labels: Their classes.
        test: Representations of test images.
        labels: Their classes.

    Returns:
        Its accuracy on the test images, and the inverse strength C.
    """
    from sklearn.model_selection import train_test_split  # of the extra "images"

    fit, held_back, fit_labels, held_back_labels = train_test_split(
        train, train_labels, test_size=HELD_BACK, random_state=0, stratify=train_labels
    )
    scores = [_linear(C).fit(fit, fit_labels).score(held_back, held_back_labels) for C in STRENGTHS]
    best = STRENGTHS[int(np.argmax(scores))]  # of equals the strongest regularisation
    return _accuracy(_linear(best).fit(train, train_labels).predict(test), labels), best


def _linear(inverse_strength: float) -> "Pipeline":
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=inverse_strength, max_iter=MAX_ITERATIONS))


def _accuracy(predicted: np.ndarray, labels: np.ndarray) -> Accuracy:
    return Accuracy(int((predicted == labels).sum()), len(labels))
