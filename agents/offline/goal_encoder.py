"""An encoder for present and goal images, trained with the method that uses it."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from worldmodel.nn.normalize import Normalizer


class GoalEncoder(nn.Module):
    """Turns images into features of one scale.

    Args:
        encoder: Normalised images ``(B, C, H, W)`` → ``(B, D)``.
        normalizer: Turns pixels and actions into the networks' units.
        latent_dim: Number of features ``D``.
    """

    def __init__(self, encoder: nn.Module, normalizer: Normalizer, latent_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.normalizer = normalizer
        self.norm: nn.Module = nn.LayerNorm(latent_dim)
        self.latent_dim = latent_dim
        self.action_dim = normalizer.action_dim

    @torch.no_grad()
    def fit_normalization(self, pixels: UInt8[Tensor, "*b c h w"], actions: Float[Tensor, "*n a"]) -> None:
        """Fits the normaliser, and the encoder's own standardisation where it has one, on a sample of training data."""
        self.normalizer.fit(pixels, actions)
        fit = getattr(self.encoder, "fit", None)
        if fit is not None:
            fit(self.normalizer.pixels(pixels))

    def forward(self, pixels: UInt8[Tensor, "*b c h w"]) -> Float[Tensor, "*b d"]:
        """Encodes images."""
        latents = self.norm(self.encoder(self.normalizer.pixels(pixels)).float())
        return latents.reshape(*pixels.shape[:-3], -1)

    def pair(self, pixels: UInt8[Tensor, "b c h w"], goals: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b two_d"]:
        """Features of images and of goals side by side."""
        return torch.cat(self(torch.stack([pixels, goals])).unbind(), dim=-1)

    def to_env(self, actions: Float[Tensor, "b a"]) -> Float[Tensor, "b a"]:
        """Actions in the environment's units, from normalised ones."""
        return actions * self.normalizer.action_std + self.normalizer.action_mean
