"""Collections that were cut off, damaged or contended: named or repaired, and no episode is lost."""

import importlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pretrain.collection import episodes
from pretrain.collection.collect import CollectConfig, collect
from pretrain.collection.shards import RecordedEpisode, ShardFolder, collecting
from worldmodel.storage.files import replacing
from worldmodel.storage.locks import locked

module = importlib.import_module("pretrain.collection.collect")  # the package's attribute of this name is the function
WORK = Path("two-rooms/.random-walk-v0.collecting")
TARGET = Path("two-rooms/random-walk-v0")


def small(root: Path, **changes) -> CollectConfig:
    settings = {"num_episodes": 6, "max_episode_steps": 12, "root": root, "seed": 3, "progress": False}
    return CollectConfig(**settings | changes)


def states(dataset) -> list[bytes]:
    """What tells datasets apart."""
    return [e.observations["observation"].tobytes() + e.actions.tobytes() for e in dataset.iterate_episodes()]


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> list[bytes]:
    return states(collect(small(tmp_path_factory.mktemp("whole"))))


@pytest.fixture
def unfinished(tmp_path, monkeypatch) -> Path:
    """A folder with all episodes, stopped before they were joined."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "join", stop)
        with pytest.raises(KeyboardInterrupt):
            collect(small(tmp_path))
    return tmp_path


@pytest.fixture
def joined(tmp_path, monkeypatch) -> Path:
    """A folder with all episodes, joined, stopped before the dataset was moved to its place."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "publish", stop)
        with pytest.raises(KeyboardInterrupt):
            collect(small(tmp_path))
    return tmp_path


# Damage


def cut_actions(path: Path) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"actions": arrays["actions"][:-3]})


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def drop(path: Path) -> None:
    with np.load(path) as file:
        np.savez(path, **{name: file[name] for name in file if name != "rewards"})


def pickled(path: Path) -> None:
    np.savez(path, actions=np.array([{}], dtype=object))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        cut_actions,
        flip,
        drop,
        pickled,
        fifo,
        folder,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: np.save(path.open("wb"), np.zeros(3)),
    ],
    ids=["cut", "flip", "drop", "pickle", "fifo", "folder", "empty", "torn", "npy"],
)
def test_damaged_shards_are_collected_anew(unfinished, expected, caplog, damage: Callable[[Path], object]):
    damage(unfinished / WORK / "episode-0000002.npz")
    with caplog.at_level(logging.INFO):
        assert states(collect(small(unfinished))) == expected
    assert "continuing: 5 of 6 episodes are there already" in caplog.text


MANIFESTS = {
    "list": b"[1, 2]",
    "no UTF-8": b"\xff\xfe",
    "torn": b'{"format": 1, "env',
    "deep": b"[" * 100_000,
    "": None,
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_damaged_manifest_loses_no_episodes(unfinished, expected, kind):
    manifest = unfinished / WORK / "manifest.json"
    content = manifest.read_bytes()
    manifest.unlink()
    if MANIFESTS[kind] is not None:
        manifest.write_bytes(MANIFESTS[kind])
    with pytest.raises(
        ValueError, match=r"unfinished collection whose parameters cannot be read is in .*overwrite"
    ) as e:
        collect(small(unfinished))
    assert "\n" not in str(e.value)
    assert len(list((unfinished / WORK).glob("episode-*.npz"))) == 6
    manifest.write_bytes(content)
    assert states(collect(small(unfinished))) == expected


def test_a_damaged_manifest_can_be_overwritten(unfinished, expected):
    (unfinished / WORK / "manifest.json").write_bytes(b"[1]")
    assert states(collect(small(unfinished, overwrite=True))) == expected


@pytest.mark.parametrize("content", [b"x", b"", b"\xff", b"6" * 5000, b"5"])
def test_a_damaged_mark_is_made_anew(joined, expected, content):
    (joined / WORK / "joined.ok").write_bytes(content)
    assert states(collect(small(joined))) == expected
    assert not (joined / WORK).exists()


@pytest.mark.parametrize("name", ["main_data.hdf5", "metadata.json", ""])
def test_a_joined_dataset_that_is_not_whole_is_joined_anew(joined, expected, name):
    missing = joined / WORK / "joined" / TARGET / "data" / name
    shutil.rmtree(missing) if missing.is_dir() else missing.unlink()
    assert states(collect(small(joined))) == expected


def test_a_dataset_that_was_being_replaced_comes_back(tmp_path, joined):
    """Stopped between the two renames of a replacement, then asked for something else."""
    old = tmp_path / "old"
    collect(small(old, seed=8))
    shutil.move(old / TARGET, joined / WORK / "replaced")
    with pytest.raises(FileExistsError, match="exists already"):
        collect(small(joined, seed=9))
    assert states(collect(small(tmp_path / "again", seed=8))) == states(
        module.minari.MinariDataset(joined / TARGET / "data")
    )


def test_left_overs_of_killed_processes_go(unfinished, expected):
    for name in (".episode-0000009.npz.123.tmp", "episode-0000009.npz.123.tmp"):
        (unfinished / WORK / name).write_bytes(b"half written")
    assert states(collect(small(unfinished))) == expected
    assert not (unfinished / WORK).exists()


def test_episodes_whose_arrays_do_not_fit_are_not_loaded(tmp_path):
    shards = ShardFolder(tmp_path, {})
    lengths = {"observations": 4, "actions": 3, "rewards": 3, "terminations": 3, "truncations": 3}
    arrays = {name: np.zeros((length, 2)) for name, length in lengths.items()}
    whole = RecordedEpisode(seed=1, infos={"is_success": np.zeros(4, bool)}, **arrays)
    shards.save(0, whole)
    assert shards.load(0).seed == 1
    for name in lengths:
        shards.save(1, RecordedEpisode(seed=1, infos=whole.infos, **arrays | {name: arrays[name][1:]}))
        with pytest.raises(ValueError, match=r"shard .*episode-0000001.npz must be a whole episode: .* fit \d actions"):
            shards.load(1)
    assert shards.finished(5) == {0}


# Two writers


def start(root: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "worldmodel", "collect", "--num-episodes", "3000", "--max-episode-steps", "100"]
    return subprocess.Popen(
        [*command, "--root", str(root), "--no-progress", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
    )


def wait_for_shards(process: subprocess.Popen, count: int, work: Path) -> None:
    deadline = time.monotonic() + 120
    while len(list(work.glob("episode-*.npz"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_second_collector_is_refused_and_a_killed_ones_place_is_taken(tmp_path):
    first = start(tmp_path)
    try:
        wait_for_shards(first, 3, tmp_path / WORK)
        for overwrite in (False, True):
            with pytest.raises(
                BlockingIOError, match=rf"is being written by another process \(process {first.pid}, "
            ) as e:
                collect(small(tmp_path, overwrite=overwrite))
            assert str(tmp_path / WORK) in str(e.value)
        assert first.poll() is None
        wait_for_shards(first, 10, tmp_path / WORK)
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    assert len(collect(small(tmp_path, max_episode_steps=100, seed=0))) == 6
    assert not (tmp_path / WORK).exists()


def test_sigterm_keeps_what_is_done(tmp_path):
    process = start(tmp_path)
    wait_for_shards(process, 3, tmp_path / WORK)
    process.send_signal(signal.SIGTERM)
    message, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "of 3000 episodes of 'two-rooms/random-walk-v0' are kept in" in message
    assert not list((tmp_path / WORK).glob("*.tmp"))


def test_looking_at_a_folder_touches_nothing_that_another_writes(tmp_path):
    parameters = {"seed": 0}
    ShardFolder(tmp_path, parameters)

    with replacing(tmp_path / "episode-0000000.npz", durable=False) as temporary, temporary.open("wb") as file:
        file.write(b"half")
        ShardFolder(tmp_path, parameters)
        file.write(b" and half")
    assert (tmp_path / "episode-0000000.npz").read_bytes() == b"half and half"


def test_a_folder_with_nothing_in_it_goes_and_a_held_one_stays(tmp_path):
    with collecting(tmp_path / "work", "collection"):
        (tmp_path / "work" / "file").write_text("kept")
    assert (tmp_path / "work" / "file").exists()
    (tmp_path / "work" / "file").unlink()
    with locked(tmp_path / "work"), pytest.raises(BlockingIOError), collecting(tmp_path / "work", "collection"):
        raise AssertionError
    assert (tmp_path / "work").exists()
    with collecting(tmp_path / "work", "collection"):
        pass
    assert not (tmp_path / "work").exists()


def test_starting_anew_keeps_the_lock(unfinished, monkeypatch):
    seen = []
    original = episodes.run_episode

    def run_episode(*arguments, **keywords):
        with pytest.raises(BlockingIOError), locked(unfinished / WORK):
            raise AssertionError
        seen.append(1)
        return original(*arguments, **keywords)

    monkeypatch.setattr(episodes, "run_episode", run_episode)
    collect(small(unfinished, seed=5, overwrite=True))
    assert len(seen) == 6


def test_interrupted_while_joining(unfinished, monkeypatch, expected):
    original = ShardFolder.load
    calls = []

    def load(self, index):
        calls.append(index)
        if len(calls) == 6 + 3:  # the first six are looked through
            signal.raise_signal(signal.SIGINT)
        return original(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(ShardFolder, "load", load)
        with pytest.raises(
            KeyboardInterrupt, match="interrupted: 6 of 6 episodes of 'two-rooms/random-walk-v0' are kept"
        ):
            collect(small(unfinished))
    assert len(calls) == 6 + 3
    assert not (unfinished / WORK / "joined").exists()
    assert states(collect(small(unfinished))) == expected
