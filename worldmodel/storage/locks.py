"""One writer at a time: locks of folders and files, and lines that several processes append."""

import contextlib
import errno
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from worldmodel.storage.files import read_bytes

LOCK = ".lock"
"""Name of a folder's lock file, which stays when the lock is given back."""
LOCK_SECONDS = 30
"""How long to wait for others who append to the same file."""


@contextlib.contextmanager
def locked(path: Path, what: str = "run", *, is_file: bool = False) -> Iterator[None]:
    """Keeps a folder, or a file, to this process; the lock of a killed process is free at once.

    Args:
        path: The folder, which is made if missing, or the file.
        what: What it is, for the message.
        is_file: Whether it is a file, whose lock lies beside it.

    Raises:
        BlockingIOError: If another process holds it; the message says which.
    """
    lock_file = path.with_name(f".{path.name}{LOCK}") if is_file else path / LOCK
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(lock_file, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        holder = ""
        with contextlib.suppress(OSError, ValueError):
            holder = read_bytes(lock_file, max_bytes=2**16).decode(errors="replace").strip()
        raise BlockingIOError(
            errno.EWOULDBLOCK,
            f"the {what} {path} is being written by another process ({holder or 'which just began'})",
        ) from None
    try:
        with contextlib.suppress(OSError):  # only for the message of others
            lock_file.write_text(
                f"process {os.getpid()}, {shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}, "
                f"since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n",
                encoding="utf-8",
            )
        yield
    finally:
        lock.release()


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a line to JSON lines that several processes write to; a line that a kill cut short is removed first.

    Raises:
        OSError: If it cannot be written, or others keep the file for too long.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_name(f".{path.name}{LOCK}"), timeout=LOCK_SECONDS), path.open("ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
