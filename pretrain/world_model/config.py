"""Configuration of the training of a world model, and of an actor and a critic in it."""

from dataclasses import field
from typing import Annotated, ClassVar

from annotated_types import Gt, Le

from pretrain.config import PretrainConfig
from pretrain.data.config import DataConfig
from worldmodel.build import ActorCriticConfig, ModelConfig
from worldmodel.config import (
    ConfigError,
    Count,
    CountFromTwo,
    CountFromZero,
    Depth,
    NonNegative,
    Positive,
    config,
    number,
)
from worldmodel.objective import LossWeights


@config
class PolicyConfig:
    """An actor and a critic, trained in imagination when the world model is done."""

    num_steps: CountFromZero = 0
    """Training steps; 0: none."""
    networks: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    """Architecture, and the cost that the actor minimises."""
    batch_size: Count = 32
    """Scenes in a batch, over all processes."""
    images_per_scene: CountFromTwo = 16
    """Images of a scene: an episode's, or a layout's."""
    goals_per_image: Count = 2
    """Goals of each image: other images of its scene."""
    random_actions: CountFromZero = 1
    """Random actions that compete with the actor's in the critic's targets."""
    imitation_weight: NonNegative = 0.0
    """How strongly the actor is drawn to a random action that was better than its own: without, some seeds end with an
    actor that is stuck at the bounds of its actions."""
    target_rate: Annotated[float, Gt(0), Le(1), number(float, "in (0, 1]")] = 0.02
    """Polyak rate of the target critic."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""


@config
class WorldModelConfig(PretrainConfig):
    """An action-conditioned world model (AC-Video-JEPA), and an actor and a critic in it."""

    training_module: ClassVar[str] = "pretrain.world_model.training"

    model: ModelConfig = field(default_factory=ModelConfig)
    """Architecture."""
    data: DataConfig = field(default_factory=DataConfig)
    """Training windows."""
    weights: LossWeights = field(default_factory=LossWeights)
    """Weights of the losses."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """Actor and critic."""
    num_steps: CountFromZero = 10_000
    """Training steps of the model; the learning-rate schedule spans them. With 0, it stays as the checkpoint has it."""
    checkpoint: str = ""
    """World model to begin with, of the same architecture: a folder or the name of a shipped checkpoint; by default a
    new one. Actor and critic are new in any case."""
    rollout_steps: Count = 8
    """Longest rollout K in the prediction loss, in predictor steps."""
    idm_layers: Depth = 2
    """Hidden layers of the inverse dynamics model. With 0 it is linear, so that equal displacements look alike wherever
    they happen: latents become smooth in position, and easy to predict."""
    probe_learning_rate: Positive = 1e-3
    """Learning rate of the position probe, which trains beside the model on detached latents."""

    def rules(self) -> None:
        """Checks that a batch has rows to compare, a window room for rollouts, and a scene for goals."""
        if self.num_steps == 0 and not self.checkpoint:
            raise ConfigError("num_steps", "at least 1 without a checkpoint", 0)
        if self.num_steps == self.policy.num_steps == 0:
            raise ConfigError("policy.num_steps", "at least 1 where num_steps is 0", 0)
        if self.data.batch_size < 2:
            raise ConfigError("data.batch_size", "at least 2, for losses of variance", self.data.batch_size)
        if self.rollout_steps >= self.data.num_frames:
            rule = f"less than data.num_frames ({self.data.num_frames})"
            raise ConfigError("rollout_steps", rule, self.rollout_steps)
        goals, images = self.policy.goals_per_image, self.policy.images_per_scene
        if images <= goals:
            raise ConfigError("policy.images_per_scene", f"greater than policy.goals_per_image ({goals})", images)
