"""Training of a world model: its stages, what each trains, on which batches, and how it is validated.

::

    model     windows ──► Objective   trains encoder and predictor (and the position probe beside them)
    policy    scenes  ──► Imagination trains actor and critic in the finished model, which stays as it is
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.data.windows import WindowSource
from pretrain.loop.memory import built, require_batch
from pretrain.loop.stages import Stage, Training, adamw
from pretrain.sources import build_sources, data_spec
from pretrain.world_model.config import WorldModelConfig
from pretrain.world_model.policy_validation import validate_policy
from pretrain.world_model.validation import validate
from worldmodel.build import build_actor_critic, build_model, build_probe
from worldmodel.checkpoint import save_pretrained
from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.imagination.objective import Imagination
from worldmodel.jepa import JEPA
from worldmodel.nn.probes import Probe
from worldmodel.objective import Objective

NORMALIZATION_WINDOWS = 256
"""Windows on which normalisation is fitted."""


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


class PolicyTraining(nn.Module):
    """Actor and critic in imagination."""

    def __init__(self, imagination: Imagination) -> None:
        super().__init__()
        self.imagination = imagination

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss to minimise and the metrics of a batch of scenes."""
        loss, metrics = self.imagination(batch.pixels, step)
        return loss, metrics | {"loss": loss.detach()}


def build_training(config: WorldModelConfig, device: torch.device) -> Training:
    """Builds what is to be trained, untrained, with its normalisation fitted, and the stages that train it.

    Raises:
        ValueError: If the data do not fit.
    """
    source, validation_source = build_sources(config.data, config.model.frame_skip, device)
    data = data_spec(source)
    require_batch("data.batch_size", config.data.batch_size, (config.data.num_frames, *data.pixel_shape))
    require_batch("policy.batch_size", config.policy.batch_size, (config.policy.images_per_scene, *data.pixel_shape))
    model = built(lambda: build_model(config.model, data), config.model)
    probe = build_probe(config.model, data)
    sample = source.sample(NORMALIZATION_WINDOWS, np.random.default_rng([config.seed, 0]))
    model.fit_normalization(sample.pixels.cpu(), sample.actions.cpu())
    stages = [_model_stage(config, model, probe, source, validation_source)]
    actor_critic = None
    if config.policy.num_steps:
        networks = config.policy.networks
        actor_critic = built(lambda: build_actor_critic(networks, config.model, data), networks)
        stages.append(_policy_stage(config, model, actor_critic, source, validation_source))

    def save(path: Path, training: Mapping[str, Any], beside: Mapping[str, bytes]) -> None:
        save_pretrained(
            path,
            model,
            config.model,
            data,
            probe=probe,
            actor_critic=actor_critic,
            actor_critic_config=config.policy.networks,
            training=training,
            beside=beside,
        )

    return Training(stages=stages, save=save)


def _model_stage(
    config: WorldModelConfig, model: JEPA, probe: Probe | None, source: WindowSource, validation_source: WindowSource
) -> Stage:
    objective = Objective(
        model,
        config.weights,
        rollout_steps=config.rollout_steps,
        idm_layers=config.idm_layers,
        seed=config.seed,
    )
    groups: list[dict[str, Any]] = [{"params": list(objective.parameters()), "peak": config.learning_rate}]
    if probe is not None:
        groups.append({"params": list(probe.parameters()), "peak": config.probe_learning_rate})
    return Stage(
        name="model",
        module=ModelTraining(objective, probe),
        groups=groups,
        optimizer=adamw(config.weight_decay),
        # The probe must not shrink the model's gradient.
        clipped=list(objective.parameters()),
        clip_norm=config.clip_norm,
        num_steps=config.num_steps,
        batch_size=config.data.batch_size,
        draw=source.sample,
        validate=lambda: validate(model, probe, validation_source),
    )


def _policy_stage(
    config: WorldModelConfig,
    model: JEPA,
    actor_critic: ActorCritic,
    source: WindowSource,
    validation_source: WindowSource,
) -> Stage:
    policy = config.policy
    imagination = Imagination(
        model,
        actor_critic,
        goals_per_image=policy.goals_per_image,
        random_actions=policy.random_actions,
        target_rate=policy.target_rate,
        seed=config.seed,
    )
    return Stage(
        name="policy",
        module=PolicyTraining(imagination),
        frozen=[*model.parameters(), *imagination.target.parameters()],
        groups=[{"params": list(actor_critic.parameters()), "peak": policy.learning_rate}],
        optimizer=adamw(config.weight_decay),
        clipped=list(actor_critic.parameters()),
        clip_norm=config.clip_norm,
        num_steps=policy.num_steps,
        batch_size=policy.batch_size,
        draw=lambda size, generator: source.sample_scenes(size, policy.images_per_scene, generator),
        validate=lambda: validate_policy(model, actor_critic, validation_source),
    )
