"""Stages of a run: which step belongs to which, and what each leaves alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pretrain.data.config import DataConfig
from pretrain.data.latents import TrajectoriesConfig
from pretrain.loop.stages import freeze, muon, stage_at, to_modules, total_steps
from pretrain.sources import build_sources
from pretrain.world_model.config import PolicyConfig, RefinementConfig, WorldModelConfig
from pretrain.world_model.training import build_training
from pretrain.world_model.validation import validate_policy
from worldmodel.build import ActorCriticConfig, ModelConfig
from worldmodel.checkpoint import load_pretrained
from worldmodel.config import changed

CONFIG = WorldModelConfig(
    model=ModelConfig(encoder="axial", latent_dim=8, encoder_hidden_dim=16, predictor_hidden_dim=16, frame_skip=4),
    data=DataConfig(dataset="two-rooms", num_frames=3, batch_size=4),
    refinement=RefinementConfig(num_steps=4, batch_size=4, rollout_steps=2),
    policy=PolicyConfig(num_steps=5, networks=ActorCriticConfig(hidden_dim=16), batch_size=4),
    trajectories=TrajectoriesConfig(count=6, num_frames=4),
    rollout_steps=2,
    num_steps=10,
)


@pytest.fixture
def built():
    return build_training(CONFIG, torch.device("cpu")).stages


def model_of(stages):
    return stages[0].module.objective.model


def actor_critic_of(stages):
    return stages[2].module.imagination.actor_critic


def test_steps_belong_to_stages(built):
    stages = built
    assert [stage.name for stage in stages] == ["model", "refinement", "policy"]
    assert total_steps(stages) == 19
    places = {0: (0, 0), 9: (0, 9), 10: (0, 10), 11: (1, 1), 14: (1, 4), 15: (2, 1), 19: (2, 5)}
    assert {step: stage_at(stages, step) for step in places} == places
    assert [stage.split("train") for stage in stages] == ["train", "refinement_train", "policy_train"]


def test_without_policy_steps_there_is_no_actor(tmp_path):
    config = replace(CONFIG, policy=replace(CONFIG.policy, num_steps=0))
    training = build_training(config, torch.device("cpu"))
    assert [stage.name for stage in training.stages] == ["model", "refinement"]
    training.save(tmp_path, {}, {})
    assert load_pretrained(tmp_path).actor_critic is None


def test_the_refinement_stage_trains_the_predictor_only(built):
    model, stage = model_of(built), built[1]
    freeze(stage.frozen)
    stage.begin()
    batch = stage.draw(4, np.random.default_rng(0))
    assert batch.latents.shape == (4, 3, 8)
    assert batch.actions.shape == (4, 2, 8)
    loss, metrics = stage.module(batch, 0)
    loss.backward()
    assert metrics["prediction"] == metrics["loss"] == loss.detach()
    predictor = {id(p) for p in model.predictor.parameters()}
    for parameter in model.parameters():
        assert (parameter.grad is not None) == (id(parameter) in predictor)
    optimised = {id(p) for group in stage.groups for p in group["params"]}
    wanting = {id(p) for p in stage.module.parameters() if p.requires_grad}
    assert wanting == optimised == predictor  # data parallelism does not take parameters without gradients
    assert {"prediction_1", "prediction_2", "probe_error"} <= stage.validate().keys()


def test_the_policy_stage_begins_with_the_size_of_steps_of_the_model_that_is_done(built):
    actor_critic = actor_critic_of(built)
    assert torch.equal(actor_critic.step_size, torch.ones(8))
    with torch.no_grad():
        model_of(built).norm.weight.mul_(3.0)  # what training changes before that
    built[2].begin()
    first, scale = actor_critic.step_size.clone(), float(actor_critic.distance_scale)
    again = build_training(CONFIG, torch.device("cpu")).stages
    model_of(again).load_state_dict(model_of(built).state_dict())
    again[2].begin()  # as where a run goes on
    assert torch.equal(actor_critic_of(again).step_size, first)
    assert scale == pytest.approx(CONFIG.policy.networks.relative_scale * float(first.square().mean()))
    assert not torch.equal(first, torch.ones(8))
    draws = [one[2].draw(5, np.random.default_rng(0)) for one in (built, again)]
    for a, b in zip(*draws, strict=True):
        assert a.shape == (5, 8)
        assert torch.equal(a, b)


def test_the_policy_stage_trains_actor_and_critics_only(built):
    stages = built
    stage = stages[2]
    freeze(stage.frozen)
    stage.begin()
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
        assert torch.equal(saved[f"refinement.objective.model.{name}"], tensor)
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
        ({"policy.batch_size": 0}, r"policy\.batch_size must be at least 1, got 0"),
        ({"policy.imagined_steps": 0}, r"policy\.imagined_steps must be at least 1, got 0"),
        ({"policy.random_actions": -1}, r"policy\.random_actions must be at least 0, got -1"),
        ({"policy.target_rate": 0.0}, r"policy\.target_rate must be greater than 0, got 0.0"),
        ({"policy.goals.elsewhere": 0.7}, r"policy\.goals\.elsewhere must be at most 1 − ahead \(0\.6\), got 0\.7"),
        ({"refinement.rollout_steps": 0}, r"refinement\.rollout_steps must be at least 1, got 0"),
        ({"refinement.num_steps": -1}, r"refinement\.num_steps must be at least 0, got -1"),
        ({"trajectories.num_frames": 1}, r"trajectories\.num_frames must be at least 2, got 1"),
        ({"rollout_steps": 3}, r"rollout_steps must be at most data\.num_frames − model\.context \(2\), got 3"),
        ({"model.context": 2}, r"rollout_steps must be at most data\.num_frames − model\.context \(1\), got 2"),
    ],
)
def test_wrong_numbers_are_explained(changes, message):
    with pytest.raises(ValueError, match=message):
        changed(CONFIG, changes)


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
