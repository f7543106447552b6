"""A full disk while episodes are joined: said in words, nothing is lost, and it goes on once there is room."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain.collection import hdf5_file
from pretrain.collection.collect import CollectConfig, collect

WORK = Path("two-rooms/.random-walk-v0.collecting")


def small(root: Path) -> CollectConfig:
    return CollectConfig(num_episodes=6, max_episode_steps=12, root=root, seed=3, progress=False)


def states(dataset) -> list[bytes]:
    """What tells datasets apart."""
    return [e.observations["observation"].tobytes() + e.actions.tobytes() for e in dataset.iterate_episodes()]


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> list[bytes]:
    return states(collect(small(tmp_path_factory.mktemp("whole"))))


class FullDisk:
    """Stands in for the file below an HDF5 file: takes so many bytes in all, then the disk is full."""

    def __init__(self, file, room: int, error: int) -> None:
        self.file, self.room, self.error = file, room, error

    def write(self, data) -> int:
        if not self.room:
            raise OSError(self.error, os.strerror(self.error))
        taken = self.file.write(data[: self.room])
        self.room -= taken
        return taken

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("room", [0, 10_000, 50_000, 100_000])
def test_full_disk_while_joining(tmp_path, monkeypatch, expected, room, error):
    original = hdf5_file.SpillingFile.__init__

    def small_disk(self, path):
        original(self, path)
        self._file = FullDisk(self._file, room, error)

    with monkeypatch.context() as patch:
        patch.setattr(hdf5_file.SpillingFile, "__init__", small_disk)
        with pytest.raises(
            OSError, match=r"the disk is full: 6 of 6 episodes .* are kept in .* once there is room"
        ) as e:
            collect(small(tmp_path))
    assert e.value.errno == errno.ENOSPC
    assert not (tmp_path / WORK / "joined").exists()  # its room is given back
    assert states(collect(small(tmp_path))) == expected


def test_other_errors_of_the_disk_are_named_as_they_are(tmp_path, monkeypatch):
    original = hdf5_file.SpillingFile.__init__

    def broken_disk(self, path):
        original(self, path)
        self._file = FullDisk(self._file, 1000, errno.EIO)

    monkeypatch.setattr(hdf5_file.SpillingFile, "__init__", broken_disk)
    with pytest.raises(OSError, match="Input/output error"):
        collect(small(tmp_path))


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a small disk")
@pytest.mark.parametrize("kilobytes", [300, 1_000])
def test_on_a_disk_that_is_really_full(tmp_path, kilobytes):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("may not mount")
    try:
        program = (
            "import json, sys; from pathlib import Path; from pretrain import CollectConfig, collect\n"
            f"config = CollectConfig(root=Path({str(disk)!r}), num_episodes=50, max_episode_steps=30, progress=False)\n"
            "try: collect(config)\n"
            "except OSError as error: print(json.dumps(str(error)))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
        assert (done.returncode, done.stderr) == (0, "")
        assert "the disk is full: " in json.loads(done.stdout)
        assert "of 50 episodes of 'two-rooms/random-walk-v0' are kept in" in json.loads(done.stdout)
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        assert len(collect(CollectConfig(root=disk, num_episodes=50, max_episode_steps=30, progress=False))) == 50
    finally:
        subprocess.run(["umount", str(disk)], check=True)
