"""Kills a command before each of its file operations in turn, and sees whether the same command then ends as if nothing
had happened.

A command runs in a child of this process, so that nothing has to be imported anew; there an audit hook counts what
changes files below a folder, and ends the process before one of these operations as hard as ``kill -9`` would.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

KILLED, FAILED = 137, 1
CHANGING = {
    "os.rename": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.mkdir": 1,
    "os.truncate": 1,
    "os.link": 2,
    "os.symlink": 2,
}
"""Audit events that change files, with how many of their arguments are paths."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def operations(command: Callable[[], object], folder: Path) -> int:
    """How many file operations a command makes below a folder."""
    read, write = os.pipe()

    def counted() -> None:
        count = [0]
        _watch(folder, lambda: count.__setitem__(0, count[0] + 1))
        try:
            command()
        finally:
            os.write(write, str(count[0]).encode())

    assert run(counted, folder) == 0, log_of(folder)
    os.close(write)
    with os.fdopen(read) as file:
        return int(file.read())


def kill_before(number: int, command: Callable[[], object], folder: Path) -> int:
    """Runs a command until just before its file operation of this number; returns its exit status."""
    left = [number]

    def step() -> None:
        if left[0] == 0:
            os._exit(KILLED)
        left[0] -= 1

    def doomed() -> None:
        _watch(folder, step)
        command()

    return run(doomed, folder)


def run(command: Callable[[], object], folder: Path) -> int:
    """Runs a command in a child; returns its exit status. What it says goes to a file beside the folder."""
    child = os.fork()
    if child == 0:
        status = FAILED
        try:
            descriptor = os.open(_log(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            command()
            status = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def log_of(folder: Path) -> str:
    """What the last command said."""
    return _log(folder).read_text(errors="replace")


def places(count: int, most: int) -> Iterator[int]:
    """Numbers of operations to kill before: all, or where there are too many some, evenly spread from first to last."""
    yield from sorted({round(i * (count - 1) / max(1, min(count, most) - 1)) for i in range(min(count, most))})


def _log(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def _watch(folder: Path, step: Callable[[], None]) -> None:
    """Calls ``step`` before each operation that changes files below a folder."""
    root = os.path.realpath(folder)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = any(c in mode for c in "wax+") if isinstance(mode, str) else bool(int(flags or 0) & WRITING)  # type: ignore[call-overload]
            if writes and _below(path, root):
                step()
        elif event in CHANGING and any(_below(path, root) for path in arguments[: CHANGING[event]]):
            step()

    sys.addaudithook(hook)


def _below(path: object, root: str) -> bool:
    """Whether a path is below a folder; locks and TensorBoard's files are nothing that a result depends on."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    full = os.path.realpath(os.fsdecode(path))
    return full.startswith(root + os.sep) and not full.endswith(".lock") and "tensorboard" not in full
