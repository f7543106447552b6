"""Several processes collect what one collects; what befalls them is told, and nothing hangs."""

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pretrain.collection import shards
from pretrain.collection.collect import CollectConfig, collect
from pretrain.collection.episodes import Source
from worldmodel.cluster.errors import portable
from worldmodel.config import ConfigError

TESTS = Path(__file__).parents[2]
ENV_ID = "slow_steps:SlowPendulum-v0"


@pytest.fixture(autouse=True)
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes tests/slow_steps.py importable, here and in other processes."""
    monkeypatch.syspath_prepend(str(TESTS))


def small(root: Path, **changes) -> CollectConfig:
    settings = {"env_id": ENV_ID, "num_episodes": 5, "root": root, "seed": 3, "num_workers": 2, "progress": False}
    return CollectConfig(**settings | changes)


def content(dataset) -> list[bytes]:
    return [
        np.asarray(e.observations).tobytes() + e.actions.tobytes() + e.rewards.tobytes()
        for e in dataset.iterate_episodes()
    ]


def test_the_dataset_is_the_same_for_any_number_of_workers(tmp_path):
    one, three = (collect(small(tmp_path / str(n), num_workers=n)) for n in (1, 3))
    assert content(one) == content(three)
    assert [m["seed"] for m in one.storage.get_episode_metadata(range(5))] == [
        m["seed"] for m in three.storage.get_episode_metadata(range(5))
    ]


def test_full_disk_and_another_number_of_workers_later(tmp_path, monkeypatch):
    written, original = [], np.savez

    def savez(file, **arrays):
        written.append(1)
        if len(written) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(file, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr(shards.np, "savez", savez)
        with pytest.raises(OSError, match="disk is full: 2 of 5 episodes"):
            collect(small(tmp_path / "full"))
    assert content(collect(small(tmp_path / "full", num_workers=1))) == content(
        collect(small(tmp_path / "roomy", num_workers=1))
    )


@pytest.mark.parametrize(
    ("trouble", "kind", "message"),
    [
        (
            "exit",
            ChildProcessError,
            r"worker process \d+ died with exit code 7 in episode \d; the same command goes on",
        ),
        ("value", ValueError, "^angle must be small, got 3$"),
        ("other", ZeroDivisionError, "^by zero$"),
    ],
)
def test_what_befalls_a_worker_is_told(tmp_path, trouble, kind, message):
    began = time.monotonic()
    with pytest.raises(kind, match=message):
        collect(small(tmp_path, env_kwargs={"trouble": trouble}))
    assert time.monotonic() - began < 60
    assert list(tmp_path.rglob("episode-*.npz"))  # the first of a worker is kept


def test_errors_that_cannot_be_sent_keep_their_kind_and_message():
    class LocalError(RuntimeError):
        """Cannot be imported by name."""

    assert str(portable(ConfigError("a", "b", 3))) == "a must be b, got 3"
    assert isinstance(portable(ConfigError("a", "b", 3)), ValueError)
    assert portable(PermissionError(errno.EACCES, "no")).errno == errno.EACCES
    assert str(portable(LocalError("x"))) == "LocalError: x"


def start(root: Path) -> subprocess.Popen:
    options = ["--env-id", ENV_ID, "--num-episodes", "3000", "--env-kwargs", '{"seconds": 0.02}', "--root", str(root)]
    command = [sys.executable, "-m", "worldmodel", "collect", *options, "--num-workers", "2", "--no-progress"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list(root.rglob("episode-*.npz"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def members(group: int) -> list[int]:
    """Processes of a group, those that ended but were not waited for left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def test_ctrl_c_in_a_terminal(tmp_path):
    process = start(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    _, message = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "the same command goes on" in message
    assert "Traceback" not in message
    wait_for_the_end(process.pid)


def test_workers_of_a_killed_process_end(tmp_path):
    process = start(tmp_path)
    process.kill()
    process.communicate()
    wait_for_the_end(process.pid)


def wait_for_the_end(group: int) -> None:
    deadline = time.monotonic() + 30
    while members(group):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_learned_policies_act_alike_in_any_number_of_workers(tmp_path):
    config = small(tmp_path / "one", env_id="TwoRooms-v0", policy="two-rooms", num_episodes=2, max_episode_steps=8)
    one, two = collect(replace(config, num_workers=1)), collect(replace(config, root=tmp_path / "two"))
    for x, y in zip(one, two, strict=True):
        np.testing.assert_array_equal(x.actions, y.actions)
        np.testing.assert_array_equal(x.observations["observation"], y.observations["observation"])


def test_a_source_gives_the_threads_back():
    import torch

    before = torch.get_num_threads()
    with Source("Pendulum-v1", "random", 0, 5, {}).open() as recorder:
        assert torch.get_num_threads() == 1
        assert len(recorder.record(0).actions) == 5
    assert torch.get_num_threads() == before
