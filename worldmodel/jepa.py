"""The joint-embedding predictive architecture: encode images, predict latents, roll out in latent space."""

import torch
from jaxtyping import Float, Num, UInt8
from torch import Tensor, nn

from worldmodel.nn.looks import MAX_CHANNELS, Looks
from worldmodel.nn.normalize import Normalizer


def state_dim(latent_dim: int, block_dim: int, context: int) -> int:
    """Numbers of a state: ``context`` latents, and the blocks of actions between them."""
    return context * latent_dim + (context - 1) * block_dim


class JEPA(nn.Module):
    """An action-conditioned world model in latent space (AC-Video-JEPA of EB-JEPA, arXiv 2602.03604).

    ::

        pixels_t ──► encoder ──► z_t ──┐
                                       ├──► predictor ──► ẑ_{t+1}  (compared with the encoding of pixels_{t+1})
        actions_t ─────────────────────┘

    One predictor step spans ``frame_skip`` environment steps and takes their actions as one flattened block
    ``A = frame_skip · action_dim``, in the environment's units. A layer normalisation shared by encoder and predictor
    keeps encoded and predicted latents on one scale.

    A single image says nothing of velocity. With a ``context`` of c > 1, the predictor sees the latents of the last c
    images, ``frame_skip`` environment steps apart, and the blocks of actions between them. This is a state::

        a_{t−c+1} … a_{t−1}   z_{t−c+1} … z_t          S = (c − 1) · A + c · D numbers, actions normalised

    Its newest latent, the last D numbers, is what predictions and goals are compared with. A goal is one image.

    Args:
        encoder: Normalised images ``(B, C, H, W)`` → latents ``(B, D)``.
        predictor: States ``(B, S)`` and actions ``(B, A)`` → the next latents ``(B, D)``.
        normalizer: Turns pixels and actions into the network's units.
        latent_dim: Number of latent features ``D``.
        frame_skip: Environment steps spanned by one predictor step.
        context: Latents of a state.
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
        shape = normalizer.pixel_shape
        self.looks = Looks(shape) if shape[0] <= MAX_CHANNELS else None
        self.latent_dim = latent_dim
        self.frame_skip = frame_skip
        self.context = context
        self.action_dim = normalizer.action_dim
        self.block_dim = frame_skip * self.action_dim
        self.state_dim = state_dim(latent_dim, self.block_dim, context)

    @torch.no_grad()
    def fit_normalization(self, pixels: Num[Tensor, "*b c h w"], actions: Float[Tensor, "*n a"]) -> None:
        """Fits the normaliser, what images look like, and the encoder's own standardisation where it has one.

        Args:
            pixels: uint8 images ``(..., C, H, W)``.
            actions: Actions or flattened blocks of actions, in the environment's units.
        """
        self.normalizer.fit(pixels, actions)
        if self.looks is not None:
            self.looks.fit(self.normalizer.turned(pixels))
        fit = getattr(self.encoder, "fit", None)
        if fit is not None:
            fit(self.normalizer.pixels(pixels))

    def redraw(self, pixels: UInt8[Tensor, "b x y z"]) -> UInt8[Tensor, "b c h w"]:
        """Images of unfamiliar looks, brought closer to those of the training data; others as they are.

        Args:
            pixels: ``(B, C, H, W)``, or ``(B, H, W, C)``.
        """
        images = self.normalizer.turned(pixels)
        return images if self.looks is None else self.looks(images)

    def encode(self, pixels: Num[Tensor, "*b x y z"]) -> Float[Tensor, "*b d"]:
        """The latents of images.

        Args:
            pixels: uint8 ``(..., C, H, W)``, or ``(..., H, W, C)``.
        """
        latents = self.norm(self.encoder(self.normalizer.pixels(pixels)).float())
        return latents.reshape(*pixels.shape[:-3], self.latent_dim)

    def states(self, latents: Float[Tensor, "b f d"], actions: Float[Tensor, "b g a"]) -> Float[Tensor, "b t s"]:
        """The states at each latent that has ``context − 1`` before it: T = F − context + 1 of F.

        Args:
            latents: Of images that are ``frame_skip`` environment steps apart.
            actions: The F − 1 blocks of actions between them, in the environment's units.
        """
        count = latents.shape[1] - self.context + 1
        blocks = self.normalizer.actions(actions)
        past = [blocks[:, i : i + count] for i in range(self.context - 1)]
        return torch.cat([*past, *(latents[:, i : i + count] for i in range(self.context))], dim=-1)

    def at_rest(self, latents: Float[Tensor, "*b d"]) -> Float[Tensor, "*b s"]:
        """The states of which nothing is known but the newest latent: it was there before, and actions were average."""
        actions = latents.new_zeros(*latents.shape[:-1], self.state_dim - self.context * self.latent_dim)
        return torch.cat([actions, *[latents] * self.context], dim=-1)

    @property
    def idle_action(self) -> Float[Tensor, "a"]:
        """What is taken for done before anything was seen: the average action, in the environment's units."""
        return self.normalizer.action_mean

    def latest(self, states: Float[Tensor, "*b s"]) -> Float[Tensor, "*b d"]:
        """The newest latents of states."""
        return states[..., -self.latent_dim :]

    def predict(self, states: Float[Tensor, "b s"], actions: Float[Tensor, "b a"]) -> Float[Tensor, "b s"]:
        """Predicts the states one predictor step later."""
        block = self.normalizer.actions(actions)
        latents = self.norm(self.predictor(states, block).float())
        if self.context == 1:
            return latents
        past = self.state_dim - self.context * self.latent_dim  # where the latents begin
        kept = states[:, self.block_dim : past], block, states[:, past + self.latent_dim :]
        return torch.cat([*kept, latents], dim=-1)

    def rollout(self, states: Float[Tensor, "b s"], actions: Float[Tensor, "b t a"]) -> Float[Tensor, "b t s"]:
        """Predicts autoregressively; entry ``t`` is the state after ``actions[:, : t + 1]``."""
        predicted = []
        for t in range(actions.shape[1]):
            states = self.predict(states, actions[:, t])
            predicted.append(states)
        return torch.stack(predicted, dim=1)
