"""What produced a result: versions, commit, command, machine, checkpoint."""

import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("worldmodel", "torch", "gymnasium", "numpy", "stable-baselines3")
"""Packages whose versions a result carries."""
ROOT = Path(__file__).resolve().parents[2]
"""The checkout, or where the package is installed."""
RESULTS = ROOT / "benchmarks" / "results"
"""Where records and what is made of them lie."""


def collect(checkpoint_hash: str | None = None) -> dict[str, Any]:
    """Everything that a result needs to be reproduced, as plain JSON types; no host name, no user name.

    Args:
        checkpoint_hash: SHA-256 of the weights that were used, if any.

    Returns:
        ``command``, ``commit`` (None outside a checkout; with ``-dirty`` where tracked files differ), ``versions``,
        ``machine`` and ``checkpoint_hash`` (SHA-256 of its weights, or None).
    """
    return {
        "command": command_line(),
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
        "checkpoint_hash": checkpoint_hash,
    }


def command_line() -> str:
    """The command that is running, without the folder that its program lies in."""
    program = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path("python")
    # A package that is run by ``python -m`` is named after its folder, as its command is.
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *sys.argv[1:]])


def commit() -> str | None:
    """The Git commit of the checkout that this package is imported from, or None.

    It ends in ``-dirty`` where tracked files differ from it, results aside.
    """
    if not (ROOT / ".git").exists():
        return None
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
        return _git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """Versions of Python and of :data:`PACKAGES`, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, threads of torch, accelerator if there is one."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "processor": _processor(),
        "num_cpus": len(affinity(0)) if affinity else os.cpu_count(),
        "num_threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.system(),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True, timeout=10)
    return done.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    named = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()
