"""Presets: complete, named training configurations."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agents.offline.agent import MethodConfig
from pretrain.config import UNSAVED_FIELDS, PretrainConfig
from pretrain.data.config import DataConfig
from pretrain.image.config import ImageConfig, ImageDataConfig
from pretrain.offline.config import OfflineConfig
from pretrain.video.config import HeadsConfig, VideoConfig, VideoDataConfig
from pretrain.world_model.config import PolicyConfig, RefinementConfig, WorldModelConfig
from worldmodel.build import ModelConfig
from worldmodel.config import changed, to_json
from worldmodel.image.build import ImageModelConfig
from worldmodel.image.objective import ImageLossWeights
from worldmodel.objective import LossWeights
from worldmodel.video.build import VideoModelConfig
from worldmodel.video.objective import VideoLossWeights

DEFAULT = "two-rooms"
"""The preset, and the shipped checkpoint, that commands take where none is named."""

OFFLINE = {
    "gcbc": ("Goal-conditioned behavioural cloning", MethodConfig(name="gcbc"), 17_000, 1),
    "gcidm": ("Goal-conditioned inverse dynamics on a world model's latents", MethodConfig(name="gcidm"), 25_000, 1),
    "gcivl": (
        "Goal-conditioned implicit value learning",
        MethodConfig(name="gcivl", hidden_dim=256, temperature=10.0),
        7_500,
        8,
    ),
}
"""Offline baselines: title, networks, training steps (a quarter of an hour on two cores), trajectories per scene."""

WORLD_MODEL = WorldModelConfig(
    model=ModelConfig(
        encoder="strided",
        latent_dim=64,
        encoder_channels=(48, 64, 64),
        patch=5,
        predictor="mlp",
        predictor_hidden_dim=384,
        predictor_layers=2,
        frame_skip=4,
        context=2,
    ),
    data=DataConfig(dataset="", num_frames=5, batch_size=64),
    weights=LossWeights(covariance=8.0, variance=16.0, temporal_similarity=4.0, inverse_dynamics=10.0, contrast=1.0),
    refinement=RefinementConfig(num_steps=5_000),
    policy=PolicyConfig(num_steps=2_000),
    rollout_steps=3,
    idm_layers=1,
    num_steps=3_000,
    learning_rate=2e-3,
    warmup_fraction=0.05,
    checkpoint_every=500,
    validate_every=500,
)
"""The one recipe: presets differ in their data, in steps, and in whether a state needs two latents."""

TWO_ROOMS = changed(
    WORLD_MODEL,
    {
        "model.context": 1,
        "data.dataset": "two-rooms",
        "num_steps": 4_000,
        "refinement.num_steps": 6_000,
        "policy.num_steps": 3_000,
    },
)

PRESETS: dict[str, tuple[str, PretrainConfig]] = {
    "two-rooms": ("Two Rooms in minutes on two CPU cores.", TWO_ROOMS),
    "two-rooms-no-crossings": (
        "The same from trajectories that never enter the doorway: a harder setting than PLDM's.",
        changed(TWO_ROOMS, {"data.recipe": "no-crossings", "data.validation_recipe": "wall-rich"}),
    ),
    "two-rooms-pldm-no-crossings": (
        "Two Rooms in PLDM's own setting: one layout, trajectories that visit the doorway and never pass it.",
        changed(TWO_ROOMS, {"data.recipe": "pldm-no-crossings", "data.validation_recipe": "pldm"}),
    ),
    "two-rooms-paper": (
        "Two Rooms as in EB-JEPA: Impala encoder, GRU predictor, 100,000 trajectories × 12 epochs; made for a GPU.",
        WorldModelConfig(
            model=ModelConfig(
                encoder="impala", latent_dim=512, encoder_channels=(16, 32, 32), predictor="gru", frame_skip=1
            ),
            data=DataConfig(dataset="two-rooms", recipe="reference", num_frames=17, batch_size=384),
            weights=LossWeights(covariance=8.0, variance=16.0, temporal_similarity=12.0, inverse_dynamics=1.0),
            refinement=RefinementConfig(num_steps=0),
            rollout_steps=8,
            num_steps=100_000 * 12 // 384,
            learning_rate=1e-3,
            warmup_fraction=0.1,
            clip_norm=2.0,
            validate_every=250,
            checkpoint_every=50,
        ),
    ),
    "pillars": (
        "Pillars, from a dataset: worldmodel collect --env-id Pillars-v0 --num-episodes 400 makes it.",
        changed(TWO_ROOMS, {"data.dataset": "pillars/random-walk-v0"}),
    ),
    "moving-mnist": (
        "Video-JEPA on Moving MNIST with latents of 8 × 8 positions; 20 minutes on two CPU cores.",
        VideoConfig(
            model=VideoModelConfig(
                latent_channels=8,
                num_blocks=1,
                stride=8,
                predictor_channels=(96,),
                predictor_blocks=3,
                normalize_latents=True,
            ),
            data=VideoDataConfig(batch_size=4),
            weights=VideoLossWeights(variance=0.0, covariance=0.0, contrast=1.0, random_target=2.0),
            heads=HeadsConfig(num_steps=1_000, learning_rate=4e-3, on_rollouts=True),
            optimizer="muon",
            rollout_steps=4,
            num_steps=5_000,
            learning_rate=2e-3,
            warmup_fraction=0.05,
            validate_every=1_000,
            checkpoint_every=500,
        ),
    ),
    "moving-mnist-paper": (
        "Video-JEPA on Moving MNIST as in EB-JEPA: latents of full resolution, 50 epochs; made for a GPU.",
        VideoConfig(
            model=VideoModelConfig(stride=1),
            data=VideoDataConfig(digits="mnist", batch_size=64),
            weights=VideoLossWeights(variance=10.0, covariance=100.0),
            heads=HeadsConfig(num_steps=5_000),
            rollout_steps=4,
            projector=(64, 64),
            num_steps=18_000 * 50 // 64,
            learning_rate=1e-3,
            validate_every=500,
            checkpoint_every=100,
        ),
    ),
    "images": (
        "Image-JEPA on digits, or with --data.images on a folder such as Fashion-MNIST's, in minutes on two CPU cores.",
        ImageConfig(
            model=ImageModelConfig(encoder="resnet18", width=16, stem_stride=2),
            data=ImageDataConfig(images="digits", batch_size=256),
            weights=ImageLossWeights(sigreg=10.0),
            projector=(512, 512, 64),
            num_steps=1_500,
            learning_rate=2e-3,
            weight_decay=1e-4,
            validate_every=250,
            checkpoint_every=250,
        ),
    ),
    "images-paper": (
        "Image-JEPA on CIFAR-10 as in EB-JEPA: ResNet-18, SIGReg, LARS, 300 epochs; made for a GPU.",
        ImageConfig(
            model=ImageModelConfig(encoder="resnet18", width=64),
            data=ImageDataConfig(images="cifar-10", batch_size=256),
            weights=ImageLossWeights(sigreg=10.0),
            projector=(2048, 2048, 128),
            optimizer="lars",
            num_steps=50_000 * 300 // 256,
            learning_rate=0.3,
            weight_decay=1e-4,
            trust_coefficient=0.02,
            probe_learning_rate=5e-3,
            warmup_fraction=10 / 300,
            # LARS scales gradients itself (the reference's also caps a layer's rate, the library's does not); this only
            # stops explosions.
            clip_norm=1_000.0,
            validate_every=1_000,
            checkpoint_every=1_000,
        ),
    ),
    **{
        name: (
            f"{title}: a baseline that learns to act from the world model's trajectories, without a model.",
            OfflineConfig(
                method=method,
                data=DataConfig(dataset="two-rooms", num_frames=23, batch_size=32),
                checkpoint=DEFAULT,
                trajectories_per_scene=trajectories_per_scene,
                num_steps=num_steps,
                learning_rate=1e-3,
                warmup_fraction=0.05,
                validate_every=1_000,
                checkpoint_every=500,
            ),
        )
        for name, (title, method, num_steps, trajectories_per_scene) in OFFLINE.items()
    },
    "dataset": ("A world model of your own recorded data; name them with --data.dataset.", WORLD_MODEL),
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


def training_command(name: str, config: Mapping[str, Any], output: Path | str) -> str:
    """The command that trains what a checkpoint says of its training.

    Args:
        name: Its preset.
        config: Its configuration in JSON types; fields that it lacks, being older, are left as they are.
        output: The folder of the run.

    Example:
        >>> training_command("moving-mnist", {"seed": 1, "train_encoder": False, "data": {"num_digits": 3}}, "runs/few")
        'worldmodel pretrain moving-mnist --seed 1 --data.num-digits 3 --no-train-encoder --output runs/few'
    """
    changes = {key: value for key, value in config.items() if key not in ("seed", *UNSAVED_FIELDS)}
    options = sorted(_options(to_json(preset(name)), changes))
    return " ".join(["worldmodel pretrain", name, f"--seed {config['seed']}", *options, f"--output {output}"])


def _options(usual: Mapping[str, Any], config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Options of the fields of a configuration that are not the usual ones."""
    for key, value in config.items():
        name = prefix + key.replace("_", "-")
        if isinstance(value, Mapping):
            yield from _options(usual[key], value, f"{name}.")
        elif isinstance(value, bool) and value != usual[key]:
            first, dot, last = name.rpartition(".")
            yield f"--{name}" if value else f"--{first}{dot}no-{last}"
        elif value != (list(usual[key]) if isinstance(usual[key], tuple) else usual[key]):
            yield f"--{name} {' '.join(map(str, value)) if isinstance(value, list) else value}"
