"""The wheel at work: away from the checkout, without a home folder or a terminal, where nobody may write."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = (
    "envs",
    "worldmodel",
    "agents",
    "pretrain",
    "benchmarks",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "MANIFEST.in",
)
MAIN_JOBS = (
    "evaluate two-rooms --manifest validation --num-episodes 1 --output results/e.json",
    "render two-rooms --manifest validation --max-steps 3 --formats gif --output films/r",
)


def pip(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments], check=True, cwd="/"
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what is shipped."""
    source = tmp_path_factory.mktemp("source")
    for name in SHIPPED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        else:
            shutil.copy(path, source / name)
    return source


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    """The wheel, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Where the wheel is installed: a folder with a space and letters beyond ASCII, which nobody may write to."""
    folder = tmp_path_factory.mktemp("install") / "Größe und Maß"
    pip("install", "--no-deps", "--no-compile", "--target", str(folder), str(wheel))
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in paths:
        if path.is_dir():
            path.chmod(0o755)


@pytest.fixture
def work(tmp_path):
    """A folder to work in, of a user who has no other."""
    folder = tmp_path / "Arbeit für heute"
    folder.mkdir()
    return folder


def run(installed: Path, work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python as a user without a home, whose input is closed and whose output is no terminal."""
    return subprocess.run(
        [sys.executable, "-P", "-B", *arguments],
        cwd=work,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "TMPDIR": str(work)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def state(folder: Path) -> dict[Path, int]:
    """When each file and folder was last changed: root may write where nobody may."""
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


def test_the_wheel_holds_what_belongs_in_it_and_nothing_else(installed):
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"envs", "worldmodel", "agents", "pretrain", "benchmarks", "bin"}


def test_the_main_jobs_work_from_the_wheel(installed, work):
    program = f"""
import sys, worldmodel
from worldmodel.__main__ import main
assert worldmodel.__file__.startswith({str(installed)!r}), worldmodel.__file__
for command in {MAIN_JOBS!r}:
    if status := main([*command.split(), "--no-progress"]):
        sys.exit(f"{{command}}: {{status}}")
"""
    before = state(installed)
    done = run(installed, work, "-c", program)
    assert done.returncode == 0, done.stderr
    assert state(installed) == before
    assert {"results", "films"} <= {path.name for path in work.iterdir()}


def test_the_environments_are_found_from_the_wheel(installed, work):
    program = "import gymnasium as gym; gym.make('envs:TwoRooms-v0').reset(seed=0)"
    assert run(installed, work, "-c", program).returncode == 0


def test_the_source_distribution_holds_the_packages_and_no_results(tmp_path, source):
    program = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, capture_output=True)
    (path,) = tmp_path.iterdir()
    with tarfile.open(path) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {name for name in names if name.endswith(".py") and name.split("/")[0] == "envs"} == {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "envs").rglob("*.py")
    }
    assert not [name for name in names if name.startswith("benchmarks/results")]
