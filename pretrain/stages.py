"""Stages of a training run: what each trains, on which batches, and how it is validated.

::

    model     windows ──► Objective   trains encoder and predictor (and the position probe beside them)
    policy    scenes  ──► Imagination trains actor and critic in the finished model, which stays as it is

The one loop of :mod:`pretrain.train` runs them one after the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.policy_validation import validate_policy
from pretrain.presets import PretrainConfig
from pretrain.sources import data_spec
from pretrain.validation import validate
from pretrain.windows import WindowSource
from worldmodel.actor_critic import ActorCritic
from worldmodel.build import build_actor_critic, build_model, build_probe
from worldmodel.imagination import Imagination
from worldmodel.jepa import JEPA
from worldmodel.objective import Objective
from worldmodel.probes import Probe

NORMALIZATION_WINDOWS = 256
"""Windows on which normalisation is fitted."""


@runtime_checkable
class Batch(Protocol):
    """What a stage trains on."""

    def select(self, rows: slice) -> "Batch":
        """Some of its rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run with its own loss, batches and schedule.

    Attributes:
        name: For the log; rows of a stage other than "model" are prefixed with it.
        module: ``forward(batch, step)`` returns the loss and metrics. All that it trains is within.
        frozen: Parameters that it uses and leaves as they are.
        groups: Groups of parameters for the optimiser, each with its "peak" learning rate.
        clipped: Parameters whose gradient is clipped.
        clip_norm: Largest norm of their gradient.
        num_steps: Training steps; the learning-rate schedule spans them.
        batch_size: Rows of a batch, over all processes.
        draw: Draws so many rows.
        validate: Measures the stage's result.
    """

    name: str
    module: nn.Module
    frozen: Sequence[nn.Parameter] = ()
    groups: list[dict[str, Any]]
    clipped: Sequence[nn.Parameter]
    clip_norm: float
    num_steps: int
    batch_size: int
    draw: Callable[[int, np.random.Generator], Batch]
    validate: Callable[[], dict[str, float]]

    def split(self, kind: str) -> str:
        """Prefix of rows of this kind ("train" or "validation") in the log."""
        return kind if self.name == "model" else f"{self.name}_{kind}"


class Trained(NamedTuple):
    """The parts of a run that end up in its checkpoint."""

    model: JEPA
    probe: Probe | None
    actor_critic: ActorCritic | None


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


def build_stages(
    config: PretrainConfig, source: WindowSource, validation_source: WindowSource
) -> tuple[list[Stage], Trained]:
    """Builds what is to be trained, untrained, with its normalisation fitted, and the stages that train it."""
    data = data_spec(source)
    model, probe = build_model(config.model, data), build_probe(config.model, data)
    sample = source.sample(NORMALIZATION_WINDOWS, np.random.default_rng([config.seed, 0]))
    model.fit_normalization(sample.pixels.cpu(), sample.actions.cpu())
    stages = [_model_stage(config, model, probe, source, validation_source)]
    actor_critic = None
    if config.policy.num_steps:
        actor_critic = build_actor_critic(config.policy.networks, config.model, data)
        stages.append(_policy_stage(config, model, actor_critic, source, validation_source))
    return stages, Trained(model, probe, actor_critic)


def _model_stage(
    config: PretrainConfig, model: JEPA, probe: Probe | None, source: WindowSource, validation_source: WindowSource
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
        # The probe must not shrink the model's gradient.
        clipped=list(objective.parameters()),
        clip_norm=config.clip_norm,
        num_steps=config.num_steps,
        batch_size=config.data.batch_size,
        draw=source.sample,
        validate=lambda: validate(model, probe, validation_source),
    )


def _policy_stage(
    config: PretrainConfig,
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
        clipped=list(actor_critic.parameters()),
        clip_norm=config.clip_norm,
        num_steps=policy.num_steps,
        batch_size=policy.batch_size,
        draw=lambda size, generator: source.sample_scenes(size, policy.images_per_scene, generator),
        validate=lambda: validate_policy(model, actor_critic, validation_source),
    )


def total_steps(stages: Sequence[Stage]) -> int:
    """Steps of all stages together."""
    return sum(stage.num_steps for stage in stages)


def stage_at(stages: Sequence[Stage], step: int) -> tuple[int, int]:
    """The stage that the run is in after ``step`` steps, and how many of the steps are its own.

    A stage that has just ended is still the run's, until the next one begins: its optimiser is what was saved.
    """
    for i, stage in enumerate(stages):
        if step <= stage.num_steps or i == len(stages) - 1:
            return i, step
        step -= stage.num_steps
    raise ValueError("stages must not be empty")


def to_modules(stages: Sequence[Stage]) -> nn.ModuleDict:
    """All stages' modules as one, for saving and loading."""
    return nn.ModuleDict({stage.name: stage.module for stage in stages})


def freeze(parameters: Sequence[nn.Parameter]) -> None:
    """Takes parameters out of training."""
    for parameter in parameters:
        parameter.requires_grad_(False)
