"""``worldmodel speed``: how fast environment, data generator, training and planning are on this machine.

Each figure is measured several times; the best is reported beside the median, for other programs can only slow it down.
"""

import copy
import logging
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from agents.evaluation.evaluate import measure_latency
from agents.evaluation.task import make_task
from agents.saved import make_policy
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.records.store import WEIGHTS, Record, new_record, write_record
from benchmarks.records.tables import Table, number
from envs.domain import VALIDATION, Domain, domains, find_domain
from pretrain.collection.episodes import Source
from pretrain.collection.workers import record_in_processes
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
Env = gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any]
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
    num_workers: tuple[Count, ...] = ()
    """Also time how fast so many processes collect episodes, for each of these numbers."""
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
        pixels: ("steps/s", lambda seconds: time_env(task.make("pixels"), 100, seconds)),
        f"{pixels}, vector of {config.num_envs}": (
            "steps/s",
            lambda seconds: time_env(task.vector("pixels")(config.num_envs), 50, seconds),
        ),
    }
    for count in config.num_workers:
        name = f"{domain.title}, collected by {count} process{'es' if count > 1 else ''}"
        measures[name] = ("steps/s", partial(time_collection, domain, count))
    for recipe in domain.simulation().recipes if domain.simulate else ():
        source = SimulatedWindows(domain.simulation(), NUM_FRAMES, FRAME_SKIP, recipe=recipe)
        measures[f"trajectory generator, drawn, {recipe}"] = ("frames/s", partial(time_source, source, 256))
    digits = MovingMNIST(load_images("digits", "train"))
    measures["Moving MNIST generator"] = ("frames/s", partial(time_source, digits, 64))
    pretrained = None
    if config.checkpoint is not None:
        make_policy(config.checkpoint, task)  # refuses a checkpoint of other images
        pretrained = load_pretrained(config.checkpoint)
        measures |= _model_measures(pretrained.model)
    figures: list[dict[str, Any]] = []
    for name, (unit, measure) in measures.items():
        measure(min(config.seconds, 0.2))  # warms up caches and lazily loaded code
        rates = [round(measure(config.seconds), 1) for _ in range(config.repeats)]
        figures.append({"what": name, "unit": unit, "best": max(rates), "median": median(rates), "measured": rates})
        logger.info("%s: %.0f %s", name, max(rates), unit)
    record = new_record(
        {"analysis": "speed", "environment": domain.name, "policy": config.checkpoint and Path(config.checkpoint).name},
        {
            **{name: getattr(config, name) for name in ("num_envs", "num_workers", "repeats", "seconds")},
            WEIGHTS: pretrained and pretrained.sha256,
        },
        rows=figures,
        facts={} if config.checkpoint is None else {"latency": time_planning(config.checkpoint, domain)},
    )
    write_record(config.output, record)
    table(record).show()
    return record


main = command(SpeedConfig, run, "speed")


def rate(work: Callable[[], int], seconds: float) -> float:
    """Calls ``work``, which returns how many units it did, for about so many seconds; returns units a second."""
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds or not done:
        done += work()
    return done / max(elapsed, 1e-9)


def time_env(env: Env, num_steps: int, seconds: float) -> float:
    """Environment steps a second of an environment or a vector of them, with a reset after so many; closes it."""
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(num_steps)]

    def episode() -> int:
        env.reset()
        for action in actions:
            env.step(action)
        return num_steps * getattr(env, "num_envs", 1)

    with closing(env):
        return rate(episode, seconds)


def time_collection(domain: Domain, num_workers: int, seconds: float) -> float:
    """Environment steps a second that processes record of an explorer, once all of them are at work."""
    source = Source(domain.env_id, next(iter(domain.explorers)), 0, None, {})
    steps, began = 0, 0.0
    with closing(record_in_processes(source, range(10**9), num_workers, lambda: False)) as episodes:
        for done, (_, episode) in enumerate(episodes, 1):
            if done > num_workers:
                steps += len(episode.actions)
                if (elapsed := time.perf_counter() - began) >= seconds:
                    return steps / elapsed
            elif done == num_workers:
                began = time.perf_counter()
    raise AssertionError("there is no end of episodes")


def time_source(source: SimulatedWindows | MovingMNIST, batch_size: int, seconds: float) -> float:
    """Frames a second that a generator of trajectories or videos makes, drawing included."""
    generator = np.random.default_rng(0)
    return rate(lambda: int(np.prod(source.sample(batch_size, generator).pixels.shape[:2])), seconds)


def time_planning(checkpoint: str, domain: Domain) -> dict[str, Any]:
    """Latency of planning for a single environment, with the default options (milliseconds)."""
    manifest = load_manifest(f"{domain.name}/{VALIDATION}")
    task = make_task(manifest.env_id, manifest.env_kwargs)
    policy, observation = make_policy(checkpoint, task)
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
        {"what": row["what"], "unit": row["unit"]} | {name: number(row[name], 0) for name in ("best", "median")}
        for row in record.rows
    ]
    latency = record.facts.get("latency", {})
    for kind, calls in (("plan", "a plan"), ("step", "planning, a step")) if latency else ():
        for quantile in (50, 95):
            value = number(latency[f"{kind}_p{quantile}_ms"])
            rows.append({"what": f"{calls}, percentile {quantile}", "unit": "ms", "best": value})
    return Table.of(rows, "speed on this machine", num_words=2)
