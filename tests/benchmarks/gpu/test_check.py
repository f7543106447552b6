"""The check of a GPU: every stage on the CPU, what is written, what is repeated, and what counts as a fault."""

import math
from dataclasses import replace
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import torch
from packaging.version import Version

from benchmarks.gpu import agreement, check, copies, training
from benchmarks.gpu.check import DONE, FAILED, NOT_RUN, Stage
from benchmarks.gpu.config import RECORDED, GpuConfig
from benchmarks.gpu.training import Finding, Sample, Watch
from benchmarks.records.store import read_record
from pretrain.image.augmentation import AUGMENTATIONS
from tiny_runs import few_samples
from worldmodel.__main__ import main
from worldmodel.checkpoint import load_training_state
from worldmodel.imagination.objective import Imagination

MEBIBYTE = 2**20
STAGES = [["model", "refinement", "policy"]] * 2 + [["model", "heads"], ["model"]]
"""Those of the training of each kind."""


@pytest.fixture
def config(tmp_path):
    return GpuConfig(device="cpu", tiny=True, num_episodes=1, runs=tmp_path / "runs")


@pytest.fixture
def small(monkeypatch, short_episodes):
    """Fewer samples than real runs use, and modules that are marked and not compiled; returns the modes asked for."""
    few_samples(monkeypatch)
    monkeypatch.setattr("pretrain.train.ROWS_PER_DRAW", 4)
    for name, value in {"NUM_VIDEOS": 2, "NORMALIZATION_VIDEOS": 4}.items():
        monkeypatch.setattr(f"pretrain.video.training.{name}", value)
    for name, value in {"NORMALIZATION_IMAGES": 32, "NUM_BANK": 40, "NUM_QUERIES": 20}.items():
        monkeypatch.setattr(f"pretrain.image.training.{name}", value)
    monkeypatch.setattr("benchmarks.gpu.training.TINY_EPISODES", 2)
    monkeypatch.setattr("benchmarks.gpu.acting.WARM_UP", 0)
    monkeypatch.setattr("benchmarks.gpu.agreement.NUM_IMAGES", 4)
    monkeypatch.setattr("benchmarks.gpu.agreement.checkpoints", lambda: ["two-rooms", "moving-mnist"])
    asked = []
    monkeypatch.setattr(torch, "compile", lambda module, mode=None: asked.append(mode) or module)
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: asked.append("step"))
    return asked


def test_all_stages_run_on_the_cpu_and_are_written(config, small):
    record = check.run(config)
    assert read_record(config.runs / "gpu.json") == record
    assert record.finished
    assert {row["status"] for row in record.rows} == {DONE}
    assert {row["error"] for row in record.rows} == {None}
    assert record.facts["card"] == {"name": None}
    measured = {row["stage"]: row["measured"] for row in record.rows}
    kinds = ["two-rooms", RECORDED, "moving-mnist", "images"]
    assert list(measured) == [
        f"collect {RECORDED}",
        *(f"train {name}" for name in kinds),
        *(f"{what} {name}" for what in ("evaluate", "act") for name in kinds[:2]),
        *(f"agree {name}" for name in agreement.checkpoints()),
        *(f"profile training {name}" for name in kinds),
        *(f"profile planning {name}" for name in kinds[:2]),
        *(f"train {name}, {mode}" for name in kinds for mode in ("compiled", "CUDA graphs")),
    ]
    for name, stages in zip(kinds, STAGES, strict=True):
        found = measured[f"train {name}"]
        assert [stage["stage"] for stage in found["stages"]] == stages
        assert found["steps"] == 4 * len(stages)
        for stage in found["stages"]:
            assert math.isfinite(stage["loss"])
            assert stage["steps_per_second"] > 0
            assert 0 < stage["early_peak_bytes"] <= training.BOUND * stage["late_peak_bytes"]
        assert measured[f"train {name}, compiled"]["stages"][0]["steps_per_second"] > 0
    # A model alone; of videos with a step of the heads.
    assert small.count(None) == small.count("reduce-overhead") == len(kinds) + 1
    assert small.count("step") == 4 * len(kinds) + 1
    for name in kinds[:2]:
        assert measured[f"evaluate {name}"]["num_episodes"] == 1
        assert len(measured[f"evaluate {name}"]["final_success_interval"]) == 2
        assert [row["who"] for row in measured[f"act {name}"]["rows"]] == ["planner", "actor"]
        assert all(row["plan_p50_ms"] > row["action_p50_ms"] > 0 for row in measured[f"act {name}"]["rows"][:1])
    parts = measured["agree two-rooms"]["errors"]
    assert parts["float32"] == dict.fromkeys(("encoder", "predictor", "planner's costs", "actor"), 0.0)
    assert all(0 < error < agreement.TOLERANCES["bfloat16"] for error in parts["bfloat16"].values())
    assert measured["profile planning two-rooms"]["planner"]["copies_a_step"] == {"DtoH": 0, "HtoD": 0}
    lines = measured["profile planning two-rooms"]["planner"]["lines"]
    assert any(line.startswith("worldmodel/planning/search.py:") for line in lines)
    for name, stages in zip(kinds, STAGES, strict=True):
        seen = measured[f"profile training {name}"]
        assert list(seen) == stages
        lines = {line for stage in seen.values() for line in stage["lines"]}
        # Views are kornia's, and older releases of it ask.
        assert all(name == "images" and line.startswith("pretrain/image/augmentation.py:") for line in lines), lines
    assert len(check.table(record).rows) == len(record.rows)


def test_all_stages_fit_into_the_time_and_every_kind_is_trained_in_every_mode():
    config = GpuConfig()
    seconds = {stage.name: stage.seconds for stage in check.stages(config)}
    assert sum(seconds.values()) <= 60 * config.max_minutes
    for kind in training.kinds(config):
        assert {f"train {kind}", f"train {kind}, compiled", f"train {kind}, CUDA graphs"} <= set(seconds)


def test_each_stage_of_a_training_is_profiled(config, monkeypatch, small):
    forward = Imagination.forward

    def reading(self, *arguments):
        loss, metrics = forward(self, *arguments)
        float(loss.detach())
        return loss, metrics

    monkeypatch.setattr(Imagination, "forward", reading)
    measured, faults = copies.profile_training(config, "two-rooms")
    assert {stage: sum(found["lines"].values()) for stage, found in measured.items()} == {
        "model": 0, "refinement": 0, "policy": 1,
    }  # fmt: skip
    assert faults == []


@pytest.mark.skipif(Version(version("kornia")) < Version("0.9"), reason="older releases ask")
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_views_are_made_without_asking_the_device(name):
    """A tensor on torch's device "meta" holds no numbers: to ask for one is an error."""
    images = torch.empty(4, 3, 32, 32, device="meta")
    for transform in AUGMENTATIONS[name]((32, 32)):
        images = transform(images)
    assert (images.device.type, images.shape) == ("meta", (4, 3, 32, 32))


def test_faults_of_several_windows_name_theirs(monkeypatch):
    windows = {name: copies.Window("cpu", 0, 1) for name in ("model", "policy")}
    monkeypatch.setattr(copies.Window, "copies", lambda self: {"DtoH": 0, "HtoD": 0})
    windows["policy"].lines.found["worldmodel/jepa.py:7"] = 1
    found = copies.found_in(windows, "cuda")
    assert found.faults == ["policy: nothing may come back to the host from worldmodel/jepa.py:7, got 1 a step"]
    assert found.measured["model"]["lines"] == {}


def fakes(ends):
    """Stages that end as told, and how often each ran."""
    counts = dict.fromkeys(ends, 0)

    def stage(name):
        def run():
            counts[name] += 1
            if isinstance(ends[name], Exception):
                raise ends[name]
            return Finding({"a": 1}, ends[name])

        return Stage(name, run, 30.0)

    return counts, lambda config: [stage(name) for name in ends]


def test_a_stage_that_fails_is_recorded_and_the_others_go_on(config, monkeypatch, capsys):
    counts, stages = fakes({"good": [], "broken": RuntimeError("no\nkernel"), "wrong": ["one", "two"], "last": []})
    monkeypatch.setattr(check, "stages", stages)
    with pytest.raises(ValueError, match="all 4 stages must be done, 2 failed or were not run: broken, wrong"):
        check.run(config)
    record = read_record(config.runs / "gpu.json")
    assert [(row["stage"], row["status"], row["error"]) for row in record.rows] == [
        ("good", DONE, None),
        ("broken", FAILED, "RuntimeError: no kernel"),
        ("wrong", FAILED, "one; two"),
        ("last", DONE, None),
    ]
    assert record.rows[2]["measured"] == {"a": 1}
    assert not record.finished
    # What is done is not done again, unless all of it is asked for.
    mended, stages = fakes({name: [] for name in counts})
    monkeypatch.setattr(check, "stages", stages)
    assert check.run(config).finished
    assert mended == {"good": 0, "broken": 1, "wrong": 1, "last": 0}
    check.run(replace(config, overwrite=True))
    assert mended == {"good": 1, "broken": 2, "wrong": 2, "last": 1}


def test_each_stage_is_written_as_it_ends(config, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    asked = [Stage("first", lambda: Finding({}), 1.0), Stage("second", interrupt, 1.0)]
    monkeypatch.setattr(check, "stages", lambda config: asked)
    with pytest.raises(KeyboardInterrupt):
        check.run(config)
    rows = read_record(config.runs / "gpu.json").rows
    assert [row["status"] for row in rows] == [DONE, NOT_RUN]


def test_what_does_not_fit_into_the_time_is_not_run_and_said_so(config, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(check, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def slow():
        now[0] += 40
        return Finding({})

    asked = [Stage("slow", slow, 30.0), Stage("long", slow, 60.0), Stage("short", slow, 10.0)]
    monkeypatch.setattr(check, "stages", lambda config: asked)
    with pytest.raises(ValueError, match="1 failed or were not run: long"):
        check.run(replace(config, max_minutes=1.5))
    rows = read_record(config.runs / "gpu.json").rows
    assert [row["status"] for row in rows] == [DONE, NOT_RUN, DONE]
    assert rows[1]["error"] == "60 s are needed, about, and 50 s were left"


def test_without_a_gpu_one_line_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["gpu-check"]) == 1
    assert capsys.readouterr().err == (
        "worldmodel gpu-check: no CUDA device was found; --device cpu --tiny tries all stages without one\n"
    )
    assert not (tmp_path / "runs").exists()


def test_a_try_is_no_result(config):
    assert check.output_of(config) == config.runs / "gpu.json"
    assert check.output_of(replace(config, device="cuda", tiny=False)) == check.RESULTS / "gpu.json"


def test_memory_that_grows_is_a_fault(config, monkeypatch, small):
    grown = iter(range(10**6))
    monkeypatch.setattr(training, "peak_memory", lambda device: MEBIBYTE * (10 + next(grown)))
    _, faults = training.train(config, "images")
    assert faults == [
        "memory of stage 'model' must stay within 1.1 of its early peak, 12,582,912 bytes, got 14,680,064"
    ]


def test_a_training_that_does_not_end_is_a_fault(config, monkeypatch, small):
    monkeypatch.setattr(training, "MOST_MINUTES", 1e-9)
    found, faults = training.train(config, "images")
    assert found == {"steps": 0, "stages": []}
    assert faults == ["training must end within 1e-09 minutes, got 0 of 4 steps"]


def test_rates_leave_the_first_half_out():
    samples = [Sample(1, 10.0, 5), Sample(2, 11.0, 6), Sample(3, 11.5, 4), Sample(4, 12.0, 3)]
    assert training.summary(samples) == {"steps_per_second": 2.0, "early_peak_bytes": 6, "late_peak_bytes": 4}
    assert set(training.summary(samples[:3]).values()) == {None}


def test_each_optimiser_is_a_stage_of_its_own():
    watch = Watch(torch.device("cpu"), every=2)
    with training.watching(watch):
        for steps in (4, 3):
            parameter = torch.nn.Parameter(torch.ones(1))
            optimizer = torch.optim.SGD([parameter])
            for _ in range(steps):
                parameter.grad = torch.ones(1)
                optimizer.step()
    optimizer.step()  # nobody looks any more
    assert [[sample.step for sample in samples] for samples in watch.stages] == [[2, 4], [2]]


def test_a_part_that_computes_something_else_is_a_fault(config, monkeypatch):
    right = agreement.outputs("moving-mnist", torch.device("cpu"), "float32")
    wrong = right | {"predictor": 1.2 * right["predictor"], "encoder": right["encoder"] * math.nan}
    answers = iter([right, right, wrong, right])
    monkeypatch.setattr(agreement, "outputs", lambda *arguments: next(answers))
    _, faults = agreement.agree(config, "moving-mnist")
    assert faults == [
        "encoder in float32, TF32 must agree with the CPU within 0.01, got an error of nan",
        "predictor in float32, TF32 must agree with the CPU within 0.01, got an error of 0.2",
    ]


def test_lines_that_wait_for_the_device_are_found():
    numbers, lines = torch.arange(4.0), copies.Lines()
    with lines:
        float(numbers.sum())
        bool((numbers > 1).any())
        numbers[numbers > 1]
        torch.bincount(numbers.long())
        numbers[torch.tensor([1, 2])].square()
    assert sum(lines.found.values()) == 4
    assert {line.partition(":")[0] for line in lines.found} == {"tests/benchmarks/gpu/test_check.py"}


def test_copies_of_unexpected_lines_are_faults_on_a_gpu(monkeypatch):
    window = copies.Window("cpu", 0, 4)
    window.lines.found.update({"worldmodel/planning/search.py:9": 8, "worldmodel/jepa.py:7": 4})
    monkeypatch.setattr(window, "copies", lambda: {"DtoH": 12, "HtoD": 0})
    assert window.finding("cpu").faults == []
    found = window.finding("cuda")
    assert found.faults == ["nothing may come back to the host from worldmodel/jepa.py:7, got 1 a step"]
    assert found.measured["copies_a_step"] == {"DtoH": 3.0, "HtoD": 0.0}
    window.lines.found.clear()
    assert "got 12 copies of which no line is known" in window.finding("cuda").faults[0]


def test_cuda_graphs_may_be_turned_on_when_a_run_goes_on(config, small):
    folder = training.folder_of(config, "images")
    training.train(config, "images")
    _, given = training.changes(config, "images", "CUDA graphs")
    again = training.changed(training.preset("images"), {**given, "overwrite": False, "output": str(folder)})
    training.fit(again, "images")
    assert load_training_state(folder)["step"] == 4
