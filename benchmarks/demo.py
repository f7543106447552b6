"""``worldmodel demo``: the whole story in one command, on checkpoints that ship with the package.

For each of them: evaluates the planning agent, a random policy and the scripted expert on the same episodes, and makes
a video of the agent planning. It uses validation manifests: the others are for published figures, and each look at them
is logged.
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


DEMOS = (DEFAULT, "pendulum")
"""Shipped checkpoints that are shown. Each has the name of its environment's domain, and needs no extra."""


@config
class DemoConfig:
    """Evaluates shipped agents beside a random policy and the scripted expert, and makes videos."""

    policies: tyro.conf.Positional[tuple[str, ...]] = DEMOS
    """Names of shipped checkpoints, or folders of your own."""
    manifest: str | None = None
    """Episodes: MANIFEST or ENVIRONMENT/MANIFEST; by default the validation episodes of the environment that a
    checkpoint is named after, or of the first one."""
    num_episodes: Count = 50
    """How many episodes, the first of the manifest."""
    video_episodes: tuple[CountFromZero, ...] = (0, 1)
    """Episodes to make a video of; none: no video."""
    seed: Seed = 0
    """Seed of the policies."""
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    """How the agent plans."""
    output: Path = Path("outputs")
    """Folder to write to: a folder for each checkpoint."""


def run(config: DemoConfig) -> dict[str, Any]:
    """Runs the demo.

    Returns:
        For each checkpoint, each policy's summary, as written to its ``demo.json``.
    """
    return {Path(policy).name: _show(config, policy) for policy in config.policies}


main = command(DemoConfig, run, "demo")


def _show(config: DemoConfig, checkpoint: str) -> dict[str, Any]:
    named = Path(checkpoint).name
    known = [domain.name for domain in domains()]
    environment = named if named in known else known[0]
    manifest = config.manifest or f"{environment}/{VALIDATION}"
    output = config.output / named
    shared: dict[str, Any] = {"manifest": manifest, "seed": config.seed, "planner": config.planner}
    records = {}
    for policy in (*SCRIPTED, checkpoint):
        name = Path(policy).name
        records[name] = success.run(
            success.EvaluateConfig(
                policy=policy,
                num_episodes=config.num_episodes,
                output=output / f"{name}.json",
                overwrite=True,
                **shared,
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
    write_json(output / "demo.json", content)
    films: list[Path] = []
    if config.video_episodes:
        films = render.run(
            render.RenderConfig(policy=checkpoint, episodes=config.video_episodes, output=output / "planning", **shared)
        )
    shown = success.table(list(records.values())).markdown()
    names = "".join(f", {film.name}" for film in films)
    logger.info("\n%s\n\nEverything is in %s/: the JSON files%s", shown, output, names)
    return content
