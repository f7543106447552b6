"""What TensorBoard and Weights & Biases are told of a training is what its own log says."""

import math
import os
from dataclasses import replace

import pytest

from pretrain.loop.run_log import RunLog, read_metrics
from pretrain.train import fit
from tiny_runs import WITHOUT_REFINEMENT, few_samples


def scalars(folder):
    """What TensorBoard shows: a value for each step of each curve."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / "tensorboard")).Reload()
    return {
        (tag, event.step): pytest.approx(event.value, rel=1e-6, nan_ok=True)
        for tag in events.Tags()["scalars"]
        for event in events.Scalars(tag)
    }


def logged(folder):
    return {
        (key, row["step"]): value
        for row in read_metrics(folder)
        for key, value in row.items()
        if key != "step" and value is not None
    }


def test_tensorboard_shows_what_a_training_logged(tmp_path, monkeypatch):
    few_samples(monkeypatch)
    folder = fit(replace(WITHOUT_REFINEMENT, num_steps=4, log_every=2, validate_every=4, output=str(tmp_path / "run")))
    found = scalars(folder)
    assert {"train/loss", "validation/effective_rank", "policy_train/critic"} <= {tag for tag, _ in found}
    assert found == logged(folder)


def test_tensorboard_forgets_what_a_resumed_run_does_again(tmp_path):
    for first, value, steps in ((0, 1.0, (1, 2, 3)), (2, 9.0, (3, 4))):
        log = RunLog(tmp_path, first)
        for step in steps:
            log.write("train", step, {"loss": value, "bad": math.inf})
        log.close()
    expected = {("train/loss", 1): 1, ("train/loss", 2): 1, ("train/loss", 3): 9, ("train/loss", 4): 9}
    assert scalars(tmp_path) == logged(tmp_path) == expected


def test_weights_and_biases_needs_neither_network_nor_login_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    here = {"HOME": str(tmp_path), "WANDB_MODE": "offline", "WANDB_CONSOLE": "off", "WANDB_SILENT": "true"}
    for name, value in (nowhere | here).items():
        monkeypatch.setenv(name, value)
    few_samples(monkeypatch)
    config = replace(WITHOUT_REFINEMENT, log_every=2, output=str(tmp_path / "tiny"), log_wandb=True)
    folder = fit(replace(config, num_steps=2))
    log = RunLog(folder, 2, wandb=True)  # as where a run goes on
    log.write("train", 3, {"loss": 0.5, "bad": math.inf})
    log.close()
    wandb.teardown()
    runs = list(folder.glob("wandb/offline-run-*/run-tiny.wandb"))
    assert len(runs) == 2  # one a start, of the same id: `wandb sync` joins them
    assert all(b"train/loss" in run.read_bytes() for run in runs)
    assert not (tmp_path / ".netrc").exists()
