"""What is installed: the package alone does its main jobs, and what an extra brings is named where it is missing."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from worldmodel import EXTRAS, explain
from worldmodel.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("envs", "worldmodel", "agents", "pretrain", "benchmarks")
NEEDS = {
    "train-rl": "stable_baselines3",
    "compare": "stable_baselines3",
    "tune": "stable_baselines3",
    "moving-mnist": "imageio",
    "probe": "kornia",
}
"""Commands that even their help needs an extra for, and the module that they lack first."""
WITHOUT = """
import sys
from importlib.machinery import PathFinder
absent, find = set(sys.argv[1].split(",")), PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: (
    None if name.partition(".")[0] in absent else find(name, path, target)
)
"""
"""The beginning of a program for which modules are not installed."""


def without_extras(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + program, ",".join(EXTRAS)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def distributions_of(texts: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in texts}


def test_the_table_names_extras_that_bring_the_module():
    distributions = packages_distributions()
    for module, extras in EXTRAS.items():
        for extra in extras.split(","):
            names = {canonicalize_name(name) for name in distributions.get(module, [module])}
            assert names & distributions_of(PROJECT["optional-dependencies"][extra]), (module, extra)


def test_every_import_comes_with_the_package_or_with_an_extra_of_the_table():
    installed = distributions_of(PROJECT["dependencies"])
    distributions = packages_distributions()
    unknown = {}
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module or ""]
            for top in {module.split(".")[0] for module in modules} - {*PACKAGES, *EXTRAS, *sys.stdlib_module_names}:
                if not {canonicalize_name(name) for name in distributions.get(top, [top])} & installed:
                    unknown[path.relative_to(ROOT).as_posix()] = top
    assert unknown == {}


def test_the_extra_all_has_what_every_job_needs():
    (text,) = PROJECT["optional-dependencies"]["all"]
    assert Requirement(text).extras == set(PROJECT["optional-dependencies"]) - {"all", "dev", "docs"}


def test_commands_work_without_extras_or_name_the_one_that_they_need(tmp_path):
    program = f"""
import contextlib, io, json
from worldmodel.__main__ import main
told = {{}}
for name in {list(COMMANDS)}:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([name, "--help"])
        except SystemExit as end:
            status = end.code
    told[name] = (status, err.getvalue())
print(json.dumps(told))
"""
    done = without_extras(program, tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    for name, (status, text) in told.items():
        if module := NEEDS.get(name):
            assert (status, text) == (
                1,
                f"worldmodel {name}: {name} needs {module}: pip install 'worldmodel[{EXTRAS[module]}]'\n",
            )
        else:
            assert (status, text) == (0, ""), name


def test_the_main_jobs_work_without_extras(tmp_path):
    program = """
from worldmodel.__main__ import main
evaluate = "evaluate two-rooms --manifest validation --num-episodes 1 --no-progress --output e.json"
render = "render two-rooms --manifest validation --max-steps 4 --no-progress --output r"
train = (
    "pretrain two-rooms --num-steps 1 --refinement.num-steps 0 --policy.num-steps 1 --data.batch-size 4"
    " --policy.batch-size 4 --trajectories.count 4 --no-progress --output run"
)
for command in (evaluate, render, train):
    assert main(command.split()) == 0, command
"""
    done = without_extras(program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"e.json", "r.gif", "run"}
    assert not (tmp_path / "r.mp4").exists()
    assert "r.mp4 is left out: MP4 needs pip install 'worldmodel[video]'" in done.stderr
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_a_name_of_a_package_says_which_extra_it_needs(tmp_path):
    done = without_extras("import agents.rl\nagents.rl.make_model", tmp_path)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: agents.rl.make_model needs stable_baselines3: pip install 'worldmodel[rl]'"
    )


@pytest.mark.parametrize(
    "error",
    [ImportError("cannot import name 'x' from 'ray'", name="ray"), ModuleNotFoundError("no", name="antigravity")],
)
def test_other_failures_of_imports_are_left_as_they_are(error):
    assert explain(error, "this") is None
