"""Images of any environment: where they are, how their axes lie, and how they become uint8 ``(H, W, C)`` of one size.

::

    observation space ──► find_image   the key of the one image in it, or RENDER
    key, axes, size   ──► ImageReader  turns what the environment gives into what agents see
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from envs.inputs import check_count, shown

AUTO = "auto"
"""Stands for the only image there is."""
RENDER = "render"
"""Stands for the picture that ``env.render()`` gives."""
WHOLE = "observation"
"""Key of an observation that is no dictionary."""
AXES = ("HW", "HWC", "CHW", "SHW", "HWS", "SHWC", "SCHW")
"""Ways to lay out an image: height, width, channels, and frames of a stack (the newest last)."""
MAX_CHANNELS = 4
"""Most channels of a single frame."""
MIN_SIDE = 5
"""Smallest side of an image that is found by itself; shorter axes are channels."""

Array = NDArray[Any]


def leaves(space: gym.Space[Any], prefix: str = "") -> dict[str, gym.Space[Any]]:
    """The parts of an observation by their keys, nested ones as ``outer.inner``; one that is whole as :data:`WHOLE`."""
    if not isinstance(space, gym.spaces.Dict):
        return {prefix or WHOLE: space}
    found: dict[str, gym.Space[Any]] = {}
    for key, part in space.spaces.items():
        found |= leaves(part, f"{prefix}.{key}" if prefix else key)
    return found


def pick(observation: Any, key: str) -> Any:
    """The part of an observation with a key as :func:`leaves` gives it."""
    if not isinstance(observation, Mapping):
        return observation
    for name in key.split("."):
        observation = observation[name]
    return observation


def is_image(space: gym.Space[Any]) -> bool:
    """Whether a space may be one of images: a Box of uint8, or of floats in [0, 1], whose axes make sense."""
    if not isinstance(space, gym.spaces.Box) or not _possible_axes(space.shape):
        return False
    return space.dtype == np.uint8 or (
        np.issubdtype(space.dtype, np.floating) and bool((space.low >= 0).all() and (space.high <= 1).all())
    )


def find_image(env: gym.Env[Any, Any], image: str = AUTO) -> str:
    """Where the images of an environment are.

    Args:
        env: The environment.
        image: :data:`RENDER`, the key of an image in its observations (``outer.inner`` of a nested one), or "auto": the
            only image in its observations, else what it renders.

    Returns:
        :data:`RENDER` or a key.

    Raises:
        ValueError: If there is no such image, none at all, or several to choose from.
    """
    parts = leaves(env.observation_space)
    found = [key for key, space in parts.items() if is_image(space)]
    can_render = env.render_mode == "rgb_array"
    choices = ", ".join(map(repr, [*found, *([RENDER] if can_render else [])])) or "(none)"
    if image == AUTO:
        if len(found) > 1:
            raise ValueError(f"image must be chosen where there are several ({choices}), got 'auto'")
        if not found and not can_render:
            raise ValueError(
                f"image 'auto' needs an image in the observations, or render_mode='rgb_array'; got {parts} and "
                f"render_mode {env.render_mode!r}"
            )
        return found[0] if found else RENDER
    if image == RENDER:
        if not can_render:
            raise ValueError(f"image 'render' needs render_mode='rgb_array', got {env.render_mode!r}")
    elif image not in parts:
        raise ValueError(f"image must be one of {choices}, got {shown(image)}")
    elif image not in found:
        raise ValueError(f"image must be one of {choices}, got {image!r}, which is {parts[image]}")
    return image


class ImageReader:
    """Turns images of one kind into uint8 ``(H, W, C)`` of one size.

    Of a stack of frames it takes the newest; floats in [0, 1] are scaled to 0–255; sides change by area averaging.

    Args:
        shape: Shape of the images as they come.
        is_float: Whether they are floats in [0, 1], not uint8.
        axes: What their axes are, one of :data:`AXES`; "" finds out.
        channels: How many channels the newest frame has, where frames are stacked along the channels.
        size: Sides of the result, one number for both or ``(H, W)``; None: as they come.

    Attributes:
        space: The space of the result.

    Raises:
        ValueError: If axes or channels are ambiguous or do not fit.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        is_float: bool = False,
        axes: str = "",
        channels: int | None = None,
        size: int | Sequence[int] | None = 64,
    ) -> None:
        self.axes = _find_axes(shape, axes)
        self.is_float = is_float
        lengths = dict(zip(self.axes, shape, strict=True))
        stacked = lengths.get("C", 1)
        if channels is None and stacked >= MAX_CHANNELS:
            options = [f"{n} (the newest of {stacked // n} frames)" for n in (3, 1) if stacked % n == 0]
            options += [f"{stacked} (one frame)"] if stacked == MAX_CHANNELS else []
            raise ValueError(
                f"channels must be given for images with {stacked} of them, shape {shape}: {' or '.join(options)}"
            )
        self.channels = stacked if channels is None else check_count("channels", channels)
        if stacked % self.channels or self.channels > MAX_CHANNELS:
            raise ValueError(
                f"channels must divide the image's {stacked} channels and be at most {MAX_CHANNELS}, got {channels}"
            )
        sides = (lengths["H"], lengths["W"])
        self.sides = sides if size is None else _sides(size)
        self._resized = self.sides != sides
        self.space = gym.spaces.Box(0, 255, (*self.sides, self.channels), np.uint8)

    def __call__(self, image: Array) -> NDArray[np.uint8]:
        """Reads an image; the result shares no memory with it."""
        if "S" in self.axes:
            image = np.take(image, -1, axis=self.axes.index("S"))
        axes = self.axes.replace("S", "")
        if axes == "HW":
            image = image[..., None]
        elif axes == "CHW":
            image = np.moveaxis(image, 0, -1)
        image = image[..., image.shape[-1] - self.channels :]
        if self.is_float:
            image = np.rint(np.clip(image, 0, 1) * 255)
        image = np.array(image, dtype=np.uint8, order="C")
        return self._resize(image) if self._resized else image

    def _resize(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Area averaging, channel by channel: alpha and channels that are no colours stay apart."""
        height, width = self.sides
        if self.channels == 3:
            return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
        planes = [
            Image.fromarray(image[..., i]).resize((width, height), Image.Resampling.BOX) for i in range(self.channels)
        ]
        return np.stack([np.asarray(plane) for plane in planes], -1)


def _possible_axes(shape: tuple[int, ...]) -> list[str]:
    """Ways to read a shape as an image's."""

    def fits(axes: str) -> bool:
        lengths = dict(zip(axes, shape, strict=True))
        channels, side = lengths.get("C", 1), min(lengths["H"], lengths["W"])
        return side >= MIN_SIDE and (channels <= MAX_CHANNELS or (len(axes) == 3 and channels < side))

    by_ndim = {2: ["HW"], 3: ["HWC", "CHW"], 4: ["SHWC", "SCHW"]}
    return [axes for axes in by_ndim.get(len(shape), []) if math.prod(shape) and fits(axes)]


def _find_axes(shape: tuple[int, ...], axes: str) -> str:
    if axes:
        if axes not in AXES or len(axes) != len(shape):
            fitting = ", ".join(repr(known) for known in AXES if len(known) == len(shape)) or "(none)"
            raise ValueError(f"axes must be one of {fitting} for images of shape {shape}, got {shown(axes)}")
        return axes
    possible = _possible_axes(shape)
    if len(possible) != 1:
        raise ValueError(
            f"axes must be given for images of shape {shape}, which could be {' or '.join(possible) or 'anything'}"
        )
    return possible[0]


def _sides(size: Any) -> tuple[int, int]:
    sides = (size, size) if not isinstance(size, list | tuple) else tuple(size)
    if len(sides) != 2:
        raise ValueError(f"size must be one number or (height, width), got {shown(size)}")
    height, width = (check_count("size", side) for side in sides)
    return height, width
