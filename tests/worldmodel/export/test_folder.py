"""``worldmodel export``: files that compute what the model computes, from which anyone can act."""

import json
import logging
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from agents.evaluation.manifest import Manifest
from agents.evaluation.task import make_task
from agents.world_model.agent import PlanningAgent
from agents.world_model.config import PlannerConfig
from exporting import TOLERANCE, assert_equal, by_onnxruntime, save
from worldmodel.__main__ import main
from worldmodel.checkpoint import SHIPPED, load_pretrained, weights_hash
from worldmodel.export.folder import ExportConfig, run
from worldmodel.export.formats import FORMATS
from worldmodel.export.parts import PARTS, parts_of

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/guides/export.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"^```python\n(.*?)^```", GUIDE, re.M | re.S)[1]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """ONNX files of two shipped checkpoints: one whose state is a latent, one whose state has a past."""
    folder = tmp_path_factory.mktemp("exported")
    return {name: run(ExportConfig(checkpoint=name, output=folder / name)) for name in ("two-rooms", "pendulum")}


def contents(folder):
    """The files of a folder, without its lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@pytest.mark.parametrize("checkpoint", ["two-rooms", "pendulum"])
def test_onnx_is_equal_for_any_batch(exported, checkpoint):
    pretrained = load_pretrained(checkpoint)
    for name, part in parts_of(pretrained).items():
        assert_equal(pretrained, name, part, by_onnxruntime(exported[checkpoint] / f"{name}.onnx", part))


def test_the_description_is_that_of_the_files(exported):
    for name, folder in exported.items():
        about, pretrained = json.loads((folder / "export.json").read_text()), load_pretrained(name)
        assert about["checkpoint"] == {"name": name, "sha256": weights_hash(SHIPPED / name)}
        assert about["context"] == pretrained.model.context
        assert about["frame_skip"] == 4
        assert about["observation"] == about["goal"] == {"shape": list(pretrained.data.pixel_shape), "dtype": "uint8"}
        assert about["action"]["low"] == list(pretrained.data.action_low)
        assert about["action"]["max_norm"] == pretrained.data.action_max_norm
        assert list(about["parts"]) == [part for part in PARTS if part != "state" or about["context"] > 1]
        assert {*contents(folder)} == {"export.json", *(part["file"] for part in about["parts"].values())}
        for part in about["parts"].values():
            session = onnxruntime.InferenceSession(folder / part["file"])
            for told, found in ((part["inputs"], session.get_inputs()), (part["outputs"], session.get_outputs())):
                kinds = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}
                assert [(one.name, one.shape, one.type) for one in found] == [
                    (port["name"], port["shape"], kinds[port["dtype"]]) for port in told
                ]
    assert about["parts"]["state"]["inputs"][1] == {"name": "actions", "shape": ["batch", 1, 4], "dtype": "float32"}


def test_a_checkpoint_without_an_actor_says_which_parts_there_are(tmp_path, caplog):
    save(tmp_path / "tiny", acts=False)
    with caplog.at_level(logging.INFO):
        folder = run(ExportConfig(checkpoint=str(tmp_path / "tiny"), format="torch-export", output=tmp_path / "out"))
    assert {*contents(folder)} == {"encoder.pt2", "predictor.pt2", "export.json"}
    assert caplog.messages[-1] == (
        f"exported encoder, predictor to {folder}; the checkpoint has no actor and no critic"
    )
    about = json.loads((folder / "export.json").read_text())
    assert list(about["parts"]) == ["encoder", "predictor"]
    assert about["cost"] is None


def test_an_export_replaces_another_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "tiny")
    stub = {name: replace(kind, convert=lambda part: part.output.name.encode()) for name, kind in FORMATS.items()}
    monkeypatch.setattr("worldmodel.export.folder.FORMATS", stub)
    folder = run(ExportConfig(checkpoint="./tiny"))
    assert folder == tmp_path / "outputs/export/tiny"
    before = contents(folder)
    assert {*before} == {"encoder.onnx", "predictor.onnx", "actor.onnx", "critic.onnx", "export.json"}

    def fail(part):
        if part.output.name == "action":
            raise MemoryError
        return b"other"

    monkeypatch.setitem(stub, "torch-export", replace(stub["torch-export"], convert=fail))
    with pytest.raises(MemoryError):
        run(ExportConfig(checkpoint="./tiny", format="torch-export"))
    assert contents(folder) == before

    save(tmp_path / "tiny", acts=False)
    monkeypatch.setitem(stub, "torch-export", replace(stub["torch-export"], convert=lambda part: b"other"))
    run(ExportConfig(checkpoint="./tiny", format="torch-export"))
    assert {*contents(folder)} == {"encoder.pt2", "predictor.pt2", "export.json"}


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_in_one_line(package, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["export", "two-rooms", "--output", str(tmp_path / "out")]) == 1
    message = f"worldmodel export: export needs {package}: pip install 'worldmodel[export]'\n"
    assert capsys.readouterr().err == message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["moving-mnist", "three-rooms"])
def test_what_is_no_world_model_is_refused(name, capsys):
    assert main(["export", name]) == 1
    assert "checkpoint must be a directory or one of 'pendulum', " in (error := capsys.readouterr().err)
    assert error.endswith(f"got '{name}'\n")


# --- the agent of the guide ----------------------------------------------------------------------------------------

ALONE = """
import sys
sys.modules |= dict.fromkeys(["torch", "worldmodel", "agents"])  # whoever imports one of them fails
exec(sys.stdin.read())
"""


def test_the_guides_agent_reaches_goals_without_torch(exported):
    folder = exported["two-rooms"]
    example = EXAMPLE.replace('"exported"', repr(str(folder)))
    assert example != EXAMPLE
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=ROOT, input=example, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[True, True, True]\n"


@pytest.fixture
def guide():
    """The agent of the guide, without the episodes that it plays there."""
    names = {}
    exec(compile(EXAMPLE.partition("\nactor = ")[0], "guide", "exec"), names)
    return names["Actor"]


def test_the_guides_agent_acts_as_the_planning_agent_does(exported, guide):
    """Both see the same images in turn, across the beginning of an episode; a state has a past there."""
    actor = guide(exported["pendulum"])
    agent = PlanningAgent.from_pretrained("pendulum", PlannerConfig(planner="policy", redraw=False))
    random = np.random.default_rng(0)
    for _ in range(2):
        state, goal = None, random.integers(0, 256, (3, 64, 64), dtype=np.uint8)
        actor.reset(goal)
        for _ in range(12):
            image = random.integers(0, 256, (3, 64, 64), dtype=np.uint8)
            wanted, state = agent.predict({"observation": image, "desired_goal": goal}, state)
            np.testing.assert_allclose(actor.act(image), wanted, atol=TOLERANCE, rtol=0)


def test_the_guides_agent_succeeds_where_pytorch_does(exported, guide):
    task = make_task("TwoRooms-v0")
    manifest = Manifest.load(task.domain.manifests / "validation.json")
    agent = PlanningAgent.from_pretrained("two-rooms", PlannerConfig(planner="policy"))
    actor, env = guide(exported["two-rooms"]), task.make("pixels")

    def play(number, exported):
        observation, info = env.reset(seed=manifest.seeds[number], options=manifest.episodes[number])
        actor.reset(observation["desired_goal"])
        state = None
        for _ in range(200):
            if exported:
                action = actor.act(observation["observation"])
            else:
                action, state = agent.predict(observation, state)
            observation, _, _, _, info = env.step(action)
            if info["is_success"]:
                break
        return info["is_success"]

    reached = {who: [play(number, who == "exported") for number in range(6)] for who in ("exported", "PyTorch")}
    assert reached["exported"] == reached["PyTorch"]
    assert sum(reached["exported"]) >= 5
