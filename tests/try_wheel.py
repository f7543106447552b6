"""Tries an installed wheel: `python -I tests/try_wheel.py ROOT PACKAGE...`, run by `make build` beside the checkout.

The wheel must hold every file of the packages and nothing else, and every module in it must import.
"""

import importlib
import pkgutil
import sys
from importlib.metadata import distribution
from pathlib import Path


def shipped_files() -> set[str]:
    """The files that the installed distribution put into site-packages, its metadata and scripts left out."""
    files = (Path(file) for file in distribution("worldmodel").files or [])
    return {
        file.as_posix()
        for file in files
        if not file.parts[0].endswith(".dist-info") and file.parts[0] != ".." and "__pycache__" not in file.parts
    }


def package_files(root: Path, packages: list[str]) -> set[str]:
    """The files of the packages in a checkout, relative to its root; results stay in the checkout."""
    found = (path for package in packages for path in (root / package).rglob("*") if path.is_file())
    relative = (path.relative_to(root) for path in found if "__pycache__" not in path.parts)
    return {path.as_posix() for path in relative if path.parts[:2] != ("benchmarks", "results")}


def main(root: Path, packages: list[str]) -> None:
    """Stops with the first thing that is wrong with the wheel."""
    shipped, expected = shipped_files(), package_files(root, packages)
    if shipped != expected:
        sys.exit(f"the wheel lacks {sorted(expected - shipped)} and has {sorted(shipped - expected)} besides")
    required = {f"{package}/py.typed" for package in packages}
    if missing := required - shipped:
        sys.exit(f"every package must ship py.typed, missing {sorted(missing)}")
    if not any("/manifests/" in file for file in shipped):
        sys.exit("the wheel must ship the manifests of the environments, got none")
    for package in packages:
        module = importlib.import_module(package)
        if not Path(module.__file__ or "").is_relative_to(sys.prefix):
            sys.exit(f"{package} must come from the wheel, got {module.__file__}")
        for info in pkgutil.walk_packages(module.__path__, f"{package}."):
            importlib.import_module(info.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
