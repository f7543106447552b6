"""``worldmodel demo``: the whole story in one command, on the checkpoint that ships with the package.

Evaluates the planning agent, a random policy and the scripted expert on the same episodes and makes a video of the
agent planning. It uses the validation manifest: the others are for published figures, and each look at them is logged.
"""

import logging
from dataclasses import field
from pathlib import Path
from typing import Any

import tyro

from agents.saved import SCRIPTED
from agents.world_model.config import PlannerConfig
from benchmarks.evaluation import success
from benchmarks.films import render
from envs.domain import VALIDATION, domains
from pretrain.presets import DEFAULT
from worldmodel.config import Count, CountFromZero, Seed, command, config
from worldmodel.storage.files import write_json

logger = logging.getLogger(__name__)


@config
class DemoConfig:
    """Evaluates the shipped agent beside a random policy and the scripted expert, and makes a video."""

    policy: tyro.conf.Positional[str] = DEFAULT
    """Name of a shipped checkpoint, or the folder of your own."""
    manifest: str = f"{domains()[0].name}/{VALIDATION}"
    """Episodes: MANIFEST or ENVIRONMENT/MANIFEST."""
    num_episodes: Count = 50
    """How many episodes, the first of the manifest."""
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
    shared: dict[str, Any] = {name: getattr(config, name) for name in ("manifest", "seed", "planner")}
    records = {}
    for policy in (*SCRIPTED, config.policy):
        name = Path(policy).name
        output = config.output / f"{name}.json"
        records[name] = success.run(
            success.EvaluateConfig(
                policy=policy, num_episodes=config.num_episodes, output=output, overwrite=True, **shared
            )
        )
    content = {
        name: {
            **{part: record.config[part] for part in ("manifest", "manifest_hash")},
            **{part: record.facts[part] for part in ("summary", "latency")},
            "provenance": record.provenance,
        }
        for name, record in records.items()
    }
    write_json(config.output / "demo.json", content)
    if config.video_episodes:
        film = config.output / "planning"
        render.run(render.RenderConfig(policy=config.policy, episodes=config.video_episodes, output=film, **shared))
    shown = success.table(list(records.values())).markdown()
    logger.info("\n%s\n\nEverything is in %s/: the JSON files, planning.mp4, planning.gif", shown, config.output)
    return content


main = command(DemoConfig, run, "demo")
