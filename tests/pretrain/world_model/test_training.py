"""Stages of a world model's run: what each trains and leaves alone, what is encoded between them, where they begin."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pretrain.data.latents import encode_episodes
from pretrain.loop.run_log import read_metrics
from pretrain.sources import build_sources
from pretrain.train import fit
from pretrain.world_model.config import PolicyConfig, RefinementConfig
from pretrain.world_model.training import _begin_with
from tiny_runs import MODEL, TINY, WITHOUT_REFINEMENT, assert_same_run, few_samples
from worldmodel.build import DataSpec, build_model
from worldmodel.checkpoint import load_pretrained, load_training_state
from worldmodel.config import ConfigError, changed


@pytest.fixture(autouse=True, scope="module")
def small_samples():
    """Fewer windows than real runs use."""
    with pytest.MonkeyPatch.context() as patch:
        few_samples(patch)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of an uninterrupted run of ``TINY``."""
    return fit(replace(TINY, output=str(tmp_path_factory.mktemp("finished") / "run")))


def test_actor_and_critic_are_trained_anew_in_a_model_that_stays(finished, tmp_path):
    config = replace(WITHOUT_REFINEMENT, num_steps=0, checkpoint=str(finished), seed=3)
    again = fit(replace(config, output=str(tmp_path / "again")))
    with pytest.MonkeyPatch.context() as patch:  # stops after two steps
        steps = iter([False, False, True])
        patch.setattr("pretrain.train.any_process", lambda *_: next(steps, False))
        fit(replace(config, output=str(tmp_path / "resumed")))
    assert_same_run(fit(replace(config, output=str(tmp_path / "resumed"))), again)
    before, after = load_pretrained(finished), load_pretrained(again)
    for part in ("model", "probe"):
        old, new = (getattr(one, part).state_dict() for one in (before, after))
        assert all(torch.equal(old[name], new[name]) for name in old)
    old, new = (one.actor_critic.state_dict() for one in (before, after))
    assert not torch.equal(old["actor.0.weight"], new["actor.0.weight"])
    assert after.config["training"]["step"] == 6


def test_a_refinement_trains_the_predictor_of_a_model_that_is_otherwise_done(finished, tmp_path):
    alone = replace(WITHOUT_REFINEMENT, policy=PolicyConfig(num_steps=0), output=str(tmp_path / "alone"))
    before, after = (load_pretrained(one).model.state_dict() for one in (fit(alone), finished))
    for name in before:
        assert torch.equal(before[name], after[name]) != name.startswith("predictor."), name
    # So it is when a checkpoint is refined: the same weights, for the same steps are drawn from another stream.
    again = replace(TINY, num_steps=0, checkpoint=str(tmp_path / "alone"), output=str(tmp_path / "again"))
    refined = load_pretrained(fit(again)).model.state_dict()
    for name in before:
        assert torch.equal(before[name], refined[name]) != name.startswith("predictor."), name


def test_a_refinement_lowers_the_error_of_predictions(tmp_path):
    refinement = RefinementConfig(num_steps=150, batch_size=32, rollout_steps=2)
    changes = {"refinement": refinement, "validate_every": 150}
    config = changed(TINY, changes | {"trajectories.count": 400, "trajectories.per_scene": 1})
    rows = read_metrics(fit(replace(config, policy=PolicyConfig(num_steps=0), output=str(tmp_path))))
    (before,) = (row["validation/prediction_3"] for row in rows if "validation/prediction_3" in row)
    name = "refinement_validation/prediction_3"
    (after,) = (row[name] for row in rows if name in row)
    assert after < 0.8 * before


def test_episodes_are_encoded_once_by_the_model_that_is_done(finished, tmp_path, monkeypatch):
    """And again where a run goes on, if what is left of it needs them."""
    encoded = []

    def spy(model, *arguments, **keywords):
        encoded.append(encode_episodes(model, *arguments, **keywords))
        return encoded[-1]

    monkeypatch.setattr("pretrain.world_model.training.encode_episodes", spy)
    config = replace(TINY, output=str(tmp_path / "run"))
    for stop_at, expected in ((5, 0), (9, 0), (15, 1), (20, 1), (24, 1), (24, 0)):
        encoded.clear()
        done = load_training_state(tmp_path / "run")["step"] if (tmp_path / "run").exists() else 0
        wishes = iter([False] * (stop_at - done) + [True])
        with monkeypatch.context() as patch:
            patch.setattr("pretrain.train.any_process", lambda *_, wishes=wishes: next(wishes))
            fit(config)
        assert load_training_state(tmp_path / "run")["step"] == stop_at
        assert len(encoded) == expected, stop_at
        if encoded:
            episodes = encoded[0]
    assert_same_run(finished, tmp_path / "run")
    loaded = load_pretrained(tmp_path / "run")
    assert torch.equal(loaded.actor_critic.step_size, episodes.step_size())
    source, _ = build_sources(TINY.data, TINY.model.frame_skip, torch.device("cpu"))
    again = encode_episodes(loaded.model, source, TINY.trajectories, np.random.default_rng([0, 0, 1]))
    assert torch.equal(again.latents, episodes.latents)


def test_without_stages_that_need_them_no_episodes_are_encoded(tmp_path, monkeypatch):
    monkeypatch.setattr("pretrain.world_model.training.encode_episodes", lambda *_, **__: pytest.fail("encoded"))
    fit(replace(WITHOUT_REFINEMENT, policy=PolicyConfig(num_steps=0), num_steps=2, output=str(tmp_path)))


def test_a_refinement_longer_than_every_episode_is_refused_before_anything_is_trained(tmp_path):
    config = changed(TINY, {"refinement.rollout_steps": 4, "num_steps": 10**6, "output": str(tmp_path)})
    rule = r"refinement\.rollout_steps must be at most the predictor steps of the longest episode, 3, got 4"
    with pytest.raises(ConfigError, match=rule):
        fit(config)


@pytest.mark.parametrize("predictor", ["mlp", "gru"])
def test_a_model_that_knows_velocity_is_trained_in_all_stages(predictor, tmp_path):
    changes = {"model.context": 2, "model.predictor": predictor, "num_steps": 4, "output": str(tmp_path)}
    loaded = load_pretrained(fit(changed(TINY, changes)))
    assert (loaded.model.context, loaded.model.state_dim) == (2, 2 * 16 + 4)
    rows = {key: value for row in read_metrics(tmp_path) for key, value in row.items()}
    assert "validation/prediction_2" in rows
    assert "validation/prediction_3" not in rows  # of four frames, the first tells how the next moves
    assert {"validation/refuses_doors", "refinement_validation/probe_error"} <= set(rows)
    assert "policy_validation/cost_to_go" in rows


def test_a_model_goes_on_from_a_checkpoint(finished, tmp_path):
    config = replace(
        WITHOUT_REFINEMENT, num_steps=1, learning_rate=1e-12, checkpoint=str(finished), output=str(tmp_path)
    )
    old, new = (load_pretrained(one).model.state_dict() for one in (finished, fit(config)))
    for name in old:
        torch.testing.assert_close(old[name], new[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.latent_dim": 8}, r"checkpoint must be a model of this architecture, not .*dim \(was 16, now 8\)"),
        ({"checkpoint": ""}, r"num_steps must be at least 1 without a checkpoint, got 0"),
        ({"policy.num_steps": 0}, r"policy.num_steps must be at least 1 where the other numbers of steps are 0, got 0"),
        ({"checkpoint": "nowhere"}, r"checkpoint must be a directory or one of .*, got 'nowhere'"),
    ],
)
def test_a_checkpoint_to_begin_with_must_fit(changes, message, finished, tmp_path):
    settings = {"num_steps": 0, "checkpoint": str(finished), "output": str(tmp_path / "run")}
    with pytest.raises(ValueError, match=message):
        fit(changed(WITHOUT_REFINEMENT, settings | changes))


def test_a_checkpoint_of_other_images_is_refused(finished):
    data = DataSpec(pixel_shape=(3, 32, 32), action_dim=2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))
    with pytest.raises(ValueError, match=r"checkpoint must be of images and actions such as these, not \(2, 65, 65\)"):
        _begin_with(replace(TINY, checkpoint=str(finished)), build_model(MODEL, data), None)
