"""The training loop: it learns, stops and goes on exactly, and says what is wrong."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import pretrain.train
from pretrain.config import PretrainConfig
from pretrain.data.config import DataConfig
from pretrain.image.config import ImageConfig
from pretrain.loop.run_log import METRICS, read_metrics
from pretrain.sources import build_sources
from pretrain.train import _precision, fit, learning_rate_factor
from pretrain.video.config import VideoConfig
from tiny_runs import MODEL, TINY, assert_same_run, few_samples
from worldmodel.checkpoint import CONFIG, TRAINING_STATE, WEIGHTS, load_pretrained, load_training_state
from worldmodel.objective import Objective

ROOT = Path(__file__).parents[2]
COMMAND_LINE = [
    *("--accelerator", "cpu", "--precision", "32-true", "--num-steps", "3000", "--rollout-steps", "2"),
    *("--log-every", "5", "--validate-every", "2000", "--checkpoint-every", "10"),
    *("--data.num-frames", "4", "--data.batch-size", "4"),
    *("--model.encoder", "strided", "--model.latent-dim", "16", "--model.frame-skip", "2"),
    *("--model.encoder-channels", "8", "8", "--model.predictor", "mlp", "--model.predictor-hidden-dim", "32"),
    *("--refinement.num-steps", "2", "--refinement.rollout-steps", "2", "--policy.num-steps", "2"),
    *("--trajectories.count", "4", "--trajectories.num-frames", "3"),
]


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


def test_a_checkpoint_does_not_say_where_it_lies(finished):
    assert str(finished.parent) not in (finished / CONFIG).read_text()


def test_training_lowers_the_loss(tmp_path):
    config = replace(
        TINY,
        num_steps=80,
        learning_rate=3e-3,
        log_every=1,
        validate_every=80,
        data=replace(TINY.data, batch_size=8),
    )
    rows = [row for row in read_metrics(fit(replace(config, output=str(tmp_path)))) if "train/loss" in row]
    assert len(rows) == 80
    losses = [row["train/loss"] for row in rows]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_a_run_is_a_checkpoint_and_a_log(finished):
    loaded = load_pretrained(finished)
    assert loaded.model.latent_dim == 16
    assert loaded.probe is not None
    assert loaded.data.action_max_norm == 2.45
    assert loaded.actor_critic is not None
    assert loaded.config["training"]["step"] == 24
    assert loaded.config["training"]["config"]["num_steps"] == 12
    rows = read_metrics(finished)
    assert [row["step"] for row in rows if "train/loss" in row] == [2, 4, 6, 8, 10, 12]
    assert [row["step"] for row in rows if "validation/effective_rank" in row] == [6, 12]
    assert [row["step"] for row in rows if "refinement_train/prediction" in row] == [14, 16, 18]
    assert [row["step"] for row in rows if "refinement_validation/prediction_1" in row] == [18]
    assert [row["step"] for row in rows if "policy_train/critic" in row] == [20, 22, 24]
    assert [row["step"] for row in rows if "policy_validation/imagined_success" in row] == [24]
    assert {"validation/walks_through_walls", "validation/refuses_doors", "validation/linear_probe_door"} <= {
        key for row in rows for key in row
    }
    assert {"train/prediction", "train/probe_error", "train/gradient_norm", "train/learning_rate"} <= rows[0].keys()
    assert list((finished / "tensorboard").iterdir())


def test_progress_is_told_in_lines_where_there_is_no_terminal_and_kept_back_if_unwanted(tmp_path, capfd):
    config = replace(TINY, output=str(tmp_path))
    fit(config)
    out, err = capfd.readouterr()
    assert [line.split(":")[0].split(", ")[1] for line in out.splitlines()] == [
        f"step {step}" for step in (6, 12, 18, 24)
    ]
    assert "/24" not in err
    fit(replace(config, overwrite=True, progress=False))
    assert capfd.readouterr().out == ""


def test_the_same_seed_gives_the_same_run_and_another_seed_another(finished, tmp_path):
    fit(replace(TINY, output=str(tmp_path / "again")))
    assert_same_run(finished, tmp_path / "again")
    fit(replace(TINY, seed=1, output=str(tmp_path / "other")))
    assert (finished / WEIGHTS).read_bytes() != (tmp_path / "other" / WEIGHTS).read_bytes()


@pytest.mark.parametrize(("seconds", "expected"), [(8, range(1, 12)), (18, range(13, 18)), (26, range(19, 24))])
def test_a_run_stopped_by_its_time_limit_goes_on_exactly(finished, tmp_path, monkeypatch, caplog, seconds, expected):
    config = replace(TINY, output=str(tmp_path))
    with caplog.at_level(logging.WARNING, logger="pretrain.train"):
        fit(replace(config, max_minutes=1e-9))
    assert "stopped after step 0 of 24; the same command resumes the run" in caplog.text
    # The clock passes the limit after some steps.
    clock = iter(range(1000))
    with monkeypatch.context() as patch:
        patch.setattr(pretrain.train.time, "monotonic", lambda: float(next(clock)))
        fit(replace(config, max_minutes=seconds / 60))
    stopped = load_training_state(tmp_path)["step"]
    assert stopped in expected
    assert read_metrics(tmp_path) == [row for row in read_metrics(finished) if row["step"] <= stopped]
    fit(config)
    assert_same_run(finished, tmp_path)


@pytest.mark.parametrize("crash_at", [5, 7, 12, 13, 16, 18, 19, 23])
def test_a_run_that_crashed_goes_on_from_its_last_checkpoint_exactly(finished, tmp_path, monkeypatch, crash_at):
    config = replace(TINY, output=str(tmp_path))
    original = pretrain.train._set_learning_rates

    def crash(optimizer, stage, warmup_fraction, step) -> None:
        if step == crash_at - 1 - {"model": 0, "refinement": 12, "policy": 18}[stage.name]:
            raise RuntimeError("crash")
        original(optimizer, stage, warmup_fraction, step)

    with monkeypatch.context() as patch:
        patch.setattr("pretrain.train._set_learning_rates", crash)
        with pytest.raises(RuntimeError, match="crash"):
            fit(config)
    assert load_training_state(tmp_path)["step"] == (crash_at - 1) // 3 * 3
    fit(config)
    assert_same_run(finished, tmp_path)


def test_a_finished_run_stays_as_it_is(finished, tmp_path):
    config = replace(TINY, output=str(tmp_path))
    fit(config)
    fit(config)
    assert_same_run(finished, tmp_path)


def test_overwrite_starts_anew(finished, tmp_path):
    config = replace(TINY, output=str(tmp_path))
    fit(replace(config, seed=3))
    fit(replace(config, overwrite=True))
    assert_same_run(finished, tmp_path)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"learning_rate": 5e-4}, r"learning_rate \(was 0.001, now 0.0005\)"),
        ({"num_steps": 13}, r"num_steps \(was 12, now 13\)"),
        ({"model": replace(MODEL, latent_dim=8)}, r"model.latent_dim \(was 16, now 8\)"),
        ({"weights": replace(TINY.weights, sigreg=1.0)}, r"weights.sigreg \(was 0.0, now 1.0\)"),
    ],
)
def test_a_folder_of_another_run_is_refused_by_the_name_of_the_field(finished, changes, field):
    before = (finished / TRAINING_STATE).read_bytes()
    with pytest.raises(ValueError, match=f"another configuration; it differs in {field}. Choose another --output"):
        fit(replace(TINY, output=str(finished), **changes))
    assert (finished / TRAINING_STATE).read_bytes() == before


def test_the_probe_changes_nothing_in_the_model(finished, tmp_path):
    """Not even through the norm that gradients are clipped to."""
    fit(replace(TINY, output=str(tmp_path), probe_learning_rate=1e-1))
    models = [load_pretrained(folder) for folder in (finished, tmp_path)]
    weights = [loaded.model.state_dict() for loaded in models]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(models[0].probe.net[0].weight, models[1].probe.net[0].weight)


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoint(tmp_path, monkeypatch):
    config = replace(TINY, output=str(tmp_path), log_every=5, validate_every=100)
    original = Objective.forward

    def poisoned(self, pixels, actions, step=0):
        loss, terms, latents = original(self, pixels, actions, step)
        return loss * (float("nan") if step == 7 else 1.0), terms, latents

    monkeypatch.setattr(Objective, "forward", poisoned)
    with pytest.raises(FloatingPointError, match="must be finite, got nan at step 9; try a lower learning rate"):
        fit(config)
    assert load_training_state(tmp_path)["step"] == 6
    assert all(torch.isfinite(tensor).all() for tensor in load_pretrained(tmp_path).model.state_dict().values())


def test_the_learning_rate_warms_up_and_falls_to_zero(finished):
    rates = [row["train/learning_rate"] for row in read_metrics(finished) if "train/loss" in row]
    expected = [
        TINY.learning_rate * learning_rate_factor(step - 1, 12, TINY.warmup_fraction) for step in range(2, 13, 2)
    ]
    assert rates == pytest.approx(expected)
    factors = [learning_rate_factor(step, 1000, 0.1) for step in range(1001)]
    assert factors[0] == pytest.approx(0.01)
    assert max(factors) == factors[99] == factors[100] == 1.0
    assert factors[550] == pytest.approx(0.5)
    assert factors[1000] == pytest.approx(0.0)
    assert all(a < b for a, b in pairwise(factors[:100]))
    assert all(a > b for a, b in pairwise(factors[100:]))
    assert learning_rate_factor(0, 1, 0.0) == 1.0


@pytest.mark.parametrize(
    ("cuda", "cuda_bf16", "cpu", "accelerator", "expected"),
    [
        (False, False, {}, "auto", "32-true"),
        (False, False, {"avx512_bf16": True}, "cpu", "32-true"),
        (False, False, {"amx_bf16": True}, "auto", "bf16-mixed"),
        (True, True, {}, "auto", "bf16-mixed"),
        (True, False, {"amx_bf16": True}, "cuda", "32-true"),
        (True, True, {}, "cpu", "32-true"),
    ],
)
def test_precision_is_bf16_only_where_it_is_faster(monkeypatch, cuda, cuda_bf16, cpu, accelerator, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: cuda_bf16)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu, raising=False)
    assert _precision(PretrainConfig(accelerator=accelerator)) == expected
    assert _precision(PretrainConfig(accelerator=accelerator, precision="32-true")) == "32-true"


@pytest.mark.parametrize("config", [VideoConfig, ImageConfig])
def test_convolutions_of_videos_and_images_are_faster_with_avx512_bf16(monkeypatch, config):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert _precision(config()) == "bf16-mixed"


def test_a_run_without_dataset_is_refused():
    with pytest.raises(
        ValueError, match=r"data\.dataset must be one of two-rooms.*, or the id or folder of a Minari dataset, .*got ''"
    ):
        build_sources(DataConfig(), 1, torch.device("cpu"))


def start(folder: Path) -> subprocess.Popen:
    """A long run in a process of its own, once it has saved a checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "-m", "worldmodel", "pretrain", "two-rooms", "--output", str(folder), *COMMAND_LINE],
        cwd=folder.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 90
    while not (folder / TRAINING_STATE).exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no checkpoint in time"
        time.sleep(0.02)
    return process


def test_kill_and_ctrl_c_leave_a_run_that_goes_on(tmp_path):
    folder = tmp_path / "run"
    killed = start(folder)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=300)
    first = load_training_state(folder)
    assert first["step"] >= 10
    assert first["step"] % 10 == 0

    interrupted = start(folder)
    rows_before = len(read_metrics(folder))
    deadline = time.monotonic() + 90
    while load_training_state(folder)["step"] <= first["step"] and time.monotonic() < deadline:
        time.sleep(0.02)
    interrupted.send_signal(signal.SIGINT)
    _, errors = interrupted.communicate(timeout=300)
    assert interrupted.returncode == 130, errors
    assert "goes on from what was saved" in errors
    assert "Traceback" not in errors
    second = load_training_state(folder)
    assert first["step"] < second["step"] < 3000
    assert load_pretrained(folder).config["training"]["step"] == second["step"]
    steps = [row["step"] for row in read_metrics(folder)]
    assert steps == list(range(5, second["step"] + 1, 5))
    assert rows_before <= len(steps)


def test_a_full_disk_is_reported_in_words(tmp_path, monkeypatch, capsys):
    from worldmodel.__main__ import main

    def full(*arguments, **keywords) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("worldmodel.checkpoint.commit", full)
    arguments = [*COMMAND_LINE, "--num-steps", "2", "--validate-every", "10", "--output", str(tmp_path / "run")]
    assert main(["pretrain", "two-rooms", *arguments]) == 1
    message = capsys.readouterr().err
    assert "the disk is full" in message
    assert "run the same command again" in message
    assert "Traceback" not in message


def test_metrics_are_plain_json(finished):
    for line in (finished / METRICS).read_text().splitlines():
        assert all(isinstance(value, (int, float, type(None))) for value in json.loads(line).values())
