"""Datasets are checked as they are read: what is damaged, forged or of another kind is named in one line."""

import json
import os
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest

from pretrain.collection.collect import CollectConfig, collect
from pretrain.data.formats import registry
from pretrain.data.formats.recording import first_fault
from pretrain.data.formats.registry import open_recording
from pretrain.data.recorded import episodes
from pretrain.data.recorded.windows import SPLITS, open_windows, split_episodes

TESTS = Path(__file__).parents[3]
ROOMS = "two-rooms/random-walk-v0"


def recorded(*arguments, split: str = "train", **keywords):
    """The windows of one split."""
    (windows,) = open_windows(*arguments, splits=[split], **keywords)
    return windows


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TESTS))
        for changes in (
            {},
            {"env_id": "rgb_reach:RGBReach-v0"},
            {"env_id": "Pendulum-v1"},
            {"num_episodes": 1, "dataset_id": "one-v0"},
            {"max_episode_steps": 1, "dataset_id": "short-v0"},
        ):
            settings = {"num_episodes": 10, "max_episode_steps": 20, "root": folder, "progress": False, "seed": 1}
            collect(CollectConfig(**settings | changes))
    return folder


@pytest.fixture
def copy(source, tmp_path) -> Path:
    """The files of a dataset of Two Rooms, to be damaged."""
    return Path(shutil.copytree(source / ROOMS, tmp_path / "dataset")) / "data"


def metadata(**changes) -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        path = data / "metadata.json"
        content = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return damage


def values(name: str, index: object, value: object, episode: int = 3) -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        with h5py.File(data / "main_data.hdf5", "r+") as file:
            file[f"episode_{episode}/{name}"][index] = value

    return damage


def array(name: str, change: Callable[[np.ndarray], np.ndarray], episode: int = 3) -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        with h5py.File(data / "main_data.hdf5", "r+") as file:
            group = file[f"episode_{episode}"]
            new = change(group[name][()])
            del group[name]
            group[name] = new

    return damage


def edit(change: Callable[[h5py.Group], object]) -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        with h5py.File(data / "main_data.hdf5", "r+") as file:
            change(file["episode_3"])

    return damage


def replace(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        (data / name).unlink()
        make(data / name)

    return damage


def link_outside(group: h5py.Group) -> None:
    secret = Path(group.file.filename).with_name("secret.hdf5")
    with h5py.File(secret, "w") as file:
        file["actions"] = group["actions"][()]
    del group["actions"]
    group["actions"] = h5py.ExternalLink(str(secret), "/actions")


def store_outside(group: h5py.Group) -> None:
    del group["actions"]
    group.create_dataset("actions", (20, 2), np.float32, external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])


def huge(group: h5py.Group) -> None:
    """Terabytes that take no room in the file."""
    del group["actions"]
    group.create_dataset("actions", (10**12, 2), np.float32, chunks=(1000, 2))


SPACE = {"type": "Box", "dtype": "float32", "shape": [2], "low": [-1.0, -1.0], "high": [1.0, float("inf")]}

DAMAGES = {
    "one NaN action": (
        values("actions", (7, 1), np.nan),
        "episode 3 of .* actions that are finite .* got nan in row 7",
    ),
    "infinite action": (values("actions", (7, 1), np.inf), "episode 3 of .* actions .* got inf in row 7"),
    "actions out of bounds": (
        array("actions", lambda a: a * 0 + 24.5),
        r"episode 3 of .* within their bounds, got 24.5 in row 0, bounds -2.45 and 2.45",
    ),
    "actions 1e30": (values("actions", (0, 0), 1e30), r"got 1e\+30 in row 0, bounds -2.45 and 2.45"),
    "NaN states": (
        values("observations/observation", (20, 2), np.nan),
        "episode 3 of .* frames that are finite .* got nan in row 20",
    ),
    "states out of bounds": (values("observations/observation", (0, 0), 1e9), r"frames .* got 1e\+09 in row 0, bounds"),
    "actions of 3 components": (
        array("actions", lambda a: np.zeros((20, 3), np.float32)),
        r"episode 3 of .* actions of shape \(20, 2\) and type float32, got \(20, 3\), float32",
    ),
    "actions of strings": (
        array("actions", lambda a: a.astype("S4")),
        r"actions of shape \(20, 2\) and type float32, got \(20, 2\), text",
    ),
    "complex actions": (array("actions", lambda a: a.astype(np.complex64)), "type float32, got .* complex64"),
    "fewer actions": (array("actions", lambda a: a[:5]), r"actions of shape \(20, 2\) .* got \(5, 2\)"),
    "fewer frames": (
        array("observations/observation", lambda a: a[:-1]),
        r"episode 3 of .* frames of shape \(21, 4\) and type float32, got \(20, 4\), float32",
    ),
    "huge actions": (edit(huge), r"actions of shape \(20, 2\) .* got \(1000000000000, 2\)"),
    "other lengths": (edit(lambda group: group.attrs.modify("total_steps", 19)), "sum of the episodes' steps, 199, as"),
    "negative length": (edit(lambda group: group.attrs.modify("total_steps", -1)), "episode 3 .* number of steps, got"),
    "length of text": (edit(lambda group: group.attrs.update(total_steps="20")), "number of steps, got '20'"),
    "no length": (edit(lambda group: group.attrs.pop("total_steps")), "cannot be read: .* 'total_steps'"),
    "observation key missing": (
        edit(lambda group: group.pop("observations/observation")),
        r"must have an array episode_3/observations/observation in main_data.hdf5, got none",
    ),
    "actions missing": (edit(lambda group: group.pop("actions")), "must have an array episode_3/actions .* got none"),
    "actions a group": (
        edit(lambda group: (group.pop("actions"), group.create_group("actions"))),
        "an array episode_3/actions in main_data.hdf5, got something else",
    ),
    "link to another file": (edit(link_outside), "an array episode_3/actions .* got something else"),
    "values in another file": (edit(store_outside), "an array episode_3/actions .* got something else"),
    "total_episodes 9": (metadata(total_episodes=9), "total_episodes: 10 are there, got 9"),
    "total_episodes 11": (metadata(total_episodes=11), "total_episodes: 10 are there, got 11"),
    "total_episodes 1e18": (metadata(total_episodes=10**18), "total_episodes: 10 are there"),
    "total_episodes '10'": (metadata(total_episodes="10"), "must have a whole number as 'total_episodes', got '10'"),
    "total_steps": (metadata(total_steps=7), "total_steps, got 7"),
    "no action_space": (metadata(action_space=None), "metadata.json must have a text as 'action_space', got none"),
    "no observation_space": (metadata(observation_space=None), "must have a text as 'observation_space', got none"),
    "no id": (metadata(dataset_id=None), "must have a text as 'dataset_id', got none"),
    "space no JSON": (metadata(action_space="{"), "cannot be read: .* as Minari writes them, got JSONDecodeError"),
    "space of no kind": (metadata(action_space='{"type": "Cat"}'), "cannot be read"),
    "space nested": (metadata(action_space="[" * 100_000), "cannot be read: .* RecursionError"),
    "discrete actions": (
        metadata(action_space=json.dumps({"type": "Discrete", "dtype": "int64", "start": 0, "n": 4})),
        r"must have Box actions of real numbers, got Discrete\(4\)",
    ),
    "actions out of the bounds there are": (metadata(action_space=json.dumps(SPACE)), "got .*, bounds -1 and 1"),
    "env_spec no JSON": (metadata(env_spec="?"), "cannot be read"),
    "env_spec of another": (metadata(env_spec=gym.spec("Pendulum-v1").to_json()), "must hold images"),
    "env_spec of odd keywords": (
        metadata(env_spec=gym.spec("TwoRooms-v0").to_json().replace('"kwargs": {', '"kwargs": [], "x": {')),
        "cannot be read",
    ),
    "data_format": (metadata(data_format="stone"), "cannot be read"),
    "minari_version": (metadata(minari_version="99"), "cannot be read: .* does not support"),
    "metadata a list": (
        replace("metadata.json", lambda p: p.write_text("[1]")),
        "the metadata of a dataset, an object",
    ),
    "metadata deep": (
        replace("metadata.json", lambda p: p.write_text('{"a":' * 50_000 + "1" + "}" * 50_000)),
        "lists nested",
    ),
    "metadata no text": (replace("metadata.json", lambda p: p.write_bytes(b"\xff")), "the metadata of a dataset"),
    "metadata a pipe": (replace("metadata.json", os.mkfifo), "must be a regular file, got a pipe"),
    "metadata endless": (replace("metadata.json", lambda p: p.symlink_to("/dev/zero")), "got a character device"),
    "data a pipe": (replace("main_data.hdf5", os.mkfifo), "main_data.hdf5 must be a regular file, got a pipe"),
    "data endless": (replace("main_data.hdf5", lambda p: p.symlink_to("/dev/zero")), "got a character device"),
    "data missing": (replace("main_data.hdf5", lambda p: None), "cannot be read: .* FileNotFoundError"),
    "data empty": (replace("main_data.hdf5", lambda p: p.write_bytes(b"")), "cannot be read: .* OSError"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_named_in_one_line(copy, kind):
    damage, message = DAMAGES[kind]
    damage(copy)
    with pytest.raises(ValueError, match=message) as caught:
        recorded(copy.parent, 3, 3, validation_fraction=0)
    assert "\n" not in str(caught.value)
    assert str(copy) in str(caught.value) or "'two-rooms/random-walk-v0'" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bits_never_get_through_unnamed(copy, seed):
    path = copy / "main_data.hdf5"
    data = bytearray(path.read_bytes())
    for place in np.random.default_rng(seed).integers(8 * len(data), size=400):
        data[place // 8] ^= 1 << (place % 8)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(str(copy))) as caught:
        recorded(copy.parent, 3, 3, validation_fraction=0)
    assert "\n" not in str(caught.value)


def test_values_a_hair_outside_are_rounding(copy):
    values("actions", (0, 0), np.float32(2.45 * (1 + 5e-5)))(copy)
    assert recorded(copy.parent, 3, 3).num_windows


def test_actions_of_another_precision_are_read(copy):
    array("actions", lambda a: a.astype(np.float64))(copy)
    assert recorded(copy.parent, 3, 3).sample(2, np.random.default_rng(0)).actions.dtype.itemsize == 4


def test_bounds_that_are_not_known_are_those_of_the_data(copy):
    space = SPACE | {"low": [float("-inf")] * 2, "high": [3.0, float("inf")]}
    metadata(action_space=json.dumps(space))(copy)
    windows = recorded(copy.parent, 3, 3, validation_fraction=0)
    with h5py.File(copy / "main_data.hdf5") as file:
        actions = np.concatenate([file[f"episode_{i}/actions"][()] for i in range(10)])
    assert windows.action_low == tuple(actions.min(0).tolist())
    assert windows.action_high == (3.0, float(actions[:, 1].max()))


def test_episodes_at_fault_are_left_out_by_option_with_a_warning_that_counts(copy, caplog):
    values("actions", (7, 1), np.nan)(copy)
    values("observations/observation", (0, 0), 1e9, episode=5)(copy)
    with pytest.raises(ValueError, match=r"episode 3 .* got nan in row 7.* \(2 of 10 episodes are at fault; data"):
        recorded(copy.parent, 3, 3, validation_fraction=0)
    windows = recorded(copy.parent, 3, 3, validation_fraction=0, leave_out=True)
    assert "2 of 10 episodes of dataset 'two-rooms/random-walk-v0' are at fault and are left out: ep" in caplog.text
    assert windows.episodes.tolist() == [0, 1, 2, 4, 6, 7, 8, 9]
    (only,) = split_episodes(10, "validation").tolist()
    values("actions", (0, 0), np.inf, episode=only)(copy)
    with pytest.raises(ValueError, match="must have episodes without a fault in split 'validation'"):
        open_windows(copy.parent, 3, 3, leave_out=True, splits=SPLITS)


def test_only_what_is_needed_is_read(copy):
    edit(lambda group: (group.pop("rewards"), group.pop("observations/desired_goal")))(copy)
    assert recorded(copy.parent, 3, 3, validation_fraction=0).num_windows == 10 * 15


def test_compressed_images_are_read_by_minari(source, tmp_path, monkeypatch):
    """Minari's own default for images; the check of shapes and counts is the same."""
    with h5py.File(source / "rgb-reach/random-walk-v0/data/main_data.hdf5") as file:
        frames, actions = file["episode_0/observations/observation"][()], file["episode_0/actions"][()]
    zeros = np.zeros(len(actions))
    buffer = minari.data_collector.EpisodeBuffer(
        observations=frames, actions=actions, rewards=zeros, terminations=zeros > 0, truncations=zeros > 0
    )
    spaces = {
        "action_space": gym.spaces.Box(-1, 1, (2,), np.float32),
        "observation_space": gym.spaces.Box(0, 255, (32, 32, 3), np.uint8),
    }
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with warnings.catch_warnings(action="ignore"):
        minari.create_dataset_from_buffers("jpeg/frames-v0", [buffer, buffer], **spaces)
    windows = recorded("jpeg/frames-v0", 3, 2, root=tmp_path)
    assert windows.pixel_shape == (3, 32, 32)
    first = windows.sample(50, np.random.default_rng(0)).pixels[:, 0]
    nearest = [
        np.abs(frames.transpose(0, 3, 1, 2).astype(int) - image.numpy()).mean((1, 2, 3)).min() for image in first
    ]
    assert max(nearest) < 5  # JPEG loses a little


def test_memory_is_asked_for_before_it_is_taken(source, monkeypatch):
    asked = []

    def refuse(num_bytes, what):
        asked.append((num_bytes, what))
        raise ValueError(f"{what} must fit into memory")

    monkeypatch.setattr(episodes, "require_memory", refuse)
    with pytest.raises(ValueError, match=r"'rgb-reach/random-walk-v0' \(189 frames of shape \(3, 32, 32\)\)"):
        recorded("rgb-reach/random-walk-v0", 3, 3, root=source)
    assert asked[0][0] == 189 * 3 * 32 * 32 + 180 * 2 * 4


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("one-v0", "'one-v0' has no episodes in split 'train': it holds 1, of which validation_fraction=0.1 puts 1"),
        ("short-v0", "'short-v0' must have episodes of at least 6 steps for windows of 3 frames .* has 1$"),
        ("pendulum/random-walk-v0", "'pendulum/random-walk-v0' must hold images: .* got Box"),
    ],
)
def test_datasets_that_are_whole_but_of_no_use_are_named(source, dataset, message):
    for name in (dataset, source / dataset, source / dataset / "data"):
        with pytest.raises(ValueError, match=message):
            recorded(name, 3, 3, root=source)


def test_paths_without_a_dataset_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "local_datasets", lambda *_: pytest.fail("looks through all datasets"))
    with pytest.raises(FileNotFoundError, match="must be a file or a folder, got '/nowhere/x': there is none"):
        open_recording("/nowhere/x")
    (tmp_path / "thesis.txt").touch()
    message = rf"a folder with data/metadata.json \(minari\), .*, got '{tmp_path}', which holds thesis.txt"
    with pytest.raises(ValueError, match=message):
        open_recording(tmp_path)
    with pytest.raises(ValueError, match=rf"got '{tmp_path}/thesis.txt', which is none of them"):
        open_recording(tmp_path / "thesis.txt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"got '{tmp_path}/here': there is none"):
        open_recording("./here")
    with pytest.raises(ValueError, match=r"must be the id or the path of a dataset, got '.*File name too long"):
        open_recording("x" * 5000)


def test_first_fault_names_row_and_bounds():
    space = gym.spaces.Box(np.float32([-1, 0]), np.float32([1, np.inf]))
    assert first_fault(np.float32([[0, 5], [1.00001, 1e9]]), space) is None
    assert first_fault(np.float32([[0, 5], [0, -1]]), space) == "-1 in row 1, bounds 0 and inf"
    assert first_fault(np.float32([[np.nan, 5]]), space) == "nan in row 0, bounds -1 and 1"
    assert first_fault(np.zeros((0, 2), np.float32), space) is None
    assert first_fault(np.int64([[0, 5], [3, 0]]), space) == "3 in row 1, bounds -1 and 1"
    assert first_fault(np.float32([5.0]), gym.spaces.Box(0, 1, (), np.float32)) == "5 in row 0, bounds 0 and 1"
