"""The source distribution and its wheel: at work outside the checkout, without home or terminal, never written to."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("envs", "worldmodel", "agents", "pretrain", "benchmarks")
SHIPPED = (
    *PACKAGES,
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "MANIFEST.in",
    "CHANGELOG.md",
    "CITATION.cff",
    "constraints.txt",
    "constraints-lowest.txt",
)
NOT_SHIPPED = {"benchmarks/results/a.json", "tests/test_a.py"}
MAIN_JOBS = (
    "pretrain two-rooms --num-steps 1 --data.batch-size 4 --refinement.num-steps 0 --policy.num-steps 0 --output run",
    "collect --num-episodes 1 --root data",
    "evaluate two-rooms --manifest validation --num-episodes 1 --output results/e.json",
    "render two-rooms --manifest validation --max-steps 3 --formats gif --output films/r",
)


def pip(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments], check=True, cwd="/"
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what is shipped, beside what is not."""
    source = tmp_path_factory.mktemp("source")
    for name in SHIPPED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        else:
            shutil.copy(path, source / name)
    for path in (source / name for name in NOT_SHIPPED):
        path.parent.mkdir()
        path.touch()
    return source


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory):
    """The source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    program = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, capture_output=True)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """The wheel, built from the source distribution without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(sdist))
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
    """Runs Python as a user whose home is no folder, with no input and no terminal."""
    environment = {"PYTHONPATH": str(installed), "HOME": os.devnull, "OMP_NUM_THREADS": "1", "TMPDIR": str(work)}
    return subprocess.run(
        [sys.executable, "-P", "-B", *arguments],
        cwd=work,
        env={"PATH": os.environ["PATH"]} | environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        capture_output=True,
        text=True,
    )


def files(folder: Path) -> set[str]:
    """The files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def state(folder: Path) -> dict[Path, int]:
    """When each file and folder was last changed: root may write where nobody may."""
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


def test_the_wheel_holds_the_packages_and_nothing_else(installed, source):
    held = {name for name in files(installed) if not re.match(r"bin/|worldmodel-[^/]*\.dist-info/", name)}
    assert held == {name for name in files(source) - NOT_SHIPPED if name.split("/")[0] in PACKAGES}


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
    assert {"run", "data", "results", "films"} <= {path.name for path in work.iterdir()}


def test_the_environments_are_found_from_the_wheel(installed, work):
    program = "import gymnasium as gym; gym.make('envs:TwoRooms-v0').reset(seed=0)"
    assert run(installed, work, "-c", program).returncode == 0


def test_the_source_distribution_holds_what_is_shipped_and_nothing_else_of_ours(sdist, source):
    with tarfile.open(sdist) as archive:
        held = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert files(source) - held == NOT_SHIPPED
