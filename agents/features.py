"""What reinforcement learning sees of goal-conditioned observations: features of ``observation`` and ``desired_goal``.

::

    VectorFeatures    vectors, scaled to [−1, 1] by the bounds of their spaces
    ImageFeatures     images through one encoder, trained with the rest
    LatentFeatures    images through the frozen encoder of a pretrained world model

Each returns the features of both side by side; ``achieved_goal`` repeats a part of ``observation``. Use them with
``normalize_images=False``: images come as they are.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from agents.observations import KEYS
from worldmodel.build import ModelConfig, build_encoder
from worldmodel.checkpoint import load_pretrained
from worldmodel.normalize import Normalizer


class VectorFeatures(BaseFeaturesExtractor):
    """Vectors, scaled to [−1, 1] by the bounds of their spaces.

    Args:
        observation_space: A Dict of bounded one-dimensional Boxes.

    Raises:
        ValueError: If a space is unbounded or no vector.
    """

    centre: Tensor
    half_range: Tensor

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        boxes = [_box(observation_space, key, num_dims=1) for key in KEYS]
        for key, box in zip(KEYS, boxes, strict=True):
            if not box.is_bounded():
                raise ValueError(f"the space of {key!r} must be bounded, got {box}")
        super().__init__(observation_space, sum(box.shape[0] for box in boxes))
        low, high = (np.concatenate([getattr(box, end) for box in boxes]) for end in ("low", "high"))
        self.register_buffer("centre", torch.from_numpy((low + high) / 2).float())
        self.register_buffer("half_range", torch.from_numpy((high - low) / 2).float().clamp_min(1e-6))

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Features ``(B, F)``."""
        vectors = torch.cat([observations[key].float() for key in KEYS], dim=-1)
        return (vectors - self.centre) / self.half_range


class ImageFeatures(BaseFeaturesExtractor):
    """Images of observation and goal through one encoder of this project, which is trained with the rest.

    Args:
        observation_space: A Dict of uint8 images, channels first.
        encoder: Name of the encoder (:mod:`worldmodel.build`).
        latent_dim: Features of an image.
        sample: Some images ``(N, C, H, W)`` on which normalisation is fitted; None: pixels are divided by 255.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        encoder: str = "strided",
        latent_dim: int = 64,
        sample: np.ndarray | None = None,
    ) -> None:
        shape = _box(observation_space, KEYS[0], num_dims=3).shape
        super().__init__(observation_space, 2 * latent_dim)
        config = ModelConfig(encoder=encoder, latent_dim=latent_dim)  # type: ignore[arg-type]
        self.normalizer = Normalizer(shape, action_dim=0)
        self.encoder = build_encoder(config, shape)
        if sample is not None:
            pixels = torch.from_numpy(sample)
            self.normalizer.fit(pixels)
            fit = getattr(self.encoder, "fit", None)
            if fit is not None:
                fit(self.normalizer.pixels(pixels))

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Features ``(B, 2 D)``."""
        # One pass for both images.
        images = torch.cat([observations[key] for key in KEYS])
        features = torch.relu(self.encoder(self.normalizer.pixels(images)))
        return torch.cat(features.chunk(2), dim=-1)


class LatentFeatures(BaseFeaturesExtractor):
    """Latents of observation and goal in a pretrained world model, whose encoder stays as it is.

    Args:
        observation_space: A Dict of uint8 images as the model was trained on.
        checkpoint: Directory of the world model's checkpoint, or name of a shipped one.
    """

    def __init__(self, observation_space: spaces.Space[Any], checkpoint: str) -> None:
        model = load_pretrained(checkpoint).model
        super().__init__(observation_space, 2 * model.latent_dim)
        self.model = model.requires_grad_(False)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Features ``(B, 2 D)``."""
        with torch.no_grad():
            latents = self.model.encode(torch.cat([observations[key] for key in KEYS]))
        return torch.cat(latents.chunk(2), dim=-1)


def _box(space: spaces.Space[Any], key: str, num_dims: int) -> spaces.Box:
    box = space.spaces.get(key) if isinstance(space, spaces.Dict) else None
    if not isinstance(box, spaces.Box) or len(box.shape) != num_dims:
        raise ValueError(
            f"observation_space must be a Dict whose {key!r} is a Box of {num_dims} dimensions, got {space}"
        )
    return box
