"""What is published is what the code gives: the shipped checkpoint's record, episode for episode."""

import os
import platform
import subprocess
import sys

import pytest

from agents.saved import open_source
from benchmarks.evaluation.headline import RESULTS
from benchmarks.evaluation.success import EvaluateConfig
from benchmarks.records.store import Record, Store, read_record

AS_PUBLISHED = {"OMP_NUM_THREADS": "1"}
PROGRAM = """
import pathlib, sys
from benchmarks.evaluation import success
from benchmarks.records import log
log.ROOT = pathlib.Path(sys.argv[1])  # no checkout: no line in the log of evaluations
assert not (log.ROOT / ".git").exists()
success.main(sys.argv[2:])
"""


def adds_as(record: Record) -> tuple[str, str]:
    """What decides in which order numbers are added: the processor, and torch's release."""
    return record.provenance["machine"]["processor"], record.provenance["versions"]["torch"]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors round otherwise")
def test_the_shipped_checkpoint_plays_the_published_episodes_exactly(tmp_path):
    config = EvaluateConfig()
    weights = open_source(config.policy).sha256
    keys = {"manifest": config.manifest, "planner": config.planner.planner}
    published, *others = [r for r in Store(RESULTS).records(**keys) if r.config["weights"] == weights]
    assert not others
    output = tmp_path / "out.json"
    arguments = ["--num-episodes", "50", "--latency-episodes", "0", "--no-progress", "--output", str(output)]
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(tmp_path / "log"),
        config.policy,
        "--manifest",
        config.manifest,
        *arguments,
    ]
    subprocess.run(command, check=True, env=os.environ | AS_PUBLISHED)
    record = read_record(output)
    if adds_as(record) == adds_as(published):
        assert record.rows == published.rows[:50]
    else:  # the last digits differ, and now and then a step
        for found, wanted in zip(record.rows, published.rows, strict=False):
            assert found["final_success"] == wanted["final_success"]
            assert found["final_distance"] == pytest.approx(wanted["final_distance"], abs=2.0)
    # All else that decides rows is as published.
    training = {"training": published.config["training"], "num_episodes": published.config["num_episodes"]}
    assert record.config | training == published.config
