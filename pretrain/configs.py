"""Configurations of training runs: what all runs share, and what each kind of run is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

from agents.offline import MethodConfig
from worldmodel.build import ActorCriticConfig, ImageModelConfig, ModelConfig, VideoModelConfig
from worldmodel.image_objective import ImageLossWeights
from worldmodel.objective import LossWeights
from worldmodel.video_objective import VideoLossWeights


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """What all training runs have in common; each kind of run adds what it is made of."""

    num_steps: int = 10_000
    """Training steps; the learning-rate schedule spans them."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 1e-5
    """Weight decay."""
    warmup_fraction: float = 0.1
    """Part of the steps in which the learning rate rises linearly; then it falls as a cosine."""
    clip_norm: float = 2.0
    """Largest norm of the gradient."""
    seed: int = 0
    """Seed of weights and data."""
    max_minutes: float | None = None
    """Stops after this many minutes; the same command resumes the run."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """auto: bf16 autocast where it is faster (GPUs with bfloat16, CPUs with AMX, for videos and images also CPUs with
    AVX-512 BF16), float32 elsewhere."""
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
    progress: bool = True
    """Whether to show what validation finds and, in a terminal, a progress bar."""

    def __post_init__(self) -> None:
        """Checks the numbers that nothing else would check before training has begun."""
        for name in ("num_steps", "log_every", "validate_every", "checkpoint_every"):
            at_least(1, name, getattr(self, name))


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
    """Peak learning rate."""


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig(PretrainConfig):
    """An action-conditioned world model (AC-Video-JEPA), and an actor and a critic in it."""

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
    probe_learning_rate: float = 1e-3
    """Learning rate of the position probe, which trains beside the model on detached latents."""

    def __post_init__(self) -> None:
        """Checks the numbers that nothing else would check before training has begun."""
        super().__post_init__()
        at_least(1, "rollout_steps", self.rollout_steps)
        at_least(1, "data.batch_size", self.data.batch_size)
        at_least(1, "policy.batch_size", self.policy.batch_size)
        at_least(1, "policy.goals_per_image", self.policy.goals_per_image)
        at_least(1, "model.frame_skip", self.model.frame_skip)
        at_least(2, "model.latent_dim", self.model.latent_dim)
        if self.policy.images_per_scene <= self.policy.goals_per_image:
            raise ValueError(
                f"policy.images_per_scene must exceed policy.goals_per_image ({self.policy.goals_per_image}), "
                f"got {self.policy.images_per_scene}"
            )


@dataclass(frozen=True, kw_only=True)
class VideoDataConfig:
    """Moving MNIST videos, generated as they are needed."""

    digits: str = "digits"
    """Images to move: "digits" (10,000 that come with the package), "mnist" (downloaded), or a folder of IDX files."""
    num_digits: int = 2
    """Digits in a video."""
    size: int = 64
    """Side of a frame, in pixels."""
    speed: float = 3.6
    """Displacement between two frames, in pixels."""
    num_frames: int = 10
    """Frames of a video."""
    batch_size: int = 64
    """Videos in a batch, over all processes."""


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """A detection head and a pixel decoder, trained on the latents of the finished model."""

    num_steps: int = 2_000
    """Training steps."""
    batch_size: int = 16
    """Videos in a batch, over all processes."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    on_rollouts: bool = False
    """Whether the detection head also learns from latents that the model rolls out, which are blurred by what cannot be
    known; EB-JEPA's learns from those of seen frames."""


@dataclass(frozen=True, kw_only=True)
class VideoConfig(PretrainConfig):
    """A Video-JEPA, and the heads that show what its latents hold."""

    model: VideoModelConfig = field(default_factory=VideoModelConfig)
    """Architecture."""
    data: VideoDataConfig = field(default_factory=VideoDataConfig)
    """Videos."""
    weights: VideoLossWeights = field(default_factory=VideoLossWeights)
    """Weights of the losses."""
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    """Detection head and pixel decoder."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw, or muon: matrices and filters move by orthogonalised updates, of the model and of the heads."""
    rollout_steps: int = 4
    """Rounds K of prediction in the loss."""
    projector: tuple[int, ...] = (64, 64)
    """Widths of the projector's layers, which the regularisers look through; none: no projector."""
    centred: bool = False
    """Whether the regularisers see each position without its mean over the batch, so that what is the same in all
    frames does not count as variation."""
    train_encoder: bool = True
    """Without, the encoder stays as it was initialised: a baseline."""

    def __post_init__(self) -> None:
        """Checks the numbers that nothing else would check before training has begun."""
        super().__post_init__()
        at_least(1, "rollout_steps", self.rollout_steps)
        at_least(1, "data.batch_size", self.data.batch_size)
        at_least(self.model.context + 1, "data.num_frames", self.data.num_frames)
        at_least(1, "heads.num_steps", self.heads.num_steps)
        at_least(1, "heads.batch_size", self.heads.batch_size)


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig:
    """Labelled images, and what may change in them without changing what they show."""

    images: str = "digits"
    """Set of images: "digits" (10,000 that come with the package), "mnist" or "cifar-10" (downloaded), or a folder with
    the IDX files of MNIST or Fashion-MNIST, or with the binary version of CIFAR-10."""
    augmentation: Literal["auto", "photographs", "clothes", "digits"] = "auto"
    """How views differ. photographs: crop, colours, greyscale, solarising, mirroring. clothes: crop, brightness,
    contrast, mirroring. digits: small rotations, shifts and scalings. auto: by the name of the set or the folder."""
    batch_size: int = 256
    """Images in a batch, over all processes; each is seen in two views."""


@dataclass(frozen=True, kw_only=True)
class ImageConfig(PretrainConfig):
    """An Image-JEPA, with a linear probe beside it."""

    objective: Literal["joint-embedding", "supervised"] = "joint-embedding"
    """joint-embedding: two views agree, without labels. supervised: the same network trained on labels, a baseline."""
    model: ImageModelConfig = field(default_factory=ImageModelConfig)
    """Architecture."""
    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    """Images."""
    weights: ImageLossWeights = field(default_factory=ImageLossWeights)
    """Weights of the losses."""
    projector: tuple[int, ...] = (2048, 2048, 128)
    """Widths of the projector's layers, which the losses look through; none: no projector."""
    optimizer: Literal["adamw", "lars"] = "adamw"
    """adamw, or lars: each layer moves in proportion to its weights."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 1e-5
    """Weight decay."""
    trust_coefficient: float = 0.02
    """Largest relative change of a layer in a step at learning rate 1 (lars)."""
    probe_learning_rate: float = 1e-2
    """Peak learning rate of the linear probe, which trains beside the model on detached representations. With lars it
    is the relative change of its weights in a step."""

    def __post_init__(self) -> None:
        """Checks the numbers that nothing else would check before training has begun."""
        super().__post_init__()
        at_least(2, "data.batch_size", self.data.batch_size)
        for width in self.projector:
            at_least(2, "each width of projector", width)


@dataclass(frozen=True, kw_only=True)
class OfflineConfig(PretrainConfig):
    """An agent learned from trajectories without reward and without a model: a baseline."""

    method: MethodConfig = field(default_factory=MethodConfig)
    """How it learns, and its networks."""
    data: DataConfig = field(default_factory=lambda: DataConfig(num_frames=23, batch_size=32))
    """Trajectories: the world model's, longer."""
    frame_skip: int = 4
    """Environment steps between two images; their mean action is learned."""
    trajectories_per_scene: int = 1
    """How many trajectories of a batch in a row are of the same scene, an episode's or a layout's; gcivl also has
    goals of the trajectory before."""
    checkpoint: str = "two-rooms"
    """gcidm: the world model on whose latents it acts."""

    def __post_init__(self) -> None:
        """Checks the numbers that nothing else would check before training has begun."""
        super().__post_init__()
        at_least(1, "data.batch_size", self.data.batch_size)
        at_least(2, "data.num_frames", self.data.num_frames)
        at_least(1, "frame_skip", self.frame_skip)
        at_least(1, "trajectories_per_scene", self.trajectories_per_scene)


def at_least(smallest: int, name: str, value: int) -> None:
    """Raises a ValueError that names a field whose value is too small."""
    if value < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {value}")


def changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """A configuration with some fields changed, by dotted path.

    Raises:
        ValueError: If there is no such field.
    """
    for path, value in changes.items():
        first, _, rest = path.partition(".")
        known = [f.name for f in fields(config)] if is_dataclass(config) else []
        if first not in known:
            raise ValueError(f"field must be one of {', '.join(known)}, got {first!r}")
        new = changed(getattr(config, first), {rest: value}) if rest else value
        config = replace(config, **{first: new})
    return config
