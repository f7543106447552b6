"""What all training runs share; what each kind adds stands with it, as in :mod:`pretrain.world_model.config`."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from worldmodel.config import Count, Fraction, NonNegative, Positive, Seed, config, number

UNSAVED_FIELDS = (
    "max_minutes",
    "output",
    "overwrite",
    "devices",
    "num_nodes",
    "accelerator",
    "compile",
    "cuda_graphs",
    "log_wandb",
    "progress",
)
"""Fields that may change when a run resumes."""
Processes = Annotated[int, Ge(1), Le(100_000), number(int, "≥ 1")]
"""Processes, or machines."""


@config
class PretrainConfig:
    """What all training runs have in common; each kind of run adds what it is made of.

    To add a kind, derive a configuration from this one and name the module that builds it; nothing here changes.

    Attributes:
        training_module: Module whose ``build_training(config, device)`` returns a run's
            :class:`~pretrain.loop.stages.Training`.
        bf16_features: Instructions of a CPU with which the kind trains faster in bf16 autocast than in float32, as
            ``torch.cpu.get_capabilities`` calls them.
    """

    training_module: ClassVar[str]
    bf16_features: ClassVar[tuple[str, ...]] = ("amx_bf16",)

    num_steps: Count = 10_000
    """Training steps; the learning-rate schedule spans them."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    weight_decay: NonNegative = 1e-5
    """Weight decay."""
    warmup_fraction: Fraction = 0.1
    """Share of the steps in which the learning rate rises linearly; then it falls as a cosine."""
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
    cuda_graphs: bool = False
    """Compiles the training step, and on a CUDA device replays it as CUDA graphs: faster where networks are small."""
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
