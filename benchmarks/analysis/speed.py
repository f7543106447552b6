"""``worldmodel speed``: how fast environment, data generator, training and planning are on this machine.

Each figure is measured several times; the best is reported beside the median, for other programs can only slow it down.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import envs as _envs  # noqa: F401 - registers Two Rooms
from agents.evaluation.evaluate import measure_latency
from agents.world_model.config import PlannerConfig
from benchmarks.evaluation.manifests import VALIDATION, load_manifest
from benchmarks.evaluation.policies import make_policy, make_task
from benchmarks.records import provenance
from envs.two_rooms.physics import MAX_STEP
from pretrain.config import WorldModelConfig
from pretrain.data.labelled_images import load_images
from pretrain.presets import preset
from pretrain.two_rooms.windows import RECIPES, TwoRoomsWindows
from pretrain.video.moving_mnist import MovingMNIST
from worldmodel.checkpoint import load_pretrained
from worldmodel.config import Count, Positive, config
from worldmodel.objective import LossWeights, Objective
from worldmodel.storage.files import write_json

logger = logging.getLogger(__name__)

Measure = Callable[[float], float]
"""Runs for about so many seconds; returns a rate (units a second)."""


@config
class SpeedConfig:
    """Times environment, data generator, training and planning."""

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


def run(config: SpeedConfig) -> dict[str, Any]:
    """Measures and writes the figures.

    Returns:
        What was written: ``figures`` (name → unit, best, median, all measurements) and where they were measured.

    Raises:
        ValueError: If a setting is out of its range, or the checkpoint is not valid.
    """
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    measures: dict[str, tuple[str, Measure]] = {
        "environment, pixels": ("steps/s", time_env),
        f"vector environment of {config.num_envs}, pixels": ("steps/s", lambda s: time_vector(s, config.num_envs)),
    }
    for recipe in RECIPES:
        measures[f"trajectory generator, rendered, {recipe}"] = (
            "frames/s",
            lambda seconds, recipe=recipe: time_generator(seconds, recipe),  # type: ignore[misc]
        )
    measures["Moving MNIST generator"] = ("frames/s", time_moving_mnist)
    if config.checkpoint is not None:
        measures |= _model_measures(config.checkpoint)
    figures: dict[str, Any] = {}
    for name, (unit, measure) in measures.items():
        measure(min(config.seconds, 0.2))  # warms up caches and lazily loaded code
        rates = [round(measure(config.seconds), 1) for _ in range(config.repeats)]
        figures[name] = {"unit": unit, "best": max(rates), "median": median(rates), "measured": rates}
        logger.info("%s: %.0f %s", name, max(rates), unit)
    content: dict[str, Any] = {"figures": figures}
    weights = None
    if config.checkpoint is not None:
        weights = load_pretrained(config.checkpoint).sha256
        content["latency"] = time_planning(config.checkpoint)
    content["provenance"] = provenance.collect(weights)
    write_json(config.output, content)
    _show(content)
    return content


def rate(work: Callable[[], int], seconds: float) -> float:
    """Calls ``work``, which returns how many units it did, for about so many seconds; returns units a second."""
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds or not done:
        done += work()
    return done / max(elapsed, 1e-9)


def time_env(seconds: float) -> float:
    """Steps a second of one environment with pixels, resets included."""
    env = gym.make("TwoRooms-v0", observation="pixels")
    env.reset(seed=0)
    actions = _actions(200, 1)[:, 0]

    def episode() -> int:
        env.reset()
        for action in actions:
            env.step(action)
        return len(actions)

    try:
        return rate(episode, seconds)
    finally:
        env.close()


def time_vector(seconds: float, num_envs: int) -> float:
    """Environment steps a second of the native vector environment with pixels, resets included."""
    env = gym.make_vec("TwoRooms-v0", num_envs=num_envs, observation="pixels")
    env.reset(seed=0)
    actions = _actions(50, num_envs)

    def steps() -> int:
        for action in actions:
            env.step(action)
        return len(actions) * num_envs

    try:
        return rate(steps, seconds)
    finally:
        env.close()


def time_generator(seconds: float, recipe: str) -> float:
    """Frames a second that the trajectory generator makes, rendering included."""
    config = preset("two-rooms-paper" if recipe == "reference" else "two-rooms")
    assert isinstance(config, WorldModelConfig)
    source = TwoRoomsWindows(config.data.num_frames, config.model.frame_skip, recipe=recipe)
    generator = np.random.default_rng(0)
    return rate(lambda: int(np.prod(source.sample(256, generator).pixels.shape[:2])), seconds)


def time_moving_mnist(seconds: float) -> float:
    """Frames a second that the generator of Moving MNIST makes."""
    source, generator = MovingMNIST(load_images("digits", "train")), np.random.default_rng(0)
    return rate(lambda: int(np.prod(source.sample(64, generator).pixels.shape[:2])), seconds)


def time_planning(checkpoint: str) -> dict[str, Any]:
    """Latency of planning for a single environment, with the default options (milliseconds)."""
    manifest = load_manifest(VALIDATION)
    task = make_task(manifest.env_id, manifest.env_kwargs)
    policy, observation = make_policy(checkpoint, task, planner=PlannerConfig())
    return measure_latency(policy, task.vector(observation), manifest, num_episodes=1)


def _model_measures(checkpoint: str) -> dict[str, tuple[str, Measure]]:
    """Encoder and training step of a checkpoint's model, on batches as its training used them."""
    pretrained = load_pretrained(checkpoint)
    frame_skip = pretrained.model.frame_skip
    num_frames = 9 if frame_skip > 1 else 17
    source = TwoRoomsWindows(num_frames, frame_skip)
    if pretrained.data.pixel_shape != source.pixel_shape:
        raise ValueError(f"checkpoint must be one of Two Rooms, got images of {pretrained.data.pixel_shape}")
    batch = source.sample(64, np.random.default_rng(0))
    trained = load_pretrained(checkpoint).model.train()
    objective = Objective(trained, LossWeights())
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-5)
    frames = int(np.prod(batch.pixels.shape[:2]))

    @torch.no_grad()
    def encode() -> int:
        pretrained.model.encode(batch.pixels)
        return frames

    def train() -> int:
        loss, _, _ = objective(batch.pixels, batch.actions)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return frames

    return {
        "encoder": ("frames/s", lambda seconds: rate(encode, seconds)),
        "training step": ("frames/s", lambda seconds: rate(train, seconds)),
    }


def _actions(steps: int, num_envs: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(0).uniform(-MAX_STEP, MAX_STEP, size=(steps, num_envs, 2))
    return drawn.astype(np.float32)


def _show(content: dict[str, Any]) -> None:
    table = Table(title="Speed on this machine")
    for column in ("what", "best", "median", "unit"):
        table.add_column(column, justify="right" if column in ("best", "median") else "left")
    for name, figure in content["figures"].items():
        table.add_row(name, f"{figure['best']:,.0f}", f"{figure['median']:,.0f}", figure["unit"])
    for name, value in content.get("latency", {}).items():
        if name.endswith("_ms"):
            table.add_row(f"latency, {name.removesuffix('_ms').replace('_', ' ')}", f"{value:.1f}", "", "ms")
    Console().print(table)
