"""Every kind of run on several processes: gradients of the joint batch, launchers of two machines, resuming.

What regularisers and batch normalisation do there is tested in tests/worldmodel/nn/test_distributed.py.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain.loop.run_log import read_metrics
from worldmodel.checkpoint import load_pretrained, load_training_state

ROOT = Path(__file__).parents[2]

PROGRAM = """
import json, sys
from dataclasses import replace
import numpy as np, torch
from lightning_fabric import Fabric
import pretrain.video.training, pretrain.world_model.training, pretrain.world_model.validation
from agents.offline.agent import MethodConfig
from pretrain.data.config import DataConfig
from pretrain.loop.processes import leave_processes
from pretrain.loop.stages import freeze, select
from pretrain.offline.config import OfflineConfig
from pretrain.train import build_training
from pretrain.video.config import HeadsConfig, VideoConfig, VideoDataConfig
from tiny_runs import TINY
from worldmodel.video.build import VideoModelConfig
from worldmodel.video.objective import VideoLossWeights

pretrain.video.training.NORMALIZATION_VIDEOS = pretrain.world_model.training.NORMALIZATION_WINDOWS = 8
VIDEO = VideoConfig(
    model=VideoModelConfig(latent_channels=4, hidden_channels=8, num_blocks=1, stride=4, predictor_channels=(8, 8),
                           head_channels=8),
    data=VideoDataConfig(num_frames=5, batch_size=8), heads=HeadsConfig(on_rollouts=True), projector=(),
    weights=VideoLossWeights(variance=0.0, covariance=0.0, contrast=1.0, random_target=1.0), rollout_steps=2,
)
def offline(name):
    return OfflineConfig(method=MethodConfig(name=name, latent_dim=8, hidden_dim=16, num_layers=1),
                         data=DataConfig(dataset="two-rooms", num_frames=5, batch_size=8), checkpoint="two-rooms")
KINDS = {
    "world model": TINY,
    "video": VIDEO,
    "video supervised": replace(VIDEO, supervised=True),
    "gcbc": offline("gcbc"), "gcidm": offline("gcidm"), "gcivl": offline("gcivl"),
}
ROWS = 8

def trainings():
    # The same for each kind, whatever was drawn before.
    for kind, config in KINDS.items():
        torch.manual_seed(0)
        yield kind, build_training(config, torch.device("cpu"))

def prepared(stage, seed):
    freeze(stage.frozen)
    torch.manual_seed(seed)
    stage.begin()
    return stage.draw(ROWS, np.random.default_rng(seed))

def gradients(stage):
    return {key: p.grad.clone() for key, p in stage.module.named_parameters() if p.grad is not None}

torch.set_num_threads(1)
alone = {}
for kind, training in trainings():
    for seed, stage in enumerate(training.stages):
        batch = prepared(stage, seed)
        loss, _ = stage.module(batch, 3)
        loss.backward()
        alone[kind, stage.name] = float(loss), gradients(stage)
        stage.module.zero_grad()

fabric = Fabric(accelerator="cpu", devices=2)
fabric.launch()
share = ROWS // 2
half = slice(share * fabric.global_rank, share * (fabric.global_rank + 1))
report = {}
for kind, training in trainings():
    for seed, stage in enumerate(training.stages):
        batch = prepared(stage, seed)
        wrapped = fabric.setup(stage.module)  # gradients are averaged as long as it lives
        loss, _ = wrapped(select(batch, half), 3)
        fabric.backward(loss)
        loss_alone, expected = alone[kind, stage.name]
        found = gradients(stage)
        scale = max(float(g.abs().max()) for g in expected.values())
        report[f"{kind}, {stage.name}"] = {
            "same_parameters": found.keys() == expected.keys(),
            "gradient": max(float((found[key] - expected[key]).abs().max()) for key in expected) / scale,
            "loss": [float(fabric.all_reduce(loss.detach())), loss_alone],
        }
        stage.module.zero_grad()
if fabric.global_rank == 0:
    open(sys.argv[1], "w").write(json.dumps(report))
leave_processes()
"""
STAGES = [
    *(f"world model, {stage}" for stage in ("model", "refinement", "policy")),
    *("video, model", "video, heads", "video supervised, model", "video supervised, heads"),
    *("gcbc, model", "gcidm, model", "gcivl, model"),
]
RUN = (
    *("pretrain", "two-rooms", "--accelerator", "cpu", "--num-steps", "4", "--rollout-steps", "2", "--no-progress"),
    *("--log-every", "1", "--validate-every", "4", "--checkpoint-every", "2", "--data.num-frames", "4"),
    *(
        "--data.batch-size",
        "4",
        "--model.encoder",
        "strided",
        "--model.latent-dim",
        "16",
        "--refinement.num-steps",
        "0",
    ),
    *("--model.encoder-channels", "8", "8", "--model.predictor", "mlp", "--model.predictor-hidden-dim", "32"),
    *("--policy.num-steps", "2", "--policy.batch-size", "4"),
    *("--trajectories.count", "4", "--trajectories.num-frames", "4"),
)
OTHERS = (
    "images --data.batch-size 8 --precision 32-true",
    "gcbc --data.batch-size 4 --data.num-frames 4 --method.latent-dim 8 --method.hidden-dim 16",
)
STOPPING = """
import sys
from pretrain.train import Run
from worldmodel.__main__ import main
save = Run._save
def stopping(run, *arguments):
    save(run, *arguments)
    run._deadline = 0.0  # after the first checkpoint
Run._save = stopping
sys.exit(main(sys.argv[1:]))
"""


def environment(**more: str) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MASTER_", "LOCAL_", "NODE_"))}
    paths = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    return inherited | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"} | more


def run(folder: Path, *command: str) -> str:
    """Runs a program of Python; returns what it wrote to its standard output."""
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment(), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict:
    """What two processes saw of each stage of each kind of run."""
    folder = tmp_path_factory.mktemp("stages")
    (folder / "program.py").write_text(PROGRAM)
    run(folder, "program.py", "report.json")
    return json.loads((folder / "report.json").read_text())


def test_every_stage_is_looked_at(report):
    assert list(report) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_of_every_stage_equal_those_of_one_process_on_the_joint_batch(report, stage):
    assert report[stage]["same_parameters"]
    assert report[stage]["gradient"] < 1e-4
    averaged, alone = report[stage]["loss"]
    assert averaged == pytest.approx(alone, rel=1e-4)


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def assert_trains(folder: Path, commands: list[tuple[list[str], dict[str, str]]]) -> None:
    """Programs of Python, each with its variables, that run at the same time are the processes of one training."""
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [
        subprocess.Popen([sys.executable, *command], cwd=folder, env=environment(**more), **pipes)
        for command, more in commands
    ]
    said = ""
    try:
        for process in processes:
            output, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
            said += output
    finally:  # where one has failed, the others wait for it
        for process in processes:
            process.kill()
    assert said.count("checkpoint: ") == 1  # the first process speaks for all
    assert [row["step"] for row in read_metrics(folder / "run") if "train/loss" in row] == [1, 2, 3, 4]
    assert load_pretrained(folder / "run").config["training"]["step"] == 6


def test_torchrun_starts_a_run_on_two_machines(tmp_path):
    port = free_port()
    launcher = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1"]
    program = ["-m", "worldmodel", *RUN, "--num-nodes", "2", "--output", "run"]
    nodes = [[*launcher, "--master-port", port, "--node-rank", str(node), *program] for node in (0, 1)]
    assert_trains(tmp_path, [(node, {}) for node in nodes])


def test_tasks_of_slurm_are_the_processes_of_a_run(tmp_path):
    job = {
        "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "job", "SLURM_JOB_NODELIST": "localhost", "SLURM_NODEID": "0",
        "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(),
    }  # fmt: skip
    program = ["-m", "worldmodel", *RUN, "--devices", "2", "--output", "run"]
    assert_trains(tmp_path, [(program, job | {"SLURM_PROCID": task, "SLURM_LOCALID": task}) for task in "01"])


@pytest.mark.parametrize("command", OTHERS)
def test_other_kinds_of_runs_train_on_two_processes(tmp_path, command):
    steps = ("--num-steps", "3", "--log-every", "1", "--validate-every", "3", "--checkpoint-every", "3")
    told = ("--devices", "2", "--accelerator", "cpu", "--no-progress", "--output", str(tmp_path / "run"))
    said = run(tmp_path, "-m", "worldmodel", "pretrain", *command.split(), *steps, *told)
    assert said.count("checkpoint: ") == 1  # the first process speaks for all
    assert [row["step"] for row in read_metrics(tmp_path / "run") if "train/loss" in row] == [1, 2, 3]
    assert load_training_state(tmp_path / "run")["step"] == 3


@pytest.mark.parametrize("devices", [("2", "1"), ("1", "2")])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, devices):
    first, second = devices
    (tmp_path / "stopping.py").write_text(STOPPING)
    output = ("--output", str(tmp_path / "run"))
    run(tmp_path, "stopping.py", *RUN, "--devices", first, *output)
    assert load_training_state(tmp_path / "run")["step"] == 2
    run(tmp_path, "-m", "worldmodel", *RUN, "--devices", second, *output)
    # No step is left out or done twice, and the schedule goes on where it was.
    rows = [row for row in read_metrics(tmp_path / "run") if "train/loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    rates = [row["train/learning_rate"] for row in rows]
    assert rates == sorted(rates, reverse=True)
    assert load_pretrained(tmp_path / "run").config["training"]["step"] == 6
