"""The normaliser: what is fitted is what it says, of channels and of single pixels."""

import pytest
import torch

from worldmodel.nn.normalize import Normalizer

SHAPE = (2, 20, 24)


def windows(b: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels ``(b, 4, 2, 20, 24)`` and blocks of two actions ``(b, 3, 4)``."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (b, 4, *SHAPE), dtype=torch.uint8, generator=generator)
    return pixels, torch.randn(b, 3, 4, generator=generator)


def test_normalisation_gives_pixels_and_actions_zero_mean_and_unit_deviation():
    pixels, actions = windows()
    actions = 3.0 * actions + torch.tensor([1.0, -2.0, 1.0, -2.0])
    normalizer = Normalizer(SHAPE, 2)
    normalizer.fit(pixels, actions)
    images, scaled = normalizer.pixels(pixels), normalizer.actions(actions).unflatten(-1, (2, 2))
    for values, dims in ((images, (0, 2, 3)), (scaled, (0, 1, 2))):
        assert torch.allclose(values.mean(dim=dims), torch.zeros(2), atol=1e-4)
        assert torch.allclose(values.std(dim=dims), torch.ones(2), atol=1e-3)
    assert normalizer.action_mean.tolist() == pytest.approx([1.0, -2.0], abs=0.3)


def test_normalisation_of_constant_data_is_finite():
    normalizer = Normalizer((2, 2, 2), 1)
    images = torch.full((3, 2, 2, 2), 9, dtype=torch.uint8)
    images[0, 1] = 0  # one channel is all the same
    normalizer.fit(images, torch.zeros(3, 1))
    assert torch.equal(normalizer.pixels(images)[:, 0], torch.zeros(3, 2, 2))
    assert normalizer.pixels(images).isfinite().all()
    assert torch.equal(normalizer.actions(torch.zeros(1, 1)), torch.zeros(1, 1))


def test_images_of_one_colour_are_refused():
    blank = torch.full((4, 2, 3, 8, 8), 7, dtype=torch.uint8)
    blank[:, :, 1] = 9
    normalizer = Normalizer((3, 8, 8), 2)
    with pytest.raises(ValueError, match=r"images must show something, got 8 that are of one colour, \[7, 9, 7\]"):
        normalizer.fit(blank)
    blank[3, 1, 2, 7, 7] = 8
    normalizer.fit(blank)


def test_each_pixel_has_a_mean_of_its_own_and_channels_share_one_scale():
    pixels, _ = windows()
    pixels[..., 0, :, :12] //= 4
    pixels[..., 1, :3, :] = 200  # walls, which never change
    normalizer = Normalizer(SHAPE, 2, each_pixel=True)
    normalizer.fit(pixels)
    flat = pixels.flatten(0, 1).float()
    torch.testing.assert_close(normalizer.pixel_mean, flat.mean(dim=0))
    images = normalizer.pixels(pixels)
    torch.testing.assert_close(images.mean(dim=0), torch.zeros(SHAPE), atol=1e-4, rtol=0)
    assert bool((images[:, 1, :3] == 0).all())
    assert images.std().item() == pytest.approx(1.0, abs=1e-4)
    # What varies by a quarter elsewhere still does: the scale is one.
    scale = (flat - flat.mean(dim=0)).std()
    torch.testing.assert_close(normalizer.pixel_std, scale.expand(2))
    assert images[:, 0, :, :12].std().item() == pytest.approx(images[:, 0, :, 12:].std().item() / 4, rel=0.02)
    other = torch.randint(256, (3, *SHAPE), dtype=torch.uint8)
    torch.testing.assert_close(normalizer.pixels(other), (other.float() - flat.mean(dim=0)) / scale)
    assert torch.equal(normalizer.pixels(other), normalizer.pixels(other.movedim(-3, -1)))


def test_before_it_is_fitted_pixels_are_in_0_to_1():
    pixels, actions = windows(2)
    for each_pixel in (False, True):
        normalizer = Normalizer(SHAPE, 2, each_pixel=each_pixel)
        torch.testing.assert_close(normalizer.pixels(pixels), pixels.flatten(0, 1) / 255)
        assert torch.equal(normalizer.actions(actions), actions)


@pytest.mark.parametrize("each_pixel", [False, True])
def test_what_is_fitted_is_saved(each_pixel):
    normalizer, again = (Normalizer(SHAPE, 2, each_pixel=each_pixel) for _ in range(2))
    pixels, actions = windows(8)
    normalizer.fit(pixels, actions)
    again.load_state_dict(normalizer.state_dict())
    assert torch.equal(again.pixels(pixels), normalizer.pixels(pixels))
    assert torch.equal(again.actions(actions), normalizer.actions(actions))


@pytest.mark.parametrize("each_pixel", [False, True])
def test_an_image_that_hardly_varies_is_not_blown_up(each_pixel):
    """Deviations below one level count as one."""
    images = torch.full((4, 1, 2, 2), 9, dtype=torch.uint8)
    images[0, 0, 0, 0] = 10
    normalizer = Normalizer((1, 2, 2), 1, each_pixel=each_pixel)
    normalizer.fit(images)
    assert normalizer.pixel_std.tolist() == [1.0]
    assert float(normalizer.pixels(images).abs().max()) < 1.0
