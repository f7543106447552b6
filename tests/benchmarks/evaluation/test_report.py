"""Evaluations as a table."""

from dataclasses import replace

import pytest

from benchmarks.evaluation.report import table
from benchmarks.evaluation.success import EvaluateConfig, run


def test_a_row_for_each_evaluation(tmp_path):
    records = [
        run(
            EvaluateConfig(
                policy=policy,
                manifest="validation",
                num_episodes=4,
                num_envs=4,
                latency_episodes=0,
                output=tmp_path / f"{policy}.json",
                progress=False,
            )
        )
        for policy in ("random", "expert")
    ]
    lines = table(records).markdown().splitlines()
    assert lines[0].startswith("| policy | manifest | episodes | final success | ever success | SPL |")
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 4
    assert lines[3].startswith("| expert | validation | 4 | 100.0% [51.0%, 100.0%] |")
    with pytest.raises(ValueError, match="a record must be of an evaluation: KeyError: 'summary'"):
        table([replace(records[0], facts={"policy": "x"})])


def test_a_table_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one evaluation, got none"):
        table([])
