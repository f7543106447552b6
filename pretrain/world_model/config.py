"""Configuration of the training of a world model, and of an actor and critics in it."""

from dataclasses import field
from typing import Annotated, ClassVar

from annotated_types import Gt, Le

from pretrain.config import PretrainConfig
from pretrain.data.config import DataConfig
from pretrain.data.latents import GoalMix, TrajectoriesConfig
from worldmodel.build import ActorCriticConfig, ModelConfig
from worldmodel.config import (
    ConfigError,
    Count,
    CountFromZero,
    Depth,
    Positive,
    config,
    number,
)
from worldmodel.objective import LossWeights


@config
class RefinementConfig:
    """The predictor, trained on with the latents of the finished encoder."""

    num_steps: CountFromZero = 3_000
    """Training steps; 0: none."""
    batch_size: Count = 128
    """Sequences in a batch, over all processes."""
    rollout_steps: Count = 4
    """Longest rollout in the prediction loss, in predictor steps."""
    learning_rate: Positive = 2e-3
    """Peak learning rate."""


@config
class PolicyConfig:
    """An actor and critics, trained in imagination when the world model is done."""

    num_steps: CountFromZero = 0
    """Training steps; 0: none."""
    networks: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    """Architecture, and the cost that the actor minimises."""
    batch_size: Count = 512
    """States in a batch, each with a goal, over all processes."""
    goals: GoalMix = field(default_factory=GoalMix)
    """Which goals a state has."""
    imagined_steps: Count = 4
    """Predictor steps that are imagined before the critics are asked."""
    random_actions: CountFromZero = 2
    """Random first actions that compete with the actor's in the critics' targets."""
    target_rate: Annotated[float, Gt(0), Le(1), number(float, "in (0, 1]")] = 0.1
    """Polyak rate of the target critics."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""


@config
class WorldModelConfig(PretrainConfig):
    """An action-conditioned world model (AC-Video-JEPA), and an actor and critics in it."""

    training_module: ClassVar[str] = "pretrain.world_model.training"

    model: ModelConfig = field(default_factory=ModelConfig)
    """Architecture."""
    data: DataConfig = field(default_factory=DataConfig)
    """Training windows."""
    weights: LossWeights = field(default_factory=LossWeights)
    """Weights of the losses."""
    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    """The predictor's second training, on latents that no longer change."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """Actor and critics."""
    trajectories: TrajectoriesConfig = field(default_factory=TrajectoriesConfig)
    """What is encoded for both of them, where data are simulated."""
    num_steps: CountFromZero = 10_000
    """Training steps of the model; the learning-rate schedule spans them. With 0, the encoder stays as the
    checkpoint has it."""
    checkpoint: str = ""
    """World model to begin with, of the same architecture: a folder or the name of a shipped checkpoint; by default a
    new one. Actor and critics are new in any case."""
    rollout_steps: Count = 8
    """Longest rollout K in the prediction loss, in predictor steps."""
    idm_layers: Depth = 2
    """Hidden layers of a second inverse dynamics model beside a linear one, which makes equal displacements look alike
    wherever they happen, and latents easy to predict. With 0 there is the linear one alone."""
    probe_learning_rate: Positive = 1e-3
    """Learning rate of the position probe, which trains beside the model on detached latents."""

    def rules(self) -> None:
        """Checks that a batch has rows to compare, a window room for rollouts, and a scene for goals."""
        if self.num_steps == 0 and not self.checkpoint:
            raise ConfigError("num_steps", "at least 1 without a checkpoint", 0)
        if self.num_steps == self.refinement.num_steps == self.policy.num_steps == 0:
            raise ConfigError("policy.num_steps", "at least 1 where the other numbers of steps are 0", 0)
        if self.data.batch_size < 2:
            raise ConfigError("data.batch_size", "at least 2, for losses of variance", self.data.batch_size)
        if (starts := self.data.num_frames - self.model.context) < self.rollout_steps:
            rule = f"at most data.num_frames − model.context ({starts})"
            raise ConfigError("rollout_steps", rule, self.rollout_steps)
