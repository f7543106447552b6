"""``worldmodel attribute``: is it the world model or the search that fails episodes?

The same planner plays the same episodes with the true dynamics in the model's place, and with a much larger budget.
What the first mends is the model's fault, what the second mends is the search's; what neither mends is the cost's.
Videos of failed episodes are named after whose fault it was.
"""

import logging
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from gymnasium import spaces
from rich.console import Console
from rich.table import Table
from torch import Tensor

from agents.evaluation.evaluate import EvalResult, evaluate
from agents.evaluation.results import compare
from agents.planning_agent import PlanningAgent
from agents.world_model.config import PlannerConfig, bounds_from_space, build_planner
from benchmarks.evaluation.manifests import VALIDATION, load_manifest
from benchmarks.evaluation.policies import make_task, open_checkpoint
from benchmarks.films import render as video
from benchmarks.records import provenance
from envs.two_rooms.expert import read_layout
from envs.two_rooms.physics import Layout, step
from envs.two_rooms.rendering import render
from envs.two_rooms.task import image_positions
from worldmodel.checkpoint import Pretrained
from worldmodel.config import Count, CountFromZero, Seed, config
from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.jepa import JEPA
from worldmodel.planning import Measure, distance_measure
from worldmodel.storage.files import write_json

logger = logging.getLogger(__name__)

NUM_STATES = 5
"""Numbers that make up a state of Two Rooms: position, wall, door, orientation."""
STATE_SCALE = 1e-4
"""States are this much smaller in the oracle's latents, so that they do not count in distances between latents."""


@config
class AttributeConfig:
    """Attributes failed episodes to the model, the search or the cost."""

    policy: tyro.conf.Positional[str] = "two-rooms"
    """Directory of a checkpoint, or name of a shipped one."""
    manifest: str = VALIDATION
    """Episodes."""
    num_episodes: Count = 200
    """Only the first so many episodes."""
    num_envs: Count = 50
    """Episodes that run at once, but for the agent as configured: its episodes run one by one, as they do in videos.
    In a batch numbers are rounded otherwise, which decides an episode in hundreds."""
    seed: Seed = 0
    """Seed of the planner."""
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    """How the agent plans."""
    output: Path = Path("benchmarks/results/attribution.json")
    """JSON file to write."""
    num_videos: CountFromZero = 2
    """Most failed episodes to make videos of."""
    videos: Path = Path("outputs")
    """Folder of these videos."""
    progress: bool = True
    """Whether to show progress bars and the table."""


class OracleModel:
    """A world model whose dynamics are the environment's own; its encoder is a JEPA's.

    Its latents are the JEPA's with the state appended, which ``encode`` reads off the image; ``rollout`` moves the
    state by the physics of Two Rooms, draws the image that follows, and encodes it.

    Args:
        model: The JEPA.
    """

    def __init__(self, model: JEPA) -> None:
        self.model = model
        self.frame_skip = model.frame_skip
        self.action_dim = model.action_dim

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Latents ``(b, d + 5)`` of images ``(b, 2, 65, 65)``."""
        images = pixels.numpy()
        layout = read_layout(images)
        state = np.concatenate([image_positions(images), np.stack([np.asarray(f, float) for f in layout], -1)], -1)
        return self._join(self.model.encode(pixels), state)

    @torch.no_grad()
    def rollout(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Latents ``(b, t, d + 5)`` after blocks of actions ``(b, t, frame_skip * 2)``."""
        state = (latents[:, -NUM_STATES:].double() / STATE_SCALE).numpy()
        positions = state[:, :2].astype(np.float32)
        layout = Layout(state[:, 2].round(), state[:, 3].round(), state[:, 4] > 0.5)
        visited = []
        for block in actions.unflatten(-1, (self.frame_skip, self.action_dim)).unbind(1):
            for action in block.unbind(1):
                positions = step(positions, action.numpy(), layout).positions
            pixels = torch.from_numpy(render(positions, layout))
            reached = np.concatenate([positions, state[:, 2:]], -1)
            visited.append(self._join(self.model.encode(pixels), reached))
        return torch.stack(visited, 1)

    @staticmethod
    def _join(latents: Tensor, state: np.ndarray) -> Tensor:
        return torch.cat([latents, torch.from_numpy(state * STATE_SCALE).float()], -1)


class OracleActor:
    """An actor and a critic that look at the JEPA's part of an oracle's latents.

    Args:
        actor_critic: The JEPA's own.
    """

    def __init__(self, actor_critic: ActorCritic) -> None:
        self.actor_critic = actor_critic

    def policy(self, latents: Tensor, goals: Tensor) -> Tensor:
        """Actions ``(b, 2)``."""
        return self.actor_critic.policy(latents[..., :-NUM_STATES], goals[..., :-NUM_STATES])

    def trajectory_cost(self, latents: Tensor, goals: Tensor) -> Tensor:
        """Costs ``(b,)``."""
        return self.actor_critic.trajectory_cost(latents[..., :-NUM_STATES], goals[..., :-NUM_STATES])


def run(config: AttributeConfig) -> dict[str, Any]:
    """Plays the episodes with each variant and compares.

    Returns:
        What was written to the JSON file.

    Raises:
        ValueError: If the policy is no checkpoint, or the manifest is not one of Two Rooms.
    """
    pretrained = open_checkpoint(config.policy)
    if pretrained is None:
        raise ValueError(f"policy must be a checkpoint, got {config.policy!r}")
    manifest = load_manifest(config.manifest)
    task = make_task(manifest.env_id, manifest.env_kwargs)
    assert isinstance(task.action_space, spaces.Box)
    results: dict[str, EvalResult] = {}
    for name, agent in _variants(config, pretrained, task.action_space).items():
        logger.info("%s", name)
        results[name] = evaluate(
            agent,
            task.vector("pixels"),
            manifest,
            num_episodes=config.num_episodes,
            num_envs=1 if name == "as configured" else config.num_envs,
            seed=config.seed,
            progress=config.progress,
        )
    content: dict[str, Any] = {
        "policy": Path(config.policy).name,
        "manifest": manifest.name,
        "manifest_hash": manifest.hash,
        "planner": asdict(config.planner),
        "provenance": provenance.collect(pretrained.sha256),
        "variants": {name: _row(results["as configured"], result) for name, result in results.items()},
        "failures": _failures(results),
    }
    write_json(config.output, content)
    if config.progress:
        Console().print(_table(content))
        logger.info("written to %s", config.output)
    for failure in content["failures"][: config.num_videos]:
        render_failure(config, failure)
    return content


def _variants(config: AttributeConfig, pretrained: Pretrained, space: spaces.Box) -> dict[str, PlanningAgent]:
    """The agents that play, by name."""
    own, planner = pretrained.actor_critic, config.planner
    large = replace(
        planner,
        num_samples=8 * planner.num_samples,
        num_iterations=2 * planner.num_iterations,
        horizon=2 * planner.horizon,
    )

    def agent(planner: PlannerConfig) -> PlanningAgent:
        return PlanningAgent.from_pretrained(pretrained.path, planner, action_space=space, seed=config.seed)

    as_configured = agent(planner)  # refuses a learned cost where nothing was learned
    wrapped = OracleActor(own) if own is not None else None
    if planner.cost == "value":
        assert wrapped is not None
        measure: Measure = wrapped.trajectory_cost
    else:
        measure = distance_measure(planner.cost, **planner.cost_options)
    oracle = PlanningAgent(
        OracleModel(pretrained.model),
        build_planner(planner, bounds_from_space(space, pretrained.action_max_norm)),
        measure,
        actor=wrapped if planner.propose else None,
        warm_start=planner.warm_start,
        seed=config.seed,
    )
    variants = {"as configured": as_configured, "true dynamics": oracle, "larger budget": agent(large)}
    if own is not None:
        variants["actor alone"] = agent(replace(planner, planner="policy"))
    return variants


def render_failure(config: AttributeConfig, failure: dict[str, Any]) -> list[Path]:
    """Makes a video of a failed episode, named after its fault; returns the files."""
    return video.run(
        video.RenderConfig(
            policy=config.policy,
            manifest=config.manifest,
            episodes=(failure["episode"],),
            planner=config.planner,
            seed=config.seed,
            output=config.videos / f"failed-{config.manifest}-{failure['episode']}-{failure['fault']}",
            progress=config.progress,
        )
    )


def _row(base: EvalResult, result: EvalResult) -> dict[str, Any]:
    return {"summary": result.summary(), "gain": asdict(compare(result, base))}


def _failures(results: dict[str, EvalResult]) -> list[dict[str, Any]]:
    """One entry for each failed episode: what mends it."""
    failed = np.flatnonzero(~results["as configured"].successes())
    rows = []
    for i in failed:
        mended = {name: bool(results[name].successes()[i]) for name in ("true dynamics", "larger budget")}
        fault = "model" if mended["true dynamics"] else "search" if mended["larger budget"] else "cost"
        episode = results["as configured"].rows[i]
        rows.append(
            {"episode": episode.index, "final_distance": episode.final_distance, "fault": fault} | {"mended_by": mended}
        )
    return rows


def _table(content: dict[str, Any]) -> Table:
    failures = content["failures"]
    faults = ", ".join(
        f"{kind} {sum(row['fault'] == kind for row in failures)}" for kind in ("model", "search", "cost")
    )
    table = Table(title=f"{content['policy']} on {content['manifest']}: {len(failures)} failures ({faults})")
    for name in ("variant", "final success", "gain", "SPL"):
        table.add_column(name, justify="left" if name == "variant" else "right")
    for name, row in content["variants"].items():
        low, high = row["summary"]["final_success_interval"]
        gain = row["gain"]
        table.add_row(
            name,
            f"{row['summary']['final_success']:.1%} [{low:.1%}, {high:.1%}]",
            f"{gain['difference']:+.1%} [{gain['low']:+.1%}, {gain['high']:+.1%}]",
            "–" if row["summary"]["spl"] is None else f"{row['summary']['spl']:.3f}",
        )
    return table
