"""Training of offline agents, the baselines that learn from the world model's trajectories without a model.

::

    trajectories ──► goals: later images of the same trajectory ──► method      (GCBC, GCIDM or GCIVL)

An action is the mean of a block; a simulation may hold it for as long.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int, UInt8
from torch import Tensor

from agents.offline.agent import OFFLINE, OFFLINE_METHOD, build_method
from pretrain.data.windows import WindowSource
from pretrain.loop.memory import built, require_batch
from pretrain.loop.stages import VALIDATION_SEED, BatchLoss, Stage, Training, adamw
from pretrain.offline.config import OfflineConfig
from pretrain.sources import build_sources, data_spec
from worldmodel.build import ModelConfig
from worldmodel.checkpoint import load_pretrained
from worldmodel.config import ConfigError

NORMALIZATION_WINDOWS = 64
"""Trajectories on which normalisation is fitted."""
NUM_WINDOWS = 64
"""Trajectories of a validation."""


class GoalBatch(NamedTuple):
    """Trajectories of T images, and a goal for each image but the last.

    Attributes:
        pixels: uint8 ``(B, context − 1 + T, C, H, W)``; the first are only seen together with those that follow.
        actions: Actions between the T images, float32 ``(B, T − 1, A)``.
        goals: Which image of its trajectory is the goal, int64 ``(B, T − 1)``; always a later one.
    """

    pixels: UInt8[Tensor, "b f c h w"]
    actions: Float32[Tensor, "b s a"]
    goals: Int[Tensor, "b s"]


def draw_goals(source: WindowSource, size: int, generator: np.random.Generator, per_scene: int = 1) -> GoalBatch:
    """Draws trajectories, and for each of their images a later one as its goal, each as likely as any other.

    Args:
        source: Where they come from.
        size: Number of trajectories.
        generator: Source of all randomness.
        per_scene: How many in a row are of the same scene: an episode's, or a layout's.
    """
    windows = source.sample(size, generator, per_scene)
    num_frames = windows.actions.shape[1] + 1
    blocks = windows.actions.unflatten(-1, (source.frame_skip, source.action_dim))
    following = np.arange(1, num_frames)
    goals = generator.integers(following, num_frames, size=(size, num_frames - 1))
    return GoalBatch(windows.pixels, blocks.mean(dim=2), torch.from_numpy(goals).to(windows.pixels.device))


def build_training(config: OfflineConfig, device: torch.device) -> Training:
    """Builds the method, untrained, with its normalisation fitted, and the stage that trains it.

    Raises:
        ValueError: If the data do not fit.
        CheckpointError: If the world model cannot be read.
    """
    model: ModelConfig | None = None
    if getattr(OFFLINE[config.method.name], "needs_world_model", False):
        if not config.checkpoint:
            raise ConfigError("checkpoint", f"a world model, on whose latents {config.method.name} acts", "")
        pretrained = load_pretrained(config.checkpoint)
        model = pretrained.sections["model"]
    seen = config.method if model is None else model
    source, validation_source = build_sources(config.data, seen.frame_skip, device, seen.context)
    data = data_spec(source)
    require_batch(
        "data.batch_size", config.data.batch_size, (config.data.num_frames + seen.context - 1, *data.pixel_shape)
    )
    method: Any = built(lambda: build_method(config.method, data, model), config.method)
    if model is not None:
        method.model.load_state_dict(pretrained.model.state_dict())
    else:
        sample = draw_goals(source, NORMALIZATION_WINDOWS, np.random.default_rng([config.seed, 0]))
        method.fit_normalization(sample.pixels.cpu(), sample.actions.cpu())

    def validate() -> dict[str, float]:
        generator = np.random.default_rng(VALIDATION_SEED)
        batch = draw_goals(validation_source, NUM_WINDOWS, generator, config.trajectories_per_scene)
        _, metrics = method(*batch, 0)
        return {name: float(value) for name, value in metrics.items()}

    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    stage = Stage(
        name="model",
        module=BatchLoss("method", method, *GoalBatch._fields),
        groups=[{"params": trained, "peak": config.learning_rate}],
        num_steps=config.num_steps,
        batch_size=config.data.batch_size,
        draw=lambda size, generator: draw_goals(source, size, generator, config.trajectories_per_scene),
        validate=validate,
    )
    sections = {"method": config.method, "data": data, "model": model}
    return Training(
        stages=[stage],
        optimizer=adamw(config.weight_decay),
        save=lambda path, *more: OFFLINE_METHOD.save(path, {"method": method}, sections, *more),
    )
