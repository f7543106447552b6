"""``python -m benchmarks.readme`` writes the measured figures into README.md, from the JSON files that commands wrote.

No figure is typed in: between the two markers everything is made anew from ``benchmarks/results`` and the shipped
checkpoint.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.provenance import ROOT
from benchmarks.report import markdown_table, read_result
from worldmodel.checkpoint import SHIPPED, read_config, replacing

RESULTS = ROOT / "benchmarks" / "results"
"""Where the results lie that README shows."""
BEGIN, END = "<!-- figures: python -m benchmarks.readme -->", "<!-- /figures -->"
"""Markers of the part of README that is made here."""
SUCCESS_FILES = ("two-rooms-random-wall.json", "random-random-wall.json", "expert-random-wall.json")
"""Evaluations in the table of success rates."""


@dataclass(frozen=True, kw_only=True)
class ReadmeConfig:
    """Writes the measured figures into README.md."""

    readme: Path = ROOT / "README.md"
    """The file to write into."""
    check: bool = False
    """Only check that it holds the figures of the JSON files; fail if not."""


def figures() -> str:
    """The measured figures as Markdown."""
    paths = [RESULTS / name for name in SUCCESS_FILES if (RESULTS / name).exists()]
    parts = []
    if paths:
        contents = [read_result(path) for path in paths]
        commands = "\n".join(content["provenance"]["command"] for content in contents)
        parts.append(
            "Success on the frozen manifest `random-wall` (start and goal in different rooms, all 200 steps run; in "
            "brackets 95 % Wilson intervals; latency with one environment, a plan serving four steps), on "
            f"{_machine(contents[0])}:\n\n{markdown_table(paths)}\n```bash\n{commands}\n```\n"
        )
    if (SHIPPED / "two-rooms").exists():
        training = read_config(SHIPPED / "two-rooms")["training"]
        parts.append(
            f"The shipped checkpoint is `worldmodel pretrain two-rooms` with seed {training['config']['seed']}: "
            f"{training['step']:,} steps in {training['seconds'] / 60:.1f} minutes of one CPU core "
            "(`OMP_NUM_THREADS=1`), data generation included.\n"
        )
    if (RESULTS / "speed.json").exists():
        speed = json.loads((RESULTS / "speed.json").read_text(encoding="utf-8"))
        parts.append(f"Speed, best and median of several runs (`{speed['provenance']['command']}`):\n\n{_speed(speed)}")
    return "\n".join(parts)


def run(config: ReadmeConfig) -> None:
    """Writes the figures into README, or checks them.

    Raises:
        ValueError: If README lacks the markers, or, when checking, holds other figures.
    """
    text = config.readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{config.readme} must contain {BEGIN!r} and {END!r} once each")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    new = f"{head}{BEGIN}\n\n{figures()}\n{END}{tail}"
    if config.check:
        if new != text:
            raise ValueError(f"{config.readme} must hold the figures of the results; run python -m benchmarks.readme")
        return
    with replacing(config.readme) as temporary:
        temporary.write_text(new, encoding="utf-8")


def _machine(content: dict[str, Any]) -> str:
    machine = content["provenance"]["machine"]
    return f"{machine['num_cpus']} cores of {machine['processor']}"


def _speed(speed: dict[str, Any]) -> str:
    lines = ["| what | best | median | unit |", "|---|--:|--:|---|"]
    lines += [
        f"| {name} | {figure['best']:,.0f} | {figure['median']:,.0f} | {figure['unit']} |"
        for name, figure in speed["figures"].items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(tyro.cli(ReadmeConfig))
