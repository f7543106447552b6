"""Frames in a file: the same as in memory, made once, made anew when the data changes, and not in memory."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pretrain.data.recorded import cache as module
from pretrain.data.recorded import episodes as loading
from pretrain.data.recorded.cache import StoredFrames
from pretrain.data.recorded.windows import RecordedWindows, open_windows
from recordings import episodes, write_ogbench

TESTS = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path) -> Path:
    return write_ogbench(tmp_path, episodes())


def windows(path: Path, **keywords) -> tuple[RecordedWindows, ...]:
    return open_windows(path, 3, 2, **{"validation_fraction": 0.25, "in_memory": "no"} | keywords)


def made(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*.npy"))


def test_windows_from_the_file_are_those_from_memory(path):
    for stored, held in zip(windows(path, context=2), windows(path, context=2, in_memory="yes"), strict=True):
        assert isinstance(stored.data.frames, StoredFrames)
        assert isinstance(held.data.frames, np.ndarray)
        a, b = (source.sample(20, rng(), 2) for source in (stored, held))
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True) if x is not None)
        whole = [list(source.whole_episodes(1, 2, 1, rng())) for source in (stored, held)]
        assert len(whole[0]) == len(held.episodes)
        for a, b in zip(*whole, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True) if x is not None)


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_the_file_is_beside_the_data_and_made_once_for_windows_of_any_length(path, monkeypatch):
    train, validation = windows(path)
    assert train.data is validation.data
    assert len(made(path.parent / ".frames")) == 1
    assert sorted(file.suffix for file in (path.parent / ".frames").iterdir()) == [".json", ".lock", ".npy"]
    monkeypatch.setattr(loading, "_read_episode", lambda *_: pytest.fail("frames are read again"))
    windows(path)
    open_windows(path, 2, 1, validation_fraction=0.5, in_memory="no")


def test_other_options_make_another_file_and_changed_data_replaces_it(path):
    windows(path)
    folder = path.parent / ".frames"
    (first,) = made(folder)
    windows(path, size=32)
    assert len(made(folder)) == 2
    left_over = folder / f".{first}.123456789.tmp"
    left_over.touch()
    write_ogbench(path.parent, episodes(seed=1, lengths=(7, 8, 9, 10)))
    changed = windows(path)[0]
    assert changed.data.frames.shape[0] == 38
    assert len(made(folder)) == 2
    assert first not in made(folder)
    assert not left_over.exists()


def test_who_comes_second_waits_for_the_file_of_the_first(path, monkeypatch):
    made_by, original = [], module._make

    def slow(*arguments):
        made_by.append(threading.get_ident())
        time.sleep(0.3)
        original(*arguments)

    monkeypatch.setattr(module, "_make", slow)
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda _: windows(path)[0].sample(9, rng()), range(3)))
    assert len(made_by) == 1
    assert torch.equal(parts[0].pixels, parts[1].pixels)
    assert torch.equal(parts[0].pixels, parts[2].pixels)


def test_a_folder_may_be_named_by_option_or_variable(path, tmp_path, monkeypatch):
    windows(path, cache=tmp_path / "option")
    monkeypatch.setenv("WORLDMODEL_FRAMES", str(tmp_path / "variable"))
    windows(path)
    assert len(made(tmp_path / "option")) == len(made(tmp_path / "variable")) == 1
    assert not (path.parent / ".frames").exists()


@pytest.mark.parametrize(("free_bytes", "kind"), [(3e6, np.ndarray), (8e5, StoredFrames)])
def test_frames_are_held_where_they_take_a_third_of_the_free_memory(path, monkeypatch, free_bytes, kind):
    memory = SimpleNamespace(available=free_bytes)  # the frames take 0.34 MB
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    assert isinstance(windows(path, in_memory="auto")[0].data.frames, kind)


def test_frames_that_shall_be_held_but_do_not_fit_are_refused(path, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1e5))
    with pytest.raises(ValueError, match=r"visual-walk-v0.npz' \(28 frames .* must fit into memory, got 344 kB for"):
        windows(path, in_memory="yes")


def test_a_full_disk_is_named_with_what_helps(path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(10, 10, 1e5))
    with pytest.raises(OSError, match=r"must be written to .*\.frames: name another folder with data.cache .*are free"):
        windows(path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.undo()
    monkeypatch.setattr(module.npy, "write_array_header_1_0", full)
    with pytest.raises(OSError, match=r"smaller images with data.size; got No space left on device"):
        windows(path)
    assert not [file for file in (path.parent / ".frames").iterdir() if file.suffix != ".lock"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_a_folder_that_cannot_be_written_to_is_named(path):
    with pytest.raises(OSError, match=r"must be written to /proc/frames: name another folder with data.cache \(or WO"):
        windows(path, cache="/proc/frames")


def test_a_damaged_file_is_not_read(path):
    windows(path)
    (name,) = made(path.parent / ".frames")
    os.truncate(path.parent / ".frames" / name, 10_000)
    with pytest.raises(ValueError, match=r"must hold uint8 frames \(N, C, H, W\)"):
        windows(path)


def test_faults_are_remembered(path, monkeypatch, caplog):
    original = loading.check_values

    def check(values, space, must, first=0):
        if must.startswith("episode 2") and "frames" in must:
            raise loading.DatasetError(f"{must} that are good, got none")
        original(values, space, must, first)

    monkeypatch.setattr(loading, "check_values", check)
    windows(path, validation_fraction=0.5, leave_out=True)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"must have frames that are good, got none \(1 of 4 episodes are at fault"):
        windows(path, validation_fraction=0.5)
    caplog.clear()
    found = windows(path, validation_fraction=0.5, leave_out=True)
    assert 2 not in np.concatenate([part.episodes for part in found])
    assert "1 of 4 episodes of dataset" in caplog.text
    (notes,) = (path.parent / ".frames").glob("*.json")
    assert list(json.loads(notes.read_text())["faults"]) == ["2"]


GROWTH = """
import sys
import threading
import time
import numpy as np, psutil
from pretrain.data.recorded.windows import open_windows

def resident():
    return psutil.Process().memory_info().rss

def draw(windows):
    for _ in range(40):
        windows.sample(32, generator).pixels.sum()

generator = np.random.default_rng(0)
small, large = sys.argv[1:]
draw(open_windows(small, 5, 2, splits=["train"], in_memory="no")[0])
before = resident()
windows = open_windows(large, 5, 2, splits=["train"], in_memory="no")[0]
made = resident()
draw(windows)
print(made - before, resident() - before)
"""


def test_resident_memory_does_not_grow_with_the_data(tmp_path):
    data = episodes([100] * 4)
    for name, times in (("small", 1), ("large", 20)):
        (tmp_path / name).mkdir()
        write_ogbench(tmp_path / name, data * times)
    paths = [str(tmp_path / name / "visual-walk-v0.npz") for name in ("small", "large")]
    assert Path(paths[1]).stat().st_size > 95e6
    command = [sys.executable, "-c", GROWTH, *paths]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=True)
    for growth in map(int, done.stdout.split()):
        assert growth < 64e6  # of 99 MB; pieces of 16 MiB are read at a time, and a few may be on their way
