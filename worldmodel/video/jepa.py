"""Video-JEPA: predict the latents of a video's next frames from its last frames; latents keep their place.

::

    frames ──► encoder ──► z_0, z_1, z_2, …          each (D, H, W)
    z_(t−K+1) … z_t ──► predictor ──► ẑ_(t+1)        compared with z_(t+1)

There are no actions: the last ``context`` latents must show what comes next (EB-JEPA, arXiv 2602.03604).
"""

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from worldmodel.nn.normalize import Normalizer


class VideoJEPA(nn.Module):
    """Encodes frames to spatial latents and predicts the latents that follow.

    Args:
        encoder: Normalised images ``(B, C, h, w)`` → ``(B, D, H, W)``.
        predictor: The last latents ``(B, K, D, H, W)``, oldest first → the next, ``(B, D, H, W)``.
        normalizer: Turns pixels into the network's units.
        context: How many latents ``K`` the predictor sees.
        norm: Puts encoded and predicted latents on one scale; by default they stay as they are.
    """

    def __init__(
        self,
        encoder: nn.Module,
        predictor: nn.Module,
        normalizer: Normalizer,
        context: int = 2,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.normalizer = normalizer
        self.context = context
        self.norm = nn.Identity() if norm is None else norm

    def encode(self, pixels: Num[Tensor, "*b x y z"]) -> Float[Tensor, "*b d h w"]:
        """Encodes images.

        Args:
            pixels: uint8 ``(..., C, h, w)``, or ``(..., h, w, C)``.
        """
        latents = self.norm(self.encoder(self.normalizer.pixels(pixels)).float())
        return latents.reshape(*pixels.shape[:-3], *latents.shape[1:])

    @torch.no_grad()
    def standardize(self, pixels: Num[Tensor, "*b x y z"]) -> None:
        """Scales the encoder's last layer so that each channel of these images' latents has mean 0 and variance 1.

        To be called before training: at random weights most of a latent is a constant, beside which what an image shows
        is small.
        """
        head: nn.Conv2d = self.encoder.head  # type: ignore[assignment]
        assert head.bias is not None
        std, mean = torch.std_mean(self.encoder(self.normalizer.pixels(pixels)), dim=(0, 2, 3))
        std = std.clamp_min(1e-6)
        head.weight.div_(std[:, None, None, None])
        head.bias.sub_(mean).div_(std)

    def predict(self, history: Float[Tensor, "b k d h w"]) -> Float[Tensor, "b d h w"]:
        """Predicts the latents of the next frame from those of the last ``context`` frames."""
        return self.norm(self.predictor(history).float())

    def rollout(self, history: Float[Tensor, "b k d h w"], num_steps: int) -> Float[Tensor, "b n d h w"]:
        """Predicts ``num_steps`` latents, one after the other, each from the predictions before it.

        Raises:
            ValueError: If ``history`` does not hold ``context`` latents.
        """
        if history.shape[1] != self.context:
            raise ValueError(f"history must hold {self.context} latents, got {history.shape[1]}")
        predicted = []
        for _ in range(num_steps):
            predicted.append(self.predict(history))
            history = torch.cat([history[:, 1:], predicted[-1][:, None]], dim=1)
        return torch.stack(predicted, dim=1)

    def unroll(self, latents: Float[Tensor, "b t d h w"], num_steps: int) -> list[Float[Tensor, "b t_minus_k d h w"]]:
        """Rolls out from everywhere in a video at once.

        Each round predicts every frame from the latents that the round before gave the frames before it::

            round 0    z_0  z_1  z_2  z_3  z_4
            round 1    z_0  z_1  ẑ_2  ẑ_3  ẑ_4     from latents
            round 2    z_0  z_1  ẑ_2  ẑ_3  ẑ_4     from round 1: ẑ_3 and later are predicted from predictions

        From round ``j + 1`` on, frame ``j`` after the first ``context`` is as :meth:`rollout` predicts it, and is not
        predicted again.

        Args:
            latents: Latents of all frames.
            num_steps: Rounds.

        Returns:
            The predictions of each round for the frames after the first ``context``.

        Raises:
            ValueError: If there are no such frames.
        """
        context, num_frames = self.context, latents.shape[1]
        if num_frames <= context:
            raise ValueError(f"a video must have more than {context} frames, got {num_frames}")
        rounds, known = [], latents
        for settled in range(min(num_steps, num_frames - context)):
            windows = [known[:, settled + i : num_frames - context + i] for i in range(context)]
            flat = self.predict(torch.stack(windows, dim=2).flatten(0, 1))  # (B (T − K − settled), D, H, W)
            known = torch.cat([known[:, : context + settled], flat.unflatten(0, (len(latents), -1))], dim=1)
            rounds.append(known[:, context:])
        return rounds + rounds[-1:] * (num_steps - len(rounds))
