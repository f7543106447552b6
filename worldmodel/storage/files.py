"""Files that survive kills and full disks, and files of strangers: written whole, committed in sets, read with care.

::

    replacing     one file that appears under its name whole or not at all
    commit        several files of a folder that change together: from one rename on all are new, before it all are old
    read_…        regular files only, of a bounded size; errors name the file

A commit writes every new file under a temporary name, then a journal that names them, then renames them, then removes
the journal. A process that was killed after the journal appeared leaves names that :func:`recover` (of the next writer)
puts right and that readers see through (:func:`current`).
"""

import contextlib
import errno
import glob
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import psutil

JOURNAL = ".commit.json"
"""Name of the file that makes a set of new files count."""
MAX_JSON_BYTES = 64 * 2**20
"""Most bytes of a JSON file of this project."""
MAX_JSON_DEPTH = 32
"""Most levels of lists and objects in one another."""
MAX_BYTES = 64 * 2**30
"""Most bytes of any file that is read whole."""
READ_ATTEMPTS = 100
"""How often a reader looks again when a writer replaced a set of files under its eyes."""

KINDS = {"d": "a folder", "p": "a pipe", "s": "a socket", "c": "a character device", "b": "a block device"}
"""What is no regular file, by the first letter of its mode as ``ls`` shows it."""

Content = bytes | memoryview | Callable[[IO[bytes]], Any] | None
"""A file's bytes, or a function that writes them to an open file; None removes the file."""


def absolute(path: Path | str) -> Path:
    """A path that a user gave, made independent of the working directory at the time it enters; ``~`` is their home.

    Raises:
        ValueError: If it begins with ``~`` and there is no such home.
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"path must begin with a home folder that exists, got {str(path)!r}: {error}") from error


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path that replaces ``path`` on success and is removed on failure; the folder is made if missing.

    Args:
        path: The file.
        durable: Whether the file is on the disk before it gets its name, so that a power cut cannot leave it torn.
            Unneeded where the content itself tells a torn file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if durable:
        _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            _sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Writes a text as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Writes JSON that people can read and compare, whole or not at all: see :func:`to_lines`."""
    write_text(path, to_lines(content) + "\n")


def to_lines(value: Any, indent: str = "") -> str:
    """JSON with a line for each entry of an object, and for each entry of a list of lists or objects.

    Example:
        >>> print(to_lines({"seeds": [1, 2], "rows": [[1, 0.5], [2, 0.25]]}))
        {
         "seeds": [1, 2],
         "rows": [
          [1, 0.5],
          [2, 0.25]
         ]
        }
    """
    inner = indent + " "
    if isinstance(value, Mapping) and value:
        entries = [f"{json.dumps(str(name))}: {to_lines(entry, inner)}" for name, entry in value.items()]
        return "{\n" + ",\n".join(inner + entry for entry in entries) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(entry, list | tuple | Mapping) for entry in value):
        return "[\n" + ",\n".join(inner + json.dumps(entry) for entry in value) + f"\n{indent}]"
    return json.dumps(value)


def commit(folder: Path, files: Mapping[str, Content]) -> None:
    """Replaces several files of a folder at once: later readers find all of them new, or all of them old.

    Args:
        folder: The folder; made if missing. One process at a time writes to it (:mod:`worldmodel.storage.locks`).
        files: The new files by name.

    Raises:
        OSError: If a file cannot be written, for example because the disk is full; the old ones are as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for name, content in files.items():
            if content is not None:
                with _temporary(folder, name).open("wb") as file:
                    content(file) if callable(content) else file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
        journal = {"new": [name for name in files if files[name] is not None]}
        journal["gone"] = [name for name in files if files[name] is None]
        write_json(folder / JOURNAL, journal)
    except BaseException:
        if not (folder / JOURNAL).exists():
            for name in files:
                _temporary(folder, name).unlink(missing_ok=True)
        raise
    _finish(folder)


def recover(folder: Path) -> None:
    """Finishes a commit that was cut off, and removes temporary files that killed processes left.

    Args:
        folder: A folder that this process alone writes to (:mod:`worldmodel.storage.locks`); it need not exist.

    Raises:
        ValueError: If the journal is not one of this project.
    """
    _finish(folder)
    for left_over in folder.glob(".*.tmp"):
        left_over.unlink(missing_ok=True)


def current(folder: Path, name: str) -> Path:
    """Where the newest content of a file of a folder is, also if a commit was cut off between two renames."""
    temporary = _temporary(folder, name)
    if (folder / JOURNAL).exists() and name in _journal(folder)["new"] and temporary.exists():
        return temporary
    return folder / name


def read_set(folder: Path, names: Iterable[str], *, max_bytes: int = MAX_BYTES) -> dict[str, bytes]:
    """Reads files that were committed together, of one and the same commit, also while another process commits.

    Args:
        folder: The folder.
        names: Names of the files; those that are missing are left out.
        max_bytes: Most bytes of each.

    Raises:
        ValueError: If one is no regular file or too large.
        OSError: If one cannot be read.
    """
    names = tuple(names)
    for _ in range(READ_ATTEMPTS):
        before = _state(folder, names)
        try:
            contents = {
                name: read_bytes(path, max_bytes=max_bytes)
                for name in names
                if (path := current(folder, name)).exists()
            }
        except FileNotFoundError:
            contents = {}
        if _state(folder, names) == before:
            return contents
        time.sleep(0.02)
    raise OSError(errno.EBUSY, f"{folder} must hold still while it is read; another process keeps writing to it")


def read_bytes(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Reads a regular file.

    Raises:
        ValueError: If it is something else (a folder, a pipe, a device), or too large.
        OSError: If it is missing or cannot be read.
    """
    with open_regular(path, max_bytes=max_bytes) as file:
        return file.read()


def open_regular(path: Path, *, max_bytes: int = MAX_BYTES) -> IO[bytes]:
    """Opens a regular file for reading; waits for nothing.

    Raises:
        ValueError: If it is something else (a folder, a pipe, a device), or too large.
        OSError: If it is missing or cannot be read.
    """
    # A pipe without a writer would keep a plain open waiting.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        kind = KINDS.get(stat.filemode(status.st_mode)[0], "something else")
        raise ValueError(f"{path} must be a regular file, got {kind}")
    if status.st_size > max_bytes:
        os.close(descriptor)
        raise ValueError(f"{path} must have at most {max_bytes:,} bytes, got {status.st_size:,}")
    return os.fdopen(descriptor, "rb")


def read_json(path: Path, what: str = "JSON", *, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Reads a JSON object.

    Args:
        path: The file.
        what: What it should be, for messages, such as "the JSON of an evaluation".
        max_bytes: Most bytes.

    Raises:
        ValueError: If it is no regular file, too large, or no JSON object.
        OSError: If it is missing or cannot be read.
    """
    return parse_json(read_bytes(path, max_bytes=max_bytes), path, what)


def parse_json(data: bytes, path: Path, what: str = "JSON") -> dict[str, Any]:
    """A JSON object from the bytes of a file.

    Raises:
        ValueError: If they are no JSON object, hold NaN or infinite numbers, or too many levels.
    """
    try:
        content = json.loads(data.decode(), parse_constant=_refuse_constant)
        if not isinstance(content, dict):
            raise ValueError(f"got {'a list' if isinstance(content, list) else json.dumps(content)[:40]}")
        _check_depth(content, MAX_JSON_DEPTH)
    except (ValueError, RecursionError) as error:  # JSON, UTF-8 and the checks above
        reason = f"lists nested more than {MAX_JSON_DEPTH} deep" if isinstance(error, RecursionError) else error
        raise ValueError(f"{path} must be {what}, an object: {reason}") from error
    return content


def read_rows(path: Path, required: Mapping[str, type | tuple[type, ...]] | None = None) -> list[dict[str, Any]]:
    """Reads JSON lines up to the last whole one; a kill or a full disk may have cut the next one short.

    Args:
        path: The file; none gives no rows.
        required: Fields that each row must have, with their types.

    Raises:
        ValueError: If the file is not regular, or a whole line is no object with the required fields.
    """
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    *whole, _ = read_bytes(path).split(b"\n")  # the rest after the last newline is no whole line
    for number, line in enumerate(whole, start=1):
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError):
            if number == len(whole):
                break
            row = line[:40]
        wrong = _lacks(row, required or {})
        if wrong:
            raise ValueError(f"{path} must hold a JSON object in each line, got {wrong} in line {number}")
        rows.append(row)
    return rows


def _remove_leftovers(path: Path) -> None:
    """Removes temporary files of processes that were killed while they replaced a file."""
    for left_over in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        process = left_over.name.removesuffix(".tmp").rpartition(".")[2]
        if process.isdigit() and int(process) != os.getpid() and not psutil.pid_exists(int(process)):
            left_over.unlink(missing_ok=True)


def _temporary(folder: Path, name: str) -> Path:
    """Where a commit writes the new content of a file."""
    return folder / f".{name}.commit.tmp"


def _journal(folder: Path) -> dict[str, list[str]]:
    """Names in the journal of a folder; none where it has just been removed."""
    content: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError):
        content = read_json(folder / JOURNAL, "a journal of new files")
    journal = {key: list(content.get(key) or ()) for key in ("new", "gone")}
    names = [*journal["new"], *journal["gone"]]
    # A folder of a stranger must not rename files elsewhere.
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise ValueError(f"{folder / JOURNAL} must name files of its own folder, got {names}")
    return journal


def _finish(folder: Path) -> None:
    """The renames of a commit whose journal is there."""
    if not (folder / JOURNAL).exists():
        return
    journal = _journal(folder)
    for name in journal["new"]:
        temporary = _temporary(folder, name)
        if temporary.exists():
            temporary.replace(folder / name)
    for name in journal["gone"]:
        (folder / name).unlink(missing_ok=True)
    _sync(folder)
    (folder / JOURNAL).unlink()


def _state(folder: Path, names: tuple[str, ...]) -> list[Any]:
    """Values that change with every step of a commit."""
    seen: list[Any] = []
    for path in (folder / JOURNAL, *(folder / name for name in names)):
        try:
            status = path.stat()
            seen.append((status.st_ino, status.st_mtime_ns, status.st_size))
        except FileNotFoundError:
            seen.append(None)
    return seen


def _sync(path: Path) -> None:
    """Puts a file's content, or a folder's names, on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot
            raise
    finally:
        os.close(descriptor)


def _lacks(row: Any, required: Mapping[str, type | tuple[type, ...]]) -> str:
    """What is wrong with a row; nothing if it is an object with the required fields."""
    if not isinstance(row, dict):
        return repr(row)
    return ", ".join(
        f"{key} {row[key]!r}" if key in row else f"no {key!r}"
        for key, kind in required.items()
        if not isinstance(row.get(key), kind) or (isinstance(row[key], bool) and kind is not bool)
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"numbers must be finite, got {name}")


def _check_depth(content: dict[str, Any] | list[Any], levels: int) -> None:
    """Raises RecursionError where more levels of lists and objects than so many lie in one another."""
    if levels == 0:
        raise RecursionError
    for child in content.values() if isinstance(content, dict) else content:
        if isinstance(child, dict | list):
            _check_depth(child, levels - 1)
