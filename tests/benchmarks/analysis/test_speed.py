from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.analysis import speed
from benchmarks.records.store import read_record
from envs.domain import find_domain


def test_all_figures_are_measured_and_written(tmp_path, checkpoint):
    output = tmp_path / "new" / "speed.json"
    record = speed.run(
        speed.SpeedConfig(checkpoint=str(checkpoint), num_envs=2, repeats=2, seconds=0.01, output=output)
    )
    assert read_record(output) == record
    assert {row["what"] for row in record.rows} == {
        "Two Rooms, pixels",
        "Two Rooms, pixels, vector of 2",
        *(f"trajectory generator, drawn, {recipe}" for recipe in find_domain("two-rooms").simulation().recipes),
        "Moving MNIST generator",
        "encoder",
        "training step",
    }
    for figure in record.rows:
        assert len(figure["measured"]) == 2
        assert 0 < figure["median"] <= figure["best"]
    assert record.facts["latency"]["steps_per_plan"] == 4
    assert "percentile 95" in speed.table(record).markdown()


def test_an_environment_without_a_simulation_has_no_generator(tmp_path, checkpoint, monkeypatch):
    domain = find_domain("two-rooms")
    monkeypatch.setattr(speed, "find_domain", lambda name: replace(domain, simulate=None, compact=None))
    settings = {"checkpoint": str(checkpoint), "num_envs": 2, "repeats": 1, "seconds": 0.01}
    record = speed.run(speed.SpeedConfig(**settings, output=tmp_path / "s.json"))
    assert [row["what"] for row in record.rows][2:] == ["Moving MNIST generator", "encoder", "training step"]


def test_a_rate_is_units_over_seconds(monkeypatch):
    clock = iter(float(second) for second in range(100))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    assert speed.rate(lambda: 10, seconds=5.0) == pytest.approx(8.0)  # 4 calls in 5 seconds


def test_collection_is_timed_when_all_processes_are_at_work(tmp_path, monkeypatch):
    """Of episodes of 10 steps, one a second, the first of each process do not count."""
    clock = iter(range(100))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    episode = SimpleNamespace(actions=np.zeros((10, 2)))
    told = []

    def record(source, indices, num_workers, is_stopped):
        told.append((source.env_id, num_workers))
        yield from ((i, episode) for i in indices)

    monkeypatch.setattr(speed, "record_in_processes", record)
    assert speed.time_collection(find_domain("pillars"), 3, seconds=4.0) == pytest.approx(10.0)
    assert told == [("Pillars-v0", 3)]


@pytest.mark.parametrize("change", [{"repeats": 0}, {"seconds": 0.0}, {"num_envs": 0}])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be (at least 1|greater than 0), got 0"):
        speed.run(speed.SpeedConfig(**change))


def test_a_checkpoint_of_another_environment_is_refused(rgb_checkpoint, tmp_path):
    with pytest.raises(ValueError, match="must have the shape the checkpoint was trained on"):
        speed.run(speed.SpeedConfig(checkpoint=str(rgb_checkpoint), output=tmp_path / "s.json"))
