"""The training objective of Video-JEPA: prediction over several rounds, and terms against collapse."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.config import NonNegative, config
from worldmodel.nn import losses
from worldmodel.nn.distributed import gather_batch
from worldmodel.nn.layers import perceptron
from worldmodel.video.jepa import VideoJEPA

SIGREG_ROWS = 1024
"""Most positions that SIGReg looks at; there are hundreds in every frame."""


@config
class VideoLossWeights:
    """Weights of the losses; a weight of 0 leaves the term out. The weight of the prediction is 1."""

    variance: NonNegative = 10.0
    """Keeps each projected feature varying."""
    covariance: NonNegative = 100.0
    """Decorrelates projected features."""
    sigreg: NonNegative = 0.0
    """SIGReg (arXiv 2511.08544) on projected features; set variance and covariance to 0 to use it in their place."""
    contrast: NonNegative = 0.0
    """Tells each predicted latent from those of other frames at the same position (InfoNCE, arXiv 1807.03748): latents
    keep what can be foretold, and nothing else; set the others to 0 to use it in their place."""
    random_target: NonNegative = 0.0
    """Latents and predictions tell, through a convolution, the latents that the encoder gave the frame before training:
    so they keep details that the contrast has no need of. Random targets as in BEST-RQ (arXiv 2202.01855)."""


class VideoObjective(nn.Module):
    """Computes the training loss of a Video-JEPA; the loss is in ``forward`` so that DDP sees it.

    Latents are predicted as they are; the regularisers see them through a projector, position by position: one row for
    each position of each frame.

    Args:
        model: The Video-JEPA.
        latent_channels: Channels ``D`` of its latents.
        weights: Weights of the losses.
        rollout_steps: Rounds of prediction K (:meth:`worldmodel.video.jepa.VideoJEPA.unroll`).
        projector: Widths of the projector's layers after the latent; empty: no projector.
        centred: Whether the regularisers see each position without its mean over the batch. Otherwise latents may vary
            by their place in the image alone, which convolutions know from their padding: that satisfies the
            regularisers, is trivial to predict, and leaves little room for what moves.
        temperature: Of the contrast: mean squared distance over channels that counts as one nat.
        seed: Seed of SIGReg's random choices.
    """

    def __init__(
        self,
        model: VideoJEPA,
        latent_channels: int,
        weights: VideoLossWeights,
        *,
        rollout_steps: int = 4,
        projector: Sequence[int] = (64, 64),
        centred: bool = False,
        temperature: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.weights = weights
        self.rollout_steps = rollout_steps
        self.centred = centred
        self.temperature = temperature
        self.seed = seed
        self.projector: nn.Module = nn.Identity()
        if projector:
            *hidden, out = projector
            self.projector = perceptron(latent_channels, hidden, out)
        if weights.random_target:
            self.random_encoder = copy.deepcopy(model.encoder).requires_grad_(False)
            self.reader = nn.Conv2d(latent_channels, latent_channels, 3, padding=1)

    def forward(
        self, pixels: UInt8[Tensor, "b t c y x"], step: int = 0
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor], Float[Tensor, "b t d h w"]]:
        """Computes the loss of a batch of videos.

        Args:
            pixels: Frames.
            step: Training step; selects SIGReg's random choices.

        Returns:
            The loss, each term unweighted, and the detached latents.
        """
        latents = self.model.encode(pixels)
        target = latents[:, self.model.context :]
        rounds = self.model.unroll(latents, self.rollout_steps)
        prediction = torch.stack([F.mse_loss(predicted, target) for predicted in rounds]).mean()
        rows = latents.movedim(2, -1).flatten(0, 1)  # (B T, H, W, D)
        projected = gather_batch(self.projector(rows).float())
        if self.centred:
            projected = projected - projected.mean(dim=0)
        w = self.weights
        loss, terms = losses.regularise(
            prediction,
            [projected.flatten(0, -2)],
            variance_weight=w.variance,
            covariance_weight=w.covariance,
            sigreg_weight=w.sigreg,
            seed=self.seed,
            step=step,
            max_rows=SIGREG_ROWS,
        )
        terms["prediction"] = prediction
        if w.contrast:
            # In float32 even under autocast: neighbouring frames differ by little.
            with torch.autocast(pixels.device.type, enabled=False):
                targets = _by_position(target)
                contrasts = [
                    losses.contrast(_by_position(predicted), targets, self.temperature) for predicted in rounds
                ]
            terms["contrast"] = torch.stack(contrasts).mean()
            loss = loss + w.contrast * terms["contrast"]
        if w.random_target:
            with torch.no_grad():
                images = self.model.normalizer.pixels(pixels)
                random = self.model.norm(self.random_encoder(images).float()).unflatten(0, latents.shape[:2])
            future = random[:, self.model.context :]
            pairs = [(latents, random), *((predicted, future) for predicted in rounds)]
            errors = [F.mse_loss(self.reader(a.flatten(0, 1)).float(), b.flatten(0, 1)) for a, b in pairs]
            terms["random_target"] = torch.stack(errors).mean()
            loss = loss + w.random_target * terms["random_target"]
        return loss, {name: term.detach() for name, term in terms.items()}, latents.detach()


def _by_position(latents: Float[Tensor, "b t d h w"]) -> Float[Tensor, "positions frames d"]:
    """Latents of all processes' frames, as one set for each position."""
    return gather_batch(latents).float().permute(3, 4, 0, 1, 2).flatten(0, 1).flatten(1, 2)
