"""``worldmodel gpu-check``: one prepared check of everything that a GPU does, in less than ten minutes.

::

    train       a world model in two environments, Video-JEPA, Image-JEPA, in bf16     steps a second, memory, loss
    evaluate    both world models                                                      success
    act         planner and actor                                                      milliseconds
    agree       every shipped checkpoint                                               CPU and GPU compute the same
    profile     a step of each stage of each training, a plan                          nothing comes back in the loop
    train       some steps of each kind again, compiled and as CUDA graphs             steps a second, memory

A stage is written as it ends. One that fails is written with its error, and the others go on. What does not fit into
the time is not run, and said so; the same command does it, and what failed, and leaves the rest as it is.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.gpu import acting, agreement, copies, training
from benchmarks.gpu.config import GpuConfig
from benchmarks.gpu.training import Finding
from benchmarks.records import provenance
from benchmarks.records.provenance import RESULTS
from benchmarks.records.store import Record, find, new_record, plain, write_record
from benchmarks.records.tables import Table, number
from worldmodel.config import command
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

DONE, FAILED, NOT_RUN = "done", "failed", "not run"
"""How a stage ends."""


class Stage(NamedTuple):
    """A part of the check.

    Attributes:
        name: What it does.
        run: Does it.
        seconds: How long it is likely to take on a GPU, as guessed without one. All stages together fit into the
            minutes of :class:`GpuConfig`. Of steps that are compiled, compilation takes most.
    """

    name: str
    run: Callable[[], Finding]
    seconds: float


def stages(config: GpuConfig) -> Iterator[Stage]:
    """All stages, the most telling first."""
    kinds, environments = training.kinds(config), config.environments
    made = [
        *((f"collect {name}", training.record_episodes, name, 20) for name in environments if training.recorded(name)),
        *((f"train {name}", training.train, name, 35) for name in kinds),
        *((f"evaluate {name}", acting.evaluate, name, 15) for name in environments),
        *((f"act {name}", acting.act, name, 10) for name in environments),
        *((f"agree {name}", agreement.agree, name, 3) for name in agreement.checkpoints()),
        *((f"profile training {name}", copies.profile_training, name, 8) for name in kinds),
        *((f"profile planning {name}", copies.profile_planning, name, 5) for name in environments),
    ]
    for title, work, name, seconds in made:
        yield Stage(title, partial(work, config, name), seconds)
    for name in kinds:
        # Graphs find most of what is compiled in the cache on disk.
        for mode, seconds in ((training.COMPILED, 45), (training.GRAPHS, 25)):
            yield Stage(f"train {name}, {mode}", partial(training.train, config, name, mode), seconds)


def run(config: GpuConfig) -> Record:
    """Runs all stages, or what is missing of them.

    Returns:
        The record: a row for each stage, with how it ended, its error and what it measured.

    Raises:
        ValueError: If there is no such device, or the file holds a check of other settings; at the end, if stages
            failed or were not run.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("no CUDA device was found; --device cpu --tiny tries all stages without one")
    path = output_of(config)
    record = new_record(
        {"analysis": "gpu", "card": card(config)["name"]},
        {name: getattr(config, name) for name in ("device", "environments", "num_episodes", "tiny")},
        facts={"card": card(config)},
        finished=False,
    )
    with locked(path, "check", is_file=True):
        if not config.overwrite:
            record = find(path, record.key, record.config) or record
        record = _run(config, record, path)
    table(record).show(path)
    left = [row["stage"] for row in record.rows if row["status"] != DONE]
    if left:
        raise ValueError(
            f"all {len(record.rows)} stages must be done, {len(left)} failed or were not run: {', '.join(left)}"
        )
    return record


main = command(GpuConfig, run, "gpu-check")


def output_of(config: GpuConfig) -> Path:
    """The file of a check: a try is no result."""
    if config.output is not None:
        return config.output
    return RESULTS / "gpu.json" if config.device == "cuda" and not config.tiny else config.runs / "gpu.json"


def card(config: GpuConfig) -> dict[str, Any]:
    """The device, as its driver calls it."""
    if config.device == "cpu":
        return {"name": None}
    found = torch.cuda.get_device_properties(0)
    return {
        "name": found.name,
        "memory_bytes": found.total_memory,
        "capability": f"{found.major}.{found.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def _run(config: GpuConfig, record: Record, path: Path) -> Record:
    """Runs the stages that are not done; each is written as it ends."""
    deadline = time.monotonic() + 60 * config.max_minutes
    asked = list(stages(config))
    rows = {stage.name: _row(stage.name, NOT_RUN, "there was no time yet") for stage in asked}
    rows |= {row["stage"]: dict(row) for row in record.rows if row["stage"] in rows and row["status"] == DONE}
    for stage in asked:
        if rows[stage.name]["status"] == DONE:
            continue
        left = deadline - time.monotonic()
        if stage.seconds > left:
            late = f"{stage.seconds:.0f} s are needed, about, and {max(0.0, left):.0f} s were left"
            rows[stage.name] = _row(stage.name, NOT_RUN, late)
        else:
            logger.info("%s", stage.name)
            rows[stage.name] = _row(stage.name, *_tried(stage))
        finished = all(row["status"] == DONE for row in rows.values())
        record = replace(record, rows=tuple(plain(list(rows.values()))), finished=finished)
        write_record(path, record)
    return record


def _tried(stage: Stage) -> tuple[str, str | None, dict[str, Any], float]:
    """How a stage ended, its error, what it measured, and its seconds."""
    began = time.monotonic()
    try:
        measured, faults = stage.run()
    except Exception as error:
        # Whatever goes wrong in a stage is a result of this check.
        logger.warning("%s failed", stage.name, exc_info=True)
        measured, faults = {}, [f"{type(error).__name__}: {' '.join(str(error).split())[:1000]}"]
    for fault in faults:
        logger.warning("%s: %s", stage.name, fault)
    return FAILED if faults else DONE, "; ".join(faults) or None, measured, time.monotonic() - began


def _row(
    stage: str, status: str, error: str | None, measured: dict[str, Any] | None = None, seconds: float = 0.0
) -> dict[str, Any]:
    """A stage in JSON types; its commit, for the stages of a check may be run one after the other."""
    return {
        "stage": stage,
        "status": status,
        "error": error,
        "seconds": round(seconds, 1),
        "commit": provenance.commit(),
        "measured": measured or {},
    }


def table(record: Record) -> Table:
    """How the stages ended."""
    rows = [
        {"stage": row["stage"], "ended": row["status"], "seconds": number(row["seconds"]), "error": row["error"] or ""}
        for row in record.rows
    ]
    return Table.of(rows, f"check of {record.key['card'] or 'the CPU, a try'}", num_words=2)
