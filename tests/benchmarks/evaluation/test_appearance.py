"""What is kept of success under appearance shifts: each evaluation once, and the table of them."""

import json
import shutil
from dataclasses import replace

import imageio.v3 as iio
import pytest

from benchmarks import readme
from benchmarks.evaluation import appearance, episodes, success
from benchmarks.evaluation.appearance import AppearanceConfig, groups, main, run, table
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.records.store import Store, new_record
from benchmarks.summary import rows
from envs.appearance import SHIFTS


@pytest.fixture
def checkpoints(checkpoint, tmp_path):
    """Two training seeds."""
    folders = []
    for seed in range(2):
        folder = shutil.copytree(checkpoint, tmp_path / f"run{seed}")
        about = json.loads((folder / "config.json").read_text())
        about["training"] = {"preset": "two-rooms", "config": {"seed": seed}, "step": 7, "seconds": 60.0}
        (folder / "config.json").write_text(json.dumps(about))
        folders.append(str(folder))
    return tuple(folders)


@pytest.fixture
def short(monkeypatch):
    def shortened(name):
        return replace(load_manifest(name), max_steps=4)

    monkeypatch.setattr(episodes, "load_manifest", shortened)


def stored(folder, successes, seed=0, **key):
    """Writes a record of episodes that succeeded or not under a shift."""
    for name, ever in successes.items():
        count = len(ever)
        summary = {"num_episodes": count, "final_success": sum(ever) / count, "final_success_interval": [0.0, 1.0]}
        summary |= {"ever_success": sum(ever) / count, "step_p95_ms": 1.0}
        record = new_record(
            {"environment": "two-rooms", "policy": "two-rooms", "seed": seed, "manifest": "validation",
             "planner": "policy", "appearance": name, **key},
            {},
            rows=[{"final_success": one, "ever_success": one} for one in ever],
            facts={"summary": summary, "training": {"seed": seed, "seconds": 60.0}, "model": {"encoder": "axial"}},
        )  # fmt: skip
        Store(folder).save(record)
    return list(Store(folder).records())


def test_every_shift_once(checkpoints, tmp_path, short, monkeypatch, log):
    config = AppearanceConfig(
        checkpoints=checkpoints, manifest="two-rooms/validation", num_episodes=2, output=tmp_path / "out",
        progress=False,
    )  # fmt: skip
    records = run(config)
    assert [(r.key["seed"], r.key["appearance"]) for r in records] == [(s, a) for s in (0, 1) for a in (None, *SHIFTS)]
    assert [record.config.get("appearance") for record in records] == 2 * [None, *SHIFTS]
    assert records[0].config["planner"]["planner"] == records[0].key["planner"] == "policy"
    assert records[0].facts["training"] == {"seed": 0, "steps": 7, "seconds": 60.0}
    assert records[0].facts["model"] == {"encoder": "axial"}
    assert not log.exists()
    width, height = iio.imread(tmp_path / "out-two-rooms.png").shape[1::-1]
    assert width > 2 * height

    monkeypatch.setattr(success, "evaluate", None)  # calling it would fail
    assert run(config) == records
    (path,) = {path.name for path in (tmp_path / "out").glob("*seed1*agent-size*.json")}
    assert path == "two-rooms-two-rooms-seed1-validation-policy-agent-size.json"


def test_the_command_prints_the_table(checkpoints, tmp_path, short, capsys):
    main([checkpoints[0], "--num-episodes", "2", "--shifts", "brightness", "--name", "robust",
          "--output", str(tmp_path / "out")])  # fmt: skip
    shown = capsys.readouterr().out
    assert "robust, policy, on two-rooms/validation" in shown
    assert [word for word in SHIFTS if word in shown] == ["brightness"]
    assert len(list((tmp_path / "out").glob("*.json"))) == 2


def test_the_table_puts_seeds_together(tmp_path):
    stored(tmp_path, {None: [True] * 9 + [False], "brightness": [True] * 6 + [False] * 4})
    records = stored(tmp_path, {None: [True] * 10, "brightness": [False] * 10, "agent-size": [True] * 10}, seed=1)
    found = {row[0]: row[1:] for row in table(records).rows}
    assert list(found) == ["as it is", "brightness", "agent-size", "mean of the shifts"]
    assert found["as it is"] == ["2", "95.0% [76.4%, 99.1%]", "–"]
    assert found["brightness"][:2] == ["2", "30.0% [14.5%, 51.9%]"]
    assert found["brightness"][2].startswith("31.6% [")
    assert found["agent-size"][2].startswith("100.0% [")
    assert found["mean of the shifts"] == ["–", "–", "65.8%"]
    assert table(records).columns[-1] == "kept of success"


def test_where_nothing_succeeds_nothing_is_kept(tmp_path):
    records = stored(tmp_path, {None: [False] * 4, "brightness": [False] * 4})
    assert [row[0] for row in table(records).rows] == ["as it is", "brightness"]
    assert "kept of success" not in table(records).columns


def test_success_is_that_of_the_manifest(tmp_path):
    records = stored(tmp_path, {None: [True] * 4}, environment="pendulum", manifest="near")
    ever = [replace(one, rows=tuple({**row, "final_success": False} for row in one.rows)) for one in records]
    assert table(ever).rows[0][2].startswith("100.0%")


def test_one_table_is_of_one_policy_on_one_manifest(tmp_path):
    stored(tmp_path, {None: [True]})
    records = stored(tmp_path, {None: [True]}, manifest="held-out")
    assert sorted(len(group) for group in groups(records)) == [1, 1]
    for some in (records, []):
        with pytest.raises(ValueError, match=f"evaluations of one policy on one manifest, got {len(some)}"):
            table(some)
    with pytest.raises(ValueError, match="records must be of appearance shifts, got one of environment"):
        groups([replace(records[0], key={"environment": "two-rooms"})])


def test_records_are_published(tmp_path, monkeypatch):
    stored(tmp_path / "appearance", {None: [True] * 4, "brightness": [True, False] * 2})
    as_it_is, darker = rows(tmp_path)
    assert as_it_is["policy"] == "jepa-policy, two-rooms, as it is"
    assert (darker["policy"], darker["final"], darker["encoder"]) == (
        "jepa-policy, two-rooms, brightness",
        0.5,
        "axial",
    )
    assert darker["train_minutes"] == 1
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    (found,) = readme._appearances()
    assert "| brightness | 1 | 50.0%" in found["table"]
    assert found["picture"] == "appearance-two-rooms.png"
    page = readme.render("docs/results.md", {**readme.values(), "appearances": [found]})
    assert "### Two Rooms, `validation`, two-rooms, policy" in page
    assert found["table"] in page


def test_checkpoints_must_be_of_different_seeds(checkpoints, tmp_path):
    with pytest.raises(
        ValueError, match=r"checkpoints must be of different seeds, one each, got .*two-rooms with seed 0"
    ):
        run(AppearanceConfig(checkpoints=(checkpoints[0],) * 2, output=tmp_path, progress=False))


def test_a_checkpoint_of_no_training_run_is_refused(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="checkpoints must be folders of training runs of a preset, got"):
        run(AppearanceConfig(checkpoints=(str(checkpoint),), output=tmp_path, progress=False))


def test_an_unknown_shift_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"appearance must be one of 'background-colour', .* got 'dark'"):
        run(AppearanceConfig(shifts=("dark",), output=tmp_path, progress=False))


def test_results_lie_beside_the_others():
    assert (appearance.RESULTS.name, appearance.RESULTS.parent.name) == ("appearance", "results")
