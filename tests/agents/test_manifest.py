import dataclasses
import json

import numpy as np
import pytest

from agents.manifest import Manifest

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
    with pytest.raises(ValueError, match=r"manifest toy.json must match its hash .* it was edited"):
        Manifest.load(path)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"hash": "1"}', "\x00", '{"hash": "1", "name": "a", "colour": 1}'])
def test_a_file_that_is_no_manifest_is_refused(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad.json is not a manifest"):
        Manifest.load(path)


def test_a_manifest_without_a_list_of_seeds_is_refused(tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"name": "a", "env_id": "b", "seeds": None, "hash": "c"}))
    with pytest.raises(ValueError, match="its seeds must be a list, got null"):
        Manifest.load(path)


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="episodes must have one entry for each of the 2 seeds, got 1"):
        Manifest("toy", "Toy-v0", (1, 2), episodes=({"a": 1},))


def test_an_empty_manifest_is_refused():
    with pytest.raises(ValueError, match="must hold at least one episode, got 0"):
        Manifest("toy", "Toy-v0", ())
