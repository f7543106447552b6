"""Augmentation: random views of images, batched, on the device of the images.

What may change in a view without changing what the image shows is a property of the data set, not of the method:

::

    photographs    crop, colours, greyscale, solarising, mirroring       CIFAR-10, as in EB-JEPA (arXiv 2602.03604)
    clothes        crop, brightness and contrast, mirroring              Fashion-MNIST
    digits         small rotation, shift and scaling, gentle crop        digits: a mirrored 2 is no 2

Views are a function of the images and a seed alone, the same on every device.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import kornia.augmentation as K
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

Shape = tuple[int, int]
"""Height and width of an image."""

NAME_HINTS = {"fashion": "clothes", "mnist": "digits", "digits": "digits", "cifar": "photographs"}
"""Part of a data set's name → its augmentation; the first match counts."""
COLOUR_CHANNELS = 3
"""Channels of images whose hue can change."""


def _crop(shape: Shape, smallest: float) -> nn.Module:
    """Cuts out a part of at least this share of the area; all images at once, where kornia's default loops."""
    return K.RandomResizedCrop(shape, scale=(smallest, 1.0), cropping_mode="resample")


AUGMENTATIONS: dict[str, Callable[[Shape], list[nn.Module]]] = {
    "photographs": lambda shape: [
        _crop(shape, smallest=0.2),
        K.ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8),
        K.RandomGrayscale(p=0.2),
        K.RandomSolarize(thresholds=(0.5, 0.5), additions=(0.0, 0.0), p=0.1),
        K.RandomHorizontalFlip(p=0.5),
    ],
    "clothes": lambda shape: [
        _crop(shape, smallest=0.2),
        K.ColorJitter(0.4, 0.4, 0.0, 0.0, p=0.8),
        K.RandomHorizontalFlip(p=0.5),
    ],
    "digits": lambda shape: [
        K.RandomAffine(degrees=15.0, translate=(0.1, 0.1), scale=(0.8, 1.2), shear=(-10.0, 10.0), p=1.0),
        _crop(shape, smallest=0.6),
    ],
}
"""Name → what makes its transformations for images of a shape."""


def augmentation_of(images: str) -> str:
    """The augmentation that suits a set of images, by its name or that of its folder.

    Raises:
        ValueError: If the name does not tell.

    Example:
        >>> augmentation_of("cifar-10"), augmentation_of("datasets/fashion-mnist")
        ('photographs', 'clothes')
    """
    name = Path(images).name.lower()
    for hint, augmentation in NAME_HINTS.items():
        if hint in name:
            return augmentation
    raise ValueError(
        f"augmentation must be one of {', '.join(map(repr, AUGMENTATIONS))} for images whose name holds none of "
        f"{', '.join(map(repr, NAME_HINTS))}, got 'auto' for {name!r}"
    )


class Augmentation:
    """Makes random views of images.

    Not a module: on any device it draws from the CPU's generator, and it has nothing to save.

    Args:
        name: One of :data:`AUGMENTATIONS`.
        pixel_shape: ``(C, H, W)`` of the images.

    Raises:
        ValueError: If there is no such augmentation, or it needs other channels.
    """

    def __init__(self, name: str, pixel_shape: Sequence[int]) -> None:
        channels, height, width = pixel_shape
        if name not in AUGMENTATIONS:
            raise ValueError(f"augmentation must be one of {', '.join(map(repr, AUGMENTATIONS))}, got {name!r}")
        if name == "photographs" and channels != COLOUR_CHANNELS:
            raise ValueError(
                f"augmentation 'photographs' needs images of {COLOUR_CHANNELS} channels, got {channels}; "
                "'clothes' and 'digits' take any"
            )
        self.name = name
        self.transforms = AUGMENTATIONS[name]((height, width))

    @torch.compiler.disable
    @torch.no_grad()
    def views(
        self, pixels: UInt8[Tensor, "b c h w"], seed: Sequence[int], num_views: int = 2
    ) -> UInt8[Tensor, "v b c h w"]:
        """Draws views of each image.

        Args:
            pixels: Images.
            seed: Numbers that select the views; the same numbers give the same views, whatever was drawn before.
            num_views: How many of each image.
        """
        state = int(np.random.SeedSequence(seed).generate_state(1)[0])
        # Autocast would compute where to sample in bfloat16, some pixels off.
        with torch.random.fork_rng(devices=[]), torch.autocast(pixels.device.type, enabled=False):
            torch.default_generator.manual_seed(state)
            images = pixels.repeat(num_views, 1, 1, 1).float() / 255
            for transform in self.transforms:
                images = transform(images)
        return (255 * images).round().clamp(0, 255).to(torch.uint8).unflatten(0, (num_views, len(pixels)))
