"""Every training seed on every published manifest, once; and the table of it."""

import json
import shutil

import pytest

from agents.evaluation.manifest import Manifest
from benchmarks.evaluation import headline
from benchmarks.evaluation.headline import HeadlineConfig, other_recipes, run, table, training
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.records.store import Store, new_record, write_record


@pytest.fixture
def checkpoints(checkpoint, tmp_path):
    """Two seeds and runs of other recipes, one of which has a manifest of its own."""
    folders = []
    for i, recipe in enumerate(("wall-rich", "", "no-crossings", "pldm-no-crossings")):
        folder = tmp_path / f"run{i}"
        shutil.copytree(checkpoint, folder)
        config = json.loads((folder / "config.json").read_text())
        data = {"dataset": "two-rooms", "recipe": recipe}
        training = {"preset": "two-rooms", "config": {"seed": i, "data": data}, "step": 7, "seconds": 60.0 * (i + 1)}
        (folder / "config.json").write_text(json.dumps(config | {"training": training}))
        folders.append(folder)
    return tuple(folders)


def test_every_checkpoint_on_every_manifest_once(checkpoints, tmp_path, monkeypatch):
    def short(name):
        manifest = load_manifest(name)
        changes = {"seeds": manifest.seeds[:2], "episodes": manifest.episodes[:2]}
        changes |= {"shortest_paths": manifest.shortest_paths[:2], "max_steps": 8}
        return Manifest(**{**{f: getattr(manifest, f) for f in manifest.__dataclass_fields__}, **changes})

    monkeypatch.setattr("benchmarks.evaluation.episodes.load_manifest", short)
    config = HeadlineConfig(checkpoints=checkpoints, latency_episodes=1, output=tmp_path / "out", progress=False)
    records = run(config)
    assert len(records) == 2 * (4 + 3 * 2) + 4 + 4
    assert [r.facts["training"]["seconds"] for r in records if r.key["manifest"] == "held-out"] == [60, 60, 120, 120]
    assert {r.key["recipe"] for r in records} == {"wall-rich", "no-crossings", "pldm-no-crossings"}
    assert {r.key["manifest"] for r in records if r.key["recipe"] == "pldm-no-crossings"} == {"pldm"}
    assert {r.key["recipe"] for r in records if r.key["manifest"] == "pldm"} == {"pldm-no-crossings"}
    assert all(r.facts["latency"] for r in records if r.key["manifest"] in ("random-wall", "pldm"))
    assert records[0].config["training"] == {"preset": "two-rooms", "recipe": "wall-rich", "seed": 0}
    rows = {row[0]: row for row in table(tmp_path / "out", "two-rooms").rows}
    assert rows["random-wall, MPPI"][1:3] == ["97 ± 2 %", "≥ 99 %"]
    assert rows["random-wall, MPPI"][3] == "0.0% [0.0%, 65.8%]; 0.0% [0.0%, 65.8%]"
    assert rows["random-wall, MPPI, trained on no-crossings"][4] == "0.0%"
    assert "held-out, MPPI, trained on no-crossings" not in rows
    assert rows["pldm, MPPI, trained on pldm-no-crossings"][1] == "34.4 ± 2.7 % (PLDM)"
    assert "pldm, MPPI" not in rows
    assert rows["minutes of training, data included"][3:] == ["1.0; 2.0", "1.5"]

    def never(*_, **__):
        raise AssertionError("evaluated twice")

    monkeypatch.setattr("benchmarks.evaluation.success.evaluate", never)
    assert run(config) == records


def test_tables_show_the_success_that_the_manifest_counts(checkpoints, tmp_path, monkeypatch):
    """PLDM's goals count when they are passed, the others at the end."""
    summary = {"final_success": 0.25, "final_success_interval": [0.2, 0.3]}
    summary |= {"ever_success": 0.75, "ever_success_interval": [0.7, 0.8]}
    for recipe, manifest in (("pldm-no-crossings", "pldm"), ("no-crossings", "random-wall")):
        key = {"environment": "two-rooms", "recipe": recipe, "manifest": manifest, "planner": "mppi"}
        write_record(Store(tmp_path).path(key), new_record(key, {}, facts={"summary": summary}))
    means = {row[0]: row[-1] for row in table(tmp_path, "two-rooms").rows}
    assert means == {
        "pldm, MPPI, trained on pldm-no-crossings": "75.0%",
        "random-wall, MPPI, trained on no-crossings": "25.0%",
    }
    short = other_recipes(tmp_path, "two-rooms")
    assert [(*row[:2], row[-1]) for row in short.rows] == [
        ("no-crossings", "random-wall", "25.0%"),
        ("pldm-no-crossings", "pldm", "75.0%"),
    ]
    assert "34.4" in short.rows[1][2]


def test_without_references_there_is_no_column_for_them(tmp_path, monkeypatch):
    monkeypatch.setattr(headline, "REFERENCES", tmp_path / "none.json")
    assert list(table(headline.RESULTS, "two-rooms").columns) == ["measure", "each seed", "mean"]


def test_a_checkpoint_of_no_training_run_is_refused(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="checkpoints must be folders of training runs of a preset, got"):
        run(HeadlineConfig(checkpoints=(checkpoint,), output=tmp_path, progress=False))


@pytest.mark.parametrize(
    ("preset", "recipe", "command"),
    [
        ("two-rooms", "wall-rich", "worldmodel pretrain two-rooms --seed 3"),
        ("two-rooms-no-crossings", "no-crossings", "worldmodel pretrain two-rooms-no-crossings --seed 3"),
        (
            "two-rooms",
            "reference",
            "worldmodel pretrain two-rooms --seed 3 --data.recipe reference --output runs/two-rooms-reference-seed3",
        ),
    ],
)
def test_the_training_of_a_record_is_a_command(preset, recipe, command):
    assert training({"preset": preset, "recipe": recipe, "seed": 3}) == command
