"""``worldmodel demo``: the whole story in one command, on the checkpoint that ships with the package.

Evaluates the planning agent, a random policy and the scripted expert on the same episodes and makes a video of the
agent planning. It uses the validation manifest: the others are for published figures, and each look at them is logged.
"""

import logging
from dataclasses import field
from pathlib import Path
from typing import Any

import tyro

from agents.world_model.config import PlannerConfig
from benchmarks.evaluation import success
from benchmarks.evaluation.manifests import VALIDATION
from benchmarks.films import render as video
from benchmarks.records import results as report
from worldmodel.config import Count, CountFromZero, Seed, config
from worldmodel.storage.files import write_json

logger = logging.getLogger(__name__)


@config
class DemoConfig:
    """Evaluates the shipped agent beside a random policy and the scripted expert, and makes a video."""

    policy: tyro.conf.Positional[str] = "two-rooms"
    """Name of a shipped checkpoint, or the directory of your own."""
    num_episodes: Count = 50
    """Episodes of the validation manifest."""
    video_episodes: tuple[CountFromZero, ...] = (0, 1)
    """Episodes to make a video of; none: no video."""
    seed: Seed = 0
    """Seed of the policies."""
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    """How the agent plans."""
    output: Path = Path("outputs")
    """Folder to write to."""


def run(config: DemoConfig) -> dict[str, Any]:
    """Runs the demo.

    Returns:
        Each policy's summary, as written to ``demo.json``.
    """
    results = {}
    for policy in ("random", "expert", config.policy):
        name = Path(policy).name
        results[name] = success.run(
            success.EvaluateConfig(
                policy=policy,
                manifest=VALIDATION,
                num_episodes=config.num_episodes,
                seed=config.seed,
                planner=config.planner,
                output=config.output / f"{name}.json",
                overwrite=True,
            )
        )
    content = {
        name: {key: result[key] for key in ("manifest", "manifest_hash", "summary", "latency", "provenance")}
        for name, result in results.items()
    }
    write_json(config.output / "demo.json", content)
    if config.video_episodes:
        video.run(
            video.RenderConfig(
                policy=config.policy,
                manifest=VALIDATION,
                episodes=config.video_episodes,
                seed=config.seed,
                planner=config.planner,
                output=config.output / "planning",
            )
        )
    table = report.markdown_table([config.output / f"{name}.json" for name in results])
    logger.info("\n%s\n\nEverything is in %s/: the JSON files, planning.mp4, planning.gif", table, config.output)
    return content
