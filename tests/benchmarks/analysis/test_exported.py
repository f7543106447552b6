import json

import numpy as np
import pytest

from benchmarks.analysis import exported
from benchmarks.records.store import read_record
from worldmodel.checkpoint import CONFIG, WORLD_MODEL, load_pretrained


def test_both_runtimes_are_timed_and_agree(tmp_path, checkpoint):
    output = tmp_path / "new" / "time-export.json"
    record = exported.run(exported.TimeExportConfig(checkpoint=str(checkpoint), num_actions=5, output=output))
    assert read_record(output) == record
    assert [row["runtime"] for row in record.rows] == ["PyTorch", "ONNX Runtime"]
    assert all(0 < row["best_ms"] <= row["p50_ms"] <= row["p95_ms"] for row in record.rows)
    assert 0 <= record.facts["largest_difference"] < 1e-4
    assert "percentile 95" in exported.table(record).markdown()


def test_actions_are_taken_in_turns_and_the_first_do_not_count(checkpoint, monkeypatch):
    """The slow runtime takes two seconds for each of its two parts, the other one."""
    now, calls = [0.0], []
    monkeypatch.setattr(exported.time, "perf_counter", lambda: now[0])

    def runtime(name, seconds, action):
        def run(part, *inputs):
            calls.append((name, part))
            now[0] += seconds
            return np.full((1, 2), action, np.float32)

        return run

    parts = {name: part for name, part in exported.parts_of(load_pretrained(checkpoint)).items() if name != "critic"}
    runs = {"slow": runtime("slow", 2.0, 0.5), "fast": runtime("fast", 1.0, 0.25)}
    milliseconds, difference = exported.measure(runs, parts, 3)
    assert milliseconds == {"slow": [4000.0] * 3, "fast": [2000.0] * 3}
    assert difference == 0.25
    assert calls[:4] == [("slow", "encoder"), ("slow", "actor"), ("fast", "encoder"), ("fast", "actor")]
    assert len(calls) == 4 * (3 + exported.WARM_UP)


def test_a_state_with_a_past_is_made_first():
    pretrained = load_pretrained("pendulum")
    parts = {name: part for name, part in exported.parts_of(pretrained).items() if name in exported.ACTING}
    run = exported.by_torch(parts)
    milliseconds, difference = exported.measure({"a": run, "b": run}, parts, 1)
    assert len(milliseconds["a"]) == 1
    assert difference == 0


def test_a_checkpoint_without_an_actor_is_refused(tmp_path, checkpoint):
    pretrained = load_pretrained(checkpoint)
    sections = {"model": pretrained.sections["model"], "data": pretrained.data}
    WORLD_MODEL.save(tmp_path / "none", {"model": pretrained.model, "probe": pretrained.probe}, sections)
    assert json.loads((tmp_path / "none" / CONFIG).read_text())["actor_critic"] is None
    with pytest.raises(ValueError, match=r"checkpoint must have an actor, got '.*none', which has none"):
        exported.run(exported.TimeExportConfig(checkpoint=str(tmp_path / "none"), output=tmp_path / "t.json"))
    assert not (tmp_path / "t.json").exists()
