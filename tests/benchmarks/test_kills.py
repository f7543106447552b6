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
        return folder

    return put


def rows(path: Path) -> dict[str, object]:
    """What an evaluation came to, but for times."""
    record = read_record(path)
    facts = {"id": record.facts["id"], "episodes": record.facts["summary"]["num_episodes"]}
    return {"key": record.key, "config": record.config, "finished": record.finished, "rows": record.rows, **facts}


def test_an_evaluation_killed_before_any_file_operation_has_its_rows_and_one_line_in_the_log(
    checkpoint, tmp_path, log_below, short_episodes
):
    place = log_below(tmp_path / "place")

    def evaluate() -> None:
        success.run(
            success.EvaluateConfig(
                policy=str(checkpoint),
                num_episodes=4,
                num_envs=2,
                latency_episodes=0,
                output=place / "evaluation.json",
                progress=False,
            )
        )

    def outcome() -> dict[str, object]:
        found = rows(place / "evaluation.json")
        lines = [json.loads(line) for line in evaluations.LOG.read_text().splitlines()]
        assert [line["id"] for line in lines] == [found.pop("id")]
        return found | {"files": sorted(path.name for path in place.iterdir() if not path.name.endswith(".lock"))}

    copies = killing.run(evaluate, place)
    expected = outcome()
    assert len(copies) >= 6
    for where in killing.after_kills(copies, place, most=60):
        evaluate()
        assert outcome() == expected, where


@pytest.mark.parametrize("algorithm", ["sac", "a2c"])
def test_reinforcement_learning_killed_before_any_file_operation_spends_its_budget_once(
    tmp_path, monkeypatch, algorithm
):
    options = {"buffer_size": 500, "learning_starts": 200, "batch_size": 8} if algorithm == "sac" else {"n_steps": 8}

    place = tmp_path / "place"
    run = place / "run"

    def train() -> None:
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
            output=run,
            progress=False,
        )
        train_rl.run(config)

    monkeypatch.setattr(rl, "train", partial(rl.train, save_seconds=0.05))

    def outcome() -> dict[str, object]:
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

    copies = killing.run(train, place)
    expected = outcome()
    assert expected["steps"] == 224
    for where in killing.after_kills(copies, place, most=25):
        train()
        assert outcome() == expected, where


def test_a_comparison_killed_before_any_file_operation_ends_as_if_it_had_not_been(
    tiny, tmp_path, log_below, monkeypatch
):
    config, _ = tiny
    config = replace(config, contenders=("random", "gcbc"), num_episodes=1)
    monkeypatch.setattr(compare, "LATENCY_EPISODES", 0)
    monkeypatch.setattr(compare, "draw", lambda *_: None)  # plots are made of what is tested here

    place = log_below(tmp_path / "place")

    def measure() -> None:
        compare.run(replace(config, runs=place / "runs", store=place / "store", output=place / "compare.json"))

    def outcome() -> dict[str, object]:
        results = {path.name: rows(path) for path in sorted((place / "store").glob("*.json"))}
        identities = [found.pop("id") for found in results.values()]
        lines = [json.loads(line)["id"] for line in evaluations.LOG.read_text().splitlines()]
        assert sorted(lines) == sorted(identities)
        for found in results.values():  # training by the clock ends with other weights
            found["config"].pop("weights", None)
        table = json.loads((place / "compare.json").read_text())["rows"]
        return {"results": results, "table": [(row["contender"], row["seeds"], row["env_steps"]) for row in table]}

    copies = killing.run(measure, place)
    expected = outcome()
    assert len(expected["results"]) == 6
    for where in killing.after_kills(copies, place, most=8):
        measure()
        assert outcome() == expected, where
