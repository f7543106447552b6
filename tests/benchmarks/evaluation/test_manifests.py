import functools

import numpy as np
import pytest

from benchmarks.evaluation import manifests
from benchmarks.evaluation.manifests import ManifestsConfig, load_manifest, make_manifest, run
from envs.domain import domains, find_domain
from envs.two_rooms.layouts import layout_set
from envs.two_rooms.physics import Layout, is_free, shortest_path_to_goal_disc

COUNTS = {"random-wall": 1000, "fixed-wall": 300, "held-out": 500, "validation": 500, "bounce": 1000}
COUNTS |= {"pldm": 200, "validation-pldm": 100}
PLDM = {"collision": "bounce", "layout": [32, 10], "goal_radius": 2**0.5}
LAYOUTS = {"random-wall": "train", "bounce": "train", "held-out": "held-out", "validation": "validation"}

TWO_ROOMS = find_domain("two-rooms")
ALL = [(domain, name) for domain in domains() for name in domain.recipes]


@functools.cache
def made(environment, name):
    """A manifest as its recipe makes it, once."""
    return make_manifest(find_domain(environment), name)


def columns(manifest):
    return (np.array([episode[key] for episode in manifest.episodes]) for key in ("layout", "start", "goal"))


@pytest.mark.parametrize(("domain", "name"), ALL, ids=[f"{domain.name}/{name}" for domain, name in ALL])
def test_making_a_manifest_again_gives_the_file(domain, name):
    assert made(domain.name, name) == load_manifest(f"{domain.name}/{name}")


def test_a_name_alone_is_of_the_first_environment_that_has_it():
    assert load_manifest("held-out") == load_manifest("two-rooms/held-out")


@pytest.mark.parametrize("name", TWO_ROOMS.recipes)
def test_contents(name):
    manifest = load_manifest(name)
    layouts, starts, goals = columns(manifest)
    assert len(manifest) == COUNTS[name]
    assert manifest.max_steps == 200
    of_pldm = name in ("pldm", "validation-pldm")
    assert manifest.env_kwargs == (PLDM if of_pldm else {"collision": "bounce" if name == "bounce" else "stay"})
    assert len(np.unique(np.concatenate([starts, goals], 1), axis=0)) == len(manifest)
    allowed = layout_set(LAYOUTS[name]).tolist() if name in LAYOUTS else [[32, 10] if of_pldm else [32, 18]]
    assert {tuple(pair) for pair in layouts.tolist()} <= {tuple(pair) for pair in allowed}
    layout = Layout(layouts[:, 0], layouts[:, 1], np.zeros(len(layouts), dtype=bool))
    for points in (starts, goals):
        assert is_free(points, layout).all()
        assert (points >= 6.6).all()
        assert (points <= 57.4).all()
        assert (np.abs(points[:, 0] - layouts[:, 0]) >= 3.6 - 1e-9).all()
    assert (np.sign(starts[:, 0] - layouts[:, 0]) == -np.sign(goals[:, 0] - layouts[:, 0])).all()  # different rooms
    shortest = shortest_path_to_goal_disc(starts, goals, layout, 2**0.5 if of_pldm else 4.5)
    np.testing.assert_allclose(manifest.shortest_paths, shortest, atol=1e-3)


def test_manifests_for_tuning_and_testing_share_no_layout():
    seen = {name: {tuple(pair) for pair in next(columns(load_manifest(name))).tolist()} for name in LAYOUTS}
    assert not seen["random-wall"] & seen["validation"]
    assert not seen["random-wall"] & seen["held-out"]
    assert not seen["validation"] & seen["held-out"]


def test_the_two_manifests_of_one_layout_share_no_episode():
    both = [load_manifest(name).episodes for name in ("pldm", "validation-pldm")]
    pairs = {(tuple(episode["start"]), tuple(episode["goal"])) for episodes in both for episode in episodes}
    assert len(pairs) == 300
    assert set(TWO_ROOMS.recipes["pldm"].trained_on) == {"pldm", "pldm-no-crossings"}


def test_manifests_are_for_models_of_recipes_that_there_are():
    for domain, name in ALL:
        known = domain.simulation().recipes if domain.simulate else ()
        assert set(domain.recipes[name].trained_on) <= set(known)


def test_bounce_has_the_episodes_of_random_wall():
    bounce, stay = load_manifest("bounce"), load_manifest("random-wall")
    assert bounce.episodes == stay.episodes
    assert bounce.hash != stay.hash


def test_files_are_small():
    for domain in domains():
        assert max(path.stat().st_size for path in domain.manifests.glob("*.json")) < 300_000


@pytest.mark.parametrize("name", ["easy", "three-rooms/held-out"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(ValueError, match=rf"manifest must be one of 'random-wall', .*, got '{name}'"):
        load_manifest(name)


def test_the_command_writes_and_checks(tmp_path, monkeypatch):
    monkeypatch.setattr(manifests, "_path", lambda domain, name: tmp_path / domain.name / f"{name}.json")
    monkeypatch.setattr(manifests, "make_manifest", lambda domain, name: made(domain.name, name))
    config = ManifestsConfig(environments=("two-rooms",))
    run(config)
    shipped = TWO_ROOMS.manifests / "held-out.json"
    assert (tmp_path / "two-rooms" / "held-out.json").read_bytes() == shipped.read_bytes()
    made("two-rooms", "fixed-wall").save(tmp_path / "two-rooms" / "validation.json")
    with pytest.raises(ValueError, match=r"validation.json must be what its recipe gives"):
        run(ManifestsConfig(environments=("two-rooms",), check=True))
