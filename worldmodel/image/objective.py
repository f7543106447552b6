"""The training objective of Image-JEPA: views of an image agree, and representations do not collapse."""

from collections.abc import Sequence

from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.config import NonNegative, config
from worldmodel.image.jepa import ImageJEPA
from worldmodel.nn import losses
from worldmodel.nn.distributed import gather_batch
from worldmodel.nn.layers import BatchNorm


@config
class ImageLossWeights:
    """Weights of the losses; a weight of 0 leaves the term out. The weight of the views' agreement is 1."""

    sigreg: NonNegative = 10.0
    """SIGReg (arXiv 2511.08544), mean over views."""
    variance: NonNegative = 0.0
    """Keeps each projected feature varying (VICReg, arXiv 2105.04906), summed over views. EB-JEPA's VICReg: variance 1,
    covariance 80, sigreg 0."""
    covariance: NonNegative = 0.0
    """Decorrelates projected features, summed over views."""


class ImageObjective(nn.Module):
    """Computes the training loss of an Image-JEPA; the loss is in ``forward`` so that DDP sees it.

    Args:
        model: The Image-JEPA.
        weights: Weights of the losses.
        projector: Widths of the projector's layers after the latent; empty: no projector.
        seed: Seed of SIGReg's random directions.
    """

    def __init__(
        self, model: ImageJEPA, weights: ImageLossWeights, *, projector: Sequence[int] = (), seed: int = 0
    ) -> None:
        super().__init__()
        self.model = model
        self.weights = weights
        self.seed = seed
        self.projector: nn.Module = make_projector(model.latent_dim, projector) if projector else nn.Identity()

    def forward(
        self, views: UInt8[Tensor, "2 b c h w"], step: int = 0
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor], Float[Tensor, "2 b d"]]:
        """Computes the loss of a batch of images.

        Args:
            views: Two views of each image.
            step: Training step; selects SIGReg's random directions.

        Returns:
            The loss, each term unweighted, and the detached representations.
        """
        latents = self.model.encode(views)
        projected = self.projector(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])
        first, second = projected.float()
        invariance, w = F.mse_loss(first, second), self.weights
        loss, terms = losses.regularise(
            invariance,
            [gather_batch(first), gather_batch(second)],
            variance_weight=w.variance,
            covariance_weight=w.covariance,
            sigreg_weight=w.sigreg,
            seed=self.seed,
            step=step,
        )
        terms["invariance"] = invariance
        return loss, {name: term.detach() for name, term in terms.items()}, latents.detach()


def make_projector(in_dim: int, widths: Sequence[int]) -> nn.Sequential:
    """VICReg's projector: linear maps, with batch normalisation and ReLU between them.

    Args:
        in_dim: Number of inputs.
        widths: Width of each layer; the last is the output's.
    """
    *hidden, out = widths
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(in_dim, width, bias=False), BatchNorm(width), nn.ReLU()]
        in_dim = width
    return nn.Sequential(*layers, nn.Linear(in_dim, out))
