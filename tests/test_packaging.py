"""The project file, the lock, the Makefile and the README agree with one another and with what is on disk."""

import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ["envs", "worldmodel", "agents", "pretrain", "benchmarks"]


def constraints(file: str = "constraints.txt") -> dict[str, Version]:
    """The pinned releases by canonical name."""
    lines = (ROOT / file).read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(release) for name, release in pins}


EXTRAS = ("rl", "video", "images", "mujoco", "pusht", "lerobot", "tensorboard", "wandb", "hub", "export")


def requirements(*extras: str) -> list[Requirement]:
    """The requirements of the project and of extras, without the project itself."""
    optional = PROJECT["project"]["optional-dependencies"]
    texts = PROJECT["project"]["dependencies"] + [text for extra in extras for text in optional[extra]]
    return [requirement for requirement in map(Requirement, texts) if requirement.name != "worldmodel"]


def package_directories() -> list[str]:
    """Dotted names of all folders with Python files in the packages."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted({".".join(path.parent.relative_to(ROOT).parts) for path in files})


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def readme_commands() -> list[list[str]]:
    """The words of each line in a bash block of the README that starts with `make` or `worldmodel`."""
    blocks = re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [line.strip().removeprefix("$ ").split("#")[0].split() for line in lines]
    return [words for words in commands if words and words[0] in ("make", "worldmodel")]


# --- one version -------------------------------------------------------------------------------------------------


def test_version_stands_in_one_place():
    import worldmodel

    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert version("worldmodel") == worldmodel.__version__
    holders = [
        path.name for path in (ROOT / "worldmodel").rglob("*.py") if "__version__ =" in path.read_text(encoding="utf-8")
    ]
    assert holders == ["__init__.py"]


def test_changelog_and_citation_are_of_the_version():
    import worldmodel

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (newest, date), *_ = re.findall(r"^## \[(.+?)\] - (.+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest == citation["version"] == worldmodel.__version__
    assert date == str(citation["date-released"])
    assert citation["title"] == PROJECT["project"]["name"]
    assert citation["abstract"] == PROJECT["project"]["description"]
    assert citation["license"] == PROJECT["project"]["license"]


# --- what is shipped ---------------------------------------------------------------------------------------------


def test_packages_listed_are_packages_on_disk():
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == package_directories()


@pytest.mark.parametrize("package", sorted(PROJECT["tool"]["setuptools"]["packages"]))
def test_every_package_has_an_init(package):
    assert (ROOT / package.replace(".", "/") / "__init__.py").is_file()


def test_tests_are_not_shipped():
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert {name.split(".")[0] for name in listed} == set(PACKAGES)
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_typed(package):
    assert (ROOT / package / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["*"]


def test_every_data_file_matches_a_package_data_pattern():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    for package in PACKAGES:
        allowed = patterns["*"] + patterns.get(package, [])
        files = [path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
        files = [path for path in files if ROOT / "benchmarks" / "results" not in path.parents]  # stay in the checkout
        unshipped = [path for path in files if not any(path.match(f"{package}/{pattern}") for pattern in allowed)]
        assert unshipped == []


# --- dependencies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("requirement", requirements(*EXTRAS, "ray", "docs", "dev"), ids=str)
def test_constraints_pin_within_the_ranges(requirement):
    pins = constraints()
    assert canonicalize_name(requirement.name) in pins
    assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_the_lowest_releases_are_those_that_the_project_allows():
    allowed = requirements(*(extra for extra in PROJECT["project"]["optional-dependencies"] if extra != "dev"))
    bounds = [
        (canonicalize_name(requirement.name), Version(bound.version))
        for requirement in allowed
        for bound in requirement.specifier
        if bound.operator == ">="
    ]
    assert len(bounds) == len(allowed), "each requirement has a lower bound"
    assert set(bounds) == set(constraints("constraints-lowest.txt").items())


def test_constraints_hold_public_releases_only():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line) for line in pinned)
    assert "worldmodel" not in constraints()


def test_environments_and_first_imports_do_not_load_torch():
    modules = ["worldmodel", "agents"] + [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "envs").rglob("*.py"))
    ]
    code = f"import importlib, sys; [importlib.import_module(m) for m in {modules}]; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# --- the rules that tools check ----------------------------------------------------------------------------------


def test_every_package_is_under_every_tool():
    tools = PROJECT["tool"]
    assert tools["importlinter"]["root_packages"] == PACKAGES
    assert sorted(tools["mypy"]["files"]) == sorted(PACKAGES)
    assert sorted(tools["pytest"]["ini_options"]["testpaths"]) == sorted([*PACKAGES, "tests"])
    modules = [entry.split(":")[3] for entry in tools["pytest"]["ini_options"]["filterwarnings"]]
    assert all(any(re.match(module, f"{package}.x") for module in modules) for package in PACKAGES)
    layers = next(contract for contract in tools["importlinter"]["contracts"] if contract["type"] == "layers")
    assert sorted(re.findall(r"\w+", " ".join(layers["layers"]))) == sorted(PACKAGES)


@pytest.mark.parametrize(
    ("path", "line", "contract"),
    [
        ("envs/two_rooms/intruder.py", "import torch", "Environments know no model, agent, training or torch"),
        ("envs/intruder.py", "import worldmodel", "Environments know no model, agent, training or torch"),
        ("worldmodel/intruder.py", "import envs", "Packages build on one another in one direction"),
        ("worldmodel/intruder.py", "import agents", "Packages build on one another in one direction"),
        ("agents/intruder.py", "import envs.two_rooms", "No one knows a single environment: all ask envs.domain"),
        ("agents/intruder.py", "import pretrain", "Packages build on one another in one direction"),
        ("pretrain/intruder.py", "import benchmarks", "Packages build on one another in one direction"),
        ("benchmarks/intruder.py", "import worldmodel.__main__", "Nothing imports the command line"),
        ("pretrain/intruder.py", "import conftest", "Packages know no tests"),
    ],
)
def test_a_forbidden_import_is_caught(tmp_path, path, line, contract):
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    plug = next(contract for contract in contracts if contract["id"] == "plug")
    environments = sorted(path.parent.name for path in (ROOT / "envs").glob("*/domain.py"))
    assert sorted(plug["forbidden_modules"]) == [f"envs.{name}" for name in environments]
    for name in environments:
        (tmp_path / "envs" / name).mkdir()
        (tmp_path / "envs" / name / "__init__.py").touch()
    (tmp_path / "worldmodel/__main__.py").touch()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    before = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert before.returncode == 0, before.stdout + before.stderr
    (tmp_path / path).write_text(line + "\n")
    after = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert after.returncode == 1
    assert re.search(rf"^{contract}.* BROKEN", after.stdout, flags=re.MULTILINE)


def test_types_and_shapes_are_checked_here():
    from worldmodel.nn.losses import temporal_similarity

    with pytest.raises(TypeError, match="Type-check error"):
        temporal_similarity("latents")


def test_type_checks_can_be_turned_off(without_type_checks):
    from worldmodel.nn.losses import temporal_similarity

    with pytest.raises(TypeError, match="string indices"):
        temporal_similarity("latents")


def test_one_thread_a_process_and_repeatable_examples():
    torch = importlib.import_module("torch")
    assert torch.get_num_threads() == 1
    assert settings.default is not None
    assert settings.default.database is None


# --- commands that people are told ---------------------------------------------------------------------------------


def test_make_has_the_promised_targets():
    promised = {*("help", "demo", "test", "check", "format", "docs", "figures", "build", "lock", "clean")}
    assert promised <= make_targets()


def test_make_help_lists_the_targets():
    result = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(re.findall(r"^  make ([\w-]+)", result.stdout, flags=re.MULTILINE)) == make_targets()


def test_make_refuses_an_old_python(tmp_path):
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.4" && exit 0\nexit 1\n')
    old.chmod(0o755)
    command = ["make", "-s", "check", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode != 0
    assert "Python must be at least 3.11, got Python 3.10.4" in result.stderr


def test_continuous_integration_runs_the_readme_test_command():
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    assert ["make", "test"] in readme_commands()
    assert re.findall(r"^make (\w+)", script.read_text(), flags=re.MULTILINE) == ["check", "test", "notebooks"]


def test_readme_make_commands_exist():
    targets = {word for words in readme_commands() if words[0] == "make" for word in words[1:] if "=" not in word}
    assert targets >= {"demo", "test"}
    assert targets <= make_targets()


def test_readme_worldmodel_commands_exist():
    subcommands = {words[1] for words in readme_commands() if words[0] == "worldmodel"}
    assert subcommands
    result = subprocess.run(
        [sys.executable, "-m", "worldmodel", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    missing = {name for name in subcommands if not re.search(rf"\b{re.escape(name)}\b", result.stdout)}
    assert missing == set()
