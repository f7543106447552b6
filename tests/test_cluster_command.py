"""Ctrl-C while a command runs its jobs as tasks of Ray, as a terminal sends it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.evaluation.config import EvaluateConfig
from benchmarks.evaluation.episodes import find_episodes
from benchmarks.records.store import read_record
from marked_episodes import marks
from worldmodel.__main__ import main
from worldmodel.config import parse

pytest.importorskip("ray")
TESTS = Path(__file__).parent


def test_ctrl_c_in_a_terminal_ends_with_130_and_the_same_command_goes_on(tmp_path):
    folder, output = tmp_path / "marks", tmp_path / "there.json"
    folder.mkdir()
    arguments = [
        "random", "--env-id", "marked_episodes:MarkedPendulum-v0", "--num-episodes", "6", "--num-envs", "1",
        "--env-kwargs", json.dumps({"folder": str(folder), "seconds": 0.1}), "--latency-episodes", "0",
        "--no-progress", "--output", str(output),
    ]  # fmt: skip

    def start() -> subprocess.Popen[str]:
        """The command as a terminal starts it: a group of processes, all of which Ctrl-C reaches."""
        path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
        return subprocess.Popen(
            [sys.executable, "-m", "worldmodel", "evaluate", *arguments, "--ray", "local"],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip

    stopped = start()
    while not output.exists():
        assert stopped.poll() is None, stopped.communicate()
        time.sleep(0.02)
    os.killpg(stopped.pid, signal.SIGINT)
    _, said = stopped.communicate(timeout=120)
    assert stopped.returncode == 130, said
    assert said.endswith("worldmodel evaluate: interrupted; the same command goes on from what was saved\n")
    assert "Traceback" not in said
    before = read_record(output)
    assert not before.finished
    assert 1 <= len(before.rows) < 6
    ran_before = marks(folder)
    finished = start()
    _, said = finished.communicate(timeout=240)
    assert finished.returncode == 0, said
    record = read_record(output)
    assert record.finished
    assert record.facts["id"] == before.facts["id"]
    assert [row for row in record.rows if row in before.rows] == list(before.rows)
    ran = marks(folder)
    seeds = find_episodes(parse(EvaluateConfig, arguments, prog="", description=""))[0].seeds
    for row in before.rows:
        assert ran[seeds[row["index"]]] == ran_before[seeds[row["index"]]]
    assert main(["evaluate", *arguments[:-1], str(tmp_path / "here.json")]) == 0
    assert read_record(tmp_path / "here.json").rows == record.rows
