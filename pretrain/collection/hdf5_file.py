"""A file for HDF5 to write to, on a disk that may fill up.

The HDF5 library does not survive a write that fails: what it still holds cannot be flushed, closing raises, and at the
end of the process it may crash. It therefore never sees one here:

::

    write ──► disk ──► full? ──► this and all later writes go to memory, the error is kept
                                  HDF5 goes on and closes as always; then the error is raised

Whoever writes looks at :attr:`SpillingFile.error` now and then and stops, so that memory holds little.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py


class SpillingFile(io.RawIOBase):
    """A new file whose writes never fail: what the disk does not take is kept in memory.

    Args:
        path: The file, which is replaced.

    Attributes:
        error: What the disk first failed with, or None.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.error: OSError | None = None
        self._file = path.open("w+b", buffering=0)
        self._position = 0
        self._size = 0
        self._spilled: list[tuple[int, bytes]] = []

    def seekable(self) -> bool:
        """Yes; and it can be read and written."""
        return True

    readable = writable = seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position and returns it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def write(self, data: Any) -> int:
        """Writes bytes at the position; all of them are in the file, or in memory."""
        view = memoryview(data).cast("B")
        done = 0
        if self.error is None:
            try:
                self._file.seek(self._position)
                while done < len(view):
                    done += self._file.write(view[done:]) or 0
            except OSError as error:
                self.error = error
        if done < len(view):
            self._spilled.append((self._position + done, bytes(view[done:])))
        self._position += len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Reads bytes from the position into a buffer, zeros where nothing was written."""
        view = memoryview(buffer).cast("B")
        first, count = self._position, max(0, min(len(view), self._size - self._position))
        view[:count] = bytes(count)
        self._file.seek(first)
        found = self._file.read(count) or b""
        view[: len(found)] = found
        for start, data in self._spilled:
            low, high = max(start, first), min(start + len(data), first + count)
            if low < high:
                view[low - first : high - first] = data[low - start : high - start]
        self._position += count
        return count

    def truncate(self, size: int | None = None) -> int:
        """Sets the size."""
        self._size = self._position if size is None else size
        try:
            self._file.truncate(self._size)
        except OSError as error:
            self.error = self.error or error
        return self._size

    def close(self) -> None:
        """Closes the file, after what it holds is on the disk."""
        if self.closed:
            return
        try:
            if self.error is None:
                os.fsync(self._file.fileno())
        except OSError as error:
            self.error = error
        finally:
            self._file.close()
            super().close()


@contextlib.contextmanager
def new_hdf5(path: Path) -> Iterator[tuple[h5py.File, SpillingFile]]:
    """A new HDF5 file, complete and on the disk afterwards.

    Args:
        path: The file.

    Yields:
        The file, and the one below it, whose ``error`` says that the disk failed.

    Raises:
        OSError: If the disk failed, for example because it is full.
    """
    with SpillingFile(path) as below, h5py.File(below, "w", track_order=True) as file:
        yield file, below
    if below.error is not None:
        raise below.error
