"""``worldmodel speed``: how fast environment, data generator, training and planning are on this machine.

Each figure is measured several times; the best is reported beside the median, for other programs can only slow it down.
"""

import copy
import logging
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console

from agents.evaluation.evaluate import measure_latency
from agents.evaluation.task import Task, make_task
from agents.saved import make_policy
from agents.world_model.config import PlannerConfig
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.records import provenance
from benchmarks.records.store import WEIGHTS, Record, write_record
from benchmarks.records.tables import Table, number
from envs.domain import VALIDATION, Domain, domains, find_domain
from envs.simulation import Simulation
from pretrain.data.labelled_images import load_images
from pretrain.data.simulated import SimulatedWindows
from pretrain.video.moving_mnist import MovingMNIST
from worldmodel.checkpoint import load_pretrained
from worldmodel.config import Count, Positive, command, config
from worldmodel.jepa import JEPA
from worldmodel.objective import LossWeights, Objective

logger = logging.getLogger(__name__)

Timing = Callable[[float], float]
"""Runs for about this many seconds; returns a rate (units a second)."""
NUM_FRAMES, FRAME_SKIP, BATCH_SIZE = 9, 4, 64
"""Windows of trajectories, and how many of them a batch has."""


@config
class SpeedConfig:
    """Times environment, data generator, training and planning."""

    environment: str = domains()[0].name
    """Name of the environment."""
    checkpoint: str | None = None
    """Also time encoder, training step and planning of this checkpoint (a directory, or a name that ships)."""
    num_envs: Count = 64
    """Environments of the vector environment."""
    repeats: Count = 5
    """How often each figure is measured."""
    seconds: Positive = 1.0
    """How long each measurement lasts, about."""
    num_threads: Count | None = None
    """Threads of torch; by default its own choice."""
    output: Path = Path("benchmarks/results/speed.json")
    """JSON file to write."""


def run(config: SpeedConfig) -> Record:
    """Measures and writes the figures.

    Returns:
        The record: a row for each figure, with its unit, the best, the median and all measurements; with a checkpoint
        also ``latency`` among the facts.

    Raises:
        ValueError: If a setting is out of its range, or the checkpoint is not valid.
    """
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    domain = find_domain(config.environment)
    task, pixels = make_task(domain.env_id), f"{domain.title}, pixels"
    measures: dict[str, tuple[str, Timing]] = {
        pixels: ("steps/s", lambda seconds: time_env(task, seconds)),
        f"{pixels}, vector of {config.num_envs}": ("steps/s", lambda s: time_vector(task, s, config.num_envs)),
    }
    for recipe in domain.simulation().recipes if domain.simulate else ():
        measures[f"trajectory generator, drawn, {recipe}"] = (
            "frames/s",
            lambda seconds, recipe=recipe: time_generator(domain.simulation(), recipe, seconds),  # type: ignore[misc]
        )
    measures["Moving MNIST generator"] = ("frames/s", time_moving_mnist)
    if config.checkpoint is not None:
        make_policy(config.checkpoint, task)  # refuses a checkpoint of other images
        measures |= _model_measures(load_pretrained(config.checkpoint).model)
    figures: list[dict[str, Any]] = []
    for name, (unit, measure) in measures.items():
        measure(min(config.seconds, 0.2))  # warms up caches and lazily loaded code
        rates = [round(measure(config.seconds), 1) for _ in range(config.repeats)]
        figures.append({"what": name, "unit": unit, "best": max(rates), "median": median(rates), "measured": rates})
        logger.info("%s: %.0f %s", name, max(rates), unit)
    weights = load_pretrained(config.checkpoint).sha256 if config.checkpoint is not None else None
    record = Record(
        key={
            "analysis": "speed",
            "environment": domain.name,
            "policy": None if config.checkpoint is None else Path(config.checkpoint).name,
        },
        config={"num_envs": config.num_envs, "repeats": config.repeats, "seconds": config.seconds, WEIGHTS: weights},
        provenance=provenance.collect(weights),
        rows=tuple(figures),
        facts={} if config.checkpoint is None else {"latency": time_planning(config.checkpoint, domain)},
    )
    write_record(config.output, record)
    Console().print(table(record).terminal())
    return record


main = command(SpeedConfig, run, "speed")


def rate(work: Callable[[], int], seconds: float) -> float:
    """Calls ``work``, which returns how many units it did, for about so many seconds; returns units a second."""
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds or not done:
        done += work()
    return done / max(elapsed, 1e-9)


def time_env(task: Task, seconds: float) -> float:
    """Steps a second of one environment with pixels, resets included."""
    env = task.make("pixels")
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(100)]

    def episode() -> int:
        env.reset()
        for action in actions:
            env.step(action)
        return len(actions)

    try:
        return rate(episode, seconds)
    finally:
        env.close()


def time_vector(task: Task, seconds: float, num_envs: int) -> float:
    """Environment steps a second of a vector environment with pixels, resets included."""
    env = task.vector("pixels")(num_envs)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(50)]

    def steps() -> int:
        env.reset(seed=0)
        for action in actions:
            env.step(action)
        return len(actions) * num_envs

    try:
        return rate(steps, seconds)
    finally:
        env.close()


def time_generator(simulation: Simulation, recipe: str, seconds: float) -> float:
    """Frames a second that the trajectory generator makes, drawing included."""
    source, generator = SimulatedWindows(simulation, NUM_FRAMES, FRAME_SKIP, recipe=recipe), np.random.default_rng(0)
    return rate(lambda: int(np.prod(source.sample(256, generator).pixels.shape[:2])), seconds)


def time_moving_mnist(seconds: float) -> float:
    """Frames a second that the generator of Moving MNIST makes."""
    source, generator = MovingMNIST(load_images("digits", "train")), np.random.default_rng(0)
    return rate(lambda: int(np.prod(source.sample(64, generator).pixels.shape[:2])), seconds)


def time_planning(checkpoint: str, domain: Domain) -> dict[str, Any]:
    """Latency of planning for a single environment, with the default options (milliseconds)."""
    manifest = load_manifest(f"{domain.name}/{VALIDATION}")
    task = make_task(manifest.env_id, manifest.env_kwargs)
    policy, observation = make_policy(checkpoint, task, planner=PlannerConfig())
    return measure_latency(policy, task.vector(observation), manifest, num_episodes=1)


def _model_measures(model: JEPA) -> dict[str, tuple[str, Timing]]:
    """Encoder and training step of a model, on random images and actions."""
    generator = torch.Generator().manual_seed(0)
    shape = (BATCH_SIZE, NUM_FRAMES, *model.normalizer.pixel_shape)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    actions = torch.randn(BATCH_SIZE, NUM_FRAMES - 1, model.frame_skip * model.action_dim, generator=generator)
    objective = Objective(copy.deepcopy(model).train(), LossWeights())
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-5)
    frames = BATCH_SIZE * NUM_FRAMES

    @torch.no_grad()
    def encode() -> int:
        model.encode(pixels)
        return frames

    def train() -> int:
        loss, _, _ = objective(pixels, actions)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return frames

    return {
        "encoder": ("frames/s", lambda seconds: rate(encode, seconds)),
        "training step": ("frames/s", lambda seconds: rate(train, seconds)),
    }


def table(record: Record) -> Table:
    """The figures, and the latency of planning if it was measured."""
    rows = [
        {
            "what": row["what"],
            "unit": row["unit"],
            "best": number(row["best"], 0),
            "median": number(row["median"], 0),
        }
        for row in record.rows
    ]
    latency = record.facts.get("latency", {})
    for kind, calls in (("plan", "a plan"), ("step", "planning, a step")) if latency else ():
        for quantile in (50, 95):
            value = number(latency[f"{kind}_p{quantile}_ms"])
            rows.append({"what": f"{calls}, percentile {quantile}", "unit": "ms", "best": value})
    return Table.of(rows, "speed on this machine", num_words=2)
