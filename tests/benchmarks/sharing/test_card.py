"""Model cards say what the checkpoint and its records say, and nothing else."""

import json
import shlex
import shutil
from dataclasses import asdict, replace

import pytest
import yaml

from benchmarks.records.provenance import RESULTS
from benchmarks.records.store import new_record, plain, write_record
from benchmarks.sharing.about import KINDS, NO_RESULT, about, open_about
from benchmarks.sharing.card import card, headline_figure
from benchmarks.sharing.figures import find_figures
from envs.domain import find_domain
from pretrain.presets import PRESETS
from worldmodel import config as configurations
from worldmodel.checkpoint import SHIPPED, WORLD_MODEL, shipped_checkpoints
from worldmodel.storage.hub import CARD, read_card

NAMES = [name for kind in KINDS for name in shipped_checkpoints(kind)]
SUMMARY = {
    "num_episodes": 20,
    "final_success": 0.25,
    "final_success_interval": [0.125, 0.5],
    "ever_success": 0.75,
    "ever_success_interval": [0.5, 0.875],
}


@pytest.fixture
def evaluation(tmp_path, checkpoint):
    """Writes the record of an evaluation of weights, by default those of the checkpoint."""

    def write(name="e.json", weights=None, planner="mppi", **key):
        key = {"environment": "two-rooms", "manifest": "validation"} | key
        config = {"manifest": key["manifest"], "weights": weights or WORLD_MODEL.read(checkpoint).sha256}
        record = new_record(key, config | {"planner": {"planner": planner}}, facts={"summary": SUMMARY})
        write_record(tmp_path / name, record)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", NAMES)
def test_shipped_cards_are_of_the_shipped_weights(name):
    """Whether their figures are right, tests/benchmarks/test_readme.py checks."""
    metadata, said = read_card(SHIPPED / name), open_about(name)
    assert metadata["worldmodel"] == {"format": said.files.config["format"], "sha256": said.files.sha256}
    assert metadata["license"] == "mit"
    assert headline_figure(metadata).startswith(tuple("123456789"))
    assert (SHIPPED / name / CARD).read_text(encoding="utf-8").endswith("hash.\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_command_trains_with_the_same_settings(name):
    said = open_about(name)
    _, _, preset, *options = shlex.split(said.command)
    default = PRESETS[preset][1]
    parsed = plain(asdict(configurations.parse(type(default), options, prog="", description="", default=default)))
    # Fields that there were not yet have their defaults.
    stored = plain(asdict(configurations.from_json(type(default), said.files.config["training"]["config"])))
    assert {key: parsed[key] for key in stored if key not in NO_RESULT} == {
        key: value for key, value in stored.items() if key not in NO_RESULT
    }


def test_libraries_of_the_hub_read_the_metadata(checkpoint, evaluation):
    repocard = pytest.importorskip("huggingface_hub").ModelCard
    said = open_about(checkpoint)
    data = repocard(card(said, "hub:ann/rooms", find_figures(said.files.sha256, [evaluation()]))).data
    assert (data.license, data.library_name) == ("mit", "worldmodel")
    first, second = data.eval_results
    assert (first.dataset_type, first.metric_name, first.metric_value) == (
        "two-rooms/validation",
        "final success",
        0.25,
    )
    assert first.metric_args == {"low": 0.125, "high": 0.5}
    assert second.metric_name == "ever success"


def test_a_card_has_the_figures_with_their_intervals(checkpoint, evaluation):
    said = open_about(checkpoint)
    text = card(said, "hub:ann/rooms", find_figures(said.files.sha256, [evaluation()]))
    assert "| two-rooms/validation | mppi | 20 | 25.0% [12.5%, 50.0%] | 75.0% [50.0%, 87.5%] |\n" in text
    metadata = yaml.safe_load(text.split("---\n")[1])
    assert headline_figure(metadata) == "25.0% [12.5%, 50.0%] final success on two-rooms/validation"
    assert 'PlanningAgent.from_pretrained("hub:ann/rooms")' in text


def test_a_card_without_figures_says_so(checkpoint):
    text = card(open_about(checkpoint), "hub:ann/rooms", [])
    assert "Nothing that was measured of these weights is known here." in text
    assert "It does not say by which preset of this version." in text
    assert headline_figure(yaml.safe_load(text.split("---\n")[1])) == ""


def test_figures_are_of_exactly_these_weights(checkpoint, evaluation, tmp_path):
    sha256 = open_about(checkpoint).files.sha256
    evaluation("others.json", weights="0" * 64)
    evaluation("shifted.json", appearance="distractor")
    evaluation("varied.json", grid="planning")
    (tmp_path / "list.json").write_text(json.dumps([sha256]))
    assert find_figures(sha256, [tmp_path]) == []
    evaluation("policy.json", planner="policy")
    evaluation("main.json", manifest="random-wall")
    evaluation("own.json")
    found = [(one.task, one.planner) for one in find_figures(sha256, [tmp_path])]
    assert found == [
        ("two-rooms/random-wall", "mppi"),
        ("two-rooms/validation", "mppi"),
        ("two-rooms/validation", "policy"),
    ]
    with pytest.raises(ValueError, match=rf"others\.json must be a record of what weights .* {sha256} reach"):
        find_figures(sha256, [tmp_path / "others.json"])


def test_the_measure_of_the_manifest_comes_first():
    figures = find_figures(open_about("pendulum").files.sha256, [RESULTS / "compare"])
    assert any(next(iter(figure.shares)) == "ever success" for figure in figures)
    for figure in figures:
        environment, manifest = figure.task.split("/")
        measure = find_domain(environment).recipes[manifest].measure
        assert next(iter(figure.shares)) == f"{measure} success"


def test_folders_of_the_machine_are_left_out(tmp_path):
    folder = shutil.copytree(SHIPPED / "pendulum", tmp_path / "run")
    files = WORLD_MODEL.read(folder)
    files.config["training"]["config"]["data"]["dataset"] = "/home/ann/swings-v0"
    said = about(files)
    assert said.trained_on == "swings-v0"
    assert "/home" not in card(said, "hub:ann/swings", [])


@pytest.mark.parametrize(
    "training",
    [{}, {"config": 5}, {"config": {"data": [1]}, "preset": []}, {"seconds": "long", "step": True, "config": {}}],
)
def test_what_strangers_wrote_is_left_out(checkpoint, training):
    files = WORLD_MODEL.read(checkpoint)
    said = about(replace(files, config=files.config | {"training": training}))
    assert (said.trained_on, said.steps, said.minutes, said.command) == (None, None, None, None)


@pytest.mark.parametrize(
    "metadata", [{}, {"model-index": 5}, {"model-index": [{"results": [{"metrics": [{"name": 1}]}]}]}]
)
def test_metadata_of_others_has_no_figure(metadata):
    assert headline_figure(metadata) == ""
