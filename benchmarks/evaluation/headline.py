"""``worldmodel headline``: the table of README: every training seed on every published manifest.

Each evaluation is a file of its own in ``benchmarks/results/headline/`` and is not run again if it is there; the table
is made from these files, by :func:`markdown`.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markdown import Markdown

from agents.world_model.config import PlannerConfig
from benchmarks.evaluation import success
from benchmarks.records.provenance import ROOT
from benchmarks.records.results import read_result, write_result
from worldmodel.checkpoint import read_config
from worldmodel.config import CountFromZero, config
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

RESULTS = ROOT / "benchmarks" / "results" / "headline"
"""Where the evaluations lie."""
EVALUATIONS = (
    ("random-wall", "mppi"),
    ("random-wall", "cem"),
    ("random-wall", "icem"),
    ("random-wall", "policy"),
    ("bounce", "mppi"),
    ("bounce", "policy"),
    ("fixed-wall", "mppi"),
    ("fixed-wall", "policy"),
    ("held-out", "mppi"),
    ("held-out", "policy"),
)
"""Manifests and planners that each checkpoint is evaluated with."""
NO_CROSSINGS = "no-crossings"
"""In the name of checkpoints whose training data never pass a door."""


@config
class HeadlineConfig:
    """Evaluates checkpoints of several seeds on all published manifests."""

    checkpoints: tuple[Path, ...] = tuple(Path(f"runs/two-rooms-seed{seed}") for seed in range(3))
    """Folders of the checkpoints. Those with "no-crossings" in their name are evaluated on random-wall only."""
    latency_episodes: CountFromZero = 3
    """Episodes on which the latency is measured, with a single environment."""
    output: Path = RESULTS
    """Folder to write to."""
    progress: bool = True
    """Whether to show progress bars and the table."""


def run(config: HeadlineConfig) -> list[dict[str, Any]]:
    """Runs what is missing of the evaluations.

    Returns:
        Their contents.
    """
    with locked(config.output, "results store"):
        contents = list(_contents(config))
    if config.progress:
        Console().print(Markdown(markdown(config.output)))
    return contents


def _contents(config: HeadlineConfig) -> Iterator[dict[str, Any]]:
    """The evaluations of all checkpoints, run where they are missing."""
    for checkpoint in config.checkpoints:
        for manifest, planner in EVALUATIONS:
            if NO_CROSSINGS in checkpoint.name and manifest != "random-wall":
                continue
            logger.info("%s on %s with %s", checkpoint.name, manifest, planner)
            output = config.output / f"{checkpoint.name}-{manifest}-{planner}.json"
            evaluation = success.EvaluateConfig(
                policy=str(checkpoint),
                manifest=manifest,
                planner=PlannerConfig(planner=planner),  # type: ignore[arg-type]
                latency_episodes=config.latency_episodes if manifest == "random-wall" else 0,
                output=output,
                progress=False,
            )
            content = success.run(evaluation)
            if "training" not in content:
                content["training"] = _training(checkpoint)
                write_result(output, content)
            yield content


def markdown(folder: Path) -> str:
    """The table of what was to be reached and what was, from the evaluations in a folder."""
    contents = [read_result(path) for path in sorted(folder.glob("*.json"))]
    lines = ["| measure | reference | goal | each seed | mean |", "|---|--:|--:|---|--:|"]
    lines += [f"| {' | '.join(row)} |" for row in _rows(contents)]
    return "\n".join(lines) + "\n"


def _rows(contents: list[dict[str, Any]]) -> Iterator[tuple[str, str, str, str, str]]:
    """Measure, reference, goal, each seed's figure, mean."""

    def pick(manifest: str, planner: str, *, crossings: bool = True) -> list[dict[str, Any]]:
        return [
            c
            for c in contents
            if c["manifest"].split(",")[0] == manifest
            and c["config"]["planner"]["planner"] == planner
            and (NO_CROSSINGS not in c["policy"]) == crossings
        ]

    def rates(chosen: list[dict[str, Any]]) -> tuple[str, str]:
        values = [c["summary"]["final_success"] for c in chosen]
        texts = []
        for c in chosen:
            low, high = c["summary"]["final_success_interval"]
            texts.append(f"{c['summary']['final_success']:.1%} [{low:.1%}, {high:.1%}]")
        return "; ".join(texts), f"{np.mean(values):.1%}"

    def numbers(values: list[float], form: str) -> tuple[str, str]:
        return "; ".join(form.format(v) for v in values), form.format(float(np.mean(values)))

    for label, reference, goal, manifest, planner in (
        ("random-wall, MPPI, final success", "97 ± 2 %", "≥ 99 %", "random-wall", "mppi"),
        ("random-wall, CEM", "96 ± 2 %", "≥ 98.5 %", "random-wall", "cem"),
        ("random-wall, iCEM", "–", "≥ 98.5 %", "random-wall", "icem"),
        ("random-wall, the actor alone", "–", "≥ 97 %", "random-wall", "policy"),
        ("bounce (never trained on), MPPI", "–", "≥ 98 %", "bounce", "mppi"),
        ("fixed-wall, MPPI", "98 %", "≥ 99 %", "fixed-wall", "mppi"),
        ("held-out layouts, MPPI", "–", "≥ 95 %", "held-out", "mppi"),
    ):
        if chosen := pick(manifest, planner):
            yield (label, reference, goal, *rates(chosen))
    if chosen := pick("random-wall", "mppi", crossings=False):
        yield ("random-wall, trained without a door crossing, MPPI", "34 % (PLDM's setting)", "≥ 80 %", *rates(chosen))
    if chosen := pick("random-wall", "mppi"):
        summaries = [c["summary"] for c in chosen]
        yield ("SPL, MPPI", "–", "≥ 0.85", *numbers([s["spl"] for s in summaries], "{:.3f}"))
        trained = [c["training"]["seconds"] / 60 for c in chosen]
        yield ("training on 2 cores, data included, minutes", "≈ 29 core-hours", "≤ 15", *numbers(trained, "{:.1f}"))
        step = [c["latency"]["step_p95_ms"] for c in chosen]
        yield ("MPPI, ms of planning a step, p95", "≈ 10,000", "≤ 5", *numbers(step, "{:.2f}"))
        plan = [c["latency"]["plan_p95_ms"] for c in chosen]
        yield ("MPPI, ms of a replan, p95", "–", "–", *numbers(plan, "{:.2f}"))
        minutes = [s["wall_seconds"] / 60 for s in summaries]
        yield ("1,000 episodes of 200 steps, minutes", "≈ 10 hours", "≤ 4", *numbers(minutes, "{:.1f}"))
    if chosen := pick("random-wall", "policy"):
        step = [c["latency"]["step_p95_ms"] for c in chosen]
        yield ("the actor alone, ms a step, p95", "–", "≤ 1", *numbers(step, "{:.2f}"))


def _training(checkpoint: Path) -> dict[str, Any]:
    training = read_config(checkpoint)["training"]
    return {"seed": training["config"]["seed"], "steps": training["step"], "seconds": training["seconds"]}
