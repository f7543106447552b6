"""What a kill before each of a command's file operations leaves behind, so that tests can see whether the same command
then ends as if nothing had happened.

A command runs once, in a child of this process, so that nothing has to be imported anew; there an audit hook sees what
is about to change files below a folder, and copies the folder. A copy is what ``kill -9`` would leave at that moment:
what is on its way in the process's own buffers is not in it either. Where a file is about to be written under another
name than that of a temporary file, a second copy has it empty, as it is until the first bytes arrive. Tests go on from
each copy, in the very folder that the command began in.
"""

import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

FAILED = 1
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
"""Flags of which a file that is opened to be changed has at least one."""


def run(command: Callable[[], object], folder: Path) -> list[Path]:
    """Runs a command that writes to a folder, to its end.

    Returns:
        Copies of the folder, as kills before each operation that changed files in it would leave it, first to last.
    """
    copies = folder.with_name(f"{folder.name}-killed")
    copies.mkdir()
    folder.mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        status = FAILED
        try:
            descriptor = os.open(_log(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            _watch(folder, partial(_copy, folder, copies))
            command()
            status = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, _log(folder).read_text(errors="replace")
    return sorted(copies.iterdir(), key=lambda copy: int(copy.name))


def after_kills(copies: list[Path], folder: Path, most: int) -> Iterator[str]:
    """Puts into a folder, one after the other, what kills have left of it.

    Args:
        copies: What :func:`run` returned.
        folder: The folder.
        most: How many of them: all, or where there are too many some, evenly spread from first to last.

    Yields:
        Where it was killed, for messages.
    """
    count = len(copies)
    for i in range(min(count, most)):
        number = round(i * (count - 1) / max(1, min(count, most) - 1))
        shutil.rmtree(folder, ignore_errors=True)
        copies[number].rename(folder)
        yield f"killed before operation {number} of {count}"


def _copy(folder: Path, copies: Path, emptied: Path | None) -> None:
    """Copies a folder beside the earlier copies, and once more with a file in it that is empty, if one will be."""
    copy = copies / str(len(list(copies.iterdir())))
    shutil.copytree(folder, copy, symlinks=True)
    if emptied is not None:
        _copy(folder, copies, None)
        (copies / str(int(copy.name) + 1) / emptied).write_bytes(b"")


def _log(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def _watch(folder: Path, step: Callable[[Path | None], None]) -> None:
    """Calls ``step`` before each operation that changes files below a folder, with the file that it empties, if any."""
    root = os.path.realpath(folder)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(mode, str):
                writes, empties = any(c in mode for c in "wax+"), any(c in mode for c in "wx")
            else:
                writes, empties = bool(int(flags or 0) & WRITING), bool(int(flags or 0) & os.O_TRUNC)  # type: ignore[call-overload]
            if writes and _below(path, root):
                full = Path(os.path.realpath(os.fsdecode(path)))  # type: ignore[arg-type]
                torn = empties and full.suffix != ".tmp" and full.parent.exists()
                step(full.relative_to(root) if torn else None)
        elif event in CHANGING and any(_below(path, root) for path in arguments[: CHANGING[event]]):
            step(None)

    sys.addaudithook(hook)


def _below(path: object, root: str) -> bool:
    """Whether a path is below a folder; locks and TensorBoard's files are nothing that a result depends on."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    full = os.path.realpath(os.fsdecode(path))
    return full.startswith(root + os.sep) and not full.endswith(".lock") and "tensorboard" not in full
