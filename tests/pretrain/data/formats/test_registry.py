"""Every format gives the same windows of the same episodes, found by its path alone."""

import functools
import json
import pickle
import shutil
import sys
from pathlib import Path

import gymnasium as gym
import h5py
import numpy as np
import pytest
import torch

from pretrain.data.formats.reading import Forward
from pretrain.data.formats.registry import FORMATS, open_recording
from pretrain.data.recorded.windows import RecordedWindows, open_windows
from recordings import (
    episodes,
    write_dino_wm,
    write_dino_wm_wall,
    write_film,
    write_lerobot,
    write_minari,
    write_ogbench,
    write_stable_worldmodel,
)

EQUAL = (5, 5, 5, 5)
WRITERS = {
    "minari": functools.partial(write_minari, jpeg_encoding=False),
    "minari, JPEG": write_minari,
    "minari, nested": functools.partial(
        write_minari,
        observe=lambda frames: {"robot": {"camera": frames, "joints": np.zeros((len(frames), 3), np.float32)}},
        jpeg_encoding=False,
    ),
    "minari, goals": functools.partial(
        write_minari,
        observe=lambda frames: {"observation": frames, "achieved_goal": frames, "desired_goal": frames[::-1]},
        jpeg_encoding=False,
    ),
    "minari, floats, channels first": functools.partial(
        write_minari, observe=lambda frames: frames.transpose(0, 3, 1, 2).astype(np.float32) / 255, jpeg_encoding=False
    ),
    "stable-worldmodel": write_stable_worldmodel,
    "stable-worldmodel, channels first": functools.partial(write_stable_worldmodel, first=True),
    "dino-wm": write_dino_wm,
    "dino-wm, films": functools.partial(write_dino_wm, images="mp4", lengths="pkl"),
    "dino-wm, deformable": functools.partial(write_dino_wm, images="deformable"),
    "dino-wm, wall": write_dino_wm_wall,
    "ogbench": write_ogbench,
    "ogbench, compressed": functools.partial(write_ogbench, save=np.savez_compressed),
    "lerobot, v2.1": functools.partial(write_lerobot, version="v2.1"),
    "lerobot, v2.1, images": functools.partial(write_lerobot, version="v2.1", films=False),
    "lerobot, v3": write_lerobot,
    "lerobot, v3, AV1": functools.partial(write_lerobot, codec="libaom-av1"),
    "lerobot, v3, images": functools.partial(write_lerobot, films=False),
}
BLURRED = {"minari, JPEG", "dino-wm, films", "lerobot, v2.1", "lerobot, v3", "lerobot, v3, AV1"}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    """An own folder of Minari datasets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path


def windows(path: Path, **keywords) -> RecordedWindows:
    (found,) = open_windows(path, 3, 2, splits=["train"], validation_fraction=0, **keywords)
    return found


def test_every_format_has_a_writer():
    assert {name.partition(",")[0] for name in WRITERS} == set(FORMATS)


@pytest.mark.parametrize("in_memory", ["yes", "no"])
@pytest.mark.parametrize("name", WRITERS)
def test_windows_are_those_that_were_recorded(tmp_path, name, in_memory):
    data = episodes(EQUAL) if "wall" in name else episodes()
    (tmp_path / "data").mkdir()
    path = WRITERS[name](tmp_path / "data", data)
    found = windows(path, in_memory=in_memory)
    assert found.pixel_shape == (3, 64, 64)
    assert found.data.lengths.tolist() == [len(actions) for _, actions in data]
    for i, (frames, actions) in enumerate(data):
        for start in range(len(actions) - 4 + 1):
            batch = found._windows(np.array([i]), np.array([start]))
            np.testing.assert_array_equal(batch.actions[0].flatten(), actions[start : start + 4].ravel())
            error = np.abs(batch.pixels[0].numpy().astype(int) - frames[start : start + 5 : 2].transpose(0, 3, 1, 2))
            assert error.mean() < (4 if name in BLURRED else 1e-9)
    bounds = np.concatenate([actions for _, actions in data])
    if name.startswith("minari"):
        assert (found.action_low, found.action_high) == ((-2.0, -2.0), (3.0, 3.0))
    else:
        assert found.action_low == tuple(bounds.min(0).tolist())
        assert found.action_high == tuple(bounds.max(0).tolist())


def test_a_folder_with_one_file_is_that_file(tmp_path):
    write_stable_worldmodel(tmp_path, episodes())
    assert windows(tmp_path).num_windows == 3 + 1 + 6 + 2


def test_images_are_resized_by_area(tmp_path):
    found = windows(write_ogbench(tmp_path, episodes()), size=(32, 16))
    assert found.pixel_shape == (3, 32, 16)
    expected = episodes()[0][0][0].reshape(32, 2, 16, 4, 3).mean((1, 3)).transpose(2, 0, 1)
    shown = found._windows(np.array([0]), np.array([0])).pixels[0, 0].numpy()
    assert np.abs(shown - expected).max() <= 1


def test_the_newest_frame_of_a_stack_is_taken(tmp_path):
    def stacked(frames):
        before = np.concatenate([frames[:1], frames[:-1]])
        return np.concatenate([before, frames], -1)

    path = write_minari(tmp_path / "data", episodes(), observe=stacked, jpeg_encoding=False)
    with pytest.raises(ValueError, match=r"'observation' of dataset 'data-v0': channels must be given .*shape \(64"):
        windows(path)
    shown = windows(path, channels=3)._windows(np.array([0]), np.array([1])).pixels[0, 0].numpy()
    np.testing.assert_array_equal(shown, episodes()[0][0][1].transpose(2, 0, 1))


def test_what_is_ambiguous_lists_the_candidates(tmp_path):
    def cameras(frames):
        return {
            "left": frames,
            "right": {"eye": frames[..., :1].copy()},
            "touch": np.zeros((len(frames), 2), np.float32),
        }

    path = write_minari(tmp_path / "data", episodes(), observe=cameras, jpeg_encoding=False)
    with pytest.raises(ValueError, match=r"image of dataset 'data-v0' must be chosen among 'left', 'right\.eye', got"):
        windows(path)
    with pytest.raises(ValueError, match=r"must be one of 'left', 'right\.eye', got 'touch'"):
        windows(path, image="touch")
    assert windows(path, image="left").pixel_shape == (3, 64, 64)
    assert windows(path, image="right.eye").pixel_shape == (1, 64, 64)


def test_axes_may_be_given(tmp_path):
    def odd(frames):
        return frames[..., [0] * 8]  # (64, 64, 8)

    path = write_minari(tmp_path / "data", episodes(), observe=odd, jpeg_encoding=False)
    assert windows(path, axes="HWC", channels=4).pixel_shape == (4, 64, 64)
    with pytest.raises(ValueError, match=r"axes must be one of 'HWC', 'CHW', 'SHW', 'HWS' .*, got 'HW'"):
        windows(path, axes="HW")


def test_discrete_actions_are_refused(tmp_path):
    path = write_stable_worldmodel(tmp_path, episodes())
    with h5py.File(path, "r+") as file:
        rows = len(file["action"])
        del file["action"]
        file["action"] = np.zeros(rows, np.int64)
    with pytest.raises(ValueError, match=r"must have actions that are real numbers, got whole numbers \(discrete"):
        windows(path)
    data = [(frames, np.zeros(len(actions), np.int64)) for frames, actions in episodes()]
    path = write_minari(tmp_path / "data", data, action_space=gym.spaces.Discrete(3))
    with pytest.raises(ValueError, match=r"'data-v0' must have Box actions of real numbers, got Discrete\(3\)"):
        windows(path)


def test_actions_that_never_change_get_bounds_all_the_same(tmp_path):
    data = [(frames, actions * [[1, 0]]) for frames, actions in episodes()]
    found = windows(write_ogbench(tmp_path, [(frames, a.astype(np.float32)) for frames, a in data]))
    assert (found.action_low[1], found.action_high[1]) == (-1.0, 1.0)


# What goes wrong


def no_actions(folder: Path) -> Path:
    path = write_ogbench(folder, episodes())
    with np.load(path) as file:
        np.savez(path, observations=file["observations"], terminals=file["terminals"])
    return path


def endless(folder: Path) -> Path:
    path = write_ogbench(folder, episodes())
    with np.load(path) as file:
        np.savez(path, **{**file, "terminals": file["terminals"] * 0})
    return path


def cut(writer, name: str):
    def write(folder: Path) -> Path:
        path = writer(folder, episodes())
        file = folder / name
        file.write_bytes(file.read_bytes()[:-200])
        return path

    return write


def offsets_beyond(folder: Path) -> Path:
    path = write_stable_worldmodel(folder, episodes())
    with h5py.File(path, "r+") as file:
        file["ep_offset"][3] = 10**6
    return path


def linked(folder: Path) -> Path:
    path = write_stable_worldmodel(folder, episodes())
    with h5py.File(folder / "secret.hdf5", "w") as file:
        file["x"] = np.zeros((28, 2), np.float32)
    with h5py.File(path, "r+") as file:
        del file["action"]
        file["action"] = h5py.ExternalLink(str(folder / "secret.hdf5"), "/x")
    return path


def parts(folder: Path) -> Path:
    for part in ("train", "val"):
        (folder / part).mkdir()
        write_dino_wm(folder / part, episodes())
    return folder


def evil(folder: Path) -> Path:
    write_dino_wm(folder, episodes(), lengths="pkl")
    (folder / "seq_lengths.pkl").write_bytes(pickle.dumps(shutil.rmtree))
    return folder


def other_lengths(folder: Path) -> Path:
    write_dino_wm(folder, episodes())
    torch.save(torch.tensor([99, 1, 1, 1]), folder / "seq_lengths.pth")
    return folder


def no_images(folder: Path) -> Path:
    write_dino_wm(folder, episodes())
    (folder / "obses/episode_002.pth").unlink()
    return folder


def info(**changes):
    def write(folder: Path) -> Path:
        write_lerobot(folder / "robot", episodes())
        path = folder / "robot/meta/info.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return folder / "robot"

    return write


BROKEN = {
    "no actions": (no_actions, r"must have an array 'actions', got observations, terminals"),
    "no end": (endless, r"must have a 1 in terminals at its end, got 0"),
    "npz cut": (cut(write_ogbench, "visual-walk-v0.npz"), r"cannot be read: it must be a file of numpy.savez"),
    "offsets": (offsets_beyond, r"must have episodes within its 28 rows, as ep_len and ep_offset, got"),
    "linked": (linked, r"must have an array action in walk.h5, got something else"),
    "parts": (parts, r"must be one of the parts of a DINO-WM dataset, .*/train or .*/val, got"),
    "pickle": (evil, r"must hold a list of whole numbers, got shutil.rmtree"),
    "lengths": (other_lengths, r"seq_lengths.pth must hold 4 numbers of frames from 1 to 11, got \[99, 1, 1, 1\]"),
    "no images": (no_images, r"episode 2 of dataset .* must have frames in one of obses/episode_002.pth, .*none"),
    "version": (info(codebase_version="v1.6"), r"info.json must be of version v2.1 or v3, got 'v1.6'"),
    "no action": (info(features={}), r"must have a feature 'action', got "),
    "elsewhere": (info(data_path="../../{chunk_index}{file_index}"), r"must name files of its own folder, got '\.\./"),
    "film missing": (info(video_path="{chunk_index}.mp4"), r"cannot be read: .* \(4 of 4 episodes are at fault; data"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_named_in_one_line(tmp_path, kind):
    write, message = BROKEN[kind]
    path = write(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        windows(path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", ["dino-wm", "lerobot, v3, images"])
def test_images_of_another_size_are_named_counted_and_left_out_by_option(tmp_path, caplog, name):
    data = episodes()
    data[2] = (data[2][0][:, ::2, ::2], data[2][1])
    path = WRITERS[name](tmp_path / "data" if "lerobot" in name else tmp_path, data)
    message = r"episode 2 of .* must have frames of shape \(64, 64, 3\) like the others, got \(32, 32, 3\) \(1 of 4 ep"
    for in_memory in ("yes", "no"):
        with pytest.raises(ValueError, match=message):
            windows(path, in_memory=in_memory)
        found = windows(path, in_memory=in_memory, leave_out=True)
        assert found.episodes.tolist() == [0, 1, 3]
    assert "1 of 4 episodes of dataset" in caplog.text


def test_a_film_that_ends_early_is_a_fault_of_its_episode(tmp_path):
    data = episodes()
    path = write_dino_wm(tmp_path, data, images="mp4")
    write_film(tmp_path / "obses/episode_001.mp4", data[1][0][:3])
    with pytest.raises(ValueError, match=r"episode 1 of .* must have frames, 5 of them, got 3 \(1 of 4"):
        windows(path)


def test_lerobot_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = write_lerobot(tmp_path / "robot", episodes(), films=False)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs? pyarrow: pip install 'worldmodel\[lerobot\]'"):
        open_recording(path)


def test_rows_that_can_only_be_read_forward_are_read_once_in_order():
    begun = []

    def start(first):
        begun.append(first)
        return (np.arange(first, 20)[i : i + 3] for i in range(0, 20 - first, 3))

    stream = Forward(start)
    assert [np.concatenate([*stream.rows(first, n)]).tolist() for first, n in ((0, 4), (4, 1), (5, 7))] == [
        [0, 1, 2, 3],
        [4],
        [5, 6, 7, 8, 9, 10, 11],
    ]
    assert begun == [0]
    assert np.concatenate([*stream.rows(3, 2)]).tolist() == [3, 4]
    assert np.concatenate([*stream.rows(18, 5)]).tolist() == [18, 19]
    assert begun == [0, 3, 18]
