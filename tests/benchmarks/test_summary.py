"""The flat list of all published success rates: it holds every record, and what each row says stands in its record."""

from pathlib import Path

import pytest

from benchmarks.evaluation.manifests import load_manifest
from benchmarks.records.provenance import RESULTS
from benchmarks.records.store import Store
from benchmarks.summary import SEEN, VIDEO, rows
from envs.domain import domains
from worldmodel.storage.files import write_json

NAMES = [
    "environment", "manifest", "policy", "encoder", "seed", "episodes", "final", "low", "high", "ever", "train_minutes",
    "env_steps", "ms_per_step_p95",
]  # fmt: skip


OF_VIDEOS = [
    "environment", "policy", "seed", "videos", "map_reference", "map_true", "ap8_true", "train_minutes",
]  # fmt: skip

PUBLISHED = ("appearance", "compare", "headline", SEEN)
"""Folders of records."""


@pytest.fixture(scope="module")
def found():
    return [row for row in rows() if row["environment"] != "MovingMNIST"]


def test_every_published_evaluation_has_a_row(found):
    published = [record for name in PUBLISHED for record in Store(RESULTS / name).records()]
    assert len(found) == len(published) + 2  # the scripted policies beside the headline
    for record in published:
        same = [row for row in found if (row["environment"], row["manifest"]) == (
            record.key["environment"], record.key["manifest"]) and row["seed"] == record.key.get("seed")]  # fmt: skip
        assert record.facts["summary"]["final_success"] in [row["final"] for row in same]


def test_rows_make_sense(found):
    for row in found:
        assert list(row) == NAMES
        assert 0 <= row["low"] <= row["final"] + 1e-4 <= row["high"] + 2e-4
        assert row["final"] <= row["ever"]
        if row["environment"] not in {domain.name for domain in domains()}:  # no manifest, and nothing of the training
            continue
        assert row["episodes"] == len(load_manifest(f"{row['environment']}/{row['manifest']}"))
        learned = row["policy"] not in ("random", "expert")
        assert bool(row["train_minutes"]) == learned
        assert (row["encoder"] is not None) <= learned
    encoders = {row["policy"]: row["encoder"] for row in found if row["environment"] == "two-rooms"}
    assert encoders["jepa-mppi"] == "strided"
    assert encoders["gcbc"] == encoders["sac-pixels"] == "axial"
    assert encoders["sac-state"] is encoders["random"] is None


def test_every_forecast_of_videos_has_a_row():
    found = [row for row in rows() if row["environment"] == "MovingMNIST"]
    records = list(Store(RESULTS / VIDEO).records())
    assert len(found) == sum(len(record.rows) for record in records)
    for row in found:
        assert list(row) == OF_VIDEOS
        assert min(row["map_reference"], row["map_true"], row["ap8_true"]) >= 0
        assert max(row["map_reference"], row["map_true"], row["ap8_true"]) <= 1
        assert bool(row["train_minutes"]) == row["policy"].startswith("video-jepa")
    assert len({(row["policy"], row["seed"], row["videos"]) for row in found}) == len(found)


def test_no_result_no_row(tmp_path: Path):
    write_json(tmp_path / "other.json", {"not": "a record"})
    assert rows(tmp_path) == []
