"""A world model from configuration to modules: beside the command line, ``build`` modules alone see configurations."""

import functools
from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import nn

from worldmodel.config import ConfigError, Positive, Side, Width, config, construct, number
from worldmodel.encoders import ENCODERS, EncoderConfig
from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.jepa import JEPA, state_dim
from worldmodel.nn.normalize import Normalizer
from worldmodel.nn.probes import Probe
from worldmodel.predictors import PREDICTORS, PredictorConfig

Context = Annotated[int, Ge(1), Le(64), number(int, "≥ 1")]
"""How many frames a model sees at once."""


@config
class ModelConfig(PredictorConfig, EncoderConfig):
    """The world model's architecture."""

    frame_skip: Annotated[int, Ge(1), Le(10_000), number(int, "≥ 1")] = 4
    """Environment steps spanned by one predictor step; their actions enter as one block."""
    context: Context = 1
    """Latents of a state, frame_skip steps apart, with the actions between them; with 2 or more the model knows
    velocity."""


@config
class ActorCriticConfig:
    """The actor and the critics that act in a world model."""

    hidden_dim: Width = 256
    """Width of the networks' hidden layers."""
    discount: Annotated[float, Gt(0), Lt(1), number(float, "in (0, 1)")] = 0.95
    """Discount of a predictor step."""
    relative_scale: Positive = 1.0
    """Squared latent distance at which the cost of a step saturates, in squared steps of the latents."""


@config
class DataSpec:
    """The data of a world model: shapes, and the bounds of the actions it was trained on.

    Attributes:
        pixel_shape: ``(C, H, W)``.
        action_dim: Components of one environment action.
        action_low: Lower bounds of an action's components.
        action_high: Upper bounds of an action's components.
        action_max_norm: Largest Euclidean norm of an action; None where only the box bounds it.
        position_low: Lower ends of the positions that the probe reads; None where the data has no positions.
        position_high: Upper ends of these positions.
    """

    pixel_shape: tuple[Side, Side, Side]
    action_dim: Annotated[int, Ge(1), Le(10_000)]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_max_norm: Positive | None = None
    position_low: tuple[float, ...] | None = None
    position_high: tuple[float, ...] | None = None

    def rules(self) -> None:
        """Checks that bounds are bounds, one for each component."""
        for name in ("action_low", "action_high"):
            if len(getattr(self, name)) != self.action_dim:
                raise ConfigError(name, f"one number for each of action_dim = {self.action_dim}", getattr(self, name))
        if any(low > high for low, high in zip(self.action_low, self.action_high, strict=True)):
            raise ConfigError("action_low", f"at most action_high, {self.action_high}", self.action_low)
        largest = max(map(abs, (*self.action_low, *self.action_high)))
        if self.action_max_norm is not None and self.action_max_norm < 1e-6 * largest:
            raise ConfigError("action_max_norm", f"of the order of the bounds, {largest:g}", self.action_max_norm)
        if (self.position_low is None) != (self.position_high is None):
            raise ConfigError("position_low", "given with position_high", self.position_low)
        if self.position_low is None or self.position_high is None:
            return
        if len(self.position_low) != len(self.position_high) or not self.position_low:
            raise ConfigError("position_low", f"as long as position_high, {self.position_high}", self.position_low)
        if any(low >= high for low, high in zip(self.position_low, self.position_high, strict=True)):
            raise ConfigError("position_low", f"less than position_high, {self.position_high}", self.position_low)


def build_model(config: ModelConfig, data: DataSpec) -> JEPA:
    """Builds an untrained world model.

    Raises:
        ValueError: If the encoder does not fit the images.
    """
    normalizer = Normalizer(data.pixel_shape, data.action_dim, each_pixel=True)
    block_dim = config.frame_skip * data.action_dim
    sizes = config.latent_dim, block_dim, state_dim(config.latent_dim, block_dim, config.context)
    predictor = construct(PREDICTORS[config.predictor], *sizes, options=config, prefix="predictor_")
    encoder = build_encoder(config, data.pixel_shape)
    encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return JEPA(encoder, predictor, normalizer, config.latent_dim, config.frame_skip, config.context)


def build_encoder(config: EncoderConfig, pixel_shape: Sequence[int]) -> nn.Module:
    """Builds an untrained encoder.

    Raises:
        ValueError: If it does not fit the images.
    """
    return construct(ENCODERS[config.encoder], pixel_shape, options=config, prefix="encoder_")


def build_probe(config: ModelConfig, data: DataSpec) -> Probe | None:
    """Builds an untrained position probe; None where the data has no positions."""
    if data.position_low is None or data.position_high is None:
        return None
    return Probe(config.latent_dim, data.position_low, data.position_high, hidden_dim=256)


def build_actor_critic(config: ActorCriticConfig, model: ModelConfig, data: DataSpec) -> ActorCritic:
    """Builds an untrained actor and critics for a world model.

    Raises:
        ValueError: If an option is out of its range or the actions are unbounded.
    """
    bounds = data.action_low, data.action_high, data.action_max_norm
    kind = functools.partial(ActorCritic, context=model.context)
    return construct(kind, model.latent_dim, model.frame_skip * data.action_dim, *bounds, options=config)
