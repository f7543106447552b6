"""Checkpoints: what is saved is what is loaded, damage is named, nothing in a checkpoint is executed."""

import contextlib
import errno
import hashlib
import json
import os
import pickle
import re
from pathlib import Path

import pytest
import torch

from worldmodel.build import ActorCriticConfig, DataSpec, ModelConfig, build_actor_critic, build_model, build_probe
from worldmodel.checkpoint import (
    CONFIG,
    FORMAT,
    SHIPPED,
    TRAINING_STATE,
    WEIGHTS,
    WORLD_MODEL,
    CheckpointError,
    load_pretrained,
    load_training_state,
    shipped_checkpoints,
    training_state_bytes,
)
from worldmodel.video.checkpoint import VIDEO_JEPA, load_video_jepa

CONFIGURATION = ModelConfig(
    encoder="strided",
    latent_dim=16,
    encoder_channels=(8, 8),
    predictor="mlp",
    predictor_hidden_dim=32,
    frame_skip=2,
    context=2,
)
ACTOR_CRITIC = ActorCriticConfig(hidden_dim=8, discount=0.9, relative_scale=0.2)
DATA = DataSpec(
    pixel_shape=(2, 20, 20),
    action_dim=2,
    action_low=(-2.45, -2.45),
    action_high=(2.45, 2.45),
    action_max_norm=2.45,
    position_low=(4.0, 4.0),
    position_high=(60.0, 60.0),
)


ACTOR = ACTOR_CRITIC, CONFIGURATION, DATA


def save(folder: Path, seed: int = 0, beside=None) -> tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(seed)
    model, probe = build_model(CONFIGURATION, DATA), build_probe(CONFIGURATION, DATA)
    pixels = torch.randint(256, (8, 2, 20, 20), dtype=torch.uint8)
    model.fit_normalization(pixels, torch.randn(8, 4))
    actor_critic = build_actor_critic(*ACTOR)
    actor_critic.fit(0.1 + torch.rand(16))
    write(folder, model, probe, actor_critic, beside)
    return model.eval(), probe, actor_critic


def write(folder: Path, model, probe, actor_critic, beside=None) -> None:
    WORLD_MODEL.save(
        folder,
        {"model": model, "probe": probe, "actor_critic": actor_critic},
        {"model": CONFIGURATION, "data": DATA, "actor_critic": ACTOR_CRITIC},
        training={"preset": "test", "step": 7},
        beside=beside,
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    save(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def edit(folder: Path, **changes) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))


def test_what_is_loaded_gives_the_same_outputs_bit_for_bit(tmp_path):
    model, probe, actor_critic = save(tmp_path)
    loaded = load_pretrained(tmp_path)
    pixels = torch.randint(256, (3, 2, 20, 20), dtype=torch.uint8)
    actions = torch.randn(3, 5, 4)
    with torch.no_grad():
        latents = model.encode(pixels)
        assert torch.equal(loaded.model.encode(pixels), latents)
        goals = latents.roll(1, 0)
        states = model.states(torch.stack([goals, latents], 1), actions[:, :1])[:, 0]
        assert torch.equal(loaded.model.states(torch.stack([goals, latents], 1), actions[:, :1])[:, 0], states)
        steps = model.rollout(states, actions)
        assert torch.equal(loaded.model.rollout(states, actions), steps)
        assert torch.equal(loaded.probe(latents), probe(latents))
        assert torch.equal(loaded.actor_critic.policy(states, goals), actor_critic.policy(states, goals))
        cost = actor_critic.trajectory_cost(steps, goals)
        assert torch.equal(loaded.actor_critic.trajectory_cost(steps, goals), cost)
        assert torch.equal(loaded.actor_critic.step_size, actor_critic.step_size)
    assert not loaded.model.training
    assert (loaded.model.frame_skip, loaded.model.context) == (2, 2)


def test_a_checkpoint_says_what_it_is(folder):
    loaded = load_pretrained(str(folder))
    assert loaded.data == DATA
    assert loaded.data == DATA
    assert loaded.path == folder
    assert loaded.sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert loaded.config["format"] == FORMAT
    assert loaded.config["training"] == {"preset": "test", "step": 7}


def test_the_hash_tells_weights_apart(tmp_path):
    hashes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save(tmp_path / name, seed)
        hashes.append(load_pretrained(tmp_path / name).sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_checkpoint_from_before_there_were_actors_loads_without(folder):
    write(folder, build_model(CONFIGURATION, DATA), build_probe(CONFIGURATION, DATA), None)
    config = json.loads((folder / CONFIG).read_text())
    del config["actor_critic"]
    (folder / CONFIG).write_text(json.dumps(config))
    assert load_pretrained(folder).actor_critic is None


def test_an_actor_is_not_saved_without_its_architecture(tmp_path):
    actor_critic = build_actor_critic(ACTOR_CRITIC, CONFIGURATION, DATA)
    with pytest.raises(ValueError, match="actor_critic_config must be given with an actor_critic, got None"):
        WORLD_MODEL.save(
            tmp_path,
            {"model": build_model(CONFIGURATION, DATA), "actor_critic": actor_critic},
            {"model": CONFIGURATION, "data": DATA},
        )


def test_a_model_without_probe_has_none_after_loading(tmp_path):
    data = DataSpec(pixel_shape=(2, 20, 20), action_dim=2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))
    WORLD_MODEL.save(tmp_path, {"model": build_model(CONFIGURATION, data)}, {"model": CONFIGURATION, "data": data})
    assert load_pretrained(tmp_path).probe is None


def test_every_shipped_checkpoint_loads_by_its_name():
    assert all(load_pretrained(name).path.name == name for name in shipped_checkpoints())
    videos = shipped_checkpoints(VIDEO_JEPA.format)
    assert videos == ["moving-mnist"]
    assert all(load_video_jepa(name).path.name == name for name in videos)


@pytest.mark.parametrize("name", shipped_checkpoints())
def test_no_shipped_checkpoint_says_where_it_was_trained(name):
    texts = re.findall(r'"(/[^"]*)"', (SHIPPED / name / CONFIG).read_text())
    assert texts == []


def test_a_missing_checkpoint_lists_the_shipped_ones(monkeypatch, tmp_path):
    monkeypatch.setattr("worldmodel.checkpoint.SHIPPED", tmp_path)
    with pytest.raises(CheckpointError, match=r"must be a directory, got 'nowhere/to-be-found'"):
        load_pretrained("nowhere/to-be-found")
    save(tmp_path / "two-rooms")
    save(tmp_path / "other")
    with pytest.raises(CheckpointError, match="must be a directory or one of 'other', 'two-rooms', got 'two-room'"):
        load_pretrained("two-room")
    assert load_pretrained("two-rooms").path == tmp_path / "two-rooms"


def test_an_empty_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"must contain config.json, got an empty directory"):
        load_pretrained(tmp_path)


def test_missing_weights_are_named(folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"must contain model.safetensors, got config.json"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:5],
        lambda content: b"",
        lambda content: bytes(range(256)) * 8,
        lambda content: b"\xff" * 64,
        lambda content: pickle.dumps({"model": 1}),
    ],
    ids=["half", "five bytes", "nothing", "other bytes", "huge header", "pickle"],
)
def test_damaged_weights_are_named(folder, damage):
    (folder / WEIGHTS).write_bytes(damage((folder / WEIGHTS).read_bytes()))
    with pytest.raises(CheckpointError, match=r"model.safetensors must be a safetensors file"):
        load_pretrained(folder)


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe\x00", b"not json"])
def test_a_configuration_that_is_not_json_is_named(folder, content):
    (folder / CONFIG).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config.json must be JSON, an object"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"architectures": ["ViTModel"]}, f"must have format {FORMAT!r}, got None"),
        ([1, 2], "must be JSON, an object: got a list"),
        (3, "must be JSON, an object: got 3"),
        ({"format": "worldmodel.jepa/99"}, f"must have format {FORMAT!r}, got 'worldmodel.jepa/99'"),
    ],
)
def test_other_json_is_not_taken_for_a_checkpoint(folder, content, message):
    (folder / CONFIG).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"heads": 8}}, "model must be an object with fields among .*, got 'heads'"),
        ({"data": {"colour": 8}}, "data must be an object with fields among .*, got 'colour'"),
        ({"data": {}}, "data must be an object with the field 'pixel_shape'"),
        ({"model": {"encoder": "mlp"}}, "model.encoder must be one of 'impala', 'strided', 'axial', 'vit', got 'mlp'"),
        ({"model": {"latent_dim": "many"}}, "model.latent_dim must be an integer, got 'many'"),
        ({"model": {"latent_dim": -3}}, "model.latent_dim must be at least 2, got -3"),
        ({"model": []}, r"model must be an object with the fields of ModelConfig, got \[\]"),
        ({"model": None}, "model must be an object with the fields of ModelConfig, got None"),
        ({"more": 1}, "it has an unknown more"),
    ],
)
def test_a_configuration_of_something_else_is_named(folder, without_type_checks, changes, message):
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=f"config.json.* {message}"):
        load_pretrained(folder)


def test_a_configuration_without_model_is_named(folder):
    (folder / CONFIG).write_text(json.dumps({"format": FORMAT}))
    with pytest.raises(CheckpointError, match=r"must have the keys .*; it lacks data, model, training"):
        load_pretrained(folder)


@pytest.mark.parametrize("changes", [{"latent_dim": 8}, {"predictor": "gru"}, {"predictor_layers": 3}, {"context": 1}])
def test_weights_that_do_not_fit_are_named(folder, changes):
    config = json.loads((folder / CONFIG).read_text())
    edit(folder, model=config["model"] | changes)
    with pytest.raises(CheckpointError, match=r"do not fit the architecture in config.json"):
        load_pretrained(folder)


def test_a_training_state_comes_back_as_it_was(tmp_path):
    state = {"step": 3, "seconds": 1.0, "config": "{}", "optimizer": {"state": {0: {"step": 1}}}}
    state["module"] = {"weight": torch.randn(3)}
    (tmp_path / TRAINING_STATE).write_bytes(training_state_bytes(state))
    loaded = load_training_state(tmp_path)
    assert torch.equal(loaded["module"].pop("weight"), state["module"].pop("weight"))
    assert loaded == state


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_malicious_training_state_is_refused_and_not_executed(tmp_path, form):
    path, proof = tmp_path / TRAINING_STATE, tmp_path / "executed"
    state = {"step": Malicious(proof)}
    if form == "torch":
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps(state, protocol=2))
    with pytest.raises(CheckpointError, match=r"training_state.pt is not a training state of this package"):
        load_training_state(tmp_path)
    assert not proof.exists()
    with contextlib.suppress(RuntimeError):
        torch.load(path, weights_only=False)  # it would have been executed otherwise
    assert proof.exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 and no zip"])
def test_a_damaged_training_state_is_named(tmp_path, content):
    (tmp_path / TRAINING_STATE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"training_state.pt is not a training state"):
        load_training_state(tmp_path)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, TRAINING_STATE])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_the_old_checkpoint_and_is_an_oserror(folder, name):
    """What the libraries raise themselves is no OSError, so they must not be the ones who write."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / f".{name}.commit.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        save(folder, seed=1, beside={TRAINING_STATE: training_state_bytes({"step": 1})})
    assert caught.value.errno == errno.ENOSPC
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("part", [0, 1, 2], ids=["model", "probe", "actor"])
def test_weights_that_are_not_finite_are_not_saved(folder, part):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    modules = build_model(CONFIGURATION, DATA), build_probe(CONFIGURATION, DATA), build_actor_critic(*ACTOR)
    next(modules[part].parameters()).data[0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"weights must be finite to be saved, got some in '.*'"):
        write(folder, *modules)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_of_a_shipped_name_does_not_hide_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two-rooms").mkdir()
    assert load_pretrained("two-rooms").path == SHIPPED / "two-rooms"
    with pytest.raises(CheckpointError, match=r"must contain config.json"):
        load_pretrained("./two-rooms")
    save(tmp_path / "two-rooms")
    assert load_pretrained("two-rooms").path == tmp_path / "two-rooms"


def test_a_checkpoint_is_read_through_a_commit_that_was_cut_off(folder, monkeypatch):
    """All its files are the new ones from the journal on, though no file has its name yet."""

    def cut(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("worldmodel.storage.files._finish", cut)
        with pytest.raises(KeyboardInterrupt):
            save(folder, seed=5)
    save(folder.with_name("other"), seed=5)
    assert load_pretrained(folder).sha256 == load_pretrained(folder.with_name("other")).sha256
