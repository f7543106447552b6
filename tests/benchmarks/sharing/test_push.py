"""``worldmodel push`` and ``worldmodel models``: what is pushed acts elsewhere as it does here."""

import json
import shutil

import numpy as np
import pytest
import torch

from agents import OfflineAgent, PlanningAgent
from agents.offline.agent import OFFLINE_METHOD, MethodConfig, build_method
from agents.saved import open_source
from benchmarks.records.store import read_record
from benchmarks.sharing.models import ModelsConfig
from benchmarks.sharing.models import run as models
from hub_server import TOKEN
from worldmodel.__main__ import main
from worldmodel.build import DataSpec
from worldmodel.checkpoint import SHIPPED, read_config
from worldmodel.storage.hub import CARD, read_card
from worldmodel.storage.weights import CONFIG, WEIGHTS


@pytest.fixture
def login(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def pushed(capsys) -> str:
    """The name that the command printed last."""
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("checkpoint: ")]
    return line.removeprefix("checkpoint: ")


def test_what_is_pushed_acts_as_before(hub, login, capsys, checkpoint):
    assert main(["push", str(checkpoint), "ann/rooms"]) == 0
    name = pushed(capsys)
    images = {key: np.zeros((2, 65, 65), np.uint8) for key in ("observation", "desired_goal")}
    here, there = (PlanningAgent.from_pretrained(source, seed=3).predict(images)[0] for source in (checkpoint, name))
    assert np.array_equal(here, there)
    uploaded = hub.repositories["ann/rooms"].commits[name.partition("@")[2]]
    assert set(uploaded) == {CONFIG, WEIGHTS, CARD}
    assert json.loads(uploaded[CONFIG]) == read_config(checkpoint)


def test_pushing_again_gives_the_same_commit(hub, login, capsys):
    names = []
    for options in ([], ["--no-private"], ["--revision", "v2"]):
        assert main(["push", "moving-mnist", "hub:ann/digits", *options]) == 0
        names.append(pushed(capsys))
    assert names[0] == names[1] == names[2]
    assert sorted(hub.repositories["ann/digits"].branches) == ["main", "v2"]


def test_a_name_of_a_hub_is_evaluated_like_a_folder(hub, login, capsys, checkpoint, tmp_path):
    main(["push", str(checkpoint), "ann/rooms"])
    options = "--manifest validation --num-episodes 1 --num-envs 1 --latency-episodes 0 --no-progress"
    options += " --planner.num-samples 2 --planner.num-elites 1 --planner.num-iterations 1"
    assert main(["evaluate", "hub:ann/rooms", *options.split(), "--output", str(tmp_path / "e.json")]) == 0
    record = read_record(tmp_path / "e.json")
    assert record.facts["policy"] == "hub:ann/rooms"
    assert record.config["weights"] == open_source(checkpoint).sha256
    assert main(["push", str(checkpoint), "ann/rooms", "--results", str(tmp_path / "e.json")]) == 0
    folder = open_source("hub:ann/rooms").path
    assert read_card(folder)["model-index"][0]["results"][0]["dataset"]["name"] == "two-rooms/validation"


def test_an_agent_of_an_offline_method_is_shared_too(hub, login, capsys, tmp_path):
    data = DataSpec(pixel_shape=(3, 32, 32), action_dim=2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))
    settings = MethodConfig(name="gcbc", hidden_dim=8)
    torch.manual_seed(0)
    method = build_method(settings, data, None)
    OFFLINE_METHOD.save(tmp_path / "gcbc", {"method": method}, {"method": settings, "data": data})
    assert main(["push", str(tmp_path / "gcbc"), "ann/clone"]) == 0
    images = {key: np.zeros((3, 32, 32), np.uint8) for key in ("observation", "desired_goal")}
    agents = map(OfflineAgent.from_pretrained, (tmp_path / "gcbc", pushed(capsys)))
    here, there = (agent.predict(images)[0] for agent in agents)
    assert np.array_equal(here, there)
    assert open_source("hub:ann/clone").kind == "offline"


def test_a_dry_run_uploads_nothing(hub, capsys, caplog, tmp_path):
    caplog.set_level("INFO")
    assert main(["push", "two-rooms", "ann/rooms", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("---\nlicense: mit\n")
    assert "ann/rooms  model.safetensors: 2,863,658 bytes" in caplog.messages
    assert main(["push", "two-rooms", "ann/rooms", "--dry-run", "--licence", "cc0-1.0", "--output", str(tmp_path)]) == 0
    assert read_card(tmp_path)["license"] == "cc0-1.0"
    assert hub.requests == []


def test_folders_of_the_machine_are_told(hub, caplog, tmp_path):
    folder = shutil.copytree(SHIPPED / "pendulum", tmp_path / "run")
    text = (folder / CONFIG).read_text().replace("pendulum-pixels/swing-v0", "/home/ann/swing-v0")
    (folder / CONFIG).write_text(text)
    assert main(["push", str(folder), "ann/swing", "--dry-run"]) == 0
    assert "config.json names a folder of this machine, /home/ann/swing-v0; others will read it" in caplog.messages


def test_what_is_no_checkpoint_is_not_pushed(hub, login, capsys, checkpoint, tmp_path):
    run = tmp_path / "rl"
    run.mkdir()
    (run / "rl.json").write_text("{}")
    damaged = shutil.copytree(checkpoint, tmp_path / "damaged")
    (damaged / WEIGHTS).write_bytes((damaged / WEIGHTS).read_bytes()[:-1])
    for folder, words in (
        (
            run,
            "checkpoint must be the folder of a checkpoint (world model, video model, image model, offline agent)",
        ),
        (damaged, "must be a safetensors file"),
        ("nowhere", "checkpoint must be a directory or one of 'pendulum'"),
        (str(checkpoint), "a checkpoint on a hub must be named hub:owner/name"),
    ):
        name = "rooms" if folder == str(checkpoint) else "ann/rooms"
        assert main(["push", str(folder), name]) == 1
        message = capsys.readouterr().err.splitlines()[-1]
        assert message.startswith("worldmodel push: ")
        assert words in message
    assert hub.requests == []


def test_models_lists_what_ships_and_what_is_in_the_cache(hub, login, capsys, checkpoint):
    main(["push", str(checkpoint), "ann/rooms"])
    name, _, commit = pushed(capsys).partition("@")
    before = models(ModelsConfig(progress=False))
    assert [row["revision"] for row in before] == ["ships"] * len(before)
    open_source(name)
    hub.add("ann/words", {CONFIG: b'{"model_type": "bert"}', WEIGHTS: b"words"})
    with pytest.raises(ValueError, match="must have format"):
        open_source("hub:ann/words")
    *shipped, cached = models(ModelsConfig(progress=False))
    assert shipped == before
    assert (cached["name"], cached["kind"], cached["revision"]) == (name, "world model", commit[:12])
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert "hub:ann/" in shown
    assert "[98.4%," in shown


def test_cards_of_strangers_do_not_move_the_cursor(hub, checkpoint, capsys):
    result = {"dataset": {"name": "\x1b[2Jx[red]"}, "metrics": [{"name": "\n" * 9, "value": 0.5}]}
    about = {"sha256": open_source(checkpoint).sha256}
    card = f"---\n{json.dumps({'worldmodel': about, 'model-index': [{'results': [result]}]})}\n---\n"
    files = {name: (checkpoint / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    hub.add("ann/rooms", files | {CARD: card.encode()})
    open_source("hub:ann/rooms")
    assert models(ModelsConfig(progress=False))[-1]["reaches"] == "50.0%  on [2Jx[red]"
    assert main(["models"]) == 0
    assert "\x1b[2J" not in capsys.readouterr().out
