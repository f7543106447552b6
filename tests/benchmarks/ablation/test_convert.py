"""Older results become records, with all figures and their provenance, once."""

import json

from benchmarks.ablation import ablate
from benchmarks.ablation.convert import ConvertConfig, run
from benchmarks.records.store import Store, read_record

PROVENANCE = {"command": "worldmodel it", "commit": "abc", "checkpoint_hash": "123"}


def row(variant, outcomes, **more):
    summary = {"final_success": outcomes.count("1") / 2, "final_success_interval": [0.1, 0.9], "spl": 0.5}
    latency = {"step_p50_ms": 1.0, "step_p95_ms": 2.0}
    shared = {"seed": 0, "preset": None, "changes": {}, "training": None, "summary": summary, "latency": latency}
    return {"variant": variant, **shared, "outcomes": outcomes, **more}


def test_files_become_records_once(tmp_path):
    old = {
        "ablation-planning.json": {
            "grid": "planning",
            "manifest": "validation",
            "num_episodes": 2,
            "remark": "on a bus",
            "provenance": PROVENANCE,
            "rows": [row("full: MPPI", "11"), row("CEM", "10", provenance=PROVENANCE | {"commit": "def"})],
        },
        "tune/sac-state.json": {
            "contender": "sac-state",
            "minutes": 7.5,
            "seed": 100,
            "num_episodes": 2,
            "rows": [
                {
                    "changes": {"learning_rate": 0.1},
                    "final_success": 0.5,
                    "final_success_interval": [0.1, 0.9],
                    "ever_success": 0.5,
                    "spl": 0.4,
                    "minutes": 7.4,
                    "env_steps": 10,
                    "provenance": PROVENANCE,
                }
            ],
        },
        "moving-mnist.json": {
            "horizons": [1],
            "num_videos": 3,
            "training": {"step": 1},
            "provenance": PROVENANCE,
            "rows": {"Video-JEPA": {"reference": [0.5]}},
        },
    }
    for name, content in old.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    assert [path.name for path in run(ConvertConfig(folder=tmp_path))] == [name.rpartition("/")[2] for name in old]
    assert run(ConvertConfig(folder=tmp_path)) == []

    records = {record.key["variant"]: record for record in Store(tmp_path / "ablation-planning").records()}
    assert [row["final_success"] for row in records["CEM"].rows] == [True, False]
    assert [record.provenance["commit"] for record in records.values()] == ["def", "abc"]
    report = json.loads((tmp_path / "ablation-planning.json").read_text())
    assert (report["remark"], report["manifest"]) == ("on a bus", "two-rooms/validation")
    assert [row["gain"]["difference"] for row in report["rows"]] == [0.0, -0.5]
    assert ablate.markdown(tmp_path / "ablation-planning.json").startswith("| variant | final success | difference |")

    (tuned,) = Store(tmp_path / "tune" / "sac-state").records(environment="two-rooms", contender="sac-state")
    assert (tuned.facts["changes"], tuned.config["training"]["minutes"]) == ({"learning_rate": 0.1}, 7.5)
    assert not (tmp_path / "tune" / "sac-state.json").exists()
    videos = read_record(tmp_path / "moving-mnist.json")
    assert (videos.rows[0]["forecast"], videos.config["weights"]) == ("Video-JEPA", "123")
