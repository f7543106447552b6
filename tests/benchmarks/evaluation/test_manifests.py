import numpy as np
import pytest

from benchmarks.evaluation.manifests import FOLDER, RECIPES, ManifestsConfig, load_manifest, make_manifest, run
from envs.two_rooms.layouts import layout_set
from envs.two_rooms.physics import Layout, is_free, shortest_path_to_goal_disc

COUNTS = {"random-wall": 1000, "fixed-wall": 300, "held-out": 500, "validation": 500, "bounce": 1000}
LAYOUTS = {"random-wall": "train", "bounce": "train", "held-out": "held-out", "validation": "validation"}


def columns(manifest):
    return (np.array([episode[key] for episode in manifest.episodes]) for key in ("layout", "start", "goal"))


@pytest.mark.parametrize("name", RECIPES)
def test_making_a_manifest_again_gives_the_file(name):
    assert make_manifest(name) == load_manifest(name)


@pytest.mark.parametrize("name", RECIPES)
def test_contents(name):
    manifest = load_manifest(name)
    layouts, starts, goals = columns(manifest)
    assert len(manifest) == COUNTS[name]
    assert manifest.max_steps == 200
    assert manifest.env_kwargs == {"collision": "bounce" if name == "bounce" else "stay"}
    assert len(np.unique(np.concatenate([starts, goals], 1), axis=0)) == len(manifest)
    allowed = {tuple(pair) for pair in layout_set(LAYOUTS[name]).tolist()} if name in LAYOUTS else {(32, 18)}
    assert {tuple(pair) for pair in layouts.tolist()} <= allowed
    layout = Layout(layouts[:, 0], layouts[:, 1], np.zeros(len(layouts), dtype=bool))
    for points in (starts, goals):
        assert is_free(points, layout).all()
        assert (points >= 6.6).all()
        assert (points <= 57.4).all()
        assert (np.abs(points[:, 0] - layouts[:, 0]) >= 3.6 - 1e-9).all()
    assert (np.sign(starts[:, 0] - layouts[:, 0]) == -np.sign(goals[:, 0] - layouts[:, 0])).all()  # different rooms
    shortest = shortest_path_to_goal_disc(starts, goals, layout)
    np.testing.assert_allclose(manifest.shortest_paths, shortest, atol=1e-3)


def test_manifests_for_tuning_and_testing_share_no_layout():
    seen = {name: {tuple(pair) for pair in next(columns(load_manifest(name))).tolist()} for name in LAYOUTS}
    assert not seen["random-wall"] & seen["validation"]
    assert not seen["random-wall"] & seen["held-out"]
    assert not seen["validation"] & seen["held-out"]


def test_bounce_has_the_episodes_of_random_wall():
    bounce, stay = load_manifest("bounce"), load_manifest("random-wall")
    assert bounce.episodes == stay.episodes
    assert bounce.hash != stay.hash


def test_files_are_small():
    assert max(path.stat().st_size for path in FOLDER.glob("*.json")) < 300_000


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"manifest must be one of 'random-wall', .*, got 'easy'"):
        load_manifest("easy")


def test_the_command_writes_and_checks(tmp_path):
    run(ManifestsConfig(output=tmp_path))
    assert (tmp_path / "held-out.json").read_bytes() == (FOLDER / "held-out.json").read_bytes()
    make_manifest("fixed-wall").save(tmp_path / "validation.json")
    with pytest.raises(ValueError, match=r"validation.json must be what its recipe gives"):
        run(ManifestsConfig(output=tmp_path, check=True))
