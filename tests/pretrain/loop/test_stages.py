"""Stages of a run: which step belongs to which, and what each leaves alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pretrain.data.config import DataConfig
from pretrain.loop.stages import freeze, muon, stage_at, to_modules, total_steps
from pretrain.sources import build_sources
from pretrain.world_model.config import PolicyConfig, WorldModelConfig
from pretrain.world_model.training import build_training
from pretrain.world_model.validation import validate_policy
from worldmodel.build import ActorCriticConfig, ModelConfig
from worldmodel.checkpoint import load_pretrained

CONFIG = WorldModelConfig(
    model=ModelConfig(encoder="axial", latent_dim=8, encoder_hidden_dim=16, predictor_hidden_dim=16, frame_skip=4),
    data=DataConfig(dataset="two-rooms", num_frames=3, batch_size=4),
    policy=PolicyConfig(num_steps=5, networks=ActorCriticConfig(hidden_dim=16), batch_size=4, images_per_scene=4),
    rollout_steps=2,
    num_steps=10,
)


@pytest.fixture
def built():
    return build_training(CONFIG, torch.device("cpu")).stages


def model_of(stages):
    return stages[0].module.objective.model


def actor_critic_of(stages):
    return stages[1].module.imagination.actor_critic


def test_steps_belong_to_stages(built):
    stages = built
    assert [stage.name for stage in stages] == ["model", "policy"]
    assert total_steps(stages) == 15
    places = {0: (0, 0), 9: (0, 9), 10: (0, 10), 11: (1, 1), 15: (1, 5)}
    assert {step: stage_at(stages, step) for step in places} == places
    assert [stages[0].split("train"), stages[1].split("train")] == ["train", "policy_train"]


def test_without_policy_steps_there_is_no_actor(tmp_path):
    config = replace(CONFIG, policy=replace(CONFIG.policy, num_steps=0))
    training = build_training(config, torch.device("cpu"))
    assert [stage.name for stage in training.stages] == ["model"]
    training.save(tmp_path, {}, {})
    assert load_pretrained(tmp_path).actor_critic is None


def test_the_policy_stage_trains_actor_and_critic_only(built):
    stages = built
    stage = stages[1]
    freeze(stage.frozen)
    batch = stage.draw(4, np.random.default_rng(0))
    loss, metrics = stage.module(batch, 0)
    loss.backward()
    assert {"critic", "actor", "cost_to_go", "random_better", "loss"} == set(metrics)
    assert all(parameter.grad is None for parameter in model_of(built).parameters())
    assert all(parameter.grad is not None for parameter in actor_critic_of(built).parameters())
    optimised = {id(p) for group in stage.groups for p in group["params"]}
    assert optimised == {id(p) for p in actor_critic_of(built).parameters()}
    wanting = {id(p) for p in stage.module.parameters() if p.requires_grad}
    assert wanting == optimised  # data parallelism does not take parameters without gradients


def test_all_that_stages_train_is_saved_once_more_than_enough(built):
    stages = built
    saved = to_modules(stages).state_dict()
    for name, tensor in model_of(built).state_dict().items():
        assert torch.equal(saved[f"model.objective.model.{name}"], tensor)
        assert torch.equal(saved[f"policy.imagination.model.{name}"], tensor)
    assert {name.split(".")[1] for name in saved} == {"objective", "probe", "imagination"}


def test_validation_of_a_policy_repeats_and_knows_success(built, monkeypatch):
    validation = build_sources(CONFIG.data, 4, torch.device("cpu"))[1]
    monkeypatch.setattr("pretrain.world_model.validation.NUM_SCENES", 8)
    first, again = (validate_policy(model_of(built), actor_critic_of(built), validation) for _ in range(2))
    assert first == again
    assert first["imagined_success"] < 0.6
    # A model in which every action leads to the goal, wherever one is.
    wanted = {}

    def policy(latents, goals):
        wanted["goals"] = goals
        return torch.zeros(len(goals), 2)

    monkeypatch.setattr(actor_critic_of(built), "policy", policy)
    monkeypatch.setattr(model_of(built), "predict", lambda latents, actions: wanted["goals"])
    metrics = validate_policy(model_of(built), actor_critic_of(built), validation)
    assert metrics["imagined_success"] == 1.0
    assert metrics["imagined_cost"] == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images_per_scene": 2}, r"images_per_scene must be greater than policy.goals_per_image \(2\), got 2"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"goals_per_image": 0}, "goals_per_image must be at least 1, got 0"),
    ],
)
def test_wrong_policies_are_explained(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, policy=replace(CONFIG.policy, **changes))


def test_muon_orthogonalises_matrices_and_leaves_vectors_to_adamw():
    matrix, filters, vector = (torch.nn.Parameter(torch.zeros(shape)) for shape in ((4, 4), (6, 2, 3, 3), (4,)))
    optimizer = muon(weight_decay=0.0)([{"params": [matrix, filters, vector], "peak": 0.1}])
    for group in optimizer.param_groups:
        group["lr"] = group["peak"]
    for parameter in (matrix, filters, vector):
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    signs = vector.grad.sign()
    optimizer.step()
    # Singular values near 1 (five Newton-Schulz iterations leave them in 0.7 … 1.2), times 0.2 √(longer side) · lr.
    for parameter, longer in ((matrix, 4), (filters, 18)):
        singular = torch.linalg.svdvals(parameter.data.flatten(1)) / (0.1 * 0.2 * longer**0.5)
        assert singular.min() > 0.5
        assert singular.max() < 1.3
    torch.testing.assert_close(vector.data, -0.1 * signs)  # AdamW's first step
