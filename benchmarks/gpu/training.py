"""Short trainings of every kind on a GPU: how fast they are, and whether their memory stays bounded.

The trainings are those of ``worldmodel pretrain``; a hook behind the optimisers' steps looks at clock and memory. Each
kind is trained step by step as it is, compiled, and compiled to CUDA graphs; the last two train the model alone.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from benchmarks.ablation.trainings import world_model
from benchmarks.gpu.config import GpuConfig
from envs.domain import find_domain
from pretrain.collection.collect import CollectConfig, collect, default_dataset_id
from pretrain.data.paths import dataset_folder
from pretrain.image.config import ImageConfig
from pretrain.loop.run_log import read_metrics
from pretrain.presets import preset
from pretrain.train import fit
from pretrain.video.config import VideoConfig
from pretrain.world_model.config import WorldModelConfig
from worldmodel.checkpoint import CONFIG
from worldmodel.config import changed
from worldmodel.storage.files import current, read_json

EAGER, COMPILED, GRAPHS = "eager", "compiled", "CUDA graphs"
MODES: dict[str, dict[str, bool]] = {EAGER: {}, COMPILED: {"compile": True}, GRAPHS: {"cuda_graphs": True}}
"""How a training step runs, and the fields of a run that say so."""
BOUND = 1.1
"""How many times its peak in the first half of a stage the memory may reach in the second."""
MOST_MINUTES = 3.0
"""Minutes after which a training is stopped, at the end of a step: the first one compiles."""
FURTHER = ("refinement", "policy", "heads")
"""Stages behind the model's, of the kinds of runs that have them."""
SAMPLES = 20
"""How often the clock and the memory are looked at in a stage, about."""
FEW_SAMPLES = 4
"""Looks of which a rate can be told: the first ones hold compilation."""
EPISODES, TINY_EPISODES = 100, 3
"""Episodes that are collected where an environment has no simulation."""

SHORT: dict[type, dict[str, Any]] = {
    WorldModelConfig: {
        "num_steps": 1_000, "refinement.num_steps": 1_000, "policy.num_steps": 500, "trajectories.count": 4_000,
    },
    VideoConfig: {"num_steps": 400, "heads.num_steps": 100},
    ImageConfig: {"num_steps": 400},
}  # fmt: skip
"""By kind of run, its length."""
MODEL_ALONE: dict[type, dict[str, Any]] = {
    WorldModelConfig: {"num_steps": 100, "refinement.num_steps": 0, "policy.num_steps": 0},
    VideoConfig: {"num_steps": 100, "heads.num_steps": 1},
    ImageConfig: {"num_steps": 100},
}
"""The same where the step is compiled: enough of them to tell its speed."""
TINY_STEPS: dict[type, dict[str, Any]] = {
    WorldModelConfig: {
        "num_steps": 4, "refinement.num_steps": 4, "policy.num_steps": 4, "data.batch_size": 4, "model.latent_dim": 8,
        "model.encoder_channels": (4, 4), "model.predictor_hidden_dim": 16, "refinement.batch_size": 4,
        "trajectories.count": 8, "policy.batch_size": 4, "policy.networks.hidden_dim": 16,
    },
    VideoConfig: {
        "num_steps": 4, "heads.num_steps": 4, "heads.batch_size": 2, "data.batch_size": 2, "data.num_frames": 6,
        "model.latent_channels": 8, "model.predictor_channels": (8,), "model.predictor_blocks": 1,
    },
    ImageConfig: {"num_steps": 4, "data.batch_size": 8, "model.width": 4, "projector": (16, 8)},
}  # fmt: skip
"""The same, and networks and batches, for a try."""


class Finding(NamedTuple):
    """What a stage of the check found.

    Attributes:
        measured: Figures, in JSON types.
        faults: What is not as it must be, in words.
    """

    measured: dict[str, Any]
    faults: list[str] = []  # noqa: RUF012 - never changed


class Sample(NamedTuple):
    """A look at a training.

    Attributes:
        step: Steps done of the stage.
        seconds: The clock.
        peak_bytes: Most memory since the last look.
    """

    step: int
    seconds: float
    peak_bytes: int


@dataclass
class Watch:
    """Looks at clock and memory behind every so many steps; each stage of a training has an optimiser of its own.

    Attributes:
        device: Where the training runs.
        every: Steps between two looks.
        stages: The looks at each stage.
    """

    device: torch.device
    every: int
    stages: list[list[Sample]] = field(default_factory=list)
    _optimizer: Optimizer | None = None
    _step: int = 0

    def __call__(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Called behind each step of an optimiser."""
        if optimizer is not self._optimizer:
            self._optimizer, self._step = optimizer, 0
            self.stages.append([])
        self._step += 1
        if self._step % self.every == 0:
            peak = peak_memory(self.device)
            self.stages[-1].append(Sample(self._step, time.perf_counter(), peak))


@contextlib.contextmanager
def watching(watch: Any) -> Iterator[None]:
    """Calls ``watch`` behind each step of all optimisers."""
    handle = register_optimizer_step_post_hook(watch)
    try:
        yield
    finally:
        handle.remove()


def peak_memory(device: torch.device) -> int:
    """Most bytes that tensors took on a CUDA device since the last call; of a CPU, what the process takes now."""
    if device.type != "cuda":
        return int(psutil.Process().memory_info().rss)
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def kinds(config: GpuConfig) -> tuple[str, ...]:
    """Names of what is trained: a world model in each environment, of videos, of images."""
    return (*config.environments, "moving-mnist", "images")


def folder_of(config: GpuConfig, name: str, mode: str = EAGER) -> Path:
    """Folder of a training."""
    return config.runs / f"{name}-{mode.replace(' ', '-').lower()}"


def recorded(name: str) -> str | None:
    """Id of the dataset that an environment's world model learns from; None where its data are simulated."""
    dataset: str = world_model(name).changes.get("data.dataset", "")
    return dataset or None


def record_episodes(config: GpuConfig, name: str) -> Finding:
    """Collects the episodes that the world model of an environment learns from: on the CPU, as everywhere."""
    domain, dataset = find_domain(name), recorded(name)
    policy = next(one for one in domain.explorers if default_dataset_id(domain.env_id, one) == dataset)
    count, began = TINY_EPISODES if config.tiny else EPISODES, time.perf_counter()
    made = collect(
        CollectConfig(
            env_id=domain.env_id,
            policy=policy,
            num_episodes=count,
            dataset_id=dataset,
            root=config.runs / "data",
            overwrite=True,
            progress=False,
        )
    )
    steps = int(made.total_steps)
    return Finding({"episodes": count, "steps": steps, "steps_per_second": steps / (time.perf_counter() - began)})


def changes(config: GpuConfig, name: str, mode: str) -> tuple[str, Mapping[str, Any]]:
    """The preset of a training, and what is changed of it."""
    named, given = name, dict[str, Any]()
    if name in config.environments:
        model = world_model(name)
        assert model.preset is not None
        named, given = model.preset, dict(model.changes)
        if (dataset := recorded(name)) is not None:
            given["data.dataset"] = str(dataset_folder(dataset, config.runs / "data"))
    kind = type(preset(named))
    lengths = SHORT[kind] | (TINY_STEPS[kind] if config.tiny else {})
    if mode != EAGER:
        lengths |= {key: min(value, lengths[key]) for key, value in MODEL_ALONE[kind].items()}
    steps = lengths["num_steps"]
    return named, {
        **given,
        **lengths,
        **MODES[mode],
        "accelerator": config.device,
        "precision": "bf16-mixed",
        "log_every": max(1, steps // SAMPLES),
        "validate_every": steps,
        "checkpoint_every": steps,
        "max_minutes": MOST_MINUTES,
        "output": str(folder_of(config, name, mode)),
        "overwrite": True,
        "progress": False,
    }


def train(config: GpuConfig, name: str, mode: str = EAGER) -> Finding:
    """Trains, and says how fast each stage was, what memory it took, and how its loss ended.

    Raises:
        FloatingPointError: If a loss is not finite.
    """
    named, given = changes(config, name, mode)
    run = changed(preset(named), given)
    watch = Watch(torch.device(config.device), max(1, run.num_steps // SAMPLES))
    peak_memory(watch.device)
    with watching(watch):
        folder = fit(run, name)
    if mode != EAGER:
        torch.compiler.reset()  # what is compiled, and graphs with their memory
    losses = {key: value for row in read_metrics(folder) for key, value in row.items() if key.endswith("train/loss")}
    stages, faults = [], []
    for samples, (key, loss) in zip(watch.stages, losses.items(), strict=False):
        measured = {"stage": key.removesuffix("train/loss").strip("_") or "model", "loss": loss, **summary(samples)}
        stages.append(measured)
        early, late = measured["early_peak_bytes"], measured["late_peak_bytes"]
        if early is not None and late > BOUND * early:
            faults.append(
                f"memory of stage {measured['stage']!r} must stay within {BOUND} of its early peak, {early:,} bytes, "
                f"got {late:,}"
            )
    steps = read_json(current(folder, CONFIG))["training"]["step"]
    asked = run.num_steps + sum(getattr(run, stage).num_steps for stage in FURTHER if hasattr(run, stage))
    if steps < asked:
        faults.append(f"training must end within {MOST_MINUTES:g} minutes, got {steps} of {asked} steps")
    return Finding({"steps": steps, "stages": stages}, faults)


def summary(samples: list[Sample]) -> dict[str, Any]:
    """Rate in the second half of a stage, and peaks of memory in both halves; None where there are too few looks."""
    if len(samples) < FEW_SAMPLES:
        return dict.fromkeys(("steps_per_second", "early_peak_bytes", "late_peak_bytes"))
    half = len(samples) // 2
    first, last = samples[half - 1], samples[-1]
    return {
        "steps_per_second": (last.step - first.step) / (last.seconds - first.seconds),
        "early_peak_bytes": max(sample.peak_bytes for sample in samples[:half]),
        "late_peak_bytes": max(sample.peak_bytes for sample in samples[half:]),
    }
