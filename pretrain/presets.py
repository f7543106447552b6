"""Presets: complete, named training configurations."""

from dataclasses import dataclass, field
from typing import Literal

from worldmodel.build import ActorCriticConfig, ModelConfig
from worldmodel.objective import LossWeights


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where training windows come from."""

    dataset: str = "two-rooms"
    """two-rooms: trajectories simulated on the fly. Anything else: the id or the folder of a Minari dataset."""
    recipe: Literal["wall-rich", "reference"] = "wall-rich"
    """How two-rooms trajectories are drawn. wall-rich: mostly near the inner wall. reference: EB-JEPA's."""
    layout_set: Literal["train", "validation", "held-out", "all"] = "train"
    """Layouts that two-rooms trajectories are drawn in."""
    crossings: bool = True
    """Whether two-rooms trajectories may lead through the door; without, it is never seen that it can be passed."""
    num_frames: int = 9
    """Frames of a window."""
    batch_size: int = 64
    """Windows in a batch, over all processes."""
    validation_fraction: float = 0.1
    """Part of a Minari dataset's episodes kept for validation."""


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """An actor and a critic, trained in imagination when the world model is done."""

    num_steps: int = 0
    """Training steps; 0: none."""
    networks: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    """Architecture, and the cost that the actor minimises."""
    batch_size: int = 32
    """Scenes in a batch, over all processes."""
    images_per_scene: int = 16
    """Images of a scene: an episode's, or a layout's."""
    goals_per_image: int = 2
    """Other images of its scene that each image has as goals."""
    random_actions: int = 1
    """Random actions that compete with the actor's in the critic's targets."""
    target_rate: float = 0.02
    """How fast the target critic follows the critic."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Everything a training run is made of."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """Architecture."""
    data: DataConfig = field(default_factory=DataConfig)
    """Training windows."""
    weights: LossWeights = field(default_factory=LossWeights)
    """Weights of the losses."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """Actor and critic."""
    rollout_steps: int = 8
    """Longest rollout K in the prediction loss, in predictor steps."""
    idm_layers: int = 2
    """Hidden layers of the inverse dynamics model. With 0 it is linear, so that equal displacements look alike wherever
    they happen: latents become smooth in position, and easy to predict."""
    num_steps: int = 10_000
    """Training steps; the learning-rate schedule spans them."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 1e-5
    """Weight decay of AdamW."""
    warmup_fraction: float = 0.1
    """Part of the steps in which the learning rate rises linearly; then it falls as a cosine."""
    clip_norm: float = 2.0
    """Largest norm of the gradient."""
    probe_learning_rate: float = 1e-3
    """Learning rate of the position probe, which trains beside the model on detached latents."""
    seed: int = 0
    """Seed of weights and data."""
    max_minutes: float | None = None
    """Stops after this many minutes; the same command resumes the run."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """auto: bf16 autocast where it is faster (GPUs with bfloat16, CPUs with AMX), float32 elsewhere."""
    accelerator: str = "auto"
    """Device kind: auto, cpu, cuda, mps."""
    devices: int = 1
    """Processes on this machine, a device each; start with torchrun for several machines."""
    num_nodes: int = 1
    """Machines."""
    compile: bool = False
    """Compiles the training step with torch.compile."""
    log_every: int = 50
    """Steps between two rows of the log."""
    validate_every: int = 1_000
    """Steps between two validations."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    output: str | None = None
    """Folder of the run; by default runs/PRESET-seedSEED."""
    overwrite: bool = False
    """Starts anew where the folder already holds a run; by default the run resumes."""
    log_wandb: bool = False
    """Also logs to Weights & Biases (needs the wandb extra)."""

    def __post_init__(self) -> None:
        """Checks the numbers that nothing else would check before training has begun."""
        positive = {
            "rollout_steps": self.rollout_steps,
            "num_steps": self.num_steps,
            "log_every": self.log_every,
            "validate_every": self.validate_every,
            "checkpoint_every": self.checkpoint_every,
            "data.batch_size": self.data.batch_size,
            "policy.batch_size": self.policy.batch_size,
            "policy.goals_per_image": self.policy.goals_per_image,
            "model.frame_skip": self.model.frame_skip,
        }
        for name, value in positive.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.model.latent_dim < 2:
            raise ValueError(f"model.latent_dim must be at least 2, got {self.model.latent_dim}")
        if self.policy.images_per_scene <= self.policy.goals_per_image:
            raise ValueError(
                f"policy.images_per_scene must exceed policy.goals_per_image ({self.policy.goals_per_image}), "
                f"got {self.policy.images_per_scene}"
            )


PRESETS: dict[str, tuple[str, PretrainConfig]] = {
    "two-rooms": (
        "Two Rooms in minutes on two CPU cores.",
        PretrainConfig(
            model=ModelConfig(
                encoder="axial",
                latent_dim=32,
                encoder_hidden_dim=512,
                predictor="mlp",
                predictor_hidden_dim=256,
                predictor_layers=2,
                frame_skip=4,
            ),
            data=DataConfig(recipe="wall-rich", num_frames=9, batch_size=32),
            weights=LossWeights(covariance=8.0, variance=16.0, temporal_similarity=0.5, inverse_dynamics=10.0),
            policy=PolicyConfig(num_steps=5_000),
            rollout_steps=8,
            idm_layers=0,
            num_steps=20_000,
            learning_rate=3e-3,
            warmup_fraction=0.05,
            checkpoint_every=1_000,
            validate_every=2_000,
        ),
    ),
    "two-rooms-paper": (
        "Two Rooms as in EB-JEPA: Impala encoder, GRU predictor, 100,000 trajectories × 12 epochs; made for a GPU.",
        PretrainConfig(
            model=ModelConfig(
                encoder="impala", latent_dim=512, encoder_channels=(16, 32, 32), predictor="gru", frame_skip=1
            ),
            data=DataConfig(recipe="reference", num_frames=17, batch_size=384),
            weights=LossWeights(covariance=8.0, variance=16.0, temporal_similarity=12.0, inverse_dynamics=1.0),
            rollout_steps=8,
            num_steps=100_000 * 12 // 384,
            learning_rate=1e-3,
            warmup_fraction=0.1,
            clip_norm=2.0,
            validate_every=250,
            checkpoint_every=50,
        ),
    ),
    "dataset": (
        "A world model of your own Minari dataset; name it with --data.dataset.",
        PretrainConfig(
            model=ModelConfig(encoder="strided", latent_dim=32, predictor_hidden_dim=384, frame_skip=4),
            data=DataConfig(dataset="?", num_frames=9, batch_size=32),
            weights=LossWeights(covariance=8.0, variance=16.0, temporal_similarity=0.5, inverse_dynamics=10.0),
            policy=PolicyConfig(num_steps=3_000),
            rollout_steps=8,
            idm_layers=0,
            num_steps=10_000,
            learning_rate=2e-3,
            warmup_fraction=0.05,
            checkpoint_every=1_000,
            validate_every=2_000,
        ),
    ),
}
"""Name → what it is for, and the configuration."""


def preset(name: str) -> PretrainConfig:
    """The configuration of a preset.

    Raises:
        ValueError: If there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(map(repr, PRESETS))}, got {name!r}")
    return PRESETS[name][1]
