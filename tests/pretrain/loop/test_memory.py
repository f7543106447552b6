"""Memory that is freed stays with the process, where the allocator is glibc's."""

import platform
import resource
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
{prepare}
for _ in range(3):
    torch.ones(16_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(prepare: str) -> int:
    """Page faults of ten large buffers, in a process of its own: the options hold for a whole process."""
    script = FAULTS.format(prepare=prepare)
    return int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told anything")
def test_large_buffers_are_used_again() -> None:
    pages = 64_000_000 // resource.getpagesize()
    # Without, each of the ten is new; with it, a few may still find no room among those freed before. How many depends
    # on what else is loaded, so all that a training loads is.
    assert faults("") > 9 * pages
    assert faults("from pretrain.train import keep_memory; assert keep_memory()") < 5 * pages


def test_other_allocators_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from pretrain.loop.memory import keep_memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_memory()
