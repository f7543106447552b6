"""The command line: help, errors, exit codes, and how little it imports."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.records.store import read_record
from pretrain.presets import PRESETS
from worldmodel import __version__
from worldmodel.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[1]


def exit_code(arguments: list[str]) -> int:
    """What a shell would see."""
    try:
        return main(arguments)
    except SystemExit as error:  # how tyro ends after --help and after arguments that it does not understand
        return int(error.code or 0)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_command(capsys, arguments):
    assert exit_code(arguments) == 0
    shown = capsys.readouterr().out
    for name, (text, _) in COMMANDS.items():
        assert name in shown
        assert text in shown


def test_version(capsys):
    assert exit_code(["--version"]) == 0
    assert capsys.readouterr().out == f"worldmodel {__version__}\n"


def test_an_unknown_command_lists_the_known_ones(capsys):
    assert exit_code(["train"]) == 2
    captured = capsys.readouterr()
    assert "command must be one of 'collect', 'moving-mnist', 'pretrain'" in captured.err
    assert "got 'train'" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [["pretrain"], ["pretrain", "--help"], ["pretrain", "-h"]])
def test_pretrain_lists_every_preset(capsys, arguments):
    assert exit_code(arguments) == 0
    shown = capsys.readouterr().out
    for name, (text, _) in PRESETS.items():
        assert name in shown
        assert text in shown


def test_an_unknown_preset_lists_the_known_ones(capsys):
    assert exit_code(["pretrain", "three-rooms"]) == 1
    message = capsys.readouterr().err
    assert "preset must be one of 'two-rooms'" in message
    assert "got 'three-rooms'" in message


def test_a_presets_help_explains_its_fields(capsys):
    assert exit_code(["pretrain", "two-rooms", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for text in (
        "--learning-rate",
        "Peak learning rate.",
        "--model.latent-dim",
        "Number of latent features D",
        "--weights.covariance",
        "decorrelates latent features",
        "--data.batch-size",
        "Windows in a batch, over all processes",
        "--max-minutes",
        "the same command resumes the run",
    ):
        assert text in shown, text


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--learning-rates", "1"], "--learning-rate"),
        (["--model.latent-dims", "8"], "--model.latent-dim"),
        (["--learning-rate", "fast"], "fast"),
        (["--model.encoder", "mlp"], "strided"),
    ],
)
def test_arguments_that_are_not_understood_exit_with_2_and_a_hint(capsys, arguments, hint):
    assert exit_code(["pretrain", "two-rooms", *arguments]) == 2
    assert hint in capsys.readouterr().err


def test_errors_in_what_was_asked_for_exit_with_1_and_one_line(capsys):
    assert exit_code(["pretrain", "dataset"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("worldmodel pretrain: data.dataset must be one of two-rooms, or the id or folder")
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "the disk is full"),
        (FloatingPointError("the loss must be finite"), 1, "the loss must be finite"),
        (FileNotFoundError(errno.ENOENT, "No such file", "there"), 1, "there"),
        (ValueError(), 1, "ValueError"),
    ],
)
def test_failures_become_exit_codes_and_words(capsys, monkeypatch, error, code, words):
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("pretrain.train.main", fail)
    assert exit_code(["pretrain", "two-rooms"]) == code
    message = capsys.readouterr().err
    assert "worldmodel pretrain: " in message
    assert words in message


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from worldmodel.__main__ import main; code = main(['--help']); "
        "heavy = {'torch', 'numpy', 'gymnasium', 'tyro', 'minari', 'pygame'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: worldmodel COMMAND")


def test_the_module_runs_as_a_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "worldmodel", "fly"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "got 'fly'" in done.stderr


def start(arguments: list[str], folder: Path, **environment: str) -> subprocess.Popen[str]:
    """The command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "worldmodel", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def test_sigterm_is_ctrl_c(tmp_path):
    """An evaluation is stopped between two batches, says so, and goes on with the same command."""
    arguments = ["evaluate", "random", "--manifest", "validation", "--num-envs", "1", "--latency-episodes", "0"]
    arguments += ["--output", "e.json", "--no-progress"]
    running = start(arguments, tmp_path)
    while not (tmp_path / "e.json").exists():
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 130, said
    assert said.endswith("worldmodel evaluate: interrupted; the same command goes on from what was saved\n")
    before = read_record(tmp_path / "e.json")
    assert 0 < len(before.rows) < 500
    assert not before.finished


NOBODY = """
import pwd, runpy, sys

def nobody(number):
    raise KeyError(number)

pwd.getpwuid = nobody  # as in a container that runs with a number that no user has
sys.argv[0] = "worldmodel"
runpy.run_module("worldmodel", run_name="__main__")
"""


@pytest.mark.parametrize(
    "arguments", [["pretrain", "two-rooms", "--help"], ["evaluate", "random", "--num-episodes", "1"]]
)
def test_consoles_that_are_not_utf_8_and_a_missing_home_are_of_no_matter(tmp_path, arguments):
    """Tables hold dashes, help holds mathematical signs, and nobody needs a home to see them."""
    more = ["--manifest", "validation", "--latency-episodes", "0"] if arguments[0] == "evaluate" else []
    environment = {key: value for key, value in os.environ.items() if key != "HOME"}
    done = subprocess.run(
        [sys.executable, "-c", NOBODY, *arguments, *more],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout.isascii()
