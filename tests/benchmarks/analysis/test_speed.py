import json

import pytest

from benchmarks.analysis import speed


def test_all_figures_are_measured_and_written(tmp_path, checkpoint):
    output = tmp_path / "new" / "speed.json"
    content = speed.run(
        speed.SpeedConfig(checkpoint=str(checkpoint), num_envs=2, repeats=2, seconds=0.01, output=output)
    )
    assert json.loads(output.read_text()) == content
    assert set(content["figures"]) == {
        "environment, pixels",
        "vector environment of 2, pixels",
        "trajectory generator, rendered, reference",
        "trajectory generator, rendered, wall-rich",
        "Moving MNIST generator",
        "encoder",
        "training step",
    }
    for figure in content["figures"].values():
        assert len(figure["measured"]) == 2
        assert 0 < figure["median"] <= figure["best"]
    assert content["latency"]["steps_per_plan"] == 4


def test_a_rate_is_units_over_seconds(monkeypatch):
    clock = iter(float(second) for second in range(100))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    assert speed.rate(lambda: 10, seconds=5.0) == pytest.approx(8.0)  # 4 calls in 5 seconds


@pytest.mark.parametrize("change", [{"repeats": 0}, {"seconds": 0.0}, {"num_envs": 0}])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be (at least 1|greater than 0), got 0"):
        speed.run(speed.SpeedConfig(**change))


def test_a_checkpoint_of_another_environment_is_refused(rgb_checkpoint, tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint must be one of Two Rooms, got images of \(3, 32, 32\)"):
        speed.run(speed.SpeedConfig(checkpoint=str(rgb_checkpoint), output=tmp_path / "s.json"))
