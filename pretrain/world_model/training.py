"""Training of a world model: its stages, what each trains, on which batches, and how it is validated.

::

    model      windows of images ──► Objective    trains encoder and predictor (and the position probe beside them)
    encoder, done: all episodes are encoded once
    refinement sequences of latents ──► Refinement trains the predictor
    policy     states and goals ──► Imagination   trains actor and critics in the finished model, which stays as it is
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.data.latents import LatentEpisodes, PairBatch, SequenceBatch, encode_episodes
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
from worldmodel.objective import Objective, Refinement

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
    sources = source, _ = build_sources(config.data, config.model.frame_skip, device)
    data = data_spec(source)
    _check_refinement(config, source)
    require_batch("data.batch_size", config.data.batch_size, (config.data.num_frames, *data.pixel_shape))
    model = built(lambda: build_model(config.model, data), config.model)
    probe = build_probe(config.model, data)
    if config.checkpoint:
        _begin_with(config, model, probe)
    else:
        count = min(
            NORMALIZATION_WINDOWS, max(1, NORMALIZATION_BYTES // (config.data.num_frames * math.prod(data.pixel_shape)))
        )
        sample = source.sample(count, np.random.default_rng([config.seed, 0]))
        model.fit_normalization(sample.pixels.cpu(), sample.actions.cpu())
    episodes = functools.cache(lambda: _encode(config, model, source))
    stages = [_model_stage(config, model, probe, sources)]
    if config.refinement.num_steps:
        stages.append(_refinement_stage(config, model, probe, sources, episodes))
    parts: dict[str, nn.Module | None] = {"model": model, "probe": probe}
    sections: dict[str, Any] = {"model": config.model, "data": data}
    if config.policy.num_steps:
        networks = config.policy.networks
        actor_critic = built(lambda: build_actor_critic(networks, config.model, data), networks)
        stages.append(_policy_stage(config, model, actor_critic, sources, episodes))
        parts["actor_critic"], sections["actor_critic"] = actor_critic, networks
    return Training(
        stages=stages,
        optimizer=adamw(config.weight_decay),
        save=lambda path, *more: WORLD_MODEL.save(path, parts, sections, *more),
    )


def _check_refinement(config: WorldModelConfig, source: WindowSource) -> None:
    """Checks that the refinement finds sequences as long as it asks for, before anything is trained.

    Raises:
        ConfigError: If no episode is as long as that.
    """
    if not config.refinement.num_steps:
        return
    simulated = config.trajectories.num_frames - 1
    longest = simulated if source.longest is None else source.longest // source.frame_skip
    if (steps := config.refinement.rollout_steps) > longest:
        rule = f"at most the predictor steps of the longest episode, {longest}"
        raise ConfigError("refinement.rollout_steps", rule, steps)


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


def _encode(config: WorldModelConfig, model: JEPA, source: WindowSource) -> LatentEpisodes:
    generator = np.random.default_rng([config.seed, 0, 1])
    return encode_episodes(model, source, config.trajectories, generator, progress=config.progress)


def _refinement_stage(
    config: WorldModelConfig,
    model: JEPA,
    probe: Probe | None,
    sources: Sources,
    episodes: Callable[[], LatentEpisodes],
) -> Stage:
    refinement, predictor = config.refinement, list(model.predictor.parameters())
    trained = set(predictor)
    return Stage(
        name="refinement",
        module=BatchLoss("objective", Refinement(model, refinement.rollout_steps), *SequenceBatch._fields),
        frozen=[parameter for parameter in model.parameters() if parameter not in trained],
        groups=[{"params": predictor, "peak": refinement.learning_rate}],
        num_steps=refinement.num_steps,
        batch_size=refinement.batch_size,
        begin=episodes,
        draw=lambda size, generator: episodes().sequences(size, refinement.rollout_steps, generator),
        validate=lambda: validate(model, probe, sources[1]),
    )


def _policy_stage(
    config: WorldModelConfig,
    model: JEPA,
    actor_critic: ActorCritic,
    sources: Sources,
    episodes: Callable[[], LatentEpisodes],
) -> Stage:
    policy = config.policy
    seeded = functools.partial(Imagination, seed=config.seed)
    imagination = construct(seeded, model, actor_critic, options=policy)
    return Stage(
        name="policy",
        module=BatchLoss("imagination", imagination, *PairBatch._fields),
        frozen=[*model.parameters(), *imagination.target.parameters()],
        groups=[{"params": list(actor_critic.parameters()), "peak": policy.learning_rate}],
        num_steps=policy.num_steps,
        batch_size=policy.batch_size,
        begin=lambda: actor_critic.fit(episodes().step_size()),
        draw=lambda size, generator: episodes().pairs(size, policy.goals, generator),
        validate=lambda: validate_policy(model, actor_critic, sources[1]),
    )
