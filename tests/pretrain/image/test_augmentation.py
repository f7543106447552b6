"""Views: they differ, repeat for the same seed, and change only what a data set may have changed."""

import kornia.augmentation as K
import pytest
import torch

from pretrain.data.labelled_images import load_images
from pretrain.image.augmentation import AUGMENTATIONS, Augmentation, augmentation_of

CHANNELS = {"photographs": 3, "clothes": 1, "digits": 1}


def images(channels: int, num: int = 64, side: int = 28) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (num, channels, side, side), dtype=torch.uint8, generator=generator)


def left_bars(num: int = 500) -> torch.Tensor:
    """A bright upright bar left of the middle, on black: what is mirrored has it on the right."""
    pixels = torch.zeros(num, 1, 28, 28, dtype=torch.uint8)
    pixels[..., 4:24, 3:7] = 255
    return pixels


def kinds(name: str) -> set[type]:
    return {type(transform) for transform in Augmentation(name, (CHANNELS[name], 28, 28)).transforms}


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_views_differ_and_repeat_for_the_same_seed(name):
    augmentation = Augmentation(name, (CHANNELS[name], 28, 28))
    pixels = images(CHANNELS[name])
    views = augmentation.views(pixels, (1, 2, 3))
    assert views.shape == (2, *pixels.shape)
    assert views.dtype == torch.uint8
    # Each view of each image is one of its own.
    flat = torch.cat([views[0], views[1], pixels]).flatten(1)
    assert len(torch.unique(flat, dim=0)) == 3 * len(pixels)
    # Whatever was drawn in between.
    torch.rand(5)
    augmentation.views(pixels[:3], (9,))
    again = Augmentation(name, (CHANNELS[name], 28, 28))
    assert torch.equal(augmentation.views(pixels, (1, 2, 3)), views)
    assert torch.equal(again.views(pixels, (1, 2, 3)), views)
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 4)):
        assert not torch.equal(augmentation.views(pixels, other), views)


def test_drawing_views_leaves_the_global_generator_alone():
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    Augmentation("clothes", (1, 28, 28)).views(images(1), (0,))
    assert torch.equal(torch.rand(3), expected)


def test_views_under_autocast_are_the_same():
    augmentation = Augmentation("digits", (1, 28, 28))
    views = augmentation.views(images(1), (0,))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augmentation.views(images(1), (0,)), views)


def test_photographs_change_as_in_the_paper():
    crop, jitter, grey, solarise, mirror = Augmentation("photographs", (3, 32, 32)).transforms
    assert isinstance(crop, K.RandomResizedCrop)
    assert (crop.p, crop._param_generator.scale) == (1.0, (0.2, 1.0))
    assert isinstance(jitter, K.ColorJitter)
    assert (jitter.p, jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) == (0.8, 0.4, 0.4, 0.2, 0.1)
    assert isinstance(grey, K.RandomGrayscale)
    assert grey.p == 0.2
    assert isinstance(solarise, K.RandomSolarize)
    assert solarise.p == 0.1
    assert isinstance(mirror, K.RandomHorizontalFlip)
    assert mirror.p == 0.5


def test_as_many_photographs_turn_grey_and_negative_as_should():
    augmentation = Augmentation("photographs", (3, 8, 8))
    red = torch.zeros(2000, 3, 8, 8, dtype=torch.uint8)
    red[:, 0] = 200
    colours = augmentation.views(red, (0,), num_views=1)[0].float().mean(dim=(2, 3))
    grey = colours.amax(dim=1) - colours.amin(dim=1) < 2
    assert float(grey.float().mean()) == pytest.approx(0.2, abs=0.03)
    # The darkest that jitter makes of white is 0.6; its negative is darker than the middle.
    white = torch.full_like(red, 255)
    negative = augmentation.views(white, (0,), num_views=1)[0].float().mean(dim=(1, 2, 3)) < 128
    assert float(negative.float().mean()) == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize(("name", "share"), [("clothes", 0.5), ("digits", 0.0)])
def test_clothes_are_mirrored_and_digits_never(name, share):
    columns = Augmentation(name, (1, 28, 28)).views(left_bars(), (0,), num_views=1)[0].float().sum(dim=(1, 2))
    seen = columns.sum(dim=1) > 255 * 20  # a crop may leave the bar out
    centres = (columns * torch.arange(28)).sum(dim=1) / columns.sum(dim=1).clamp_min(1)
    mirrored = centres[seen] > 14
    assert seen.sum() > 200
    assert float(mirrored.float().mean()) == pytest.approx(share, abs=0.1 if share else 0.0)


def test_digits_keep_their_colours():
    assert kinds("digits") == {K.RandomAffine, K.RandomResizedCrop}
    # White on black stays white on black: nothing is solarised, inverted or dimmed.
    digits = torch.from_numpy(load_images("digits", "validation").images[:200])
    views = Augmentation("digits", (1, 28, 28)).views(digits, (0,))
    assert float((views.flatten(2).amax(dim=-1) > 150).float().mean()) > 0.98
    assert float((views == 0).float().mean()) > 0.5
    assert float(views[..., 0].float().mean()) < 25  # the border stays black
    # and most of the digit stays in view
    ink = views.float().sum(dim=(2, 3, 4)) / digits.float().sum(dim=(1, 2, 3))
    assert float(ink.quantile(0.05)) > 0.4


def test_clothes_have_no_hue_to_change():
    assert kinds("clothes") == {K.RandomResizedCrop, K.ColorJitter, K.RandomHorizontalFlip}
    black = torch.zeros(100, 1, 28, 28, dtype=torch.uint8)
    assert not Augmentation("clothes", (1, 28, 28)).views(black, (0,)).any()


@pytest.mark.parametrize(
    ("images", "name"),
    [
        ("digits", "digits"),
        ("mnist", "digits"),
        ("cifar-10", "photographs"),
        ("/somewhere/cifar-10-batches-bin", "photographs"),
        ("/usr/share/datasets/fashion-mnist", "clothes"),
        ("data/FashionMNIST", "clothes"),
    ],
)
def test_the_name_of_a_set_tells(images, name):
    assert augmentation_of(images) == name


def test_what_cannot_be_augmented_is_explained():
    with pytest.raises(ValueError, match=r"augmentation must be one of 'photographs', 'clothes', 'digits' for images"):
        augmentation_of("/mnist/cats")
    with pytest.raises(ValueError, match="augmentation must be one of 'photographs', 'clothes', 'digits', got 'cats'"):
        Augmentation("cats", (1, 28, 28))
    with pytest.raises(ValueError, match="augmentation 'photographs' needs images of 3 channels, got 1"):
        Augmentation("photographs", (1, 28, 28))


def test_sizes_need_not_be_square():
    pixels = images(3, num=4)[..., :20]
    assert Augmentation("photographs", (3, 28, 20)).views(pixels, (0,), num_views=3).shape == (3, 4, 3, 28, 20)
