import dataclasses
import json

import numpy as np
import pytest

from agents.evaluation.manifest import Manifest

MANIFEST = Manifest(
    name="toy",
    env_id="Toy-v0",
    seeds=(3, 1, 4),
    episodes=({"start": [0.5, 1.0], "kind": 1}, {"start": [2.0, 3.25], "kind": 2}, {"start": [0.1, 0.2], "kind": 3}),
    shortest_paths=(1.0, 2.5, 0.1),
    env_kwargs={"collision": "stay"},
    max_steps=7,
)


def test_a_manifest_survives_the_disk(tmp_path):
    MANIFEST.save(tmp_path / "toy.json")
    loaded = Manifest.load(tmp_path / "toy.json")
    assert loaded == MANIFEST
    assert loaded.hash == MANIFEST.hash


def test_a_manifest_of_seeds_alone_survives_the_disk(tmp_path):
    manifest = Manifest("seeds", "Toy-v0", (1, 2))
    manifest.save(tmp_path / "seeds.json")
    assert Manifest.load(tmp_path / "seeds.json") == manifest
    assert manifest.options(range(2)) is None


def test_options_are_stacked_for_a_vector_environment():
    options = MANIFEST.options([2, 0])
    np.testing.assert_array_equal(options["start"], [[0.1, 0.2], [0.5, 1.0]])
    np.testing.assert_array_equal(options["kind"], [3, 1])


def test_lists_of_actions_are_padded_with_nan():
    episodes = tuple({"actions": rows} for rows in ([[1.0, 2.0]], [], [[3.0, 4.0], [5.0, 6.0]]))
    padded = dataclasses.replace(MANIFEST, episodes=episodes).options(range(3))["actions"]
    nan = [np.nan, np.nan]
    np.testing.assert_array_equal(padded, [[[1, 2], nan], [nan, nan], [[3, 4], [5, 6]]])
    even = dataclasses.replace(MANIFEST, episodes=({"x": [[1, 2]]},) * 3).options([0, 1])["x"]
    assert (even.shape, even.dtype.kind) == ((2, 1, 2), "i")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"seeds": (3, 1, 5)},
        {"env_kwargs": {"collision": "bounce"}},
        {"max_steps": 8},
        {"shortest_paths": (1.0, 2.5, 0.2)},
    ],
)
def test_the_hash_depends_on_everything(change):
    assert dataclasses.replace(MANIFEST, **change).hash != MANIFEST.hash


def test_an_edited_file_is_refused(tmp_path):
    path = tmp_path / "toy.json"
    MANIFEST.save(path)
    path.write_text(path.read_text().replace("3.25", "3.26"))
    with pytest.raises(ValueError, match=r"manifest .*toy.json must match its hash .* it was edited"):
        Manifest.load(path)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"hash": "1"}', "\x00", '{"hash": "1", "name": "a", "colour": 1}'])
def test_a_file_that_is_no_manifest_is_refused(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad.json (is not|must be) a manifest"):
        Manifest.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": None}, "seeds must be a list of values, got None"),
        ({"seeds": 5}, "seeds must be a list of values, got 5"),
        ({"seeds": []}, r"seeds must be at least one, got \(\)"),
        ({"seeds": [-1, 2]}, r"seeds\[0\] must be at least 0, got -1"),
        ({"seeds": [1, "2"]}, r"seeds\[1\] must be an integer, got '2'"),
        ({"env_id": "os:system"}, "env_id must be the id of an environment, such as 'Pendulum-v1', got 'os:system'"),
        ({"max_steps": 0}, "max_steps must be at least 1, got 0"),
        ({"max_steps": "200"}, "max_steps must be an integer, got '200'"),
        ({"episodes": 3}, "episodes must be a list of values, got 3"),
        (
            {"episodes": [{"goal": 1}, {}]},
            r"episodes\[1\] must be an object with the keys goal, as the first",
        ),
        ({"shortest_paths": [1.0, -1.0]}, r"shortest_paths\[1\] must be at least 0, got -1.0"),
        ({"env_kwargs": []}, r"env_kwargs must be names with values, got \(\)"),
    ],
)
def test_a_manifest_with_values_that_make_no_sense_is_refused(tmp_path, without_type_checks, changes, message):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"name": "a", "env_id": "Toy-v0", "seeds": [1, 2], "hash": "c"} | changes))
    with pytest.raises(ValueError, match=f"manifest 'a': {message}"):
        Manifest.load(path)


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="episodes must be one entry for each of the 2 seeds, got '1 of them'"):
        Manifest("toy", "Toy-v0", (1, 2), episodes=({"a": 1},))


def test_an_empty_manifest_is_refused():
    with pytest.raises(ValueError, match="seeds must be at least one"):
        Manifest("toy", "Toy-v0", ())
