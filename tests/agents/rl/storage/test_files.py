"""What a run's files may hold: spaces and settings as JSON, weights as tensors, buffers as arrays; no pickles."""

import io
import json
import math
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces

from agents import rl
from agents.rl.evaluation import Stopped
from agents.rl.features import FEATURES, CodeFeatures
from agents.rl.storage.files import read_progress
from agents.rl.storage.replay import read_replay, replay_writer
from agents.rl.storage.spaces import space_from_json, space_to_json
from agents.rl.storage.weights import load_all, model_bytes
from rl_rooms import OFF_POLICY, make, rooms, write_config
from worldmodel.checkpoint import CheckpointError
from worldmodel.config import ConfigError
from worldmodel.storage.files import write_bytes


class Executed:
    """What writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "executed")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a trained SAC."""
    folder = tmp_path_factory.mktemp("sac")
    write_config(folder, "sac")
    rl.train(make("sac", rooms()), folder, max_steps=70, progress=False)
    return folder


def rewritten(path: Path, changes: dict[str, bytes | None]) -> bytes:
    """A zip with some members replaced, added, or left out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in (members | changes).items():
            if content is not None:
                archive.writestr(name, content)
    return out.getvalue()


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def tensors(path: Path, member: str):
    with zipfile.ZipFile(path) as archive:
        return torch.load(io.BytesIO(archive.read(member)), weights_only=True)


def leaves(value):
    """Tensors and numbers of nested dictionaries and lists."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in leaves(value[key])]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list | tuple) else [value]


def same(first, second) -> bool:
    pairs = zip(leaves(first), leaves(second), strict=True)
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def test_spaces_are_what_their_json_says():
    space = spaces.Dict(
        {
            "image": spaces.Box(0, 255, (2, 5, 5), np.uint8),
            "free": spaces.Box(-np.inf, np.inf, (3,), np.float32),
            "vector": spaces.Box(np.array([0.1, -np.inf], np.float32), np.array([0.3, 1e30], np.float32)),
        }
    )
    text = json.dumps(space_to_json(space), allow_nan=False)
    assert space_from_json(json.loads(text), "space") == space
    with pytest.raises(ValueError, match="a space must be a Box of uint8, float32, float64"):
        space_to_json(spaces.Discrete(3))


BOX = {"type": "Box", "shape": [2], "dtype": "float32", "low": -1.0, "high": 1.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "space must be an object of type 'Box', got None"),
        ({"type": "Discrete", "n": 2}, "space must be an object of type 'Box'"),
        (BOX | {"seed": 1}, "space must be an object with type, shape, dtype, low, high"),
        (BOX | {"shape": [2.0]}, "space.shape must be a list of at most 8 integers"),
        (BOX | {"shape": [0]}, "space.shape must be a list of at most 8 integers"),
        (BOX | {"shape": [10**6, 10**6]}, "space.shape must be that of at most 16,777,216 numbers"),
        (BOX | {"dtype": "object"}, "space.dtype must be one of 'uint8', 'float32', 'float64', got 'object'"),
        (BOX | {"low": [0.0, 1.0, 2.0]}, "space.low must be one number, or 2, got '3 of them'"),
        (BOX | {"low": "a"}, "space.low must be made of numbers of type float32, got 'a'"),
        (BOX | {"low": True}, "space.low must be made of numbers"),
        (BOX | {"low": 10**400}, "space.low must be made of numbers"),
        (BOX | {"low": math.nan}, "space.low must be made of numbers"),
        (BOX | {"dtype": "uint8", "low": -1, "high": 3}, "space.low must be made of numbers of type uint8, got -1"),
        (BOX | {"low": 2.0}, "space.low must be at most high everywhere, got 2.0"),
        ({"type": "Dict", "spaces": {}}, "space.spaces must be an object with 1 to 64 Boxes"),
        (
            {"type": "Dict", "spaces": {"a": {"type": "Dict", "spaces": {"b": BOX}}}},
            "space.spaces.a must be an object of type 'Box'",
        ),
    ],
)
def test_json_that_is_no_space_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        space_from_json(values, "space")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": ["sac"]}, "algorithm must be one of 'a2c'"),
        ({"algorithm": "dqn"}, "algorithm must be one of 'a2c'"),
        ({"algorithm": "ppo"}, "hindsight must be False for 'ppo', which has no replay buffer"),
        ({"algorithm": "ppo", "hindsight": False}, "hyperparameters must be keywords of ppo .*, got 'buffer_size'"),
        ({"action_repeat": 0}, "action_repeat must be at least 1, got 0"),
        ({"action_repeat": 1e9}, "action_repeat must be an integer, got 1000000000.0"),
        ({"action_repeat": 10**9}, "action_repeat must be at most 1000"),
        ({"action_repeat": "foo"}, "action_repeat must be an integer, got 'foo'"),
        ({"kept_as": "latents"}, "kept_as must be 'state' for observation 'state', got 'latents'"),
        ({"features": "codes"}, "features must be 'vectors' for what is kept as 'state', got 'codes'"),
        ({"features": "os.system"}, "features must be one of 'vectors', 'codes', 'images', got 'os.system'"),
        ({"feature_options": {"sample": 1}}, "feature_options must be an object with fields among"),
        ({"net_arch": [0]}, r"net_arch\[0\] must be at least 1, got 0"),
        ({"net_arch": [4] * 1000}, "net_arch must be at most 64 widths, got 1000"),
        ({"net_arch": 4}, "net_arch must be a list of values, got 4"),
        ({"hyperparameters": {"batch_size": 0}}, "hyperparameters.batch_size must be an integer, at least 1, got 0"),
        ({"action_space": BOX | {"low": "-inf"}}, "action_space must be a bounded Box of one dimension"),
        ({"observation_space": BOX}, "observation_space must be of type 'Dict', got 'a Box'"),
        ({"format": "worldmodel.rl/3"}, "format must be one of 'worldmodel.rl/2', got 'worldmodel.rl/3'"),
        ({"unknown": 1}, "RunConfig must be an object with fields among .*, got 'unknown'"),
        ({"kept_as": ...}, "RunConfig must be an object with the field 'kept_as'"),
        ({"observation": ...}, "RunConfig must be an object with the field 'observation'"),
        ({"action_repeat": ...}, "RunConfig must be an object with the field 'action_repeat'"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_settings_that_make_no_sense_are_refused_with_the_name_of_their_file(change, message, run, tmp_path):
    content = json.loads((run / rl.CONFIG).read_text()) | change
    content = {key: value for key, value in content.items() if value is not ...}
    (tmp_path / rl.CONFIG).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=rf"rl\.json: {message}"):
        rl.load(tmp_path)


@pytest.mark.parametrize("text", ["", "null", "[]", '"a"', "{", '{"algorithm": NaN}', "\xff", "[" * 9000])
def test_settings_that_are_no_object_are_refused(text, tmp_path):
    (tmp_path / rl.CONFIG).write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"rl\.json must be how a run was configured, an object"):
        rl.load(tmp_path)


def test_a_run_of_an_older_version_is_told_from_a_damaged_one(tmp_path):
    (tmp_path / rl.CONFIG).write_text('{"algorithm": "sac", "observation": "state", "kept_as": "state"}')
    with pytest.raises(CheckpointError, match="made by an older version, whose pickles are not read: train it again"):
        rl.load(tmp_path)


def test_settings_that_were_changed_after_training_are_refused(run, tmp_path):
    for path in run.iterdir():
        if path.is_file():
            write_bytes(tmp_path / path.name, path.read_bytes())
    rl.load(tmp_path)
    content = json.loads((run / rl.CONFIG).read_text()) | {"action_repeat": 5}
    (tmp_path / rl.CONFIG).write_text(json.dumps(content))
    for env in (None, rooms()):
        with pytest.raises(CheckpointError, match=r"rl\.json must be the one that .*model\.zip was trained with"):
            rl.load(tmp_path, env)


def test_networks_that_cannot_fit_are_refused_before_they_are_built(run, tmp_path):
    content = json.loads((run / rl.CONFIG).read_text()) | {"net_arch": [2**24, 2**24]}
    (tmp_path / rl.CONFIG).write_text(json.dumps(content))
    write_bytes(tmp_path / rl.MODEL, (run / rl.MODEL).read_bytes())
    with pytest.raises(CheckpointError, match=r"networks of net_arch must fit into memory, got .*PB"):
        rl.load(tmp_path)
    options = {"buffer_size": 10**12}
    with pytest.raises(ValueError, match="a replay buffer of buffer_size 1,000,000,000,000 must fit into memory"):
        make("sac", rooms(), hyperparameters=OFF_POLICY | options)
    with pytest.raises(ValueError, match="a rollout of n_steps 1,000,000,000,000 in 2 environments must fit"):
        make("a2c", rooms(), hyperparameters={"n_steps": 10**12})
    with pytest.raises(ValueError, match="a batch of batch_size 1,000,000,000,000 must fit into memory"):
        make("sac", rooms(), hyperparameters=OFF_POLICY | {"batch_size": 10**12})


@pytest.mark.parametrize("algorithm", list(rl.ALGORITHMS))
def test_what_is_saved_is_what_is_loaded_and_stable_baselines_can_read_it(algorithm, tmp_path):
    env = rooms()
    write_config(tmp_path, algorithm)
    model = make(algorithm, env)
    rl.train(model, tmp_path, max_steps=64, progress=False)
    loaded = rl.load(tmp_path, rooms())
    theirs = rl.ALGORITHMS[algorithm].load(tmp_path / rl.MODEL, rooms())  # this one is trusted
    assert same(loaded.get_parameters(), model.get_parameters())
    assert same(theirs.get_parameters(), model.get_parameters())
    for name in ("num_timesteps", "_episode_num", "_n_updates"):
        assert getattr(loaded, name) == getattr(model, name)
    for name in loaded._get_torch_save_params()[1]:
        assert torch.equal(getattr(loaded, name), getattr(model, name))
    assert model_bytes(loaded)  # which is finite, and can be saved again


def test_a_replay_buffer_is_loaded_as_stable_baselines_loads_it(tmp_path):
    env = rooms(num_envs=3, steps=7)
    for size in (60, 500):  # full, and not
        write_config(tmp_path / str(size), "sac", hyperparameters=OFF_POLICY | {"buffer_size": size})
        model = make("sac", env, hyperparameters=OFF_POLICY | {"buffer_size": size})
        rl.train(model, tmp_path / str(size), max_steps=150, progress=False)
        assert model.replay_buffer.full == (size == 60)
        model.save_replay_buffer(tmp_path / "theirs.pkl")
        loaded = rl.load(tmp_path / str(size), rooms(num_envs=3, steps=7))
        theirs = make("sac", rooms(num_envs=3, steps=7), hyperparameters=OFF_POLICY | {"buffer_size": size})
        theirs.load_replay_buffer(tmp_path / "theirs.pkl")
        ours, expected = vars(loaded.replay_buffer), vars(theirs.replay_buffer)
        for name in ("pos", "full", "_current_ep_start", "ep_start", "ep_length", "actions", "rewards", "dones"):
            np.testing.assert_array_equal(ours[name], expected[name])
        np.testing.assert_array_equal(ours["timeouts"], expected["timeouts"])
        for name in ("observations", "next_observations"):
            for key, array in expected[name].items():
                np.testing.assert_array_equal(ours[name][key], array)
        np.random.seed(0)  # noqa: NPY002 - what Stable-Baselines3 draws from
        batch = loaded.replay_buffer.sample(32)
        np.random.seed(0)  # noqa: NPY002
        assert all(
            torch.equal(a, b)
            for a, b in zip(leaves(batch._asdict()), leaves(theirs.replay_buffer.sample(32)._asdict()), strict=True)
            if isinstance(a, torch.Tensor)
        )


def test_nothing_in_a_zip_is_executed(run, tmp_path):
    place = tmp_path / "executed"
    code = pickle.dumps(Executed(place))
    serialized = {":type:": "x", ":serialized:": __import__("base64").b64encode(code).decode()}
    with zipfile.ZipFile(run / rl.MODEL) as archive:
        data = json.loads(archive.read("data"))
    bad_data = rewritten(run / rl.MODEL, {"data": json.dumps(data | {"x": serialized}).encode()})
    write_config(tmp_path, "sac")
    write_bytes(tmp_path / rl.BEST, bad_data)
    write_bytes(tmp_path / "replay.pkl", code)
    observation = rooms().reset()
    actions = rl.load(tmp_path, best=True).predict(observation, deterministic=True)[0]
    np.testing.assert_array_equal(actions, rl.load(run).predict(observation, deterministic=True)[0])
    for member in ("policy", "actor.optimizer", "pytorch_variables"):
        for content in (saved(Executed(place)), code):
            bad = rewritten(run / rl.MODEL, {f"{member}.pth": content})
            with pytest.raises(CheckpointError, match=rf"model\.zip must be a zip .* with tensors in {member}\.pth: "):
                load_all(make("sac", rooms()), bad, Path("model.zip"))
    arrays = np.array([Executed(place)], dtype=object)
    np.savez(tmp_path / rl.REPLAY, position=arrays)
    with pytest.raises(CheckpointError, match=r"replay\.npz must be an npz file of arrays"):
        read_replay(make("sac", rooms()).replay_buffer, tmp_path / rl.REPLAY)
    assert not place.exists()
    # The test itself would notice:
    stable_baselines3.SAC.load(io.BytesIO(bad_data), rooms())
    assert place.exists()


def changed_policy(run: Path, change) -> bytes:
    policy = tensors(run / rl.MODEL, "policy.pth")
    change(policy)
    return rewritten(run / rl.MODEL, {"policy.pth": saved(policy)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("actor.mu.bias"), "do not fit rl.json: 'policy.actor.mu.bias' is missing"),
        (lambda p: p.update(x=torch.zeros(1)), "do not fit rl.json: 'policy.x' is unknown"),
        (lambda p: p.update({3: torch.zeros(1)}), "do not fit rl.json: 'policy.3' is unknown"),
        (lambda p: p.update({"actor.mu.bias": torch.zeros(3)}), r"'policy.actor.mu.bias' must be torch.float32 \[2\]"),
        (lambda p: p.update({"actor.mu.bias": torch.zeros(2, dtype=torch.float64)}), "must be torch.float32"),
        (lambda p: p.update({"actor.mu.bias": 1.0}), "'policy.actor.mu.bias' must be a tensor, got float"),
        (lambda p: p["actor.mu.bias"].fill_(math.nan), "finite numbers, got some in 'policy.actor.mu.bias' that are"),
        (lambda p: p.update(x=torch.zeros(10**6)), r"tensors in policy.pth: more than [\d,]+ bytes"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message, run, tmp_path):
    write_config(tmp_path, "sac")
    write_bytes(tmp_path / rl.MODEL, changed_policy(run, change))
    with pytest.raises(CheckpointError, match=message) as error:
        rl.load(tmp_path)
    assert str(tmp_path / rl.MODEL) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK", None, b"\0" * 100])
def test_zips_that_are_damaged_are_refused(content, run, tmp_path):
    write_config(tmp_path, "sac")
    whole = (run / rl.MODEL).read_bytes()
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    for data in (content if content is not None else whole[:-20], empty.getvalue(), whole[: len(whole) // 2]):
        write_bytes(tmp_path / rl.MODEL, data)
        with pytest.raises(CheckpointError, match=r"model\.zip must be a zip of a trained model with tensors in"):
            rl.load(tmp_path)
    (tmp_path / rl.MODEL).unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold model\.zip"):
        rl.load(tmp_path)


def test_what_an_optimizer_remembers_is_checked(run):
    good = tensors(run / rl.MODEL, "actor.optimizer.pth")

    def bad(change) -> bytes:
        content = tensors(run / rl.MODEL, "actor.optimizer.pth")
        change(content)
        return rewritten(run / rl.MODEL, {"actor.optimizer.pth": saved(content)})

    first = next(iter(good["state"]))
    for change, message in (
        (lambda c: c.pop("state"), "must hold the state of 6 parameters in actor.optimizer.pth"),
        (lambda c: c["state"].update({99: {}}), "must hold the state of 6 parameters"),
        (
            lambda c: c["state"][first].pop("exp_avg"),
            f"must hold step, exp_avg, exp_avg_sq in 'actor.optimizer.{first}'",
        ),
        (
            lambda c: c["state"][first].update(exp_avg=torch.zeros(1)),
            "'actor.optimizer.0.exp_avg' must be torch.float32",
        ),
        (
            lambda c: c["state"][first]["exp_avg_sq"].fill_(-1.0),
            "must hold squares in 'actor.optimizer.0', got some below",
        ),
        (lambda c: c["state"][first].update(step=torch.tensor(math.inf)), "must hold a number of steps in"),
        (lambda c: c["state"][first].update(step="3"), "must hold a number of steps in"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_all(make("sac", rooms()), bad(change), Path("model.zip"))
    # Its settings follow from rl.json.
    model = make("sac", rooms())
    load_all(model, bad(lambda c: c["param_groups"][0].update(lr=1e9)), Path("model.zip"))
    assert model.actor.optimizer.param_groups[0]["lr"] == 3e-4


def test_replay_buffers_that_do_not_fit_are_refused(tmp_path):
    model = make("sac", rooms())
    rl.train(model, tmp_path, max_steps=60, progress=False)
    path = tmp_path / "changed.npz"
    with np.load(tmp_path / rl.REPLAY) as file:
        arrays = dict(file)
    for change, message in (
        ({"rewards": arrays["rewards"][:-1]}, r"'rewards' must be float32 \(30, 2\), got float32 \(29, 2\)"),
        ({"rewards": arrays["rewards"].astype(np.float64)}, "'rewards' must be float32"),
        ({"rewards": np.full_like(arrays["rewards"], np.nan)}, "'rewards' must hold finite numbers"),
        ({"dones": np.full_like(arrays["dones"], 3.0)}, "'dones' must hold zeros and ones"),
        ({"position": np.array([250, 0])}, r"'position' must be in a buffer of 250 steps, got \[250, 0\]"),
        ({"position": np.array([-1, 0])}, "'position' must be in a buffer of 250 steps"),
        ({"position": np.array([30, 1])}, r"must be float32 \(250, 2"),
        ({"ep_length": arrays["ep_length"] + 90}, "'ep_start' and 'ep_length' must be those of episodes"),
        ({"ep_start": arrays["ep_start"] - 90}, "'ep_start' and 'ep_length' must be those of episodes"),
        ({"current_ep_start": arrays["current_ep_start"] + 250}, "'current_ep_start' must be in a buffer of 250 steps"),
        ({"more": np.zeros(1)}, r"this run's replay buffer; it differs in more\.npy"),
        ({"actions": None}, r"it differs in actions\.npy"),
    ):
        kept = {name: array for name, array in (arrays | change).items() if array is not None}
        np.savez(path, **kept)
        with pytest.raises(CheckpointError, match=message) as error:
            read_replay(make("sac", rooms()).replay_buffer, path)
        assert str(path) in str(error.value)
    whole = (tmp_path / rl.REPLAY).read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for data in (b"", whole[:-20], whole[:middle], flipped, pickle.dumps([1])):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"changed\.npz must be an npz file of arrays"):
            read_replay(make("sac", rooms()).replay_buffer, path)


def test_a_large_replay_buffer_takes_only_what_is_filled(tmp_path):
    model = make("sac", rooms(), hyperparameters=OFF_POLICY | {"buffer_size": 100_000})
    rl.train(model, tmp_path, max_steps=60, progress=False)
    assert (tmp_path / rl.REPLAY).stat().st_size < 20_000
    with (tmp_path / "again").open("wb") as file:
        replay_writer(model.replay_buffer)(file)
    assert (tmp_path / "again").read_bytes() == (tmp_path / rl.REPLAY).read_bytes()


def test_codes_are_standardised_by_what_was_saved():
    space = spaces.Dict({key: spaces.Box(-1, 1, (3,)) for key in ("observation", "desired_goal")})
    fitted = CodeFeatures(space, np.random.default_rng(0).normal(2.0, 3.0, (50, 3)), hidden_dim=4, feature_dim=2)
    empty = FEATURES["codes"](space, hidden_dim=4, feature_dim=2)
    torch.testing.assert_close(empty.mean, torch.zeros(3))
    torch.testing.assert_close(empty.scale, torch.ones(3))
    empty.load_state_dict(fitted.state_dict())
    observation = {key: torch.ones(1, 3) for key in space}
    assert torch.equal(empty(observation), fitted(observation))


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    write_config(tmp_path, "sac")
    model = make("sac", rooms())
    rl.train(model, tmp_path, max_steps=40, progress=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with torch.no_grad():
        model.critic.q_networks[0][0].bias[0] = math.nan
    with pytest.raises(FloatingPointError, match=r"weights must be finite to be saved, got some in 'policy\.actor\."):
        rl.train(model, tmp_path, max_steps=60, progress=False)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    # What the networks are refused for in many words elsewhere is said in these, too.
    wild = make("sac", rooms(), hyperparameters=OFF_POLICY | {"learning_rate": 1e30})
    with pytest.raises(FloatingPointError, match="try a lower learning_rate"):
        rl.train(wild, tmp_path / "wild", max_steps=100, progress=False)


def test_a_run_that_is_stopped_saves_at_a_good_place(tmp_path):
    write_config(tmp_path, "ppo")
    model = make("ppo", rooms())  # rollouts of 16 steps
    calls = iter(range(1000))
    with pytest.raises(KeyboardInterrupt):
        rl.train(model, tmp_path, max_steps=64, progress=False, is_stopped=lambda: next(calls) > 14)
    assert rl.spent(tmp_path).steps == 16
    resumed = rl.train(rl.load(tmp_path, rooms()), tmp_path, max_steps=64, progress=False)
    assert resumed.steps == 64
    with pytest.raises(ValueError, match=r"model must have made the 64 steps that .* tells of, got 0"):
        rl.train(make("ppo", rooms()), tmp_path, max_steps=64, progress=False)
    assert not issubclass(Stopped, KeyboardInterrupt)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"progress\.json must be what a run has spent, an object"),
        ('{"steps": 1, "seconds": 1.0, "x": 1}', r"progress\.json: Progress must be an object with fields .* got 'x'"),
        ('{"steps": -1}', r"progress\.json: steps must be at least 0, got -1"),
        ('{"steps": "1"}', r"progress\.json: steps must be an integer, got '1'"),
        ('{"seconds": NaN}', r"progress\.json must be what a run has spent"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_progress_that_makes_no_sense_is_refused(text, message, tmp_path):
    (tmp_path / rl.PROGRESS).write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_progress(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        rl.spent(tmp_path)
