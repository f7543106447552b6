"""Image-JEPA: two views of an image have the same representation; there is nothing to predict in between.

::

    image ──► view ──► encoder ──► h ──► projector ──► z
          ──► view ──► encoder ──► h ──► projector ──► z'      compared with z

The projector belongs to the training objective (:mod:`worldmodel.image.objective`); afterwards, ``h`` is used
(EB-JEPA, arXiv 2602.03604).
"""

from jaxtyping import Float, Num
from torch import Tensor, nn

from worldmodel.nn.normalize import Normalizer


class ImageJEPA(nn.Module):
    """Encodes images.

    Args:
        encoder: Normalised images ``(B, C, H, W)`` → ``(B, D)``.
        normalizer: Turns pixels into the network's units.
        latent_dim: Number of latent features ``D``.
    """

    def __init__(self, encoder: nn.Module, normalizer: Normalizer, latent_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.normalizer = normalizer
        self.latent_dim = latent_dim

    def encode(self, pixels: Num[Tensor, "*b x y z"]) -> Float[Tensor, "*b d"]:
        """Encodes images.

        Args:
            pixels: uint8 ``(..., C, H, W)``, or ``(..., H, W, C)``.
        """
        latents = self.encoder(self.normalizer.pixels(pixels)).float()
        return latents.reshape(*pixels.shape[:-3], self.latent_dim)
