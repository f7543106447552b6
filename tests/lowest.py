"""Writes the constraints of `make test-lowest`: `python tests/lowest.py FILE [NAME==RELEASE...]`.

Every dependency, those of the extras included, is held at the lowest release that pyproject.toml allows. The tools of
the extra `dev`, which no user gets, and whatever the dependencies bring along are left to pip. Pins given as arguments
replace the lowest release: ``torch==2.13.0`` where older ones cannot be had. Needs nothing but Python.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def lowest(requirement: str) -> tuple[str, str]:
    """Name and lowest release of a requirement such as ``minari[hdf5]>=0.5.4``.

    Raises:
        ValueError: If it is of another form.
    """
    match = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?>=([0-9][0-9.]*)(?:,.*)?", requirement)
    if match is None:
        raise ValueError(f"a requirement must be of the form 'name>=release', got {requirement!r}")
    return match[1], match[2]


def constraints(project: Path, pins: list[str]) -> str:
    """The lines of the constraints file.

    Args:
        project: The path of pyproject.toml.
        pins: ``name==release`` of what is not held at its lowest release.
    """
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    extras = table["optional-dependencies"]
    texts = [*table["dependencies"], *(text for name in extras if name != "dev" for text in extras[name])]
    releases = dict(lowest(text) for text in texts) | dict(pin.split("==") for pin in pins)
    return "".join(f"{name}=={release}\n" for name, release in sorted(releases.items()))


def main(file: Path, pins: list[str]) -> None:
    """Writes the file unless it is so already, so that its date tells when the environment must be renewed."""
    text = constraints(ROOT / "pyproject.toml", pins)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
