"""What a training run consists of: stages, each with its own loss, batches and schedule, and how it is saved.

Each kind of run builds its own, in ``build_training`` of the module that its configuration names, such as
:mod:`pretrain.world_model.training`; the one loop of :mod:`pretrain.train` runs the stages one after the other.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

VALIDATION_SEED = 20_000_003
"""Seed of what a stage is validated on; the same at every validation."""

Optimizers = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
"""Makes an optimiser of groups of parameters."""


B = TypeVar("B", bound=tuple[Any, ...])
"""What a stage trains on: a named tuple of tensors with a row for each example, or None where something is unknown."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run with its own loss, batches and schedule.

    Attributes:
        name: For the log; rows of a stage other than "model" are prefixed with it.
        module: ``forward(batch, step)`` returns the loss and metrics. It contains all that the stage trains.
        frozen: Parameters that the stage uses but does not train.
        groups: Groups of parameters for the optimiser, each with its "peak" learning rate. The gradient of the first is
            clipped; that of a probe beside it must not shrink it.
        num_steps: Training steps; the learning-rate schedule spans them.
        batch_size: Rows of a batch, over all processes.
        draw: Draws a batch of so many rows, a named tuple of tensors.
        validate: Measures the stage's result; called without gradients, and with the module in evaluation mode.
        begin: Called when the stage begins or goes on, before anything is drawn: prepares what depends on the stages
            before it.
    """

    name: str
    module: nn.Module
    frozen: Sequence[nn.Parameter] = ()
    groups: list[dict[str, Any]]
    num_steps: int
    batch_size: int
    draw: Callable[[int, np.random.Generator], tuple[Any, ...]]
    validate: Callable[[], dict[str, float]]
    begin: Callable[[], Any] = lambda: None

    @property
    def clipped(self) -> Sequence[nn.Parameter]:
        """Parameters whose gradient is clipped."""
        return self.groups[0]["params"]

    def split(self, kind: str) -> str:
        """Prefix of rows of this kind ("train" or "validation") in the log."""
        return kind if self.name == "model" else f"{self.name}_{kind}"


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a run trains.

    Attributes:
        stages: Trained one after the other.
        optimizer: Makes the optimiser of each.
        save: Writes a checkpoint at once: takes its folder, how it was trained (in JSON types), and further files.
    """

    stages: Sequence[Stage]
    optimizer: Optimizers
    save: Callable[[Path, Mapping[str, Any], Mapping[str, bytes]], None]


class BatchLoss(nn.Module):
    """A loss, called as the loop calls it.

    Args:
        name: Name of the module that computes the loss, among the weights of a run.
        module: The module; it returns the loss, metrics, and maybe more.
        *fields: Fields of a batch that it takes, before the step.
    """

    def __init__(self, name: str, module: nn.Module, *fields: str) -> None:
        super().__init__()
        self.add_module(name, module)
        self._name, self._fields = name, fields

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss to minimise and the metrics of a batch."""
        loss, metrics, *_ = getattr(self, self._name)(*(getattr(batch, field) for field in self._fields), step)
        return loss, metrics | {"loss": loss.detach()}


def adamw(weight_decay: float) -> Optimizers:
    """AdamW (arXiv 1711.05101), fused; each group has its own learning rate, set at every step."""
    return functools.partial(torch.optim.AdamW, weight_decay=weight_decay, fused=True)


def lars(weight_decay: float, trust_coefficient: float) -> Optimizers:
    """LARS (arXiv 1708.03888) with momentum 0.9; each group has its own learning rate, set at every step.

    Matrices move in proportion to their own norm: by the learning rate times ``trust_coefficient``, which groups may
    override. Vectors (biases, normalisation) get plain SGD without weight decay.
    """
    from pytorch_optimizer import LARS  # slow to import

    return functools.partial(LARS, weight_decay=weight_decay, momentum=0.9, trust_coefficient=trust_coefficient)


def muon(weight_decay: float) -> Optimizers:
    """Muon (https://kellerjordan.github.io/posts/muon) for matrices and filters, AdamW for vectors.

    Updates of matrices are orthogonalised and scaled to the size of AdamW's (arXiv 2502.16982), so that one learning
    rate serves both; each group has its own, set at every step.
    """
    from pytorch_optimizer import Muon  # slow to import

    def make(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        parts = [
            group | {"params": [p for p in group["params"] if (p.ndim > 1) == matrices], "use_muon": matrices}
            for group in groups
            for matrices in (True, False)
        ]
        parts = [part for part in parts if part["params"]]
        return Muon(parts, weight_decay=weight_decay, adamw_wd=weight_decay, use_adjusted_lr=True)

    return make


def total_steps(stages: Sequence[Stage]) -> int:
    """Steps of all stages together."""
    return sum(stage.num_steps for stage in stages)


def stage_at(stages: Sequence[Stage], step: int) -> tuple[int, int]:
    """The stage that the run is in after ``step`` steps, and how many of the steps are its own.

    A stage that has just ended counts until the next one begins: its optimiser is the one that was saved.
    """
    for i, stage in enumerate(stages):
        if step <= stage.num_steps or i == len(stages) - 1:
            return i, step
        step -= stage.num_steps
    raise ValueError("stages must not be empty")


def to_modules(stages: Sequence[Stage]) -> nn.ModuleDict:
    """All stages' modules as one, for saving and loading."""
    return nn.ModuleDict({stage.name: stage.module for stage in stages})


def select(batch: B, rows: slice | Tensor) -> B:
    """Some rows of a batch."""
    parts = (None if part is None else part[rows] for part in batch)
    return batch._make(parts)  # type: ignore[attr-defined]


def freeze(parameters: Sequence[nn.Parameter]) -> None:
    """Takes parameters out of training."""
    for parameter in parameters:
        parameter.requires_grad_(False)
