"""``python -m benchmarks.analysis.scaling``: how long the same evaluation takes with more and more workers of Ray.

::

    without Ray, then 1, 2, 4 … workers  ──►  seconds of the first run, in which workers start, and of the next ones

Every run is one and the same evaluation; that their rows are equal is checked.
"""

import logging
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import tyro
from annotated_types import MinLen

from benchmarks.evaluation import success
from benchmarks.evaluation.config import EvaluateConfig
from benchmarks.records.provenance import RESULTS
from benchmarks.records.store import WEIGHTS, Record, new_record, write_record
from benchmarks.records.tables import Table, number
from envs.domain import VALIDATION, domains
from pretrain.presets import DEFAULT
from worldmodel.cluster.config import ClusterConfig
from worldmodel.cluster.jobs import LOCAL, import_ray
from worldmodel.config import Count, config

logger = logging.getLogger(__name__)

OUTPUT = RESULTS / "scaling.json"
"""Where the record lies."""


@config
class ScalingConfig:
    """Times an evaluation without Ray, and with more and more workers."""

    policy: tyro.conf.Positional[str] = DEFAULT
    """A policy, as worldmodel evaluate takes it."""
    environment: str = domains()[0].name
    """Whose validation episodes are played."""
    num_episodes: Count = 200
    """How many of them."""
    num_envs: Count = 25
    """Episodes of a batch, which is a task."""
    workers: Annotated[tuple[Count, ...], MinLen(1)] = (1, 2, 4)
    """Numbers of workers; each has one thread. More than there are cores show what that costs."""
    repeats: Count = 3
    """How often each is timed once its workers are there."""
    output: Path = OUTPUT
    """JSON file to write."""


def run(config: ScalingConfig) -> Record:
    """Measures, and writes the record.

    Returns:
        The record: a row for each number of workers, 0 without Ray, with the seconds of all runs.

    Raises:
        ImportError: If Ray is not installed.
        ValueError: If the episodes go otherwise with workers.
    """
    ray = import_ray()
    torch.set_num_threads(1)  # as tasks have
    rows, episodes, weights = [], None, None
    with tempfile.TemporaryDirectory() as folder:
        evaluation = EvaluateConfig(
            policy=config.policy,
            manifest=f"{config.environment}/{VALIDATION}",
            num_episodes=config.num_episodes,
            num_envs=config.num_envs,
            latency_episodes=0,
            output=Path(folder) / "evaluation.json",
            overwrite=True,
            progress=False,
        )
        for workers in (0, *config.workers):
            seconds = []
            if workers:
                ray.init(address=LOCAL, num_cpus=workers, include_dashboard=False, log_to_driver=False)
            for _ in range(1 + config.repeats):
                began = time.perf_counter()
                record = success.run(replace(evaluation, cluster=ClusterConfig(ray=LOCAL if workers else None)))
                seconds.append(round(time.perf_counter() - began, 2))
                if episodes not in (None, record.rows):
                    raise ValueError(f"rows must be the same for any number of workers, got others with {workers}")
                episodes, weights = record.rows, record.config.get(WEIGHTS)
            if workers:
                ray.shutdown()
            rows.append({"workers": workers, "first": seconds[0], "median": median(seconds[1:]), "all": seconds[1:]})
            logger.info("%d workers: %.1f s", workers, rows[-1]["median"])
    record = new_record(
        {"analysis": "scaling", "environment": config.environment, "policy": Path(config.policy).name},
        {**{name: getattr(config, name) for name in ("num_episodes", "num_envs", "repeats")}, WEIGHTS: weights},
        rows=rows,
    )
    write_record(config.output, record)
    table(record).show(config.output)
    return record


def table(record: Record) -> Table:
    """Seconds with each number of workers, and how many times faster than without Ray that is."""
    alone = record.rows[0]["median"]
    cells: list[dict[str, Any]] = [
        {
            "workers": number(row["workers"], 0) if row["workers"] else "without Ray",
            "seconds": number(row["median"], 1),
            "times as fast": number(alone / row["median"], 2),
            "seconds, workers starting": number(row["first"], 1),
        }
        for row in record.rows
    ]
    return Table.of(cells)


if __name__ == "__main__":
    run(tyro.cli(ScalingConfig))
