import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from hypothesis import given
from hypothesis import strategies as st

from envs.goal_image.images import ImageReader, find_image, leaves, pick


def image_space(*shape: int, dtype=np.uint8, high=None) -> Box:
    return Box(0, (255 if dtype == np.uint8 else 1) if high is None else high, shape, dtype)


class Seen(gym.Env):
    """An environment that is an observation space and nothing else."""

    def __init__(self, space, render_mode=None):
        self.observation_space, self.render_mode = space, render_mode


RGB, STATE = image_space(32, 32, 3), Box(-1, 1, (4,))


@pytest.mark.parametrize(
    ("space", "mode", "image", "found"),
    [
        (RGB, None, "auto", "observation"),
        (RGB, "rgb_array", "auto", "observation"),
        (RGB, "rgb_array", "render", "render"),
        (STATE, "rgb_array", "auto", "render"),
        (Discrete(3), "rgb_array", "auto", "render"),
        (Dict(state=STATE, pixels=RGB), None, "auto", "pixels"),
        (Dict(a=Dict(camera=RGB, other=STATE), b=STATE), None, "auto", "a.camera"),
        (Dict(front=RGB, back=RGB), None, "back", "back"),
        (image_space(20, 24, dtype=np.float32), None, "auto", "observation"),
        (image_space(4, 84, 84), None, "auto", "observation"),
        (image_space(5, 64, 48, 3), None, "auto", "observation"),
    ],
)
def test_the_image_is_found(space, mode, image, found):
    assert find_image(Seen(space, mode), image) == found


@pytest.mark.parametrize(
    ("space", "mode", "image", "message"),
    [
        (Dict(front=RGB, back=RGB), None, "auto", r"several \('front', 'back'\), got 'auto'"),
        (STATE, None, "auto", "needs an image in the observations, or render_mode='rgb_array'"),
        (STATE, "human", "auto", "render_mode 'human'"),
        (STATE, None, "render", "image 'render' needs render_mode='rgb_array', got None"),
        (Dict(pixels=RGB, state=STATE), "rgb_array", "camera", r"one of 'pixels', 'render', got 'camera'"),
        (Dict(pixels=RGB, state=STATE), None, "state", r"one of 'pixels', got 'state', which is Box"),
        (image_space(32, 32, 3, dtype=np.float32, high=255), None, "auto", "needs an image"),
    ],
)
def test_what_is_no_image_or_ambiguous_is_named(space, mode, image, message):
    with pytest.raises(ValueError, match=message):
        find_image(Seen(space, mode), image)


def test_parts_of_nested_observations():
    space = Dict(a=Dict(b=STATE, c=RGB), d=STATE)
    assert list(leaves(space)) == ["a.b", "a.c", "d"]
    sample = space.sample()
    assert pick(sample, "a.c") is sample["a"]["c"]
    assert pick(sample["d"], "observation") is sample["d"]


LAYOUTS = {
    "HW": lambda frame: frame[..., 0],
    "HWC": lambda frame: frame,
    "CHW": lambda frame: np.moveaxis(frame, -1, 0),
    "SHW": lambda frame: np.stack([frame[..., 0] // 2, frame[..., 0]]),
    "HWS": lambda frame: np.stack([frame[..., 0] // 2, frame[..., 0]], -1),
    "SHWC": lambda frame: np.stack([frame // 2, frame]),
    "SCHW": lambda frame: np.moveaxis(np.stack([frame // 2, frame]), -1, 1),
}


@pytest.mark.parametrize("is_float", [False, True])
@pytest.mark.parametrize("axes", LAYOUTS)
def test_every_layout_gives_the_newest_frame(axes, is_float):
    frame = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    image = LAYOUTS[axes](frame)
    given_image = image / np.float32(255) if is_float else image
    reader = ImageReader(image.shape, is_float=is_float, axes=axes, size=None)
    assert np.array_equal(reader(given_image), frame if "C" in axes else frame[..., :1])
    if len(axes) == 4 or axes in ("HW", "HWC", "CHW"):
        assert ImageReader(image.shape, is_float=is_float, size=None).axes == axes


def test_frames_stacked_along_the_channels():
    frames = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    stacked = np.concatenate(list(frames), -1)
    assert np.array_equal(ImageReader(stacked.shape, channels=3, size=None)(stacked), frames[-1])
    grey = np.moveaxis(frames[..., 0], 0, -1)
    assert np.array_equal(ImageReader(grey.shape, channels=1, size=None)(grey), frames[-1, ..., :1])
    with pytest.raises(ValueError, match=r"12 of them.*: 3 \(the newest of 4 frames\) or 1 \(the newest of 12"):
        ImageReader(stacked.shape)
    with pytest.raises(ValueError, match=r"4 of them, .*1 \(the newest of 4 frames\) or 4 \(one frame\)"):
        ImageReader(grey.shape)
    for channels in (5, 12):
        with pytest.raises(ValueError, match="channels must divide the image's 12 channels and be at most 4"):
            ImageReader(stacked.shape, channels=channels)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**31))
def test_sides_change_by_area_averaging(rows, columns, channels, seed):
    image = np.random.default_rng(seed).integers(0, 256, (6 * rows, 6 * columns, channels), np.uint8)
    small = ImageReader(image.shape, axes="HWC", size=(6, 6))(image)
    means = image.reshape(6, rows, 6, columns, channels).mean((1, 3))
    assert np.abs(small - means).max() <= 1  # rounded once along each axis
    assert small.shape == (6, 6, channels)


def test_the_result_is_a_copy_within_its_space():
    image = np.zeros((16, 16, 3), np.uint8)
    for size in (None, 16, 8, (4, 32)):
        reader = ImageReader(image.shape, size=size)
        out = reader(image)
        assert out in reader.space
        out[...] = 9
    assert not image.any()


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((16, 16, 3), {"axes": "SHWC"}, r"axes must be one of 'HWC', 'CHW', 'SHW', 'HWS' for .*, got 'SHWC'"),
        ((16, 16, 3), {"axes": "WHC"}, "got 'WHC'"),
        ((64, 64, 64), {}, r"axes must be given for images of shape \(64, 64, 64\), which could be anything"),
        ((7,), {}, "which could be anything"),
        ((16, 16, 3), {"size": 0}, "size must be a positive integer, got 0"),
        ((16, 16, 3), {"size": (1, 2, 3)}, r"size must be one number or \(height, width\)"),
    ],
)
def test_errors(shape, options, message):
    with pytest.raises(ValueError, match=message):
        ImageReader(shape, **options)
