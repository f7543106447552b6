"""The cost of more workers: one evaluation, timed without Ray and with each number of workers."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmarks.analysis import scaling
from benchmarks.analysis.scaling import ScalingConfig, run, table
from benchmarks.evaluation import success
from benchmarks.records.store import read_record
from worldmodel.cluster.config import ClusterConfig


@pytest.fixture
def started(monkeypatch, short_episodes):
    """How Ray was started; nothing is, and evaluations run here, but each takes a while longer with Ray."""
    calls, original = [], success.run
    fake = SimpleNamespace(
        init=lambda **options: calls.append(options["num_cpus"]), shutdown=lambda: calls.append("end")
    )
    monkeypatch.setattr(scaling, "import_ray", lambda: fake)

    def slow(config):
        time.sleep(0.2 if config.cluster.ray else 0)
        return original(replace(config, cluster=ClusterConfig()))

    monkeypatch.setattr(success, "run", slow)
    return calls


def test_each_number_of_workers_is_timed(started, tmp_path, capsys):
    config = ScalingConfig(
        policy="random", num_episodes=2, num_envs=2, workers=(1, 3), repeats=2, output=tmp_path / "scaling.json"
    )
    record = run(config)
    assert started == [1, "end", 3, "end"]
    assert [row["workers"] for row in record.rows] == [0, 1, 3]
    assert all(len(row["all"]) == 2 and row["median"] >= 0.2 for row in record.rows[1:])
    assert read_record(config.output) == record
    rows = table(record).rows
    assert [row[0] for row in rows] == ["without Ray", "1", "3"]
    assert rows[0][2] == "1.00"
    assert float(rows[1][2]) < 1


def test_rows_that_depend_on_the_number_of_workers_are_an_error(started, tmp_path, monkeypatch):
    same = success.run
    monkeypatch.setattr(
        success, "run", lambda config: same(replace(config, num_episodes=2 if config.cluster.ray else 1))
    )
    with pytest.raises(ValueError, match="rows must be the same for any number of workers, got others with 1"):
        run(ScalingConfig(policy="random", num_episodes=2, num_envs=2, output=tmp_path / "scaling.json"))
