"""README's table from many evaluations."""

import json
import shutil

import pytest

from agents.evaluation.manifest import Manifest
from benchmarks.evaluation.headline import EVALUATIONS, HeadlineConfig, markdown, run
from benchmarks.evaluation.manifests import load_manifest


@pytest.fixture
def checkpoints(checkpoint, tmp_path):
    """Two seeds and a run without door crossings."""
    folders = []
    for i, name in enumerate(("two-rooms-seed0", "two-rooms-seed1", "two-rooms-no-crossings-seed0")):
        folder = tmp_path / name
        shutil.copytree(checkpoint, folder)
        config = json.loads((folder / "config.json").read_text())
        config["training"] = {"config": {"seed": i}, "step": 7, "seconds": 60.0 * (i + 1)}
        (folder / "config.json").write_text(json.dumps(config))
        folders.append(folder)
    return tuple(folders)


def test_every_checkpoint_on_every_manifest_once(checkpoints, tmp_path, monkeypatch):
    def short(name):
        manifest = load_manifest(name)
        changes = {"seeds": manifest.seeds[:2], "episodes": manifest.episodes[:2]}
        changes |= {"shortest_paths": manifest.shortest_paths[:2], "max_steps": 8}
        return Manifest(**{**{f: getattr(manifest, f) for f in manifest.__dataclass_fields__}, **changes})

    monkeypatch.setattr("benchmarks.evaluation.success.load_manifest", short)
    config = HeadlineConfig(checkpoints=checkpoints, latency_episodes=1, output=tmp_path / "out", progress=False)
    contents = run(config)
    assert len(contents) == 2 * len(EVALUATIONS) + 4
    assert [c["training"]["seconds"] for c in contents if c["manifest"] == "held-out"] == [60.0, 60.0, 120.0, 120.0]
    lines = markdown(tmp_path / "out").splitlines()
    assert len({line.count("|") for line in lines}) == 1
    row = next(line for line in lines if line.startswith("| random-wall, MPPI, final success"))
    assert row.count("0.0% [0.0%, 65.8%]") == 2
    assert any("without a door crossing" in line for line in lines)
    assert "| 1.0; 2.0 | 1.5 |" in next(line for line in lines if line.startswith("| training"))

    def never(*_, **__):
        raise AssertionError("evaluated twice")

    monkeypatch.setattr("benchmarks.evaluation.success.evaluate", never)
    assert json.loads(json.dumps(run(config))) == json.loads(json.dumps(contents))
