"""Configurations of training runs: what all runs share, and what each kind of run is made of."""

from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from agents.offline.agent import MethodConfig
from worldmodel.build import ActorCriticConfig, ImageModelConfig, ModelConfig, Side, VideoModelConfig
from worldmodel.config import (
    ConfigError,
    Count,
    CountFromTwo,
    CountFromZero,
    Depth,
    Fraction,
    NonNegative,
    Positive,
    Seed,
    Width,
    config,
    number,
)
from worldmodel.image.objective import ImageLossWeights
from worldmodel.objective import LossWeights
from worldmodel.video.objective import VideoLossWeights

Processes = Annotated[int, Ge(1), Le(100_000), number(int, "≥ 1")]
"""Processes, or machines."""
AtLeastTwo = Annotated[int, Ge(2), Le(2**24), number(int, "≥ 2")]
"""A width of which one is too little."""


@config
class PretrainConfig:
    """What all training runs have in common; each kind of run adds what it is made of."""

    num_steps: Count = 10_000
    """Training steps; the learning-rate schedule spans them."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    weight_decay: NonNegative = 1e-5
    """Weight decay."""
    warmup_fraction: Fraction = 0.1
    """Part of the steps in which the learning rate rises linearly; then it falls as a cosine."""
    clip_norm: Positive = 2.0
    """Largest norm of the gradient."""
    seed: Seed = 0
    """Seed of weights and data."""
    max_minutes: Positive | None = None
    """Stops after this many minutes; the same command resumes the run."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """auto: bf16 autocast where it is faster (GPUs with bfloat16, CPUs with AMX, for videos and images also CPUs with
    AVX-512 BF16), float32 elsewhere."""
    accelerator: Literal["auto", "cpu", "cuda", "gpu", "mps"] = "auto"
    """Device kind: auto, cpu, cuda, mps."""
    devices: Processes = 1
    """Processes on this machine, a device each; start with torchrun for several machines."""
    num_nodes: Processes = 1
    """Machines."""
    compile: bool = False
    """Compiles the training step with torch.compile."""
    log_every: Count = 50
    """Steps between two rows of the log."""
    validate_every: Count = 1_000
    """Steps between two validations."""
    checkpoint_every: Count = 500
    """Steps between two checkpoints."""
    output: str | None = None
    """Folder of the run; by default runs/PRESET-seedSEED."""
    overwrite: bool = False
    """Starts anew where the folder already holds a run; by default the run resumes."""
    log_wandb: bool = False
    """Also logs to Weights & Biases (needs the wandb extra)."""
    progress: bool = True
    """Whether to show what validation finds and, in a terminal, a progress bar."""


@config
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
    num_frames: CountFromTwo = 9
    """Frames of a window."""
    batch_size: Count = 64
    """Windows in a batch, over all processes."""
    validation_fraction: Annotated[float, Gt(0), Lt(1), number(float, "in (0, 1)")] = 0.1
    """Part of a Minari dataset's episodes kept for validation."""


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
    """Other images of its scene that each image has as goals."""
    random_actions: CountFromZero = 1
    """Random actions that compete with the actor's in the critic's targets."""
    target_rate: Annotated[float, Gt(0), Le(1), number(float, "in (0, 1]")] = 0.02
    """How fast the target critic follows the critic."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""


@config
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
    rollout_steps: Count = 8
    """Longest rollout K in the prediction loss, in predictor steps."""
    idm_layers: Depth = 2
    """Hidden layers of the inverse dynamics model. With 0 it is linear, so that equal displacements look alike wherever
    they happen: latents become smooth in position, and easy to predict."""
    probe_learning_rate: Positive = 1e-3
    """Learning rate of the position probe, which trains beside the model on detached latents."""

    def rules(self) -> None:
        """Checks that a batch has rows to compare, a window room for rollouts, and a scene for goals."""
        if self.data.batch_size < 2:
            raise ConfigError("data.batch_size", "at least 2, for losses of variance", self.data.batch_size)
        if self.rollout_steps >= self.data.num_frames:
            rule = f"less than data.num_frames ({self.data.num_frames})"
            raise ConfigError("rollout_steps", rule, self.rollout_steps)
        goals, images = self.policy.goals_per_image, self.policy.images_per_scene
        if images <= goals:
            raise ConfigError("policy.images_per_scene", f"greater than policy.goals_per_image ({goals})", images)


@config
class VideoDataConfig:
    """Moving MNIST videos, generated as they are needed."""

    digits: str = "digits"
    """Images to move: "digits" (10,000 that come with the package), "mnist" (downloaded), or a folder of IDX files."""
    num_digits: Annotated[int, Ge(1), Le(1_000), number(int, "≥ 1")] = 2
    """Digits in a video."""
    size: Side = 64
    """Side of a frame, in pixels."""
    speed: NonNegative = 3.6
    """Displacement between two frames, in pixels."""
    num_frames: CountFromTwo = 10
    """Frames of a video."""
    batch_size: Count = 64
    """Videos in a batch, over all processes."""


@config
class HeadsConfig:
    """A detection head and a pixel decoder, trained on the latents of the finished model."""

    num_steps: Count = 2_000
    """Training steps."""
    batch_size: Count = 16
    """Videos in a batch, over all processes."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    on_rollouts: bool = False
    """Whether the detection head also learns from latents that the model rolls out, which are blurred by what cannot be
    known; EB-JEPA's learns from those of seen frames."""


@config
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
    rollout_steps: Count = 4
    """Rounds K of prediction in the loss."""
    projector: tuple[Width, ...] = (64, 64)
    """Widths of the projector's layers, which the regularisers look through; none: no projector."""
    centred: bool = False
    """Whether the regularisers see each position without its mean over the batch, so that what is the same in all
    frames does not count as variation."""
    train_encoder: bool = True
    """Without, the encoder stays as it was initialised: a baseline."""

    def rules(self) -> None:
        """Checks that videos are longer than what the predictor sees."""
        if self.data.num_frames <= self.model.context:
            rule = f"greater than model.context ({self.model.context})"
            raise ConfigError("data.num_frames", rule, self.data.num_frames)


@config
class ImageDataConfig:
    """Labelled images, and what may change in them without changing what they show."""

    images: str = "digits"
    """Set of images: "digits" (10,000 that come with the package), "mnist" or "cifar-10" (downloaded), or a folder with
    the IDX files of MNIST or Fashion-MNIST, or with the binary version of CIFAR-10."""
    augmentation: Literal["auto", "photographs", "clothes", "digits"] = "auto"
    """How views differ. photographs: crop, colours, greyscale, solarising, mirroring. clothes: crop, brightness,
    contrast, mirroring. digits: small rotations, shifts and scalings. auto: by the name of the set or the folder."""
    batch_size: CountFromTwo = 256
    """Images in a batch, over all processes; each is seen in two views."""


@config
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
    projector: tuple[AtLeastTwo, ...] = (2048, 2048, 128)
    """Widths of the projector's layers, which the losses look through; none: no projector."""
    optimizer: Literal["adamw", "lars"] = "adamw"
    """adamw, or lars: each layer moves in proportion to its weights."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    weight_decay: NonNegative = 1e-5
    """Weight decay."""
    trust_coefficient: Positive = 0.02
    """Largest relative change of a layer in a step at learning rate 1 (lars)."""
    probe_learning_rate: Positive = 1e-2
    """Peak learning rate of the linear probe, which trains beside the model on detached representations. With lars it
    is the relative change of its weights in a step."""


@config
class OfflineConfig(PretrainConfig):
    """An agent learned from trajectories without reward and without a model: a baseline."""

    method: MethodConfig = field(default_factory=MethodConfig)
    """How it learns, and its networks."""
    data: DataConfig = field(default_factory=lambda: DataConfig(num_frames=23, batch_size=32))
    """Trajectories: the world model's, longer."""
    frame_skip: Annotated[int, Ge(1), Le(10_000), number(int, "≥ 1")] = 4
    """Environment steps between two images; their mean action is learned."""
    trajectories_per_scene: Count = 1
    """How many trajectories of a batch in a row are of the same scene, an episode's or a layout's; gcivl also has
    goals of the trajectory before."""
    checkpoint: str = "two-rooms"
    """gcidm: the world model on whose latents it acts."""
