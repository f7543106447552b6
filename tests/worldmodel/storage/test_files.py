"""Files: whole or not at all, sets at once, one writer, and nothing read that is no file."""

import errno
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from worldmodel.storage import files
from worldmodel.storage.files import (
    JOURNAL,
    commit,
    current,
    read_bytes,
    read_json,
    read_rows,
    read_set,
    recover,
    replacing,
)
from worldmodel.storage.locks import append_row, locked

ROOT = Path(__file__).parents[3]


def test_replacing_keeps_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            assert path.read_text() == "old"
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_removes_what_a_killed_process_left(tmp_path):
    dead = multiprocessing.get_context("fork").Process(target=lambda: None)
    dead.start()
    dead.join()
    left, of_a_living, of_another = (tmp_path / f".{name}.tmp" for name in (f"a.{dead.pid}", "a.1", f"ab.{dead.pid}"))
    for path in (left, of_a_living, of_another):
        path.write_text("half")
    files.write_text(tmp_path / "a", "whole")
    assert sorted(tmp_path.iterdir()) == sorted([of_a_living, of_another, tmp_path / "a"])


@pytest.mark.parametrize("step", ["old", "journal", "first rename"])
def test_a_commit_is_all_new_or_all_old_wherever_it_is_cut_off(tmp_path, monkeypatch, step):
    commit(tmp_path, {"a": b"old a", "b": b"old b", "c": b"old c"})
    renames = {"old": 0, "journal": 1, "first rename": 2}[step]
    replace, count = Path.replace, [0]

    def cut(self: Path, target: Path) -> Path:
        if count[0] == renames:
            raise KeyboardInterrupt
        count[0] += 1
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            commit(tmp_path, {"a": b"new a", "b": lambda file: file.write(b"new b"), "c": None})
    new = {"a": b"new a", "b": b"new b"}
    old = {"a": b"old a", "b": b"old b", "c": b"old c"}
    expected = old if step == "old" else new
    seen = read_set(tmp_path, ("a", "b", *(() if step != "old" else ("c",))))
    assert seen == expected
    assert current(tmp_path, "a").read_bytes() == expected["a"]
    recover(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == expected


def test_a_full_disk_leaves_the_old_set(tmp_path):
    commit(tmp_path, {"a": b"old", "b": b"old"})

    def full(file) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        commit(tmp_path, {"a": b"new", "b": full})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old", "b": b"old"}


def test_readers_see_one_set_while_a_writer_commits(tmp_path):
    commit(tmp_path, {"a": b"0", "b": b"0"})
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            commit(tmp_path, {"a": str(number).encode(), "b": str(number).encode()})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [read_set(tmp_path, ("a", "b")) for _ in range(60)]
        while len({contents["a"] for contents in seen}) < 10:
            seen.append(read_set(tmp_path, ("a", "b")))
    finally:
        stop.set()
        writer.join()
    assert all(contents["a"] == contents["b"] for contents in seen)


def test_a_journal_names_files_of_its_own_folder_only(tmp_path):
    (tmp_path / JOURNAL).write_text(json.dumps({"new": ["../evil"], "gone": []}))
    with pytest.raises(ValueError, match=r"\.commit\.json must name files of its own folder, got \['\.\./evil'\]"):
        recover(tmp_path)


def test_one_process_at_a_time_holds_a_folder_and_a_killed_one_holds_none(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from worldmodel.storage.locks import locked\n"
        "with locked(Path(sys.argv[1]), 'run'):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(
            BlockingIOError, match=rf"the run .*run is being written by another process \(process {holder.pid},"
        ),
        locked(tmp_path / "run", "run"),
    ):
        pass
    holder.kill()
    holder.wait()
    with locked(tmp_path / "run", "run"), locked(tmp_path / "result.json", "evaluation", is_file=True):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".result.json.lock", "run"]


def special(kind: str, path: Path) -> None:
    """Something that is no regular file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        socket.socket(socket.AF_UNIX).bind(str(path))


@pytest.mark.parametrize(
    ("kind", "name"), [("pipe", "a pipe"), ("folder", "a folder"), ("device", "a character device")]
)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind, name):
    special(kind, tmp_path / "f")
    for read in (read_bytes, read_json, read_rows):
        with pytest.raises(ValueError, match=f"f must be a regular file, got {name}"):
            read(tmp_path / "f")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"[1]", "got a list"),
        (b"3", "got 3"),
        (b'{"a": NaN}', "numbers must be finite, got NaN"),
        (b'{"a": -Infinity}', "numbers must be finite, got -Infinity"),
        (b"\xff\xfe", "codec can't decode"),
        (b"[" * 100_000, "lists nested more than 32 deep"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "lists nested more than 32 deep"),
    ],
)
def test_what_is_no_object_is_named(tmp_path, content, reason):
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"f.json must be the JSON of a thing, an object: .*{reason}"):
        read_json(tmp_path / "f.json", "the JSON of a thing")


def test_a_file_of_absurd_size_is_not_read(tmp_path):
    with (tmp_path / "f.json").open("wb") as file:
        file.truncate(files.MAX_JSON_BYTES + 1)
    with pytest.raises(ValueError, match=r"f.json must have at most 67,108,864 bytes, got 67,108,865"):
        read_json(tmp_path / "f.json")


def test_rows_are_read_up_to_the_last_whole_one(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    whole = b'{"step": 1}\n{"step": 2}\n'
    for tail in (b"", b'{"st', b'{"step": 3}', b"\xff\x00"):
        path.write_bytes(whole + tail)
        assert read_rows(path, {"step": int}) == [{"step": 1}, {"step": 2}]
    append_row(path, {"step": 4})
    assert path.read_bytes() == whole + b'{"step": 4}\n'


@pytest.mark.parametrize(
    ("line", "got"),
    [
        (b"x", r"b'x' in line 2"),
        (b"3", "3 in line 2"),
        (b'{"a": 1}', "no 'step' in line 2"),
        (b'{"step": "x"}', "step 'x' in line 2"),
        (b'{"step": true}', "step True in line 2"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(tmp_path, line, got):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(ValueError, match=f"rows.jsonl must hold a JSON object in each line, got {got}"):
        read_rows(path, {"step": int})


def test_several_processes_append_whole_rows(tmp_path):
    path = tmp_path / "log.jsonl"
    threads = [
        threading.Thread(target=lambda i=i: [append_row(path, {"i": i, "j": j}) for j in range(10)]) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((row["i"], row["j"]) for row in read_rows(path)) == [(i, j) for i in range(4) for j in range(10)]
