"""A kind of run of somebody else's: its configuration names its module, and the one loop trains it."""

from typing import ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.config import PretrainConfig
from pretrain.loop.run_log import read_metrics
from pretrain.loop.stages import Stage, Training, adamw
from pretrain.train import fit
from worldmodel.config import config


class Noise(NamedTuple):
    values: torch.Tensor


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.guess = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Noise, step: int):
        loss = (self.guess - batch.values).square().mean()
        return loss, {"loss": loss.detach()}


@config
class MeanConfig(PretrainConfig):
    """A kind of run of somebody else's, in two stages."""

    training_module: ClassVar[str] = __name__


def build_training(config: MeanConfig, device: torch.device) -> Training:
    def stage(name: str) -> Stage:
        module = Mean()

        def draw(size: int, generator: np.random.Generator) -> Noise:
            return Noise(torch.from_numpy(generator.normal(size=size)))

        return Stage(
            name=name,
            module=module,
            groups=[{"params": [module.guess], "peak": config.learning_rate}],
            num_steps=1,
            batch_size=4,
            draw=draw,
            validate=lambda: {"evaluating": float(not module.training and not torch.is_grad_enabled())},
        )

    return Training(stages=[stage("early"), stage("late")], optimizer=adamw(0.0), save=lambda *_: None)


def test_a_class_and_its_module_make_a_kind_of_run_and_stages_draw_by_their_number(tmp_path):
    fit(MeanConfig(seed=5, accelerator="cpu", precision="32-true", output=str(tmp_path)))
    rows = {key: value for row in read_metrics(tmp_path) for key, value in row.items()}
    for number, name in enumerate(("early", "late")):
        # All rows of a draw are drawn at once; stream 0 of a seed fits normalisation.
        values = np.random.default_rng([5, 1 + number, 0, 0]).normal(size=256)[:4]
        assert rows[f"{name}_train/loss"] == pytest.approx(np.square(values).mean())
        assert rows[f"{name}_validation/evaluating"] == 1.0
    with pytest.raises(TypeError, match="config must be of a class with a training_module, got PretrainConfig"):
        fit(PretrainConfig(accelerator="cpu", output=str(tmp_path / "none")))
