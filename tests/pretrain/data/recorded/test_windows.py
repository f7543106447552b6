import logging
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from envs.two_rooms.physics import MAX_STEP, Layout, step
from envs.two_rooms.pictures.rendering import render
from envs.two_rooms.simulation.states import TwoRoomsSimulation
from pretrain.collection.collect import CollectConfig, collect
from pretrain.data.formats.registry import open_recording
from pretrain.data.paths import datasets_root
from pretrain.data.recorded.windows import open_windows, split_episodes
from pretrain.data.simulated import SimulatedWindows
from pretrain.data.windows import WindowSource

TESTS = Path(__file__).parents[3]
ROOMS = "two-rooms/random-walk-v0"
REACH = "rgb-reach/random-walk-v0"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with datasets of Two Rooms (plain, horizontal, with stored pixels), RGBReach and Pendulum."""
    folder = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TESTS))
        for changes in (
            {},
            {"dataset_id": "horizontal-v0", "env_kwargs": {"wall_orientation": "horizontal"}, "policy": "wall-seeking"},
            {"dataset_id": "pixels-v0", "env_kwargs": {"observation": "pixels"}},
            {"env_id": "rgb_reach:RGBReach-v0"},
            {"env_id": "Pendulum-v1"},
        ):
            settings = {"num_episodes": 10, "max_episode_steps": 20, "root": folder, "progress": False, "seed": 1}
            collect(CollectConfig(**settings | changes))
    return folder


def recorded(*arguments, split: str = "train", **keywords):
    """The windows of one split."""
    (windows,) = open_windows(*arguments, splits=[split], **keywords)
    return windows


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_two_rooms_windows_have_the_promised_shapes(root):
    windows = recorded(ROOMS, 4, 3, root=root)
    batch = windows.sample(7, rng())
    assert isinstance(windows, WindowSource)
    assert (batch.pixels.shape, batch.pixels.dtype) == ((7, 4, 2, 65, 65), torch.uint8)
    assert (batch.actions.shape, batch.actions.dtype) == ((7, 3, 6), torch.float32)
    assert (batch.positions.shape, batch.layout.shape) == ((7, 4, 2), (7, 2))
    assert (windows.pixel_shape, windows.action_dim, windows.num_windows) == ((2, 65, 65), 2, 9 * 12)


def test_both_sources_describe_two_rooms_alike(root):
    stored = recorded(ROOMS, 4, 3, root=root)
    endless = SimulatedWindows(TwoRoomsSimulation(), 4, 3, action_max_norm=MAX_STEP)
    assert (stored.longest, endless.longest) == (20, None)
    for name in ("num_frames", "frame_skip", "pixel_shape", "action_dim", "action_max_norm"):
        assert getattr(stored, name) == getattr(endless, name), name
    for name in ("action_low", "action_high", "action_max_norm"):
        assert getattr(stored, name) == pytest.approx(getattr(endless, name)), name
    for a, b in zip(stored.sample(2, rng()), endless.sample(2, rng()), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)


@pytest.mark.parametrize(("dataset", "horizontal"), [(ROOMS, False), ("horizontal-v0", True)])
def test_actions_take_each_frame_to_the_next(root, dataset, horizontal):
    batch = recorded(dataset, 4, 3, root=root).sample(50, rng())
    wall, door = batch.layout.numpy().T
    layout = Layout(wall, door, np.full(50, horizontal))
    for t in range(3):
        position = batch.positions[:, t].numpy()
        for action in batch.actions[:, t].reshape(50, 3, 2).numpy().swapaxes(0, 1):
            position = step(position, action, layout).positions
        np.testing.assert_array_equal(position, batch.positions[:, t + 1].numpy())
    expected = render(batch.positions.numpy(), Layout(wall[:, None], door[:, None], np.full((50, 1), horizontal)))
    difference = np.abs(batch.pixels.numpy().astype(int) - expected)
    assert difference.max() <= 1  # torch and numpy round exp differently, now and then
    assert (difference > 0).mean() < 1e-4


def test_rendered_states_equal_stored_pixels(root):
    states, pixels = (recorded(dataset, 3, 2, root=root) for dataset in (ROOMS, "pixels-v0"))
    a, b = states.sample(20, rng(3)), pixels.sample(20, rng(3))
    assert torch.equal(a.actions, b.actions)
    difference = (a.pixels.int() - b.pixels.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-4
    assert b.positions is None
    assert pixels.action_max_norm == states.action_max_norm


def test_rgb_images_are_turned_to_chw_and_stay_aligned(root):
    windows = recorded(REACH, 3, 2, root=root)
    batch = windows.sample(30, rng())
    assert windows.pixel_shape == (3, 32, 32)
    assert batch.pixels.shape == (30, 3, 3, 32, 32)
    assert (batch.positions, batch.layout, windows.simulation, windows.action_max_norm) == (None, None, None, None)
    assert (windows.action_low, windows.action_high) == ((-1.0, -1.0), (1.0, 1.0))
    # The centroid of red above the background is where the dot is; an action of 1 moves it by two pixels.
    red = batch.pixels[:, :, 0].double() - 20
    axis = torch.arange(32, dtype=torch.float64)
    mass = red.sum((-2, -1))
    position = torch.stack([(red.sum(-2) * axis).sum(-1), (red.sum(-1) * axis).sum(-1)], -1) / mass[..., None]
    inside = ((position > 6) & (position < 25)).all(-1)
    moved = 2 * batch.actions.reshape(30, 2, 2, 2).sum(2)
    for t in range(2):
        free = inside[:, t] & inside[:, t + 1]
        assert free.sum() > 5
        torch.testing.assert_close(
            (position[:, t + 1] - position[:, t])[free], moved[:, t][free].double(), atol=0.1, rtol=0
        )


def test_windows_never_straddle_episodes_and_all_are_drawn(root):
    windows = recorded(ROOMS, 2, 20, root=root)  # as long as an episode: one window each
    assert windows.num_windows == len(windows.episodes) == 9
    starts = {tuple(p) for p in windows.sample(200, rng()).positions[:, 0].tolist()}
    recording = open_recording(ROOMS, root=root)
    firsts = [next(recording.frames("observation", episode))[0] for episode in windows.episodes.tolist()]
    expected = {tuple(state[:2].tolist()) for state in firsts}
    assert starts == expected


def test_splits_are_disjoint_and_complete(root):
    parts = [
        recorded(ROOMS, 2, 1, root=root, split=split, validation_fraction=0.3) for split in ("train", "validation")
    ]
    train, validation = (set(part.episodes.tolist()) for part in parts)
    assert len(validation) == 3
    assert not train & validation
    assert train | validation == set(range(10))
    positions = [{tuple(p) for p in part.sample(500, rng()).positions.reshape(-1, 2).tolist()} for part in parts]
    assert not positions[0] & positions[1]


def test_split_depends_on_its_seed_only():
    first = split_episodes(100, "validation", seed=0)
    np.testing.assert_array_equal(first, split_episodes(100, "validation", seed=0))
    assert first.tolist() != split_episodes(100, "validation", seed=1).tolist()
    assert len(split_episodes(3, "validation", validation_fraction=0.01)) == 1


@pytest.mark.parametrize("dataset", [ROOMS, "horizontal-v0", REACH])
@pytest.mark.parametrize("in_memory", ["yes", "no"])
def test_whole_episodes_are_all_of_the_split_with_every_step(root, dataset, in_memory, tmp_path):
    options = {"root": root, "in_memory": in_memory, "cache": tmp_path}
    windows = recorded(dataset, 4, 3, **options)
    episodes = list(windows.whole_episodes(2, 5, 3, rng()))  # these numbers are for simulations
    assert len(episodes) == len(windows.episodes) == 9
    assert sum(len(batch.pixels) * batch.actions.shape[1] for batch in episodes) == 9 * 20
    single = recorded(dataset, 21, 1, **options)  # as long as an episode: one window each
    for i, batch in enumerate(episodes):
        expected = single._windows(np.array([i]), np.array([0]))
        assert batch.pixels.dtype == torch.uint8
        assert torch.equal(batch.pixels, expected.pixels)
        assert torch.equal(batch.actions, expected.actions)
    (validation,) = recorded(dataset, 4, 3, split="validation", **options).whole_episodes(1, 2, 1, rng())
    assert not any(torch.equal(validation.actions, batch.actions) for batch in episodes)


@pytest.mark.parametrize("dataset", [ROOMS, REACH])
@pytest.mark.parametrize("in_memory", ["yes", "no"])
def test_history_stands_before_what_is_drawn_without_it(root, dataset, in_memory, tmp_path):
    options = {"root": root, "in_memory": in_memory, "cache": tmp_path}
    plain, wide = (recorded(dataset, 3, 2, context=context, **options) for context in (1, 4))
    assert plain.num_windows == wide.num_windows
    a, b = plain.sample(40, rng(), 3), wide.sample(40, rng(), 3)
    assert b.pixels.shape == (40, 3 + 3, *plain.pixel_shape)
    assert torch.equal(a.pixels, b.pixels[:, 3:])
    assert torch.equal(a.actions, b.actions)
    assert a.positions is None or torch.equal(a.positions, b.positions)


def test_history_is_the_frames_before_and_never_another_episode(root):
    windows = recorded(REACH, 3, 2, root=root, context=4)
    for episode in (0, 4):
        first = windows.data.first_frame[windows.episodes[episode]]
        own = windows.data.frames[first : first + 21]
        for start in (0, 1, 4, 16):
            pixels = windows._windows(np.array([episode]), np.array([start])).pixels[0].numpy()
            expected = own[[max(0, start + 2 * t) for t in range(-3, 3)]]
            np.testing.assert_array_equal(pixels, expected)


def test_same_generator_same_windows(root):
    windows = recorded(REACH, 3, 2, root=root)
    a, b, c = (windows.sample(5, rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(a.pixels, b.pixels)
    assert not torch.equal(a.pixels, c.pixels)


def test_dataset_by_path_and_by_environment_variable(root, monkeypatch):
    assert recorded(root / ROOMS, 2, 1).name == ROOMS
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    assert datasets_root() == root
    assert recorded(ROOMS, 2, 1).name == ROOMS


def test_short_episodes_are_left_out_with_a_warning(root, tmp_path, caplog):
    lengths = iter([20, 5, 20, 4, 20])

    class Uneven(gym.Wrapper):
        def reset(self, **kwargs):
            self.left = next(lengths)
            return self.env.reset(**kwargs)

        def step(self, action):
            self.left -= 1
            *rest, truncated, info = self.env.step(action)
            return *rest, truncated or self.left == 0, info

    with pytest.MonkeyPatch.context() as patch:
        make = gym.make
        patch.setattr(gym, "make", lambda *args, **kwargs: Uneven(make(*args, **kwargs)))
        collect(CollectConfig(num_episodes=5, root=tmp_path, progress=False))
    with caplog.at_level(logging.WARNING):
        windows = recorded(ROOMS, 3, 5, root=tmp_path, validation_fraction=0)
    assert "2 of 5 episodes of dataset 'two-rooms/random-walk-v0' are shorter than a window (10 steps)" in caplog.text
    assert windows.episodes.tolist() == [0, 2, 4]
    assert windows.num_windows == 3 * 11


# What goes wrong


def test_missing_dataset_lists_those_there_are(root):
    with pytest.raises(FileNotFoundError, match=rf"one of .*'{REACH}', '{ROOMS}' in .* got 'two-rooms/expert-v0'"):
        recorded("two-rooms/expert-v0", 2, 1, root=root)
    with pytest.raises(FileNotFoundError, match="none yet"):
        recorded("two-rooms/expert-v0", 2, 1, root=root / "nothing")


def test_dataset_without_images(root):
    with pytest.raises(
        ValueError, match=r"'pendulum/random-walk-v0' must hold images: .* got Box\(.*\(3,\), float32\)"
    ):
        recorded("pendulum/random-walk-v0", 2, 1, root=root)


def test_damaged_datasets(root, tmp_path):
    for name, content in (("metadata.json", "{"), ("main_data.hdf5", "no HDF5")):
        data = tmp_path / name / "data"
        data.mkdir(parents=True)
        for file in (root / ROOMS / "data").iterdir():
            (data / file.name).write_bytes(file.read_bytes())
        (data / name).write_text(content)
        with pytest.raises(ValueError, match="cannot be read"):
            recorded(tmp_path / name, 2, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_frames": 8}, "must have episodes of at least 21 steps for windows of 8 frames .* has 20"),
        ({"num_frames": 1}, "num_frames must be at least 2 and frame_skip at least 1, got 1 and 3"),
        ({"context": 0}, "context must be at least 1, got 0"),
        ({"split": "test"}, "split must be one of 'train', 'validation', got 'test'"),
        ({"validation_fraction": 1.0}, r"validation_fraction must be in \[0, 1\), got 1.0"),
        (
            {"split": "validation", "validation_fraction": 0.0},
            "no episodes in split 'validation': it holds 10, of which validation_fraction=0.0 puts 0 into",
        ),
    ],
)
def test_wrong_arguments(root, arguments, message):
    with pytest.raises(ValueError, match=message):
        recorded(ROOMS, **{"num_frames": 3, "frame_skip": 3, "root": root} | arguments)


def test_single_episode_has_no_train_split():
    with pytest.raises(ValueError, match="dataset 'one-v0' has no episodes in split 'train': it holds 1"):
        split_episodes(1, "train", name="one-v0")


def test_states_that_a_simulation_draws_take_no_options_for_images(root):
    assert recorded(ROOMS, 3, 3, root=root, image="observation").pixel_shape == (2, 65, 65)
    with pytest.raises(ValueError, match=r"image, axes, channels and size must be left out .* got auto, , None, 32"):
        recorded(ROOMS, 3, 3, root=root, size=32)
