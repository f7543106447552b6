"""Training of a world model: its stages, what each trains, on which batches, and how it is validated.

::

    model     windows ──► Objective   trains encoder and predictor (and the position probe beside them)
    policy    scenes  ──► Imagination trains actor and critic in the finished model, which stays as it is
"""

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.data.windows import WindowSource
from pretrain.loop.memory import built, require_batch
from pretrain.loop.stages import BatchLoss, Stage, Training, adamw
from pretrain.sources import build_sources, data_spec
from pretrain.world_model.config import WorldModelConfig
from pretrain.world_model.validation import validate, validate_policy
from worldmodel.build import build_actor_critic, build_model, build_probe
from worldmodel.checkpoint import WORLD_MODEL, load_pretrained
from worldmodel.config import ConfigError, construct, differences, to_json
from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.imagination.objective import Imagination
from worldmodel.jepa import JEPA
from worldmodel.nn.probes import Probe
from worldmodel.objective import Objective

NORMALIZATION_WINDOWS, NORMALIZATION_BYTES = 256, 256 * 2**20
"""Windows on which normalisation is fitted, and the most bytes of their images: of large images, fewer windows."""

Sources = tuple[WindowSource, WindowSource]
"""Those of training and of validation windows."""


class ModelTraining(nn.Module):
    """The objective and the probe beside it, in one ``forward`` so that data parallelism sees both."""

    def __init__(self, objective: Objective, probe: Probe | None) -> None:
        super().__init__()
        self.objective = objective
        self.probe = probe

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss to minimise and the metrics of a batch of windows."""
        loss, metrics, latents = self.objective(batch.pixels, batch.actions, step)
        metrics["loss"] = loss.detach()
        if self.probe is not None and batch.positions is not None:
            read = self.probe(latents)
            half_range = (self.probe.high - self.probe.low) / 2
            loss = loss + F.mse_loss(read / half_range, batch.positions / half_range)
            metrics["probe_error"] = (read - batch.positions).norm(dim=-1).mean().detach()
        return loss, metrics


def build_training(config: WorldModelConfig, device: torch.device) -> Training:
    """Builds what is to be trained, untrained, with its normalisation fitted, and the stages that train it.

    Raises:
        ValueError: If the data do not fit.
    """
    context = config.model.context
    sources = source, _ = build_sources(config.data, config.model.frame_skip, device, context)
    data = data_spec(source)
    frames, images = config.data.num_frames + context - 1, config.policy.images_per_scene * context
    require_batch("data.batch_size", config.data.batch_size, (frames, *data.pixel_shape))
    require_batch("policy.batch_size", config.policy.batch_size, (images, *data.pixel_shape))
    model = built(lambda: build_model(config.model, data), config.model)
    probe = build_probe(config.model, data)
    if config.checkpoint:
        _begin_with(config, model, probe)
    else:
        count = min(NORMALIZATION_WINDOWS, max(1, NORMALIZATION_BYTES // (frames * math.prod(data.pixel_shape))))
        sample = source.sample(count, np.random.default_rng([config.seed, 0]))
        model.fit_normalization(sample.pixels.cpu(), sample.actions.cpu())
    stages = [_model_stage(config, model, probe, sources)]
    parts: dict[str, nn.Module | None] = {"model": model, "probe": probe}
    sections: dict[str, Any] = {"model": config.model, "data": data}
    if config.policy.num_steps:
        networks = config.policy.networks
        actor_critic = built(lambda: build_actor_critic(networks, config.model, data), networks)
        stages.append(_policy_stage(config, model, actor_critic, sources))
        parts["actor_critic"], sections["actor_critic"] = actor_critic, networks
    return Training(
        stages=stages,
        optimizer=adamw(config.weight_decay),
        save=lambda path, *more: WORLD_MODEL.save(path, parts, sections, *more),
    )


def _begin_with(config: WorldModelConfig, model: JEPA, probe: Probe | None) -> None:
    """Gives a model, and its probe, the weights of a checkpoint.

    Raises:
        ConfigError: If the checkpoint is of another architecture.
        CheckpointError: If it cannot be read.
    """
    found = load_pretrained(config.checkpoint)
    if different := sorted(differences(to_json(found.sections["model"]), to_json(config.model), "model.")):
        raise ConfigError("checkpoint", f"a model of this architecture, not {'; '.join(different)}", config.checkpoint)
    for part, weights in ((model, found.model), (probe, found.probe)):
        if part is None or weights is None:
            continue
        try:
            part.load_state_dict(weights.state_dict())
        except RuntimeError as error:
            rule = f"of images and actions such as these, not {found.data.pixel_shape} and {found.data.action_dim}"
            raise ConfigError("checkpoint", rule, config.checkpoint) from error


def _model_stage(config: WorldModelConfig, model: JEPA, probe: Probe | None, sources: Sources) -> Stage:
    source, validation_source = sources
    objective = construct(Objective, model, config.weights, options=config)
    groups: list[dict[str, Any]] = [{"params": list(objective.parameters()), "peak": config.learning_rate}]
    if probe is not None:
        groups.append({"params": list(probe.parameters()), "peak": config.probe_learning_rate})
    return Stage(
        name="model",
        module=ModelTraining(objective, probe),
        groups=groups,
        num_steps=config.num_steps,
        batch_size=config.data.batch_size,
        draw=source.sample,
        validate=lambda: validate(model, probe, validation_source),
    )


def _policy_stage(config: WorldModelConfig, model: JEPA, actor_critic: ActorCritic, sources: Sources) -> Stage:
    source, validation_source = sources
    policy = config.policy
    seeded = functools.partial(Imagination, seed=config.seed)
    imagination = construct(seeded, model, actor_critic, options=policy)
    return Stage(
        name="policy",
        module=BatchLoss("imagination", imagination, "pixels"),
        frozen=[*model.parameters(), *imagination.target.parameters()],
        groups=[{"params": list(actor_critic.parameters()), "peak": policy.learning_rate}],
        num_steps=policy.num_steps,
        batch_size=policy.batch_size,
        draw=lambda size, generator: source.sample_scenes(size, policy.images_per_scene, generator),
        validate=lambda: validate_policy(model, actor_critic, validation_source),
    )
