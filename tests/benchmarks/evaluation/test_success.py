import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from agents.evaluation.task import GoalImageConfig
from agents.saved import make_policy
from agents.world_model.config import PlannerConfig
from benchmarks.evaluation import success
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.evaluation.success import EvaluateConfig, find_record, main, result_of, run, table
from benchmarks.records.store import read_record
from envs.appearance import SHIFTS

PLANNER = PlannerConfig(num_samples=8, num_elites=4, num_iterations=1, horizon=3)


def evaluate(policy, output=None, **kwargs):
    defaults = {"manifest": "validation", "num_episodes": 6, "num_envs": 3, "latency_episodes": 0, "progress": False}
    return run(EvaluateConfig(policy=str(policy), planner=PLANNER, output=output, **(defaults | kwargs)))


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("manifest", ["validation", "fixed-wall", "held-out", "bounce"])
def test_the_expert_always_gets_there(manifest):
    summary = evaluate("expert", manifest=manifest, num_episodes=20, num_envs=20).facts["summary"]
    assert summary["final_success"] == 1.0
    assert summary["ever_success"] == 1.0
    assert 0.85 < summary["spl"] <= 1.0


def test_the_random_policy_hardly_ever_does():
    summary = evaluate("random", num_episodes=40, num_envs=40).facts["summary"]
    assert summary["final_success"] < 0.2
    assert summary["spl"] < 0.2
    assert summary["env_steps"] == 40 * 200


def test_the_file_says_all_that_is_needed_to_repeat_it(tmp_path, checkpoint):
    record = evaluate(checkpoint, tmp_path / "out" / "a.json", num_episodes=2, latency_episodes=1)
    stored = read_record(tmp_path / "out" / "a.json")
    assert stored == record
    assert stored.finished
    assert stored.facts["policy"] == "tiny"
    weights = stored.config["weights"]
    assert list(stored.key) == ["environment", "manifest", "policy", "planner", "weights"]
    assert list(stored.key.values()) == ["two-rooms", "validation", "tiny", "mppi", weights[:8]]
    assert len(weights) == 64
    assert stored.provenance["checkpoint_hash"] == weights
    assert stored.config["manifest_hash"] == load_manifest("validation").hash
    assert {"python", "torch", "gymnasium", "numpy"} <= set(stored.provenance["versions"])
    assert {"command", "commit", "machine"} <= set(stored.provenance)
    assert stored.config["planner"]["num_samples"] == 8
    assert (stored.config["seed"], stored.config["num_episodes"]) == (0, 2)
    assert [row["index"] for row in stored.rows] == [0, 1]
    latency = stored.facts["latency"]
    assert latency["num_plans"] == 50  # one for each 4 of 200 steps
    assert latency["step_p50_ms"] == pytest.approx(latency["plan_p50_ms"] / 4)
    assert result_of(stored).summary() == stored.facts["summary"]


def test_callers_say_which_cell_of_which_table_it_is(tmp_path, checkpoint):
    config = EvaluateConfig(
        policy=str(checkpoint), manifest="validation", num_episodes=1, latency_episodes=0, output=tmp_path / "a.json",
        progress=False,
    )  # fmt: skip
    key, settings = {"contender": "x", "seed": 1}, {"training": {"rate": (1, 2)}}
    assert find_record(config, key=key, plans=True, settings=settings) is None
    record = run(config, key=key, settings=settings, facts={"minutes": 3})
    assert record.key == key
    assert (record.config["training"], record.facts["minutes"]) == ({"rate": [1, 2]}, 3)
    assert find_record(config, key=key, plans=True, settings=settings) == record
    with pytest.raises(ValueError, match="holds the result of other settings"):
        find_record(config, key=key, plans=True)
    with pytest.raises(ValueError, match="holds the result of other settings"):
        run(config, key=key, settings={"training": {"rate": [1, 3]}})


def test_weights_that_are_gone_are_those_that_were_measured(tmp_path, checkpoint):
    folder = shutil.copytree(checkpoint, tmp_path / "run")
    config = EvaluateConfig(
        policy=str(folder), manifest="validation", num_episodes=1, latency_episodes=0, output=tmp_path / "a.json",
        progress=False,
    )  # fmt: skip
    record = run(config, key={"seed": 1})
    shutil.rmtree(folder)
    assert find_record(config, key={"seed": 1}, plans=True) == record


@pytest.mark.parametrize("policy", ["random", "checkpoint"])
def test_a_killed_evaluation_goes_on_to_the_same_result(tmp_path, monkeypatch, checkpoint, policy):
    policy = checkpoint if policy == "checkpoint" else policy
    whole = evaluate(policy, tmp_path / "whole.json")
    write, writes = success.write_record, []

    def write_and_die(path, record):
        write(path, record)
        writes.append(path)
        if len(writes) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(success, "write_record", write_and_die)
    with pytest.raises(KeyboardInterrupt):
        evaluate(policy, tmp_path / "parts.json")
    partial = read_record(tmp_path / "parts.json")
    assert not partial.finished
    assert len(partial.rows) == 3
    parts = evaluate(policy, tmp_path / "parts.json")
    assert parts.rows == whole.rows
    assert parts.fingerprint == whole.fingerprint
    assert parts.facts["id"] == partial.facts["id"]


def test_a_finished_evaluation_is_not_run_again(tmp_path, monkeypatch):
    first = evaluate("random", tmp_path / "a.json")
    monkeypatch.setattr(success, "evaluate", None)  # calling it would fail
    assert evaluate("random", tmp_path / "a.json") == first


def test_overwrite_runs_it_again(tmp_path):
    evaluate("random", tmp_path / "a.json")
    assert evaluate("expert", tmp_path / "a.json", overwrite=True).facts["policy"] == "expert"


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"num_envs": 2}, {"env_kwargs": {"collision": "bounce"}}, {"num_episodes": 5}]
)
def test_a_file_of_another_evaluation_is_left_alone(tmp_path, change):
    evaluate("random", tmp_path / "a.json")
    before = (tmp_path / "a.json").read_bytes()
    with pytest.raises(ValueError, match=r"a.json holds the result of other settings .*overwrite it"):
        evaluate("random", tmp_path / "a.json", **change)
    assert (tmp_path / "a.json").read_bytes() == before


def test_another_checkpoint_in_the_same_place_is_another_evaluation(tmp_path, checkpoint):
    copy = tmp_path / "tiny"
    shutil.copytree(checkpoint, copy)
    evaluate(copy, tmp_path / "a.json", num_episodes=1)
    tensors = load_file(copy / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, copy / "model.safetensors")
    with pytest.raises(ValueError, match=r"other settings \(.*key.weights"):
        evaluate(copy, tmp_path / "a.json", num_episodes=1)


def test_other_keywords_are_another_task():
    record = evaluate("random", env_kwargs={"collision": "bounce"}, num_episodes=1)
    assert record.config["env_kwargs"] == {"collision": "bounce"}
    assert record.config["manifest"] == "validation, collision=bounce"
    assert record.config["manifest_hash"] != load_manifest("validation").hash


@pytest.mark.parametrize(("manifest", "logged"), [("validation", False), ("held-out", True), ("random-wall", True)])
def test_looks_at_test_episodes_are_logged(log, manifest, logged):
    evaluate("random", manifest=manifest, num_episodes=1)
    assert log.exists() == logged
    if logged:
        entry = json.loads(log.read_text())
        assert entry["manifest"] == manifest
        assert {"commit", "command", "summary", "config", "seed"} <= set(entry)


def test_a_log_that_cannot_be_written_fails_no_evaluation(log):
    log.parent.write_text("a file where the folder should be")
    assert evaluate("random", manifest="held-out", num_episodes=1).finished


@pytest.mark.parametrize("policy", ["random", "rgb"])
def test_an_environment_of_ones_own(rgb_env, rgb_checkpoint, policy):
    record = evaluate(rgb_checkpoint if policy == "rgb" else policy, env_id=rgb_env)
    summary = record.facts["summary"]
    assert summary["num_episodes"] == 6
    assert summary["env_steps"] == 6 * 30  # the environment's limit
    assert summary["spl"] is None
    assert record.config["manifest"] == rgb_env
    assert record.key["environment"] == "rgb-reach"


def test_fewer_episodes_of_ones_own_environment_are_the_first_of_more(rgb_env):
    few, more = (evaluate("random", env_id=rgb_env, num_episodes=n).rows for n in (3, 6))
    assert few == more[:3]


def test_two_rooms_without_a_manifest():
    record = evaluate("expert", env_id="TwoRooms-v0", env_kwargs={"collision": "bounce"})
    assert record.facts["summary"]["final_success"] == 1.0
    assert record.config["env_kwargs"] == {"collision": "bounce"}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"policy": "clever"}, "policy must be one of 'random', 'expert'.* or the directory of a checkpoint"),
        ({"policy": "random", "manifest": "easy"}, "manifest must be one of 'random-wall'"),
        ({"policy": "random", "num_episodes": 501}, "num_episodes must be from 1 to 500"),
        ({"policy": "random", "env_id": "Nowhere-v0"}, "env_id must be a registered Gymnasium environment"),
        ({"policy": "random", "env_id": "TwoRooms-v0", "num_episodes": 0}, "num_episodes must be at least 1, got 0"),
        (
            {"policy": "expert", "env_id": "Pendulum-v1"},
            "'expert' needs an environment with a scripted expert, got 'Pend",
        ),
        ({"policy": "random", "env_id": "Pendulum-v1", "env_kwargs": {"x": 1}}, "env_id must be a registered"),
        (
            {"policy": "random", "env_id": "Pendulum-v1"},
            r"must report 'is_success' in info .*\(--goal-image.success says what counts",
        ),
        (
            {"policy": "random", "env_id": "Pendulum-v1", "goal_image": GoalImageConfig(size=16)},
            "--goal-image.success must be given where success is measured",
        ),
        ({"policy": "random", "goal_image": GoalImageConfig(size=16)}, "goal_image must be given with --env-id only"),
    ],
)
def test_bad_requests(kwargs, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**kwargs)


def test_a_checkpoint_of_other_images_is_refused(rgb_env, checkpoint):
    with pytest.raises(ValueError, match=r"must have the shape the checkpoint was trained on, \(2, 65, 65\)"):
        evaluate(checkpoint, env_id=rgb_env)


def test_an_environment_without_images_is_refused(checkpoint):
    with pytest.raises(ValueError, match="must be a Dict with images 'observation' and 'desired_goal'"):
        evaluate(checkpoint, env_id="Pendulum-v1")


def test_another_appearance_is_another_evaluation(tmp_path, checkpoint, monkeypatch):
    seen = []

    class Shifted(success.ShiftedPolicy):
        def predict(self, observation, *arguments):
            seen.append(self.name)
            return super().predict(observation, *arguments)

    monkeypatch.setattr(success, "ShiftedPolicy", Shifted)
    plain = evaluate(checkpoint, tmp_path / "plain.json", num_episodes=2)
    assert "appearance" not in {*plain.key, *plain.config}
    assert not seen
    shifted = evaluate(checkpoint, tmp_path / "shifted.json", num_episodes=2, appearance="agent-colour")
    assert set(seen) == {"agent-colour"}
    assert shifted.key == {**plain.key, "appearance": "agent-colour"}
    assert shifted.config == {**plain.config, "appearance": "agent-colour"}
    assert table([shifted]).rows[0][1] == "validation, agent-colour"
    for appearance in (None, "brightness"):
        with pytest.raises(ValueError, match=r"holds the result of other settings .*appearance"):
            evaluate(checkpoint, tmp_path / "shifted.json", num_episodes=2, appearance=appearance)
    with pytest.raises(ValueError, match=r"holds the result of other settings .*appearance"):
        evaluate(checkpoint, tmp_path / "plain.json", num_episodes=2, appearance="brightness")


def test_help_names_every_appearance(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in SHIFTS)


def test_what_cannot_look_otherwise_is_refused(rgb_env, rgb_checkpoint):
    with pytest.raises(ValueError, match=r"appearance must be one of 'background-colour', .* got 'dark'"):
        evaluate("random", appearance="dark")
    with pytest.raises(ValueError, match=r"appearance must be given to policies that see images; what 'expert' sees"):
        evaluate("expert", appearance="brightness")
    with pytest.raises(ValueError, match=r"in an environment of which nobody says .* got 'agent-size'"):
        evaluate(rgb_checkpoint, env_id=rgb_env, appearance="agent-size")
    record = evaluate(rgb_checkpoint, env_id=rgb_env, appearance="distractor", num_episodes=2)
    assert record.key["appearance"] == "distractor"


def test_a_file_that_is_no_evaluation_is_left_alone(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match=r"a.json must be a record"):
        evaluate("random", tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == "{}"


def test_the_hash_is_that_of_the_weights_that_acted(checkpoint, tmp_path, monkeypatch):
    """Beside a training that writes new weights, what was read first is hashed and acts."""
    folder, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(checkpoint, folder)
    shutil.copytree(checkpoint, other)
    weights = load_file(other / "model.safetensors")
    changed = {k: torch.zeros_like(v) if "actor." in k else v for k, v in weights.items()}
    save_file(changed, other / "model.safetensors")
    config = EvaluateConfig(
        policy=str(folder), manifest="validation", num_episodes=2, latency_episodes=0, progress=False
    )
    expected = run(replace(config, output=tmp_path / "quiet.json"))

    def trained_on(source, *arguments, **keywords):
        shutil.copy(other / "model.safetensors", folder / "model.safetensors")
        return make_policy(source, *arguments, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr("benchmarks.evaluation.success.make_policy", trained_on)
        found = run(replace(config, output=tmp_path / "beside.json"))
    assert found.provenance["checkpoint_hash"] == expected.provenance["checkpoint_hash"]
    assert found.rows == expected.rows
    later = run(replace(config, output=tmp_path / "later.json"))
    assert later.provenance["checkpoint_hash"] != expected.provenance["checkpoint_hash"]
    assert later.rows != expected.rows


def test_a_result_holds_no_path_of_this_machine(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    monkeypatch.setattr("sys.argv", ["worldmodel", "evaluate"])
    copy = shutil.copytree(checkpoint, tmp_path / "elsewhere" / "tiny")
    inside, outside = (
        run(
            EvaluateConfig(
                policy=str(folder),
                manifest="validation",
                num_episodes=1,
                latency_episodes=0,
                output=tmp_path / f"{name}.json",
                progress=False,
            )
        )
        for name, folder in (("inside", checkpoint), ("outside", copy))
    )
    assert (inside.facts["policy"], outside.facts["policy"]) == ("tiny", "tiny")
    assert str(tmp_path) not in (tmp_path / "inside.json").read_text() + (tmp_path / "outside.json").read_text()


def test_the_command_writes_beside_the_others(capsys, monkeypatch):
    main(["random", "--manifest", "two-rooms/validation", "--num-episodes", "2", "--latency-episodes", "0"])
    assert "0.0% [0.0%, 65.8%]" in capsys.readouterr().out
    (path,) = Path("runs/evaluate").glob("*.json")
    assert path.name.startswith("two-rooms-validation-random-")
    assert read_record(path).config["num_episodes"] == 2
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "worldmodel evaluate" in capsys.readouterr().out


def test_a_table_has_a_row_for_each_evaluation(tmp_path):
    records = [evaluate(policy, num_episodes=4, num_envs=4) for policy in ("random", "expert")]
    lines = table(records).markdown().splitlines()
    assert lines[0].startswith("| policy | manifest | episodes | final success | ever success | SPL |")
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 4
    assert lines[3].startswith("| expert | validation | 4 | 100.0% [51.0%, 100.0%] |")
    with pytest.raises(ValueError, match="a record must be of an evaluation: KeyError: 'summary'"):
        table([replace(records[0], facts={"policy": "x"})])


def test_a_table_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one evaluation, got none"):
        table([])
