"""``worldmodel train-rl`` and what may happen to its folder: kills, signals, torn and foreign files, two at once."""

import functools
import json
import os
import shutil
import signal
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents import rl
from agents.evaluation.task import make_task
from agents.rl.storage.files import read_progress
from agents.rl.vec_env import SB3VecEnv
from agents.saved import make_policy, open_source
from pretrain.rl import train as train_rl
from pretrain.rl.train import TrainRLConfig, hyperparameters, run
from worldmodel.checkpoint import SHIPPED, CheckpointError
from worldmodel.config import ConfigError
from worldmodel.storage.locks import locked

SMALL = {"learning_starts": 100, "buffer_size": 1_000, "batch_size": 8, "gradient_steps": 1}


class Killed(BaseException):
    """The process is no more."""


def tiny_run(folder: Path, algorithm: str = "a2c", **changes) -> TrainRLConfig:
    settings = {"max_steps": 1600, "options": SMALL if rl.is_off_policy(algorithm) else {}, "net_arch": (8,)}
    return TrainRLConfig(
        algorithm=algorithm,
        num_envs=2,
        max_minutes=None,
        eval_every=400,
        eval_episodes=2,
        output=folder,
        progress=False,
        **settings | changes,
    )


def evaluations(folder: Path) -> list[int]:
    """After how many steps there were evaluations, in all files the same."""
    with np.load(folder / rl.EVALUATIONS) as file:
        steps = file["timesteps"].tolist()
        assert {len(file[name]) for name in file.files} == {len(steps)}
    lines = [json.loads(line) for line in (folder / rl.CURVE).read_text().splitlines()]
    assert [line["steps"] for line in lines] == [4 * n for n in steps]
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)
    return steps


def acts(folder: Path) -> bool:
    """Whether the folder holds a policy that can be evaluated."""
    task = make_task("TwoRooms-v0")
    policy, kind = make_policy(str(folder), task)
    env = task.vector(kind)(2)
    actions, _ = policy.predict(env.reset(seed=0)[0], deterministic=True)
    env.close()
    return all(task.action_space.contains(action) for action in actions)


def is_best(folder: Path) -> bool:
    """Whether the best model is the one that the progress tells of."""
    progress = read_progress(folder)
    with np.load(folder / rl.EVALUATIONS) as file:
        returns = dict(zip(file["timesteps"].tolist(), file["results"].mean(axis=1).tolist(), strict=True))
    with zipfile.ZipFile(folder / rl.BEST) as archive:
        steps = json.loads(archive.read("data"))["num_timesteps"]
    return steps == progress.best_steps and max(returns.values()) == progress.best_return == returns[steps]


@pytest.fixture
def saving(monkeypatch):
    """Sets the seconds between two saves."""

    def set_seconds(seconds: float) -> None:
        monkeypatch.setattr(rl, "train", functools.partial(train, save_seconds=seconds))

    train = rl.train
    return set_seconds


def kill_at(monkeypatch, count: int) -> None:
    """From the so-manieth file on that is renamed or removed, nothing is done any more."""
    calls = iter(range(1, 10**6))

    def counted(method):
        def call(self, *arguments, **keywords):
            if self.parent.name == "tensorboard":
                return method(self, *arguments, **keywords)
            if next(calls) >= count:
                raise Killed
            return method(self, *arguments, **keywords)

        return call

    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))


@pytest.mark.parametrize(
    ("algorithm", "seconds", "counts"),
    [("a2c", 0.0, (9, 11, 15, 22, 29)), ("sac", 1e9, (9, 12, 16))],
)
def test_a_run_that_is_killed_at_any_file_ends_as_if_it_had_not_been(algorithm, seconds, counts, saving, tmp_path):
    saving(seconds)
    whole = run(tiny_run(tmp_path / "whole", algorithm))
    expected = sorted(path.name for path in whole.iterdir())
    assert evaluations(whole) == [100, 200, 300, 400]
    for count in counts:
        config = tiny_run(tmp_path / str(count), algorithm)
        with pytest.MonkeyPatch.context() as monkeypatch:
            kill_at(monkeypatch, count)
            with pytest.raises(Killed):
                run(config)
        if (config.output / rl.BEST).exists() and not (config.output / ".commit.json").exists():
            assert acts(config.output)
        folder = run(config)
        assert sorted(path.name for path in folder.iterdir()) == expected
        assert rl.spent(folder).steps == rl.spent(whole).steps == 400
        assert evaluations(folder) == evaluations(whole)
        assert is_best(folder)
        assert acts(folder)


def test_no_file_changes_between_two_saves(saving, tmp_path, monkeypatch):
    saving(1e9)
    seen = set()
    step = SB3VecEnv.step_wait

    def look(self):
        seen.add(tuple(sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))))
        return step(self)

    monkeypatch.setattr(SB3VecEnv, "step_wait", look)
    run(tiny_run(tmp_path, "sac"))
    assert seen == {("rl.json", "tensorboard")}


@pytest.mark.parametrize(("algorithm", "number"), [("a2c", signal.SIGTERM), ("sac", signal.SIGINT)])
@pytest.mark.parametrize("at", [30, 260])
def test_a_signal_stops_a_run_which_goes_on_as_if_it_had_not(algorithm, number, at, tmp_path, monkeypatch):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    calls = iter(range(10**6))
    step = SB3VecEnv.step_wait

    def interrupt(self):
        if next(calls) == at:  # in an evaluation or in a rollout
            os.kill(os.getpid(), number)
        return step(self)

    config = tiny_run(tmp_path, algorithm)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SB3VecEnv, "step_wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    stopped = rl.spent(tmp_path)
    assert stopped.steps < 400
    assert stopped.steps % (100 if algorithm == "a2c" else 2) == 0
    run(config)
    assert rl.spent(tmp_path).steps == 400
    assert evaluations(tmp_path) == [100, 200, 300, 400]
    assert is_best(tmp_path)


@pytest.mark.parametrize("name", [rl.EVALUATIONS, rl.CURVE, rl.BEST])
@pytest.mark.parametrize("torn", [lambda data: data[:-20], lambda data: b"", lambda data: b"\0" * len(data)])
def test_torn_files_do_not_stop_a_run(name, torn, tmp_path, caplog):
    config = tiny_run(tmp_path, max_steps=800)
    run(config)
    path = tmp_path / name
    path.write_bytes(torn(path.read_bytes()))
    run(config)  # which is finished
    assert acts(tmp_path)
    run(replace(config, max_steps=1600))
    assert rl.spent(tmp_path).steps == 400
    assert acts(tmp_path)
    with np.load(tmp_path / rl.EVALUATIONS) as file:
        assert file["timesteps"].tolist()[-2:] == [300, 400]
    if name != rl.CURVE:
        assert name in caplog.text
    if name == rl.BEST:
        assert "the last model takes the place of the best" in caplog.text


def test_a_best_model_that_is_missing_is_replaced(tmp_path, caplog):
    config = tiny_run(tmp_path, max_steps=800)
    run(config)
    (tmp_path / rl.BEST).unlink()
    assert acts(tmp_path)
    assert "holds no best_model.zip" in caplog.text
    run(config)
    assert (tmp_path / rl.BEST).read_bytes() == (tmp_path / rl.MODEL).read_bytes()
    # What it returns is not known: the next model that is evaluated is better.
    run(replace(config, max_steps=1600))
    assert read_progress(tmp_path).best_steps in (300, 400)


def test_damage_that_a_run_cannot_mend_is_named(tmp_path):
    config = tiny_run(tmp_path, "sac", max_steps=800)
    run(config)
    for name, message in (
        (rl.MODEL, r"model\.zip must be a zip of a trained model with tensors in policy\.pth"),
        (rl.REPLAY, r"replay\.npz must be an npz file of arrays: .*; without the file, the run goes on with an empty"),
        (rl.PROGRESS, r"progress\.json must be what a run has spent"),
        (rl.CONFIG, r"rl\.json must be how a run was configured"),
    ):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:-20])
        with pytest.raises(CheckpointError, match=message):
            run(replace(config, max_steps=1600))
        (tmp_path / name).unlink()
        if name in (rl.MODEL, rl.PROGRESS):
            with pytest.raises(CheckpointError, match=rf"must hold {name} beside .*; or start anew with --overwrite"):
                run(replace(config, max_steps=1600))
        (tmp_path / name).write_bytes(whole)
    (tmp_path / rl.REPLAY).unlink()
    run(replace(config, max_steps=1600))
    assert evaluations(tmp_path) == [100, 200, 300, 400]


@pytest.mark.parametrize("algorithm", ["a2c", "sac"])
def test_steps_are_a_budget_up_to_a_rollout(algorithm, tmp_path):
    rollout = 2 if algorithm == "sac" else 100
    config = tiny_run(tmp_path, algorithm)
    for max_steps in (404, 1001, 1001, 1600):
        run(replace(config, max_steps=max_steps))
        budget = max_steps // config.action_repeat
        assert budget <= rl.spent(tmp_path).steps < budget + rollout


def test_two_runs_do_not_write_to_one_folder(tmp_path):
    with locked(tmp_path), pytest.raises(BlockingIOError, match="is being written by another process"):
        run(tiny_run(tmp_path))


def test_a_run_of_an_older_version_is_trained_again(tmp_path):
    (tmp_path / rl.CONFIG).write_text('{"algorithm": "a2c", "observation": "state"}')
    (tmp_path / rl.OLD_REPLAY).write_bytes(b"a pickle")
    config = tiny_run(tmp_path, max_steps=400)
    for call in (lambda: run(config), lambda: open_source(str(tmp_path))):
        with pytest.raises(
            CheckpointError, match="made by an older version, whose pickles are not read: train it again"
        ):
            call()
    run(replace(config, overwrite=True))
    assert not (tmp_path / rl.OLD_REPLAY).exists()
    assert acts(tmp_path)


def test_a_checkpoint_of_this_project_comes_first(tmp_path):
    trained = run(tiny_run(tmp_path / "run", max_steps=400))
    both = tmp_path / "both"
    shutil.copytree(SHIPPED / "two-rooms", both)
    for name in (rl.CONFIG, rl.BEST, rl.MODEL):
        shutil.copyfile(trained / name, both / name)
    source = open_source(str(both))
    assert source.kind == "world model"
    assert source.sha256 == open_source("two-rooms").sha256
    with pytest.raises(
        ValueError, match=r"output must be a folder of its own, got .*both, which holds the config\.json"
    ):
        run(tiny_run(both))
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="output must be a folder, got the file"):
        run(tiny_run(tmp_path / "file"))


def test_what_cannot_be_built_claims_no_folder(tmp_path):
    with pytest.raises(ValueError, match="a replay buffer of buffer_size 1,000,000,000,000 must fit into memory"):
        run(tiny_run(tmp_path, "sac", options={"buffer_size": 10**12}))
    assert not (tmp_path / rl.CONFIG).exists()
    run(tiny_run(tmp_path, "sac", max_steps=400))


def test_codes_must_be_those_that_a_run_saw(tmp_path):
    folder = run(tiny_run(tmp_path, "a2c", observation="pixels", max_steps=400))
    content = json.loads((folder / rl.CONFIG).read_text())
    content["observation_space"]["spaces"]["observation"]["shape"] = [99]
    (folder / rl.CONFIG).write_text(json.dumps(content))
    (folder / rl.PROGRESS).unlink()
    with pytest.raises(CheckpointError, match=r"do not fit rl\.json|must describe observations of 260 numbers"):
        make_policy(str(folder), make_task("TwoRooms-v0"))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("algorithm", "options", "message"),
    [
        ("sac", {"verbose": 1}, r"options must be keywords of sac \(learning_rate, .*\), got 'verbose'"),
        ("sac", {"n_steps": 3}, "options must be keywords of sac .* got 'n_steps'"),
        ("ppo", {"buffer_size": 3}, "options must be keywords of ppo .* got 'buffer_size'"),
        ("sac", {"batch_size": 0}, "options.batch_size must be an integer, at least 1, got 0"),
        ("sac", {"batch_size": 1.5}, "options.batch_size must be an integer, at least 1, got 1.5"),
        ("sac", {"batch_size": True}, "options.batch_size must be an integer, at least 1, got True"),
        ("sac", {"buffer_size": -1}, "options.buffer_size must be an integer, at least 1, got -1"),
        ("sac", {"learning_starts": -1}, "options.learning_starts must be an integer, at least 0, got -1"),
        ("sac", {"learning_starts": 5}, "options.learning_starts must be at least 98 for hindsight in 2 environments"),
        ("sac", {"buffer_size": 150}, "options.buffer_size must be at least 200 for hindsight in 2 environments"),
        ("sac", {"gradient_steps": -2}, "options.gradient_steps must be an integer, at least 1, or -1, got -2"),
        ("sac", {"gradient_steps": 0}, "options.gradient_steps must be an integer, at least 1, or -1, got 0"),
        ("sac", {"gamma": float("nan")}, "must be a finite number, got nan"),
        ("sac", {"gamma": 0.0}, "options.gamma must be a number greater than 0, at most 1, got 0.0"),
        ("sac", {"tau": 5}, "options.tau must be a number greater than 0, at most 1, got 5"),
        ("sac", {"learning_rate": 0}, "options.learning_rate must be a finite number greater than 0, got 0"),
        ("sac", {"learning_rate": float("inf")}, "must be a finite number, got inf"),
        ("sac", {"learning_rate": 10**400}, "options.learning_rate must be a finite number greater than 0"),
        ("sac", {"learning_rate": "fast"}, "must be a number, got 'fast'"),
        ("sac", {"use_sde": 0.5}, r"options.use_sde must be True or False \(or 1 or 0\), got 0.5"),
        ("tqc", {"top_quantiles_to_drop_per_net": 25}, "must be an integer from 0 to 24, got 25"),
        ("ppo", {"gae_lambda": 1.1}, "options.gae_lambda must be a number from 0 to 1, got 1.1"),
        ("ppo", {"batch_size": 1}, "options.batch_size must be at least 2 with normalize_advantage, got 1"),
        ("ppo", {"clip_range": -0.1}, "options.clip_range must be a finite number greater than 0, got -0.1"),
    ],
)
def test_options_that_make_no_sense_are_refused(algorithm, options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        tiny_run(tmp_path, algorithm, options=options)


def test_options_are_of_the_type_that_algorithms_take():
    config = TrainRLConfig(
        algorithm="sac", options={"buffer_size": 1e5, "gamma": 1, "use_sde": 1, "gradient_steps": -1.0}
    )
    options = hyperparameters(config)
    assert (options["buffer_size"], options["gamma"], options["use_sde"]) == (100_000, 1.0, True)
    assert [type(options[name]) for name in ("buffer_size", "gamma", "use_sde", "gradient_steps")] == [
        int,
        float,
        bool,
        int,
    ]
    for algorithm in rl.ALGORITHMS:
        defaults = hyperparameters(TrainRLConfig(algorithm=algorithm))
        assert rl.check_options(algorithm, defaults) == defaults


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net_arch": (0,)}, r"net_arch\[0\] must be at least 1, got 0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"max_minutes": float("nan")}, "max_minutes must be a finite number, got nan"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"seed": 2**32}, "seed must be less than 4294967296, got 4294967296"),
        ({"num_envs": 10**6}, "num_envs must be at most 65536, got 1000000"),
        ({"action_repeat": 10**6}, "action_repeat must be at most 1000, got 1000000"),
        ({"eval_every": 0}, "eval_every must be at least 1, got 0"),
        ({"eval_episodes": 0}, "eval_episodes must be at least 1, got 0"),
    ],
)
def test_settings_have_ranges(change, message):
    with pytest.raises(ConfigError, match=message):
        TrainRLConfig(algorithm="sac", **change)


def test_the_largest_seed_trains(tmp_path):
    assert rl.spent(run(tiny_run(tmp_path, "sac", seed=2**32 - 1, max_steps=400))).steps == 100


def test_threads_are_set_and_the_folder_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = run(tiny_run(Path("here"), max_steps=400))
    assert folder == tmp_path / "here"
    assert train_rl.EVALUATIONS in {path.name for path in folder.iterdir()}
