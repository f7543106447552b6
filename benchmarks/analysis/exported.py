"""``worldmodel time-export``: how long the exported actor takes for an action, beside PyTorch.

An action takes encoder and actor alone, from a uint8 image to a NumPy array; the goal was encoded before. Both runtimes
take turns on one thread, image by image, so that what else the machine does slows down both.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from benchmarks.records.store import WEIGHTS, Record, new_record, write_record
from benchmarks.records.tables import Table, number
from pretrain.presets import DEFAULT
from worldmodel import import_extra
from worldmodel.checkpoint import load_pretrained
from worldmodel.config import Count, command, config
from worldmodel.export.formats import to_onnx
from worldmodel.export.parts import Part, parts_of

Run = Callable[..., NDArray[Any]]
"""Runs a part by its name on arrays with a batch dimension."""
ACTING = "encoder", "state", "actor"
"""Parts that make an action of an image; those that there are."""
WARM_UP = 20
"""Actions of each runtime before those that count."""


@config
class TimeExportConfig:
    """Times the exported actor beside PyTorch."""

    checkpoint: tyro.conf.Positional[str] = DEFAULT
    """Directory of a checkpoint, or name of a shipped one."""
    num_actions: Count = 2000
    """How many actions of each runtime."""
    output: Path = Path("benchmarks/results/time-export.json")
    """JSON file to write."""


def run(config: TimeExportConfig) -> Record:
    """Measures and writes the figures.

    Returns:
        The record: a row for each runtime, with milliseconds of an action; among the facts, how far the actions of both
        are apart at most.

    Raises:
        ValueError: If the checkpoint is not valid, or has no actor.
        ImportError: If a package that the export takes is not installed.
    """
    onnxruntime = import_extra("onnxruntime", "time-export")
    pretrained = load_pretrained(config.checkpoint)
    parts = parts_of(pretrained)
    if "actor" not in parts:
        raise ValueError(f"checkpoint must have an actor, got {str(pretrained.path)!r}, which has none")
    needed = {name: part for name, part in parts.items() if name in ACTING}
    runs = {"PyTorch": by_torch(needed), "ONNX Runtime": by_onnxruntime(needed, onnxruntime)}
    milliseconds, difference = measure(runs, needed, config.num_actions)
    record = new_record(
        {"analysis": "time-export", "policy": pretrained.path.name},
        {"num_actions": config.num_actions, "num_threads": 1, WEIGHTS: pretrained.sha256},
        rows=[{"runtime": name} | summary(taken) for name, taken in milliseconds.items()],
        facts={"largest_difference": difference, "onnxruntime": onnxruntime.__version__},
    )
    write_record(config.output, record)
    table(record).show()
    return record


main = command(TimeExportConfig, run, "time-export")


def by_torch(parts: Mapping[str, Part]) -> Run:
    """Runs parts by PyTorch."""

    @torch.inference_mode()
    def run(name: str, *inputs: NDArray[Any]) -> NDArray[Any]:
        return parts[name].module(*map(torch.from_numpy, inputs)).numpy()

    return run


def by_onnxruntime(parts: Mapping[str, Part], onnxruntime: Any) -> Run:
    """Runs parts by ONNX Runtime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {name: onnxruntime.InferenceSession(to_onnx(part), options) for name, part in parts.items()}

    def run(name: str, *inputs: NDArray[Any]) -> NDArray[Any]:
        ports = parts[name].inputs
        return sessions[name].run(None, {port.name: value for port, value in zip(ports, inputs, strict=True)})[0]

    return run


def measure(runs: Mapping[str, Run], parts: Mapping[str, Part], count: int) -> tuple[dict[str, list[float]], float]:
    """Milliseconds of so many actions of each runtime, in turns, and how far their actions are apart at most."""
    random = np.random.default_rng(0)
    shape = 1, *parts["encoder"].inputs[0].shape
    past: list[NDArray[np.float32]] = []
    if "state" in parts:  # a latent and a block of actions of before for each that a state reaches back
        latents, blocks = (port.shape for port in parts["state"].inputs)
        past = [np.zeros((1, latents[0] - 1, *latents[1:]), np.float32), np.zeros((1, *blocks), np.float32)]
    goal = random.normal(size=(1, *parts["encoder"].output.shape)).astype(np.float32)

    def act(run: Run, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        state = run("encoder", image)
        if past:
            state = run("state", np.concatenate([past[0], state[:, None]], axis=1), past[1])
        return run("actor", state, goal)

    milliseconds: dict[str, list[float]] = {name: [] for name in runs}
    difference, num_threads = 0.0, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(WARM_UP + count):
            image, actions = random.integers(0, 256, shape, dtype=np.uint8), []
            for name, run in runs.items():
                started = time.perf_counter()
                actions.append(act(run, image))
                milliseconds[name].append(1000 * (time.perf_counter() - started))
            difference = max(difference, float(np.ptp(actions, axis=0).max()))
    finally:
        torch.set_num_threads(num_threads)
    return {name: taken[WARM_UP:] for name, taken in milliseconds.items()}, difference


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Percentiles 50 and 95, and the best, of milliseconds."""
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return {"p50_ms": round(float(p50), 4), "p95_ms": round(float(p95), 4), "best_ms": round(min(milliseconds), 4)}


def table(record: Record) -> Table:
    """The figures of each runtime, in milliseconds."""
    columns = {"p50_ms": "percentile 50", "p95_ms": "percentile 95", "best_ms": "best"}
    rows = [
        {"an action, ms": row["runtime"]} | {title: number(row[name], 3) for name, title in columns.items()}
        for row in record.rows
    ]
    return Table.of(rows, f"the actor of {record.key['policy']} alone, one thread")
