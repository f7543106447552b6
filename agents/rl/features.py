"""Features of goal-conditioned observations for reinforcement learning: of ``observation`` and ``desired_goal``.

::

    VectorFeatures    vectors, scaled to [−1, 1] by the bounds of their spaces, where there are some
    CodeFeatures      codes of images (agents.rl.codes), through a network that is trained with the rest, or none
    ImageFeatures     images through one convolutional encoder, trained with the rest

Each returns the features of both side by side, and is known by a name (:data:`FEATURES`); ``achieved_goal`` repeats a
part of ``observation``. Use them with ``normalize_images=False``: images come as they are.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from agents.observations import KEYS
from worldmodel.build import build_encoder
from worldmodel.config import Depth, Width, config
from worldmodel.encoders import EncoderConfig, EncoderName
from worldmodel.nn.layers import perceptron
from worldmodel.nn.normalize import Normalizer


class VectorFeatures(BaseFeaturesExtractor):
    """Vectors, scaled to [−1, 1] by the bounds of their spaces; components without bounds are left as they are.

    Args:
        observation_space: A Dict of one-dimensional Boxes.

    Raises:
        ValueError: If a space is no vector.
    """

    centre: Tensor
    half_range: Tensor

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        boxes = [_box(observation_space, key, num_dims=1) for key in KEYS]
        super().__init__(observation_space, sum(box.shape[0] for box in boxes))
        low, high = (np.concatenate([getattr(box, end) for box in boxes]) for end in ("low", "high"))
        bounded = np.isfinite(low) & np.isfinite(high)
        low, high = np.where(bounded, low, -1), np.where(bounded, high, 1)
        self.register_buffer("centre", torch.from_numpy((low + high) / 2).float())
        self.register_buffer("half_range", torch.from_numpy((high - low) / 2).float().clamp_min(1e-6))

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Features ``(B, F)``."""
        vectors = torch.cat([observations[key].float() for key in KEYS], dim=-1)
        return (vectors - self.centre) / self.half_range


class CodeFeatures(BaseFeaturesExtractor):
    """Codes of observation and goal, standardised, then through one network for both; positions are left out.

    Args:
        observation_space: That of :class:`agents.rl.codes.CodedVecEnv`.
        sample: Some codes ``(N, D)`` on which standardisation is fitted; None: codes are not standardised until weights
            with a fitted one are loaded.
        hidden_dim: Width of the network's hidden layers.
        num_layers: Number of hidden layers; 0: there is no network, and codes are features.
        feature_dim: Features of a code, where there is a network.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        sample: np.ndarray | None = None,
        hidden_dim: int = 256,
        num_layers: int = 2,
        feature_dim: int = 64,
    ) -> None:
        self.code_dim = _box(observation_space, KEYS[0], num_dims=1).shape[0]
        super().__init__(observation_space, 2 * (feature_dim if num_layers else self.code_dim))
        if sample is None:
            sample = np.stack([-np.ones(self.code_dim), np.ones(self.code_dim)])
        std = sample.std(axis=0)
        # Components that are constant in the sample stay small.
        std = np.maximum(std, max(0.01 * float(std.max()), 1e-6))
        self.register_buffer("mean", torch.from_numpy(sample.mean(axis=0)).float())
        self.register_buffer("scale", torch.from_numpy(1.0 / std).float())
        layers: list[nn.Module] = []
        if num_layers:
            layers = [perceptron(self.code_dim, [hidden_dim] * num_layers, feature_dim), nn.ReLU()]
        self.network = nn.Sequential(*layers)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Features ``(B, F)``."""
        codes = torch.stack([observations[key][..., : self.code_dim] for key in KEYS])
        present, wanted = self.network((codes - self.mean) * self.scale)
        return torch.cat([present, wanted], dim=-1)


class ImageFeatures(BaseFeaturesExtractor):
    """Images of observation and goal through one convolutional encoder of this project, trained with the rest.

    Args:
        observation_space: A Dict of uint8 images, channels first.
        encoder: Name of the encoder (:data:`worldmodel.encoders.ENCODERS`).
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
        self.normalizer = Normalizer(shape, action_dim=0)
        self.encoder = build_encoder(EncoderConfig(encoder=encoder, latent_dim=latent_dim), shape)
        if sample is not None:
            self.normalizer.fit(torch.from_numpy(sample))

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Features ``(B, 2 D)``."""
        # One pass for both images.
        images = torch.cat([observations[key] for key in KEYS])
        features = torch.relu(self.encoder(self.normalizer.pixels(images)))
        return torch.cat(features.chunk(2), dim=-1)


@config
class VectorOptions:
    """Keywords of :class:`VectorFeatures`: none."""


@config
class CodeOptions:
    """Keywords of :class:`CodeFeatures`, its sample aside."""

    hidden_dim: Width = 256
    num_layers: Depth = 2
    feature_dim: Width = 64


@config
class ImageOptions:
    """Keywords of :class:`ImageFeatures`, its sample aside."""

    encoder: EncoderName = "strided"
    latent_dim: Width = 64


FEATURES: dict[str, type[Any]] = {
    "vectors": VectorFeatures,
    "codes": CodeFeatures,
    "images": ImageFeatures,
}
"""Features extractors by the names that runs are saved with."""
FEATURE_OPTIONS: dict[str, type] = {"vectors": VectorOptions, "codes": CodeOptions, "images": ImageOptions}
"""Configurations of their keywords."""


def _box(space: spaces.Space[Any], key: str, num_dims: int) -> spaces.Box:
    box = space.spaces.get(key) if isinstance(space, spaces.Dict) else None
    if not isinstance(box, spaces.Box) or len(box.shape) != num_dims:
        raise ValueError(
            f"observation_space must be a Dict whose {key!r} is a Box of {num_dims} dimensions, got {space}"
        )
    return box
