"""What is killed before any file operation goes on as if it had not been: evaluation, train-rl, comparison."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import killing
from agents import rl
from benchmarks.comparison import compare
from benchmarks.evaluation import success
from benchmarks.records import log as evaluations
from benchmarks.records.store import read_record
from pretrain.rl import train as train_rl


@pytest.fixture
def log_below(monkeypatch):
    """Puts the log of evaluations below a folder, where kills are counted."""

    def put(folder: Path) -> Path:
        (folder / ".git").mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(evaluations, "LOG", folder / "evaluations.jsonl")
        monkeypatch.setattr(evaluations, "ROOT", folder)
        return evaluations.LOG

    return put


def rows(path: Path) -> dict[str, object]:
    """What an evaluation came to, but for times."""
    record = read_record(path)
    facts = {"id": record.facts["id"], "episodes": record.facts["summary"]["num_episodes"]}
    return {"key": record.key, "config": record.config, "finished": record.finished, "rows": record.rows, **facts}


def test_an_evaluation_killed_before_any_file_operation_has_its_rows_and_one_line_in_the_log(
    checkpoint, tmp_path, log_below
):
    def evaluate(folder: Path) -> None:
        success.run(
            success.EvaluateConfig(
                policy=str(checkpoint),
                num_episodes=4,
                num_envs=2,
                latency_episodes=0,
                output=folder / "evaluation.json",
                progress=False,
            )
        )

    def outcome(folder: Path) -> dict[str, object]:
        found = rows(folder / "evaluation.json")
        lines = [json.loads(line) for line in evaluations.LOG.read_text().splitlines()]
        assert [line["id"] for line in lines] == [found.pop("id")]
        return found | {"files": sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))}

    log_below(tmp_path / "whole")
    count = killing.operations(partial(evaluate, tmp_path / "whole"), tmp_path / "whole")
    expected = outcome(tmp_path / "whole")
    assert count >= 6
    for number in killing.places(count, most=60):
        place = tmp_path / str(number)
        log_below(place)
        command = partial(evaluate, place)
        assert killing.kill_before(number, command, place) == killing.KILLED
        assert killing.run(command, place) == 0, killing.log_of(place)
        assert outcome(place) == expected, f"killed before operation {number} of {count}"


@pytest.mark.parametrize("algorithm", ["sac", "a2c"])
def test_reinforcement_learning_killed_before_any_file_operation_spends_its_budget_once(
    tmp_path, monkeypatch, algorithm
):
    options = {"buffer_size": 500, "learning_starts": 200, "batch_size": 8} if algorithm == "sac" else {"n_steps": 8}

    def train(folder: Path) -> None:
        config = train_rl.TrainRLConfig(
            algorithm=algorithm,
            num_envs=2,
            action_repeat=2,
            net_arch=(4,),
            options=options,
            max_minutes=None,
            max_steps=448,
            eval_every=160,
            eval_episodes=1,
            output=folder / "run",
            progress=False,
        )
        train_rl.run(config)

    monkeypatch.setattr(rl, "train", partial(rl.train, save_seconds=0.05))

    def outcome(folder: Path) -> dict[str, object]:
        run = folder / "run"
        with np.load(run / rl.EVALUATIONS) as file:
            evaluated = file["timesteps"].tolist()
        steps = [json.loads(line)["steps"] for line in (run / rl.CURVE).read_text().splitlines()]
        rl.load(run, best=True)
        rl.load(run)
        return {
            "steps": rl.spent(run).steps,
            "evaluated": evaluated,
            "curve": steps,
            "files": sorted(path.name for path in run.iterdir() if path.name != "tensorboard"),
        }

    count = killing.operations(partial(train, tmp_path / "whole"), tmp_path / "whole")
    expected = outcome(tmp_path / "whole")
    assert expected["steps"] == 224
    for number in killing.places(count, most=25):
        place = tmp_path / str(number)
        command = partial(train, place)
        assert killing.kill_before(number, command, place) in (killing.KILLED, 0)  # saves come by the clock
        assert killing.run(command, place) == 0, killing.log_of(place)
        assert outcome(place) == expected, f"killed before operation {number} of about {count}"


def test_a_comparison_killed_before_any_file_operation_ends_as_if_it_had_not_been(
    tiny, tmp_path, log_below, monkeypatch
):
    config, _ = tiny
    config = replace(config, contenders=("random", "gcbc"), num_episodes=1)
    monkeypatch.setattr(compare, "LATENCY_EPISODES", 0)
    monkeypatch.setattr(compare, "draw", lambda *_: None)  # plots are made of what is tested here

    def measure(folder: Path) -> None:
        compare.run(replace(config, runs=folder / "runs", store=folder / "store", output=folder / "compare.json"))

    def outcome(folder: Path) -> dict[str, object]:
        results = {path.name: rows(path) for path in sorted((folder / "store").glob("*.json"))}
        identities = [found.pop("id") for found in results.values()]
        lines = [json.loads(line)["id"] for line in evaluations.LOG.read_text().splitlines()]
        assert sorted(lines) == sorted(identities)
        for found in results.values():  # training by the clock ends with other weights
            found["config"].pop("weights", None)
        table = json.loads((folder / "compare.json").read_text())["rows"]
        return {"results": results, "table": [(row["contender"], row["seeds"], row["env_steps"]) for row in table]}

    log_below(tmp_path / "whole")
    count = killing.operations(partial(measure, tmp_path / "whole"), tmp_path / "whole")
    expected = outcome(tmp_path / "whole")
    assert len(expected["results"]) == 6
    for number in killing.places(count, most=8):
        place = tmp_path / str(number)
        log_below(place)
        command = partial(measure, place)
        assert killing.kill_before(number, command, place) == killing.KILLED
        assert killing.run(command, place) == 0, killing.log_of(place)
        assert outcome(place) == expected, f"killed before operation {number} of {count}"
