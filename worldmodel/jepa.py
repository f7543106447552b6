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

    A single image says nothing of velocity. With a ``context`` of c > 1 the encoder sees a frame together with the
    c − 1 frames before it, ``frame_skip`` environment steps apart, as channels side by side, oldest first. A goal is
    one image: it is seen as if nothing had moved.

    Args:
        encoder: Normalised images ``(B, context · C, H, W)`` → ``(B, D)``.
        predictor: Latents ``(B, D)`` and actions ``(B, A)`` → ``(B, D)``.
        normalizer: Turns pixels and actions into the network's units.
        latent_dim: Number of latent features ``D``.
        frame_skip: Environment steps spanned by one predictor step.
        context: Frames that make up what the encoder sees.
    """

    def __init__(
        self,
        encoder: nn.Module,
        predictor: nn.Module,
        normalizer: Normalizer,
        latent_dim: int,
        frame_skip: int = 1,
        context: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.normalizer = normalizer
        self.norm = nn.LayerNorm(latent_dim)
        self.latent_dim = latent_dim
        self.frame_skip = frame_skip
        self.context = context
        self.action_dim = normalizer.action_dim

    @torch.no_grad()
    def fit_normalization(self, pixels: Num[Tensor, "*b c h w"], actions: Float[Tensor, "*n a"]) -> None:
        """Fits the normaliser, and the encoder's own standardisation where it has one, on a sample of training data.

        Args:
            pixels: uint8 videos ``(B, T, C, H, W)``; without context, images of any leading dimensions.
            actions: Actions or flattened blocks of actions, in the environment's units.
        """
        self.normalizer.fit(pixels, actions)
        fit = getattr(self.encoder, "fit", None)
        if fit is not None:
            fit(self._with_context(pixels))

    def encode(self, pixels: Num[Tensor, "*b x y z"]) -> Float[Tensor, "*b d"]:
        """Encodes images of scenes in which nothing moves, such as goals.

        Args:
            pixels: uint8 ``(..., C, H, W)``, or ``(..., H, W, C)``.
        """
        images = self.normalizer.pixels(pixels)
        if self.context > 1:
            images = images.repeat(1, self.context, 1, 1)
        return self._encode(images).reshape(*pixels.shape[:-3], self.latent_dim)

    def encode_video(self, pixels: Num[Tensor, "b t x y z"]) -> Float[Tensor, "b s d"]:
        """Encodes each frame of videos that has ``context − 1`` frames before it: S = T − context + 1 of T.

        Args:
            pixels: uint8 ``(B, T, C, H, W)``, or ``(B, T, H, W, C)``; frames are ``frame_skip`` steps apart.
        """
        return self._encode(self._with_context(pixels)).unflatten(0, (len(pixels), -1))

    def encode_states_and_goals(
        self, pixels: Num[Tensor, "b t x y z"]
    ) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b s d"]]:
        """The frames of :meth:`encode_video`, each as it moves and as a goal; without context these are the same."""
        moving = self.encode_video(pixels)
        return moving, moving if self.context == 1 else self.encode(pixels[:, self.context - 1 :])

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

    def _encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return self.norm(self.encoder(images).float())

    def _with_context(self, pixels: Num[Tensor, "*b x y z"]) -> Float[Tensor, "n c h w"]:
        """Normalised frames with those before them as channels, ``(B · S, context · C, H, W)``."""
        images = self.normalizer.pixels(pixels)
        if self.context == 1:
            return images
        video = images.unflatten(0, tuple(pixels.shape[:2]))
        count = pixels.shape[1] - self.context + 1
        return torch.cat([video[:, i : i + count] for i in range(self.context)], dim=2).flatten(0, 1)
