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

    A single image says nothing of velocity. With a ``context`` of c > 1 the predictor sees the latents of the last c
    frames, ``frame_skip`` environment steps apart: the state, ``S = c · D`` numbers, oldest first. Of a state, only
    its newest latent is compared with anything. A goal is one image: a state in which nothing moves.

    Args:
        encoder: Normalised images ``(B, C, H, W)`` → latents ``(B, D)``.
        predictor: States ``(B, S)`` and actions ``(B, A)`` → the next latents ``(B, D)``.
        normalizer: Turns pixels and actions into the network's units.
        latent_dim: Number of latent features ``D``.
        frame_skip: Environment steps spanned by one predictor step.
        context: Frames that make up a state.
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
        self.state_dim = context * latent_dim
        self.frame_skip = frame_skip
        self.context = context
        self.action_dim = normalizer.action_dim

    @torch.no_grad()
    def fit_normalization(self, pixels: Num[Tensor, "*b c h w"], actions: Float[Tensor, "*n a"]) -> None:
        """Fits the normaliser, and the encoder's own standardisation where it has one, on a sample of training data.

        Args:
            pixels: uint8 images ``(..., C, H, W)``.
            actions: Actions or flattened blocks of actions, in the environment's units.
        """
        self.normalizer.fit(pixels, actions)
        fit = getattr(self.encoder, "fit", None)
        if fit is not None:
            fit(self.normalizer.pixels(pixels))

    def encode(self, pixels: Num[Tensor, "*b x y z"]) -> Float[Tensor, "*b s"]:
        """The states of scenes in which nothing moves, such as goals.

        Args:
            pixels: uint8 ``(..., C, H, W)``, or ``(..., H, W, C)``.
        """
        latents = self._latents(pixels)
        return latents.repeat(*[1] * (latents.ndim - 1), self.context)

    def encode_video(self, pixels: Num[Tensor, "b f x y z"]) -> Float[Tensor, "b t s"]:
        """The states of videos at each frame that has ``context − 1`` frames before it: T = F − context + 1 of F.

        Args:
            pixels: uint8 ``(B, F, C, H, W)``, or ``(B, F, H, W, C)``; frames are ``frame_skip`` steps apart.
        """
        return self._states(self._latents(pixels))

    def encode_states_and_goals(
        self, pixels: Num[Tensor, "b f x y z"]
    ) -> tuple[Float[Tensor, "b t s"], Float[Tensor, "b t d"]]:
        """The states of :meth:`encode_video`, and their newest latents, which are what each is as a goal."""
        states = self.encode_video(pixels)
        return states, self.latest(states)

    def latest(self, states: Float[Tensor, "*b s"]) -> Float[Tensor, "*b d"]:
        """The newest latents of states."""
        return states[..., -self.latent_dim :]

    def predict(self, states: Float[Tensor, "b s"], actions: Float[Tensor, "b a"]) -> Float[Tensor, "b s"]:
        """Predicts the states one predictor step later."""
        latents = self.norm(self.predictor(states, self.normalizer.actions(actions)).float())
        return latents if self.context == 1 else torch.cat([states[:, self.latent_dim :], latents], dim=-1)

    def rollout(self, states: Float[Tensor, "b s"], actions: Float[Tensor, "b t a"]) -> Float[Tensor, "b t s"]:
        """Predicts autoregressively; entry ``t`` is the state after ``actions[:, : t + 1]``."""
        predicted = []
        for t in range(actions.shape[1]):
            states = self.predict(states, actions[:, t])
            predicted.append(states)
        return torch.stack(predicted, dim=1)

    def _latents(self, pixels: Num[Tensor, "*b x y z"]) -> Float[Tensor, "*b d"]:
        latents = self.norm(self.encoder(self.normalizer.pixels(pixels)).float())
        return latents.reshape(*pixels.shape[:-3], self.latent_dim)

    def _states(self, latents: Float[Tensor, "b f d"]) -> Float[Tensor, "b t s"]:
        count = latents.shape[1] - self.context + 1
        return torch.cat([latents[:, i : i + count] for i in range(self.context)], dim=-1)
