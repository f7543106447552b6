"""Results of older versions become the records that are checked in."""

import json

import pytest

from benchmarks import convert
from benchmarks.convert import ConvertConfig, run
from benchmarks.evaluation.success import MEASURED
from benchmarks.records.provenance import ROOT
from benchmarks.records.store import read_record

RESULTS = ROOT / "benchmarks" / "results"
FILES = (
    ("headline/two-rooms-two-rooms-no-crossings-seed0-random-wall-mppi.json", "headline/old.json"),
    ("compare/two-rooms-tqc-state-4x-minutes15-seed0-held-out.json", "compare/old.json"),
    ("compare/two-rooms-random-seed0-bounce.json", "compare/old.json"),
    ("expert-random-wall.json", "expert-random-wall.json"),
)


def older(record):
    """A record as the version before records wrote it."""
    facts, config, key = record.facts, record.config, record.key
    names = ("manifest", "manifest_hash", "num_episodes", "num_envs", "seed", "deterministic")
    result = {name: config[name] for name in names} | {name: facts[name] for name in MEASURED}
    result |= {"columns": list(record.rows[0]), "rows": [list(row.values()) for row in record.rows]}
    planner = {"planner": config["planner"] | {"gone": 1}} if "planner" in config else {}
    content = {name: config[name] for name in ("manifest", "manifest_hash", "env_id", "env_kwargs", "seed")}
    content |= {name: facts[name] for name in ("policy", "summary", "latency", "training") if name in facts}
    content |= {"contender": key.get("contender"), "training_seed": key.get("seed")}
    asked = {"policy": f"runs/{facts['policy']}", "collision": None, "device": facts["device"], **planner}
    return content | {
        "config": asked,
        "provenance": record.provenance,
        "finished": record.finished,
        "fingerprint": "x",
        "result": result,
    }


@pytest.mark.parametrize(("name", "old"), FILES)
def test_every_kind_of_file_becomes_its_record_once(tmp_path, name, old):
    path = tmp_path / old
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(older(read_record(RESULTS / name))))
    run(ConvertConfig(results=tmp_path))
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")] == [name]
    assert read_record(tmp_path / name) == read_record(RESULTS / name)
    before = (tmp_path / name).read_bytes()
    run(ConvertConfig(results=tmp_path))
    assert (tmp_path / name).read_bytes() == before


def test_episodes_of_another_manifest_are_refused(tmp_path):
    content = older(read_record(RESULTS / "expert-random-wall.json"))
    content["result"]["manifest_hash"] = "x"
    (tmp_path / "expert-a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="must be of a manifest as it is now, got 'random-wall'"):
        run(ConvertConfig(results=tmp_path))


def test_all_that_is_checked_in_is_converted():
    for pattern, _ in convert.CONVERSIONS:
        for path in RESULTS.glob(pattern):
            assert read_record(path).finished
