"""A kind of run of somebody else's: its configuration names its module, and the one loop trains it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.config import PretrainConfig
from pretrain.loop.run_log import read_metrics
from pretrain.loop.stages import Stage, Training, adamw
from pretrain.train import fit
from worldmodel.checkpoint import CONFIG, WEIGHTS
from worldmodel.config import Count, config


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

    num_steps: Count = 1
    """Steps of each stage."""


happened: list[str] = []
"""Which stages began, and which drew."""


def build_training(config: MeanConfig, device: torch.device) -> Training:
    def stage(name: str) -> Stage:
        module = Mean()

        def draw(size: int, generator: np.random.Generator) -> Noise:
            happened.append(f"draw {name}")
            return Noise(torch.from_numpy(generator.normal(size=size)))

        return Stage(
            name=name,
            module=module,
            groups=[{"params": [module.guess], "peak": config.learning_rate}],
            num_steps=config.num_steps,
            batch_size=4,
            draw=draw,
            begin=lambda: happened.append(f"begin {name}"),
            validate=lambda: {"evaluating": float(not module.training and not torch.is_grad_enabled())},
        )

    def save(folder: Path, setting: Mapping[str, Any], beside: Mapping[str, bytes]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in {**beside, WEIGHTS: b"", CONFIG: b""}.items():
            (folder / file).write_bytes(content)

    return Training(stages=[stage("early"), stage("late")], optimizer=adamw(0.0), save=save)


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


@pytest.mark.parametrize(
    ("stop_at", "begun"), [(0, ["early", "late"]), (2, ["early", "late"]), (3, ["late"]), (4, ["late"]), (6, [])]
)
def test_a_stage_begins_before_it_draws_and_again_where_a_run_goes_on(tmp_path, monkeypatch, stop_at, begun):
    """A stage that is done does not."""
    config = MeanConfig(num_steps=3, accelerator="cpu", precision="32-true", output=str(tmp_path))
    wishes = iter([False] * stop_at + [True])
    with monkeypatch.context() as patch:
        patch.setattr("pretrain.train.any_process", lambda *_: next(wishes))
        fit(config)
    happened.clear()
    fit(config)
    assert [what for what in happened if what.startswith("begin")] == [f"begin {name}" for name in begun]
    for name in ("early", "late"):
        order = [what.split()[0] for what in happened if what.endswith(name)]
        assert order[:1] == (["begin"] if name in begun else [])
        assert ("draw" in order) == (name in begun)
