"""The log of a training run: it forgets what a resumed run does again, and says what is missing."""

import sys

import pytest

from pretrain.loop.run_log import METRICS, RunLog, read_metrics


def test_a_log_forgets_rows_after_the_step_it_resumes_from(tmp_path):
    log = RunLog(tmp_path)
    for step in (1, 2, 3):
        log.write("train", step, {"loss": 1.0 / step, "bad": float("inf")})
    log.close()
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 4, "train/lo')  # cut short by a kill
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3]
    assert read_metrics(tmp_path)[0] == {"step": 1, "train/loss": 1.0, "train/bad": None}
    resumed = RunLog(tmp_path, first_step=2)
    resumed.write("train", 3, {"loss": 9.0})
    resumed.close()
    assert [row.get("train/loss") for row in read_metrics(tmp_path)] == [1.0, 0.5, 9.0]
    RunLog(tmp_path).close()
    assert read_metrics(tmp_path) == []


def test_wandb_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"pip install 'worldmodel\[wandb\]'"):
        RunLog(tmp_path, wandb=True)
