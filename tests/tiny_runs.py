"""Tiny runs of world models: a configuration of all stages, and what makes two runs the same."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pretrain.data.config import DataConfig
from pretrain.data.latents import TrajectoriesConfig
from pretrain.loop.run_log import read_metrics
from pretrain.world_model.config import PolicyConfig, RefinementConfig, WorldModelConfig
from worldmodel.build import ActorCriticConfig, ModelConfig
from worldmodel.checkpoint import WEIGHTS, load_training_state
from worldmodel.objective import LossWeights

MODEL = ModelConfig(
    encoder="strided",
    latent_dim=16,
    encoder_channels=(8, 8),
    encoder_hidden_dim=32,
    predictor="mlp",
    predictor_hidden_dim=32,
    frame_skip=2,
)
TINY = WorldModelConfig(
    model=MODEL,
    data=DataConfig(dataset="two-rooms", num_frames=4, batch_size=4),
    weights=LossWeights(covariance=8.0, variance=16.0, temporal_similarity=1.0, inverse_dynamics=1.0),
    refinement=RefinementConfig(num_steps=6, batch_size=4, rollout_steps=2),
    policy=PolicyConfig(num_steps=6, networks=ActorCriticConfig(hidden_dim=16), batch_size=4, imagined_steps=2),
    trajectories=TrajectoriesConfig(count=8, num_frames=4),
    rollout_steps=2,
    num_steps=12,
    accelerator="cpu",
    precision="32-true",
    log_every=2,
    validate_every=6,
    checkpoint_every=3,
)
WITHOUT_REFINEMENT = replace(TINY, refinement=RefinementConfig(num_steps=0))


def few_samples(patch: pytest.MonkeyPatch) -> None:
    """Fewer windows to validate on and to fit normalisation on than real runs use."""
    patch.setattr("pretrain.world_model.validation.NUM_WINDOWS", 16)
    patch.setattr("pretrain.world_model.training.NORMALIZATION_WINDOWS", 16)
    patch.setattr("pretrain.world_model.validation.NUM_SCENES", 4)


def assert_same_run(a: Path, b: Path) -> None:
    """The same weights and optimizer state bit for bit, and the same log."""
    assert (a / WEIGHTS).read_bytes() == (b / WEIGHTS).read_bytes()
    assert read_metrics(a) == read_metrics(b)
    states = [load_training_state(folder) for folder in (a, b)]
    assert states[0]["step"] == states[1]["step"]
    moments = [state["optimizer"]["state"] for state in states]
    assert moments[0].keys() == moments[1].keys()
    for key in moments[0]:
        for name, value in moments[0][key].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(moments[1][key][name])), (key, name)
