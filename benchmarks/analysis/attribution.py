"""``worldmodel attribute``: is it the world model or the search that fails episodes?

The same planner plays the same episodes with the true dynamics in the model's place, and with a much larger budget.
What the first mends is the model's fault, what the second mends is the search's; what neither mends is the cost's.
Videos of failed episodes are named after whose fault it was.
"""

import logging
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from gymnasium import spaces
from torch import Tensor

from agents.evaluation.evaluate import EvalResult, evaluate
from agents.evaluation.results import compare
from agents.evaluation.task import Task, make_task
from agents.saved import open_checkpoint
from agents.world_model.agent import PlanningAgent
from agents.world_model.config import PlannerConfig, bounds_from_space, build_planner
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.films import render as video
from benchmarks.records.store import WEIGHTS, Record, new_record, write_record
from benchmarks.records.tables import Table, gain, number, percent
from envs.domain import VALIDATION
from envs.simulation import Simulation, state_size
from pretrain.presets import DEFAULT
from worldmodel.checkpoint import Pretrained
from worldmodel.config import Count, CountFromZero, Seed, command, config
from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.jepa import JEPA
from worldmodel.planning import distance_measure

logger = logging.getLogger(__name__)

FAULTS = {"model": "true dynamics", "search": "larger budget"}
"""Whose fault a failure is, by the variant that mends it; the cost's where none does."""
STATE_SCALE = 1e-4
"""States are this much smaller in the oracle's latents, so that they do not count in distances between latents."""


@config
class AttributeConfig:
    """Attributes failed episodes to the model, the search or the cost."""

    policy: tyro.conf.Positional[str] = DEFAULT
    """Directory of a checkpoint, or name of a shipped one."""
    manifest: str = VALIDATION
    """Episodes."""
    num_episodes: Count = 200
    """How many episodes, the first of the manifest."""
    num_envs: Count = 50
    """Episodes that run at once, but for the agent as configured: its episodes run one by one, as they do in videos.
    Batch rounding flips about one episode in several hundred."""
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

    Its latents are the JEPA's with the state appended, which is read off the image; ``rollout`` moves the
    state as the environment does, draws the image that follows, and encodes it.

    Args:
        model: The JEPA.
        simulation: The environment.

    Raises:
        ValueError: If the JEPA's states are more than one latent.
    """

    def __init__(self, model: JEPA, simulation: Simulation) -> None:
        if model.context > 1:
            raise ValueError(f"the world model must have model.context 1 to be replaced, got {model.context}")
        self.model = model
        self.simulation = simulation
        self.frame_skip = model.frame_skip
        self.action_dim = model.action_dim
        self.context = 1

    @property
    def idle_action(self) -> Tensor:
        """The JEPA's."""
        return self.model.idle_action

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Latents ``(b, d + p + l)`` of images ``(b, c, h, w)``."""
        return self._join(pixels, *self.simulation.read(pixels.numpy()))

    def states(self, latents: Tensor, actions: Tensor) -> Tensor:
        """A latent is a state."""
        return latents

    @torch.no_grad()
    def rollout(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Latents ``(b, t, d + p + l)`` after blocks of actions ``(b, t, frame_skip * a)``."""
        simulation = self.simulation
        num_coordinates, num_states = len(simulation.position_low), state_size(simulation)
        state = (latents[:, -num_states:].double() / STATE_SCALE).numpy()
        positions, layout = state[:, :num_coordinates].astype(np.float32), state[:, num_coordinates:].round()
        visited = []
        for block in actions.unflatten(-1, (self.frame_skip, self.action_dim)).unbind(1):
            for action in block.unbind(1):
                positions = simulation.step(positions, action.numpy(), layout)
            pixels = torch.from_numpy(simulation.draw(positions[:, None], layout)[:, 0])
            visited.append(self._join(pixels, positions, layout))
        return torch.stack(visited, 1)

    def _join(self, pixels: Tensor, positions: np.ndarray, layout: np.ndarray) -> Tensor:
        state = torch.from_numpy(np.concatenate([positions, layout], -1) * STATE_SCALE)
        return torch.cat([self.model.encode(pixels), state.float()], -1)


@dataclass(frozen=True)
class OracleActor:
    """An actor and a critic that look at the JEPA's part of an oracle's latents.

    Attributes:
        actor_critic: The JEPA's own.
        num_states: Numbers of the state, which they do not look at.
    """

    actor_critic: ActorCritic
    num_states: int

    def policy(self, latents: Tensor, goals: Tensor) -> Tensor:
        """Actions ``(b, a)``."""
        return self.actor_critic.policy(latents[..., : -self.num_states], goals[..., : -self.num_states])

    def trajectory_cost(self, latents: Tensor, goals: Tensor) -> Tensor:
        """Costs ``(b,)``."""
        return self.actor_critic.trajectory_cost(latents[..., : -self.num_states], goals[..., : -self.num_states])


def run(config: AttributeConfig) -> Record:
    """Plays the episodes with each variant and compares.

    Returns:
        The record: a row for each variant; ``failures`` among the facts.

    Raises:
        ValueError: If the policy is no checkpoint, or the environment has no simulation.
    """
    pretrained = open_checkpoint(config.policy)
    manifest = load_manifest(config.manifest)
    task = make_task(manifest.env_id, manifest.env_kwargs)
    results: dict[str, EvalResult] = {}
    for name, agent in _variants(config, pretrained, task).items():
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
    base = results["as configured"]
    record = new_record(
        {
            "analysis": "attribution",
            "environment": task.domain.name,
            "manifest": manifest.name,
            "policy": Path(config.policy).name,
        },
        {
            "manifest_hash": manifest.hash,
            **{name: getattr(config, name) for name in ("num_episodes", "num_envs", "seed")},
            "planner": asdict(config.planner),
            WEIGHTS: pretrained.sha256,
        },
        rows=[
            {"variant": name, "summary": result.summary(), "gain": asdict(compare(result, base))}
            for name, result in results.items()
        ],
        facts={"failures": _failures(results)},
    )
    write_record(config.output, record)
    if config.progress:
        table(record).show(config.output)
    shared: dict[str, Any] = {
        name: getattr(config, name) for name in ("policy", "manifest", "planner", "seed", "progress")
    }
    for failure in record.facts["failures"][: config.num_videos]:
        output = config.videos / f"failed-{config.manifest}-{failure['episode']}-{failure['fault']}"
        video.run(video.RenderConfig(episodes=(failure["episode"],), output=output, **shared))
    return record


main = command(AttributeConfig, run, "attribute")


def _variants(config: AttributeConfig, pretrained: Pretrained, task: Task) -> dict[str, PlanningAgent]:
    """The agents that play, by name."""
    own, planner, space = pretrained.actor_critic, config.planner, task.action_space
    simulation = task.domain.simulation(task.env_kwargs)
    assert isinstance(space, spaces.Box)
    large = replace(
        planner,
        num_samples=8 * planner.num_samples,
        num_iterations=2 * planner.num_iterations,
        horizon=2 * planner.horizon,
    )

    def agent(planner: PlannerConfig) -> PlanningAgent:
        return PlanningAgent.from_pretrained(pretrained, planner, action_space=space, seed=config.seed)

    as_configured = agent(planner)  # refuses a learned cost where nothing was learned
    actor = None if own is None else OracleActor(own, state_size(simulation))
    learned = actor if planner.cost == "value" else None
    oracle = PlanningAgent(
        OracleModel(pretrained.model, simulation),
        build_planner(planner, bounds_from_space(space, pretrained.data.action_max_norm)),
        learned.trajectory_cost if learned else distance_measure(planner.cost, **planner.cost_options),
        actor=actor if planner.propose else None,
        replan_every=planner.replan_every,
        warm_start=planner.warm_start,
        fill=planner.fill,
        seed=config.seed,
    )
    variants = {"as configured": as_configured, "true dynamics": oracle, "larger budget": agent(large)}
    if own is not None:
        variants["actor alone"] = agent(replace(planner, planner="policy", replan_every=None))
    return variants


def _failures(results: dict[str, EvalResult]) -> list[dict[str, Any]]:
    """One entry for each failed episode: what mends it."""
    base, rows = results["as configured"], []
    for i in np.flatnonzero(~base.successes()):
        mended = {name: bool(results[name].successes()[i]) for name in FAULTS.values()}
        fault = next((fault for fault, name in FAULTS.items() if mended[name]), "cost")
        named = {"episode": base.rows[i].index, "final_distance": base.rows[i].final_distance}
        rows.append({**named, "fault": fault, "mended_by": mended})
    return rows


def table(record: Record) -> Table:
    """The variants, and in the title whose fault the failures are."""
    failures = record.facts["failures"]
    counts = Counter(failure["fault"] for failure in failures)
    faults = ", ".join(f"{fault} {counts[fault]}" for fault in (*FAULTS, "cost"))
    title = f"{record.key['policy']} on {record.key['manifest']}: {len(failures)} failures ({faults})"
    rows = [
        {
            "variant": row["variant"],
            "final success": percent(row["summary"]["final_success"], row["summary"]["final_success_interval"]),
            "difference": gain(row["gain"]),
            "SPL": number(row["summary"]["spl"], 3),
        }
        for row in record.rows
    ]
    return Table.of(rows, title)
