"""Training of a Video-JEPA in the one loop: stages, resuming, checkpoints, and the untrained baseline."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pretrain.loop.run_log import read_metrics
from pretrain.presets import preset
from pretrain.train import Run, fit
from pretrain.video.config import HeadsConfig, VideoConfig, VideoDataConfig
from pretrain.video.training import build_source, build_training, validate_video
from worldmodel.checkpoint import WEIGHTS, CheckpointError, load_pretrained, load_training_state
from worldmodel.video.build import VideoModelConfig
from worldmodel.video.checkpoint import load_video_jepa

MODEL = VideoModelConfig(
    latent_channels=4, hidden_channels=8, num_blocks=1, stride=4, predictor_channels=(8, 8), grid=8, head_channels=8
)
TINY = VideoConfig(
    model=MODEL,
    data=VideoDataConfig(num_frames=5, batch_size=4),
    heads=HeadsConfig(num_steps=4, batch_size=4),
    rollout_steps=2,
    projector=(8,),
    num_steps=6,
    accelerator="cpu",
    precision="32-true",
    log_every=2,
    validate_every=6,
    checkpoint_every=3,
)


@pytest.fixture(autouse=True)
def small_samples(monkeypatch):
    monkeypatch.setattr("pretrain.video.training.NUM_VIDEOS", 8)
    monkeypatch.setattr("pretrain.video.training.NORMALIZATION_VIDEOS", 8)


def and_stop(method):
    def stopping(run, *args):
        method(run, *args)
        run._deadline = 0.0

    return stopping


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_is_a_checkpoint_and_a_log_and_resumes_exactly(tmp_path, optimizer):
    config = replace(TINY, optimizer=optimizer)
    whole = fit(replace(config, output=str(tmp_path / "whole")))
    rows = read_metrics(whole)
    assert [row["step"] for row in rows if "train/prediction" in row] == [2, 4, 6]
    assert [row["step"] for row in rows if "heads_train/detection" in row] == [8, 10]
    last = rows[-1]
    assert {"heads_validation/AP_1", "heads_validation/AP_3", "heads_validation/mAP"} <= last.keys()
    assert "heads_validation/AP_4" not in last  # five frames, two of them context

    # Stops once in the middle of a stage and once between the stages.
    for after, stopped_at in (("_save", 3), ("_validate", 6)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Run, after, and_stop(getattr(Run, after)))
            folder = fit(replace(config, output=str(tmp_path / "parts")))
        assert load_training_state(folder)["step"] == stopped_at
    folder = fit(replace(config, output=str(tmp_path / "parts")))
    assert (folder / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert read_metrics(folder) == rows

    loaded = load_video_jepa(whole)
    assert loaded.data.pixel_shape == (1, 64, 64)
    assert loaded.config["training"]["step"] == 10
    videos = build_source(TINY.data, "validation").sample(2, np.random.default_rng(0))
    with torch.no_grad():
        latents = loaded.model.encode(videos.pixels)
        assert loaded.detector(latents[:, 0]).shape == (2, 2, 8, 8)
        assert loaded.decoder(latents[:, 0]).shape == (2, 1, 64, 64)
    with pytest.raises(CheckpointError, match=r"must have format 'worldmodel.jepa/1', got 'worldmodel.video-jepa/2'"):
        load_pretrained(whole)


def test_stages_train_what_is_theirs():
    model_stage, heads_stage = build_training(TINY, torch.device("cpu")).stages
    loss, _ = model_stage.module(model_stage.draw(4, np.random.default_rng(0)), 0)
    loss.backward()
    wanting = {id(p) for p in model_stage.module.parameters() if p.requires_grad}
    assert wanting == {id(p) for group in model_stage.groups for p in group["params"]}
    assert all(p.grad is not None for p in model_stage.module.parameters())
    for parameter in heads_stage.frozen:
        parameter.requires_grad_(False)
        parameter.grad = None
    loss, _ = heads_stage.module(heads_stage.draw(4, np.random.default_rng(0)), 0)
    loss.backward()
    assert all(p.grad is None for p in heads_stage.module.model.parameters())
    assert all(p.grad is not None for group in heads_stage.groups for p in group["params"])


def test_the_detection_head_may_learn_from_rollouts_too():
    losses = {}
    for on_rollouts in (False, True):
        config = replace(TINY, heads=replace(TINY.heads, on_rollouts=on_rollouts))
        _, stage = build_training(config, torch.device("cpu")).stages
        torch.manual_seed(0)  # the same predictor, far from what would copy the last latent
        for parameter in stage.module.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        batch = stage.draw(4, np.random.default_rng(0))
        loss, metrics = stage.module(batch, 0)
        losses[on_rollouts] = metrics["detection"]
        with torch.no_grad():
            model, context = stage.module.model, stage.module.model.context
            latents = model.encode(batch.pixels)
            rolled = model.rollout(latents[:, :context], latents.shape[1] - context)
            logits, cells = stage.module.detector(latents.flatten(0, 1)), batch.cells.flatten(0, 1)
            if on_rollouts:
                logits = torch.cat([logits, stage.module.detector(rolled.flatten(0, 1))])
                cells = torch.cat([cells, batch.cells[:, context:].flatten(0, 1)])
        expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, cells)
        torch.testing.assert_close(metrics["detection"], expected)
        loss.backward()
        assert all(p.grad is not None for p in stage.module.detector.parameters())
    assert losses[False] != losses[True]


def test_the_untrained_baseline_keeps_its_encoder(tmp_path):
    config = replace(TINY, train_encoder=False, output=str(tmp_path))
    folder = fit(config)
    after = load_video_jepa(folder).model
    fresh_again = fit(replace(config, output=str(tmp_path / "longer"), num_steps=12))
    longer = load_video_jepa(fresh_again).model
    for a, b in zip(after.encoder.parameters(), longer.encoder.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(
        not torch.equal(a, b) for a, b in zip(after.predictor.parameters(), longer.predictor.parameters(), strict=True)
    )


def test_a_supervised_run_learns_from_labels_alone_end_to_end():
    model_stage, heads_stage = build_training(replace(TINY, supervised=True), torch.device("cpu")).stages
    module = model_stage.module
    batch = model_stage.draw(4, np.random.default_rng(0))
    loss, _ = module(batch, 0)
    with torch.no_grad():
        latents = module.model.encode(batch.pixels)
        seen = [module.detector(latents[:, t]) for t in range(5)]
        foretold = [module.detector(latents[:, t]) for latents in module.model.unroll(latents, 2) for t in range(3)]
        cells = [batch.cells[:, t] for t in (*range(5), *(2, 3, 4), *(2, 3, 4))]
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            torch.stack([*seen, *foretold]), torch.stack(cells)
        )
    torch.testing.assert_close(loss.detach(), expected)
    loss.backward()
    assert all(p.grad is not None for p in module.parameters())
    assert heads_stage.module.detector is module.detector


def test_no_digit_is_in_both_parts():
    train, validation = (build_source(TINY.data, split).digits.images for split in ("train", "validation"))
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in validation}


def test_collapse_is_seen(caplog):
    stage = build_training(TINY, torch.device("cpu")).stages[0]
    model = stage.module.objective.model
    torch.nn.init.zeros_(model.encoder.head.weight)
    metrics = validate_video(model, build_source(TINY.data, "validation"))
    assert metrics["latent_std"] < 1e-6
    assert "collapsed" in caplog.text


def test_sizes_that_do_not_divide_are_refused():
    for model in (replace(MODEL, stride=3), replace(MODEL, predictor_channels=(8,) * 6), replace(MODEL, grid=5)):
        with pytest.raises(ValueError, match=r"frames must be square, with a side that model.stride"):
            build_training(replace(TINY, model=model), torch.device("cpu"))
    with pytest.raises(ValueError, match=r"data.num_frames must be greater than model.context \(2\), got 2"):
        replace(TINY, data=VideoDataConfig(num_frames=2))
    with pytest.raises(ValueError, match=r"context must be at least 1, got 0"):
        VideoModelConfig(context=0)


def test_the_paper_preset_is_the_papers():
    config = preset("moving-mnist-paper")
    assert isinstance(config, VideoConfig)
    assert (config.model.stride, config.model.hidden_channels, config.model.latent_channels) == (1, 32, 16)
    assert (config.weights.variance, config.weights.covariance, config.projector) == (10, 100, (64, 64))
    assert (config.rollout_steps, config.data.batch_size, config.data.num_frames, config.model.context) == (
        4,
        64,
        10,
        2,
    )
    assert config.num_steps * config.data.batch_size == pytest.approx(50 * 18_000, rel=1e-3)
