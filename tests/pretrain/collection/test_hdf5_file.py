"""HDF5 files on disks that fill up: the library never sees it, whoever writes gets the error."""

import errno
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.collection import hdf5_file
from pretrain.collection.hdf5_file import SpillingFile, new_hdf5


class SmallDisk:
    """Stands in for the file below: takes so many bytes in all, then it is full."""

    def __init__(self, file, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self.file.write(data[: self.room])
        self.room -= taken
        return taken

    def __getattr__(self, name):
        return getattr(self.file, name)


@given(
    room=st.integers(0, 60),
    writes=st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=20)), min_size=1, max_size=12),
)
def test_what_is_written_is_read_whether_it_was_spilled_or_not(tmp_path_factory, room, writes):
    file = SpillingFile(tmp_path_factory.mktemp("disk") / "file")
    file._file = SmallDisk(file._file, room)
    expected = bytearray()
    for start, data in writes:
        file.seek(start)
        assert file.write(data) == len(data)
        expected += bytes(max(0, start + len(data) - len(expected)))
        expected[start : start + len(data)] = data
    assert file.seek(0, os.SEEK_END) == len(expected)
    for start in (0, 7):
        file.seek(start)
        assert file.read() == expected[start:]
    total = sum(len(data) for _, data in writes)
    assert (file.error is not None) == (total > room)
    file.close()


def test_a_file_with_room_is_plain_hdf5(tmp_path):
    with new_hdf5(tmp_path / "file") as (file, below):
        file.create_dataset("x", data=np.arange(1000), chunks=True, maxshape=(None,))
        assert below.error is None
    with h5py.File(tmp_path / "file") as read:
        np.testing.assert_array_equal(read["x"], np.arange(1000))


@pytest.mark.parametrize("room", [0, 100, 5_000, 60_000, 100_000])
def test_a_full_disk_is_said_after_hdf5_has_closed(tmp_path, monkeypatch, room):
    original = SpillingFile.__init__

    def small(self, path):
        original(self, path)
        self._file = SmallDisk(self._file, room)

    monkeypatch.setattr(hdf5_file.SpillingFile, "__init__", small)

    def fill() -> None:
        with new_hdf5(tmp_path / "file") as (file, _):
            for i in range(10):
                file.create_dataset(f"{i}", data=np.full(2_500, i, np.int64), chunks=True, maxshape=(None,))

    with pytest.raises(OSError, match="No space left") as caught:
        fill()
    assert caught.value.errno == errno.ENOSPC
    assert not h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE)  # nothing is open, which could crash later


def test_errors_of_whoever_writes_pass_through(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_hdf5(tmp_path / "file"):
        raise KeyboardInterrupt


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of file sizes that is an error")
def test_the_process_survives_a_limit_that_the_system_sets(tmp_path):
    program = f"""
import resource, signal
from pathlib import Path
import numpy as np
from pretrain.collection.hdf5_file import new_hdf5
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with new_hdf5(Path({str(tmp_path / "file")!r})) as (file, below):
        while below.error is None:
            file.create_dataset(f"{{len(file)}}", data=np.zeros(500), chunks=True, maxshape=(None,))
except OSError as error:
    print(error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "File too large\n", "")
