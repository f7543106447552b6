"""Moving MNIST: digits keep their speed, stay in the frame, and are drawn where they are said to be."""

import errno
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pretrain.data.labelled_images import LabelledImages, load_images
from pretrain.loop.stages import select
from pretrain.video.export import MovingMNISTConfig, contact_sheet, run
from pretrain.video.moving_mnist import MovingMNIST, bounce, draw, drifting_textures, write_canonical
from worldmodel.config import ConfigError

DIGITS = LabelledImages(np.full((3, 1, 5, 5), 200, np.uint8), np.arange(3, dtype=np.uint8))


@given(
    seed=st.integers(0, 2**32 - 1),
    limit=st.floats(0.5, 100.0),
    fraction=st.floats(0.0, 1.0),
)
def test_points_stay_inside_and_keep_their_speed_between_bounces(seed, limit, fraction):
    speed = fraction * limit
    positions = bounce(np.random.default_rng(seed), (3, 2), 30, limit, speed)
    assert positions.shape == (3, 30, 2, 2)
    assert positions.min() >= 0.0
    assert positions.max() <= limit
    moves = np.diff(positions, axis=1)
    lengths = np.linalg.norm(moves, axis=-1)
    ends_inside = ((positions[:, 1:] > 0) & (positions[:, 1:] < limit)).all(-1)
    np.testing.assert_allclose(lengths[ends_inside], speed, rtol=1e-9, atol=1e-12)
    assert (lengths <= speed * (1 + 1e-9) + 1e-12).all()
    # A component of the velocity only ever changes its sign, and only at the border.
    both = ends_inside[:, 1:] & ends_inside[:, :-1]
    np.testing.assert_allclose(moves[:, 1:][both], moves[:, :-1][both], rtol=1e-6, atol=1e-9 * limit)


def test_points_do_bounce():
    positions = bounce(np.random.default_rng(0), (50, 1), 40, 10.0, 3.0)
    moves = np.diff(positions, axis=1)
    fast = np.abs(moves).max(axis=1) > 0.6  # these cross the square in less than half of the time
    assert fast.mean() > 0.8
    assert (moves.max(axis=1)[fast] > 0.6).all()
    assert (moves.min(axis=1)[fast] < -0.6).all()


def test_a_digit_is_drawn_at_its_centre():
    videos = MovingMNIST(DIGITS, num_digits=1, size=16, speed=2.0, num_frames=7).sample(4, np.random.default_rng(0))
    pixels, centres = videos.pixels[:, :, 0].numpy(), videos.centres[:, :, 0].numpy()
    for b, t in np.ndindex(4, 7):
        rows, columns = np.nonzero(pixels[b, t])
        assert len(rows) == 25
        np.testing.assert_allclose([columns.mean(), rows.mean()], centres[b, t])


def test_the_brighter_pixel_is_seen():
    digits = np.stack([np.full((2, 2), 100, np.uint8), np.full((2, 2), 50, np.uint8)])[None]
    frames = draw(digits, np.array([[[[0.0, 0.0], [1.9, 1.2]]]]), 4)
    expected = [[100, 100, 0, 0], [100, 100, 50, 0], [0, 50, 50, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(frames[0, 0], expected)


def test_digits_are_seen_before_a_texture_that_drifts():
    plain, textured = (MovingMNIST(DIGITS, size=16, num_frames=5, background=share) for share in (0.0, 0.4))
    videos = textured.sample(6, np.random.default_rng(0))
    # The digits move as without it.
    digits = plain.sample(6, np.random.default_rng(0))
    assert torch.equal(videos.foreground, digits.pixels)
    assert torch.equal(videos.centres, digits.centres)
    behind = videos.pixels[videos.foreground == 0]
    assert behind.max() <= 0.4 * 255 < 200
    assert behind.float().std() > 10
    assert torch.equal(videos.pixels[videos.foreground > 0], videos.foreground[videos.foreground > 0])
    assert select(videos, slice(2)).foreground.shape == (2, 5, 1, 16, 16)


def test_a_texture_drifts_by_whole_pixels_at_a_steady_velocity():
    textures = drifting_textures(np.random.default_rng(0), 8, 12, 32, 3.0)
    assert (textures.shape, textures.min(), textures.max()) == ((8, 12, 32, 32), 0.0, pytest.approx(255.0))
    speeds = []
    for video in textures:
        places = []
        for frame in video:
            # Where the first frame is found again, by circular correlation.
            likeness = np.fft.ifft2(np.fft.fft2(frame) * np.fft.fft2(video[0]).conj()).real
            y, x = np.unravel_index(likeness.argmax(), likeness.shape)
            np.testing.assert_array_equal(frame, np.roll(video[0], (y, x), axis=(0, 1)))
            places.append([(x + 16) % 32 - 16, (y + 16) % 32 - 16])
        steps = np.diff(places, axis=0)
        steps = (steps + 16) % 32 - 16
        assert (np.ptp(steps, axis=0) <= 1).all()  # rounded down, so that two lengths of step take turns at most
        speeds.append(np.linalg.norm(steps.mean(axis=0)))
    assert max(speeds) <= 3.0 + 0.2
    assert min(speeds) < 1.5 < max(speeds)


def test_the_default_is_the_canonical_procedure():
    source = MovingMNIST(load_images("digits", "validation"))
    videos = source.sample(8, np.random.default_rng(0))
    assert (videos.pixels.shape, videos.pixels.dtype) == ((8, 20, 1, 64, 64), torch.uint8)
    assert (videos.centres.shape, videos.digits.shape) == ((8, 20, 2, 2), (8, 2))
    again = source.sample(8, np.random.default_rng(0))
    assert videos.foreground is again.foreground is None
    for first, second in zip(videos[:3], again[:3], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(videos.pixels, source.sample(8, np.random.default_rng(1)).pixels)
    assert torch.equal(select(videos, slice(2, 3)).digits, videos.digits[2:3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 5}, r"size must exceed the side of the digits \(5\), got 5"),
        ({"num_digits": 0}, "num_digits must be at least 1, got 0"),
        ({"num_frames": 0}, "num_frames must be at least 1, got 0"),
        ({"background": 1.5}, r"background must be in \[0, 1\], got 1.5"),
        ({"speed": 12.0}, r"speed must be in \[0, size - side of the digits = 11\], got 12.0"),
    ],
)
def test_options_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        MovingMNIST(DIGITS, **({"size": 16} | change))


def test_a_file_holds_the_videos_in_the_canonical_layout(tmp_path, monkeypatch):
    monkeypatch.setattr("pretrain.video.moving_mnist.VIDEOS_PER_DRAW", 3)
    source = MovingMNIST(DIGITS, size=16, num_frames=6)
    path = tmp_path / "new" / "videos.npy"
    write_canonical(path, source, 7, seed=1, progress=False)
    stored = np.load(path)
    assert (stored.shape, stored.dtype) == ((6, 7, 16, 16), np.uint8)
    drawn = source.sample(3, np.random.default_rng([1, 3])).pixels[:, :, 0].numpy()
    np.testing.assert_array_equal(stored[:, 3:6], drawn.swapaxes(0, 1))


def test_what_does_not_fit_into_memory_is_not_begun():
    for options in ({"num_frames": 10**9}, {"size": 10**7}, {"num_digits": 10**9}):
        source = MovingMNIST(DIGITS, **{"size": 16} | options)
        with pytest.raises(ValueError, match=r"256 videos of .* must fit into memory, got .* that are free"):
            source.sample(256, np.random.default_rng(0))


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def cannot(*_):
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


@pytest.mark.parametrize("where", ["room", "reservation", "writing"])
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, where):
    source = MovingMNIST(DIGITS, size=16, num_frames=3)
    if where == "room":
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    elif where == "reservation":
        monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    else:
        monkeypatch.setattr(MovingMNIST, "sample", full)
    with pytest.raises(OSError, match=r"disk is full: .*videos.npy takes 3,968 bytes|No space left") as caught:
        write_canonical(tmp_path / "videos.npy", source, 5, seed=0, progress=False)
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_disks_that_cannot_reserve_room_are_written_to_all_the_same(tmp_path, monkeypatch):
    source = MovingMNIST(DIGITS, size=16, num_frames=3)
    write_canonical(tmp_path / "a.npy", source, 5, seed=0, progress=False)
    monkeypatch.setattr("os.posix_fallocate", cannot, raising=False)
    write_canonical(tmp_path / "b.npy", source, 5, seed=0, progress=False)
    monkeypatch.delattr("os.posix_fallocate")
    write_canonical(tmp_path / "c.npy", source, 5, seed=0, progress=False)
    assert len({(tmp_path / f"{name}.npy").read_bytes() for name in "abc"}) == 1


def test_the_command_writes_pictures_and_the_file(tmp_path):
    config = MovingMNISTConfig(
        num_frames=4,
        shown=2,
        num_videos=5,
        sheet=tmp_path / "a" / "sheet.png",
        gif=tmp_path / "b" / "videos.gif",
        file=tmp_path / "c" / "videos.npy",
        progress=False,
    )
    run(config)
    import imageio.v3 as iio

    sheet, animation = iio.imread(config.sheet), iio.imread(config.gif)
    assert sheet.shape == (2 * 134 + 6, 4 * 134 + 6, 3)
    assert animation.shape[:3] == (4, 134 + 6, 2 * 134 + 6)
    stored = np.load(config.file)
    # The first video on the sheet is the first of the file.
    np.testing.assert_array_equal(sheet[6:134:2, 6:134:2][stored[0, 0] > 250].max(-1) > 100, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shown": 0}, "shown must be at least 1, got 0"),
        ({"num_videos": 0}, "num_videos must be at least 1, got 0"),
        ({"num_frames": 0}, "num_frames must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"speed": -1.0}, "speed must be at least 0, got -1.0"),
        ({"speed": float("nan")}, "speed must be a finite number, got nan"),
        ({"size": 10**7}, "size must be at most 32761, as a GIF has room for, got 10000000"),
        ({"size": 1000, "shown": 100}, "shown must be at most 32 for size 1000, as a GIF has room for, got 100"),
        ({"gif": Path("a.png"), "sheet": Path("a.png")}, "sheet, gif and file must be different files, got"),
        ({"file": Path("outputs/moving-mnist.gif")}, "sheet, gif and file must be different files, got"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        MovingMNISTConfig(**options)


@pytest.mark.parametrize("options", [{"num_frames": 10**9}, {"size": 30_000}])
def test_pictures_that_do_not_fit_into_memory_are_not_begun(tmp_path, options):
    paths = {"sheet": tmp_path / "a.png", "gif": tmp_path / "a.gif"}
    with pytest.raises(ValueError, match=r"pictures of .* must fit into memory, got .* that are free"):
        run(MovingMNISTConfig(**{"shown": 1} | paths | options))
    assert not list(tmp_path.iterdir())


def test_a_file_without_room_leaves_no_pictures_either(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    paths = {"sheet": tmp_path / "a.png", "gif": tmp_path / "a.gif", "file": tmp_path / "a.npy"}
    with pytest.raises(OSError, match="the disk is full"):
        run(MovingMNISTConfig(num_frames=2, num_videos=3, shown=1, progress=False, **paths))
    assert not list(tmp_path.iterdir())


def test_videos_without_centres_can_be_shown():
    videos = MovingMNIST(DIGITS, size=16).sample(1, np.random.default_rng(0))
    plain = np.asarray(contact_sheet(videos._replace(centres=None)))
    marked = np.asarray(contact_sheet(videos))
    assert plain.shape == marked.shape
    assert (plain != marked).any()
