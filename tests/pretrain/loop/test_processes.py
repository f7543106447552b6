"""Processes of a training run: what cannot be started is said in one line, before anything is begun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain.config import PretrainConfig
from pretrain.loop.processes import is_first_process, make_fabric
from worldmodel.__main__ import main

ROOT = Path(__file__).parents[3]
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "job",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_JOB_NODELIST": "localhost",
}


@pytest.mark.parametrize("accelerator", ["cuda", "mps", "gpu"])
def test_an_accelerator_that_is_not_there_is_named(monkeypatch, accelerator):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device must be one of 'cpu' on this machine, got '(cuda|mps)'"):
        make_fabric(PretrainConfig(accelerator=accelerator), "32-true")


def test_a_scheduler_of_one_task_is_of_no_matter(monkeypatch):
    for name, value in (SLURM | {"SLURM_NTASKS": "1"}).items():
        monkeypatch.setenv(name, value)
    fabric = make_fabric(PretrainConfig(accelerator="cpu"), "32-true")
    fabric.launch()
    assert (fabric.world_size, fabric.global_rank) == (1, 0)


def test_a_scheduler_of_more_tasks_than_processes_is_explained(monkeypatch, capsys, tmp_path):
    for name, value in (SLURM | {"SLURM_NTASKS": "2"}).items():
        monkeypatch.setenv(name, value)
    assert main(["pretrain", "two-rooms", "--num-steps", "1", "--output", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err == (
        "worldmodel pretrain: SLURM's tasks (SLURM_NTASKS, --ntasks) must be as many as --devices times --num-nodes, "
        "1, got 2\n"
    )


def test_several_processes_of_a_program_that_cannot_be_run_again_are_refused(tmp_path):
    program = (
        "import sys; from worldmodel.__main__ import main\n"
        "sys.exit(main(['pretrain', 'two-rooms', '--accelerator', 'cpu', '--devices', '3', '--num-steps', '1']))"
    )
    done = subprocess.run(
        [sys.executable, "-"],
        input=program,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "worldmodel pretrain: devices must be 1 where Python runs from standard input or -c: each further process runs "
        "the program's file again, got 3\n"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        ({"RANK": "0"}, True),
        ({"RANK": "1"}, False),
        ({"LOCAL_RANK": "2"}, False),
        ({"NODE_RANK": "1"}, False),
    ],
)
def test_the_first_process_alone_writes(monkeypatch, variables, first):
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() is first
