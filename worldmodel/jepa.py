"""The joint-embedding predictive architecture: encode images, predict latents, roll out in latent space."""

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from worldmodel.nn.normalize import Normalizer


class JEPA(nn.Module):
    """An action-conditioned world model in latent space (AC-Video-JEPA of EB-JEPA, arXiv 2602.03604).

    ::

        pixels_t ──► encoder ──► z_t ──┐
                                       ├──► predictor ──► ẑ_{t+1}  (compared with the encoding of pixels_{t+1})
        actions_t ─────────────────────┘

    One predictor step spans ``frame_skip`` environment steps and takes their actions as one flattened block
    ``A = frame_skip · action_dim``, in the environment's units. A layer normalisation shared by encoder and predictor
    keeps encoded and predicted latents on one scale.

    Args:
        encoder: Normalised images ``(B, C, H, W)`` → ``(B, D)``.
        predictor: Latents ``(B, D)`` and actions ``(B, A)`` → ``(B, D)``.
        normalizer: Turns pixels and actions into the network's units.
        latent_dim: Number of latent features ``D``.
        frame_skip: Environment steps spanned by one predictor step.
    """

    def __init__(
        self, encoder: nn.Module, predictor: nn.Module, normalizer: Normalizer, latent_dim: int, frame_skip: int = 1
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.normalizer = normalizer
        self.norm = nn.LayerNorm(latent_dim)
        self.latent_dim = latent_dim
        self.frame_skip = frame_skip
        self.action_dim = normalizer.action_dim

    @torch.no_grad()
    def fit_normalization(self, pixels: Num[Tensor, "*b c h w"], actions: Float[Tensor, "*n a"]) -> None:
        """Fits the normaliser, and the encoder's own standardisation where it has one, on a sample of training data."""
        self.normalizer.fit(pixels, actions)
        fit = getattr(self.encoder, "fit", None)
        if fit is not None:
            fit(self.normalizer.pixels(pixels))

    def encode(self, pixels: Num[Tensor, "*b x y z"]) -> Float[Tensor, "*b d"]:
        """Encodes images.

        Args:
            pixels: uint8 ``(..., C, H, W)``, or ``(..., H, W, C)``.
        """
        latents = self.norm(self.encoder(self.normalizer.pixels(pixels)).float())
        return latents.reshape(*pixels.shape[:-3], self.latent_dim)

    def predict(self, latents: Float[Tensor, "b d"], actions: Float[Tensor, "b a"]) -> Float[Tensor, "b d"]:
        """Predicts the latents one predictor step later."""
        return self.norm(self.predictor(latents, self.normalizer.actions(actions)).float())

    def rollout(self, latents: Float[Tensor, "b d"], actions: Float[Tensor, "b t a"]) -> Float[Tensor, "b t d"]:
        """Predicts autoregressively; entry ``t`` is the latent after ``actions[:, : t + 1]``."""
        predicted = []
        for t in range(actions.shape[1]):
            latents = self.predict(latents, actions[:, t])
            predicted.append(latents)
        return torch.stack(predicted, dim=1)
