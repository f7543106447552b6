"""Whatever a user hands over works, or ends in one line that names the thing, the rule and the value."""

import contextlib
import json
import math
import os
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from agents.evaluation.manifest import Manifest
from agents.world_model.agent import PlanningAgent
from agents.world_model.config import PlannerConfig
from bad_inputs import checkpoints, commands, data, results, runs
from bad_inputs.checking import check_command, check_line
from bad_inputs.checkpoints import change_config
from pretrain.collection.collect import CollectConfig, collect
from pretrain.data.labelled_images import load_images
from pretrain.data.recorded.windows import open_windows
from worldmodel.__main__ import main
from worldmodel.checkpoint import SHIPPED, CheckpointError, load_pretrained
from worldmodel.video.checkpoint import load_video_jepa

pytestmark = [pytest.mark.usefixtures("without_type_checks", "small_machine"), pytest.mark.timeout(60)]

FACTS = {"minutes": 0.0, "env_steps": 0, "images": 0, "curve": []}
COMMANDS = [
    *(("collect", *row) for row in commands.COLLECT),
    *(("moving-mnist", *row) for row in commands.MOVING_MNIST),
    *(("pretrain two-rooms", *row) for row in commands.PRETRAIN),
    *(("pretrain moving-mnist", *row) for row in commands.VIDEOS),
    *(("pretrain images", *row) for row in commands.IMAGES),
    *(("evaluate", f"two-rooms {options}", words) for options, words in commands.EVALUATE),
    *(("evaluate", *row) for row in commands.POLICIES),
    *(("render", f"two-rooms {options}", words) for options, words in commands.RENDER),
    *(("train-rl", f"sac {options}", words) for options, words in commands.TRAIN_RL),
    *commands.OTHERS,
]


@pytest.fixture
def small_machine(monkeypatch, tmp_path):
    """A machine without accelerators and of little memory, and an empty folder to work in."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=4e9, total=8e9))
    monkeypatch.setattr("worldmodel.nn.devices.available_devices", lambda: ["cpu"])
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def named(rows):
    """Rows with their inputs as names."""
    return [pytest.param(*row, id=" ".join(_name(part) for part in row[:-1])) for row in rows]


def _name(part: object) -> str:
    return "gone" if part is checkpoints.GONE else str(part)[:60]


@pytest.mark.parametrize(("command", "options", "words"), named(COMMANDS))
def test_arguments(capsys, command, options, words):
    name, *preset = command.split()
    positional = shlex.split(options)
    arguments = [name, *preset, *shlex.split(commands.ALWAYS.get(command, "")), *positional]
    check_command(capsys, arguments, words)


@pytest.fixture
def world_model() -> Path:
    return Path(shutil.copytree(SHIPPED / "two-rooms", "world-model"))


@pytest.fixture
def video_model() -> Path:
    return Path(shutil.copytree(SHIPPED / "moving-mnist", "video-model"))


@pytest.mark.parametrize(("field", "value", "words"), named(checkpoints.CONFIG))
def test_fields_of_checkpoints(world_model, field, value, words):
    change_config(world_model, field, value)
    with pytest.raises(CheckpointError, match=r"config\.json") as caught:
        load_pretrained(world_model)
    check_line(str(caught.value), words)


@pytest.mark.parametrize(("field", "value", "words"), named(checkpoints.VIDEO))
def test_fields_of_checkpoints_of_videos(video_model, field, value, words):
    change_config(video_model, field, value)
    with pytest.raises(CheckpointError, match=r"config\.json") as caught:
        load_video_jepa(video_model)
    check_line(str(caught.value), words)


@pytest.mark.parametrize(("field", "value", "words"), named(checkpoints.DETECT))
def test_how_a_checkpoint_of_videos_was_trained(capsys, video_model, field, value, words):
    change_config(video_model, field, value)
    arguments = ["detect", str(video_model), "--num-videos", "2", "--shown", "0", "--no-progress"]
    check_command(capsys, arguments, words)


@pytest.mark.parametrize(("prefix", "change", "words"), named(checkpoints.TENSORS))
def test_tensors_of_checkpoints(world_model, prefix, change, words):
    path = world_model / "model.safetensors"
    tensors = load_file(path)
    for name in [name for name in tensors if name.startswith(prefix)]:
        if change == "gone":
            del tensors[name]
        elif isinstance(change, str):
            tensors[name] = tensors[name].to(getattr(torch, change))
        else:
            tensors[name] = tensors[name].clone().fill_(change)
    if change == "new":
        tensors[prefix] = torch.zeros(1)
    path.write_bytes(to_bytes(tensors))
    with pytest.raises(CheckpointError, match=r"model\.safetensors") as caught:
        load_pretrained(world_model)
    check_line(str(caught.value), words)


def test_weights_of_videos_are_finite(video_model):
    path = video_model / "model.safetensors"
    path.write_bytes(
        to_bytes({name: t * math.nan if t.is_floating_point() else t for name, t in load_file(path).items()})
    )
    with pytest.raises(CheckpointError) as caught:
        load_video_jepa(video_model)
    check_line(str(caught.value), r"must hold finite numbers, got some in '\S+' that are not")


@pytest.mark.parametrize(("name", "content", "words"), checkpoints.BYTES, ids=[row[0] for row in checkpoints.BYTES])
def test_bytes_of_weights(world_model, name, content, words):
    (world_model / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(world_model)
    check_line(str(caught.value), words)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize(
    ("put", "words"),
    [
        (os.mkfifo, "must be a regular file, got a pipe"),
        (os.mkdir, "must be a regular file, got a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "must be a regular file, got a character device"),
        (lambda path: None, "must contain "),
        (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 2**37), "must have at most .* bytes, got"),
    ],
    ids=["pipe", "folder", "/dev/zero", "nothing", "137 GB"],
)
def test_files_of_checkpoints_are_regular(world_model, name, put, words):
    (world_model / name).unlink()
    put(world_model / name)
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(world_model)
    check_line(str(caught.value), words)
    assert str(world_model) in str(caught.value)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [40, 1_000_000])
def test_deep_json(world_model, opening, depth):
    (world_model / "config.json").write_text(opening * depth + "1" + {"[": "]", '{"a":': "}"}[opening] * depth)
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(world_model)
    check_line(str(caught.value), r"config.json must be JSON, an object: (got a list|lists nested more than 32 deep)")


@pytest.mark.parametrize(("name", "split", "damage", "words"), data.IMAGES, ids=[row[0] for row in data.IMAGES])
def test_folders_of_images(name, split, damage, words):
    data.write_images(Path("images"))
    load_images("images", split)
    damage(Path("images"))
    with pytest.raises((ValueError, OSError)) as caught:
        load_images("images", split)
    check_line(str(caught.value), words)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("datasets")
    collect(CollectConfig(num_episodes=6, max_episode_steps=10, root=root, progress=False))
    return root / "two-rooms" / "random-walk-v0"


@pytest.mark.parametrize(("name", "damage", "words"), data.DATASETS, ids=[row[0] for row in data.DATASETS])
def test_datasets(dataset, name, damage, words):
    copy = Path(shutil.copytree(dataset, "dataset"))
    damage(copy / "data")
    with pytest.raises((ValueError, OSError)) as caught:
        open_windows("./dataset", 3, 2, splits=["train"], validation_fraction=0.0)
    check_line(str(caught.value), words)


@pytest.mark.parametrize(("changes", "words"), named(data.USELESS))
def test_datasets_that_nothing_can_be_learned_from(capsys, changes, words):
    collect(
        CollectConfig(**{"num_episodes": 4, "max_episode_steps": 9, "dataset_id": "a-v0", "progress": False} | changes)
    )
    arguments = shlex.split(commands.ALWAYS["pretrain two-rooms"])
    # A rollout as short as that fits into windows of this recipe too, whose states are of two latents.
    check_command(capsys, ["pretrain", "dataset", *arguments, "--rollout-steps", "1", "--data.dataset", "a-v0"], words)


@pytest.mark.parametrize("seed", range(8))
def test_datasets_with_400_bits_turned_round(dataset, seed):
    copy = Path(shutil.copytree(dataset, "dataset"))
    data.bits(seed)(copy / "data")
    with contextlib.suppress(ValueError, OSError):  # it may be where nothing is read
        open_windows("./dataset", 3, 2, splits=["train"], validation_fraction=0.0)


@pytest.mark.parametrize(("name", "damage", "words"), runs.COLLECTIONS, ids=[row[0] for row in runs.COLLECTIONS])
def test_unfinished_collections(capsys, unfinished, name, damage, words):
    copy = Path(shutil.copytree(unfinished, "data"))
    damage(copy / "two-rooms" / ".random-walk-v0.collecting")
    check_command(capsys, ["collect", *shlex.split(commands.ALWAYS["collect"])], words)


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory) -> Path:
    """A collection that was stopped before its episodes were joined."""
    root = tmp_path_factory.mktemp("unfinished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["pretrain.collection.collect"], "join", runs.stop)
        with pytest.raises(KeyboardInterrupt):
            collect(CollectConfig(num_episodes=2, max_episode_steps=4, root=root, progress=False))
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that was stopped after the first of its four steps."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("pretrain.train.Run._validate", runs.stop)
        assert main(runs.PRETRAIN) == 130
    return folder / "run"


@pytest.mark.parametrize(("name", "change", "words"), runs.STATES, ids=[row[0] for row in runs.STATES])
def test_states_of_runs(capsys, trained, name, change, words):
    path = Path(shutil.copytree(trained, "run")) / "training_state.pt"
    changed = change(torch.load(path, weights_only=True))
    path.write_bytes(changed) if isinstance(changed, bytes) else torch.save(changed, path)
    check_command(capsys, runs.PRETRAIN, words)


@pytest.mark.parametrize(("name", "content", "words"), runs.METRICS, ids=[row[0] for row in runs.METRICS])
def test_logs_of_runs(capsys, trained, name, content, words):
    path = Path(shutil.copytree(trained, "run")) / "metrics.jsonl"
    path.write_bytes(content + path.read_bytes())
    check_command(capsys, runs.PRETRAIN, words)


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    """A reinforcement learning run of two steps in two environments."""
    folder = tmp_path_factory.mktemp("learned")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(runs.TRAIN_RL) == 0
    return folder / "run"


@pytest.mark.parametrize(("name", "damage", "words"), runs.LEARNED, ids=[row[0] for row in runs.LEARNED])
def test_agents_of_reinforcement_learning(capsys, learned, name, damage, words):
    damage(Path(shutil.copytree(learned, "run")))
    check_command(capsys, ["evaluate", "run", *shlex.split(commands.ALWAYS["evaluate"])], words)


@pytest.mark.parametrize(("name", "damage", "words"), runs.RESUMED, ids=[row[0] for row in runs.RESUMED])
def test_runs_of_reinforcement_learning(capsys, learned, name, damage, words):
    damage(Path(shutil.copytree(learned, "run")))
    check_command(capsys, [*runs.TRAIN_RL, "--max-steps", "16"], words)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> dict:
    """The JSON of an evaluation of the random policy, as the store of the comparison has it."""
    path = tmp_path_factory.mktemp("evaluated") / "out.json"
    evaluation = ["evaluate", "random", *shlex.split(commands.ALWAYS["evaluate"])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.records.log.ROOT", path.parent)  # no line in the log of evaluations
        assert main([*evaluation, "--output", str(path)]) == 0
    record = json.loads(path.read_text())
    return record | {"facts": record["facts"] | {"training": FACTS}}


@pytest.mark.parametrize(
    ("command", "name", "change", "words"), results.FILES, ids=[" ".join(row[:2]) for row in results.FILES]
)
def test_files_of_results(capsys, evaluated, command, name, change, words):
    record = json.loads(json.dumps(evaluated))
    changed = change(record | {"key": results.KEY} if command.startswith("compare") else record)
    path = Path(results.PLACES[command])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(changed if isinstance(changed, bytes) else json.dumps(changed).encode())
    check_command(capsys, shlex.split(f"{command} {commands.ALWAYS[command.split()[0]]}"), words)


@pytest.mark.parametrize(("change", "words"), named(results.MANIFESTS))
def test_manifests(change, words):
    content = results.MANIFEST | change
    with pytest.raises(ValueError, match="manifest") as caught:
        Manifest(**content)
    check_line(str(caught.value), words)


@pytest.mark.parametrize(("content", "words"), named(results.MANIFEST_FILES))
def test_files_of_manifests(content, words):
    Manifest(**results.MANIFEST).save("manifest.json")
    whole = json.loads(Path("manifest.json").read_text())
    changed = content if isinstance(content, bytes) else json.dumps(whole | content).encode()
    Path("manifest.json").write_bytes(changed)
    with pytest.raises(ValueError, match=r"manifest\.json|manifest 'm'") as caught:
        Manifest.load("manifest.json")
    check_line(str(caught.value), words)


@pytest.mark.parametrize(("keywords", "words"), named(results.PLANNERS))
def test_configurations_of_planners(keywords, words):
    with pytest.raises(ValueError) as caught:
        PlannerConfig(**keywords)
    check_line(str(caught.value), words)


@pytest.mark.parametrize(("keywords", "words"), named(results.AGENTS))
def test_keywords_of_agents(keywords, words):
    with pytest.raises((ValueError, TypeError)) as caught:
        PlanningAgent.from_pretrained("two-rooms", **keywords)
    check_line(str(caught.value), words)


@pytest.mark.parametrize(
    ("name", "change", "words"), results.OBSERVATIONS, ids=[row[0] for row in results.OBSERVATIONS]
)
def test_observations_of_agents(name, change, words):
    agent = PlanningAgent.from_pretrained("two-rooms", PlannerConfig(num_samples=8, horizon=1, num_iterations=1))
    image = np.zeros((2, 2, 65, 65), np.uint8)
    arguments = {"observation": {"observation": image, "desired_goal": image}, "state": None, "episode_start": None}
    with pytest.raises((ValueError, TypeError)) as caught:
        agent.predict(**arguments | change)
    check_line(str(caught.value), words)
