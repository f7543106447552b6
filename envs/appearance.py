"""Appearance shifts: the same scene, drawn otherwise, made of images alone; for asking what a policy needs to be told.

A shift is a pure function of images, steps and seeds: the same ones give the same images, and a batch gives what its
members give. Some need to know which pixels are the agent's (:attr:`envs.domain.Domain.agent_pixels`)::

    SHIFTS                 names and what they do
    possible(...)          those that can be done
    shift(name, images)    images, shifted

What a seed decides (colours, the texture, a path) stays as it is for a whole episode, in its goal image as well.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.inputs import check_choice, shown

Image = NDArray[np.uint8]
Array = NDArray[Any]
Shares = NDArray[np.float32]
"""How much of each pixel is of something, in [0, 1]."""
AgentPixels = Callable[[Image], Array]
"""From images ``(N, ...)``, the agent's share of each pixel ``(N, H, W)``, in [0, 1]."""

GOAL_STEP = -1000
"""The step of goal images: what moves is where it would have been long before the episode."""
NEAR, FAR = 32, 128
"""Levels from the commonest colour up to which a pixel is all background, and from which it is none of it."""
TINTS = ((100, 40, 70, 0), (70, 40, 100, 0))
"""By how many levels the background's channels change; the seed decides which."""
CONTRAST = 80
"""Levels between the darkest and the brightest of the texture, in each channel."""
DARKER = 0.6
"""Factor of the brightness."""
DISTRACTOR = {1: (128,), 2: (128, 128), 3: (210, 40, 200), 4: (210, 40, 200, 255)}
"""Colour of the distractor, by the number of channels."""
DISTRACTOR_RADIUS = 0.04
"""Its radius, as a share of the image's side."""
GROWTH = 1 / 64
"""By how much an agent grows to each side, as a share of the image's side: at least a pixel."""

_WAVES = 4  # of which a texture is made, in each channel


@dataclass(frozen=True)
class Shift:
    """An appearance shift.

    Attributes:
        text: What it does.
        apply: From images ``(N, H, W, C)``, the agent's shares ``(N, H, W)``, all 0 where nobody knows them, steps
            ``(N,)`` and seeds ``(N,)``, the shifted images ``(N, H, W, C)``, of any type of numbers.
        needs_agent: Whether it needs the agent's shares.
    """

    text: str
    apply: Callable[[Image, Shares, Array, Array], Array]
    needs_agent: bool = False


def possible(agent_pixels: AgentPixels | None) -> tuple[str, ...]:
    """Names of the shifts that can be done where the agent's pixels are known, or are not (None)."""
    return tuple(name for name, one in SHIFTS.items() if agent_pixels is not None or not one.needs_agent)


def check_shift(name: str, agent_pixels: AgentPixels | None) -> str:
    """Checks that a shift can be done, and returns its name.

    Raises:
        ValueError: If there is none of this name, or it needs the agent's pixels and nobody knows them.
    """
    if SHIFTS[check_choice("appearance", name, SHIFTS)].needs_agent and agent_pixels is None:
        able = ", ".join(map(repr, possible(None)))
        raise ValueError(
            f"appearance must be one of {able} in an environment of which nobody says which pixels are the agent's "
            f"(agent_pixels of its domain), got {name!r}"
        )
    return name


def shift(
    name: str, images: Array, *, step: Any = 0, seed: Any = 0, agent_pixels: AgentPixels | None = None
) -> NDArray[np.uint8]:
    """Shifts the appearance of images.

    Args:
        name: One of :data:`SHIFTS`.
        images: uint8, CHW or HWC with one to four channels, one ``(3 dimensions)`` or a batch ``(4)``.
        step: The step of its episode at which each was seen, or one for all; :data:`GOAL_STEP` of goal images.
        seed: What is drawn at random, for each or for all: whole numbers from 0.
        agent_pixels: Which pixels are the agent's; where they are known, they are no background either.

    Returns:
        New images of the same shape.

    Raises:
        ValueError: If there is no such shift, it needs to know the agent's pixels, or the images are anything else.
    """
    check_shift(name, agent_pixels)
    images = np.asarray(images)
    is_last = _has_channels_last(images)
    batch = images if images.ndim == 4 else images[None]
    if not len(batch):
        return images.copy()
    pixels = batch if is_last else np.moveaxis(batch, 1, -1)
    shares = np.zeros(pixels.shape[:3], np.float32)
    if agent_pixels is not None:
        shares = np.asarray(agent_pixels(batch), np.float32)
        if shares.shape != pixels.shape[:3]:
            raise ValueError(f"agent_pixels must give shares of shape {pixels.shape[:3]}, got {shares.shape}")
    steps, seeds = (np.broadcast_to(np.asarray(value), len(batch)) for value in (step, seed))
    changed = SHIFTS[name].apply(pixels, shares, steps, seeds)
    changed = np.rint(np.clip(changed, 0, 255)).astype(np.uint8)
    return np.ascontiguousarray((changed if is_last else np.moveaxis(changed, -1, 1)).reshape(images.shape))


def _has_channels_last(images: Array) -> bool:
    """Whether images are HWC; otherwise they are CHW.

    Raises:
        ValueError: If they are neither.
    """
    if images.dtype == np.uint8 and images.ndim in (3, 4) and min(images.shape[-3:]) > 0:
        if images.shape[-1] <= 4 < images.shape[-3]:
            return True
        if images.shape[-3] <= 4:
            return False
    raise ValueError(
        "images must be uint8 of shape ([N,] C, H, W) or ([N,] H, W, C) with 1 to 4 channels, got "
        f"{images.dtype} of shape {shown(images.shape)}"
    )


def background(images: Image) -> tuple[Shares, Array]:
    """What of images ``(N, H, W, C)`` is background: all that is near the commonest colour of each.

    Returns:
        Shares ``(N, H, W)``, and the commonest colours ``(N, C)``; of several that are as common, the darkest in its
        last channel.
    """
    colours = np.stack([_commonest(image) for image in images])
    away = np.abs(images.astype(np.int16) - colours[:, None, None].astype(np.int16)).max(-1)
    shares = (FAR - away.astype(np.float32)) / np.float32(FAR - NEAR)
    return np.clip(shares, 0, 1), colours


def _commonest(image: Image) -> Image:
    """The commonest colour ``(C,)`` of an image ``(H, W, C)``."""
    channels = image.shape[-1]
    weights = 256 ** np.arange(channels, dtype=np.int64)
    values, counts = np.unique(image.reshape(-1, channels) @ weights, return_counts=True)
    return (values[counts.argmax()] // weights % 256).astype(np.uint8)


def _on_background(images: Image, agent: Shares, levels: Array) -> Array:
    """Images whose backgrounds differ by levels ``(N, H or 1, W or 1, C)``, away from the nearer end of the scale."""
    shares, colours = background(images)
    signs = np.where(colours < 128, 1, -1)[:, None, None]
    return images + np.minimum(shares, 1 - agent)[..., None] * (signs * levels).astype(np.float32)


def _background_colour(images: Image, shares: Shares, steps: Array, seeds: Array) -> Array:
    channels = images.shape[-1]
    tints = np.array([np.random.default_rng([seed, 0]).choice(TINTS)[:channels] for seed in seeds.tolist()])
    return _on_background(images, shares, tints[:, None, None])


def _background_texture(images: Image, shares: Shares, steps: Array, seeds: Array) -> Array:
    return _on_background(images, shares, np.stack([_texture(seed, images.shape[1:]) for seed in seeds.tolist()]))


@lru_cache(maxsize=256)
def _texture(seed: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """A smooth texture ``(H, W, C)`` from 0 to :data:`CONTRAST`: a sum of plane waves, a few of them to an image."""
    height, width, channels = shape
    rng = np.random.default_rng([seed, 1])
    angles, turns, phases = rng.uniform((0, 1, 0), (2 * np.pi, 4, 1), (channels, _WAVES, 3)).T[..., None, None]
    y, x = (np.arange(height) / height)[:, None], np.arange(width) / width
    waves = np.cos(2 * np.pi * (turns * (np.cos(angles) * x + np.sin(angles) * y) + phases)).sum(0)  # (C, H, W)
    low, high = (reduce(waves, axis=(1, 2), keepdims=True) for reduce in (np.min, np.max))
    return np.moveaxis(CONTRAST * (waves - low) / np.maximum(high - low, 1e-9), 0, -1).astype(np.float32)


def _brightness(images: Image, shares: Shares, steps: Array, seeds: Array) -> Array:
    return images * np.float32(DARKER)


def _distractor(images: Image, shares: Shares, steps: Array, seeds: Array) -> Array:
    _, height, width, channels = images.shape
    places = np.array([_place(*pair) for pair in zip(seeds.tolist(), steps.tolist(), strict=True)])
    y = np.arange(height)[:, None] + 0.5 - places[:, 1, None, None] * height
    x = np.arange(width) + 0.5 - places[:, 0, None, None] * width
    cover = np.clip(DISTRACTOR_RADIUS * min(height, width) + 0.5 - np.sqrt(x**2 + y**2), 0, 1)[..., None]
    return images + cover * (np.array(DISTRACTOR[channels]) - images.astype(np.float64))


def _place(seed: int, step: int) -> tuple[float, float]:
    """Where the distractor is, column and row in [0.08, 0.92]: a smooth path that goes to and fro in both."""
    return tuple(0.5 + 0.42 * math.sin(2 * math.pi * (step / period + phase)) for period, phase in _path(seed))  # type: ignore[return-value]


@lru_cache(maxsize=4096)
def _path(seed: int) -> tuple[tuple[float, float], ...]:
    """The period in steps, and the phase, of a path's columns and of its rows."""
    return tuple(map(tuple, np.random.default_rng([seed, 2]).uniform((80, 0), (160, 1), (2, 2)).tolist()))


def _agent_colour(images: Image, shares: Shares, steps: Array, seeds: Array) -> Array:
    """Red and green change places; of two channels, each gives a third to the other; one alone gets darker."""
    channels, levels = images.shape[-1], images.astype(np.float32)
    if channels == 1:
        other = levels * np.float32(DARKER)
    elif channels == 2:
        other = (2 * levels + levels[..., ::-1]) / np.float32(3)
    else:
        other = levels[..., [1, 0, *range(2, channels)]]
    return levels + shares[..., None] * (other - levels)


def _agent_size(images: Image, shares: Shares, steps: Array, seeds: Array) -> Array:
    """Around the agent, pixels take on as much of its colour as what is next to them has."""
    _, height, width, _ = images.shape
    reach = max(1, round(GROWTH * min(height, width)))
    grown = shares
    for _ in range(reach):
        grown = np.maximum.reduce([_moved(grown, *by) for by in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))])
    index, row, column = np.nonzero(grown > shares)
    # The agent's colour there is that of the purest of its pixels nearby.
    around = np.arange(-2 * reach, 2 * reach + 1)
    rows = np.clip(row[:, None, None] + around[:, None], 0, height - 1)
    columns = np.clip(column[:, None, None] + around, 0, width - 1)
    near = shares[index[:, None, None], rows, columns].reshape(len(index), len(around) ** 2)
    down, right = np.divmod(near.argmax(-1), len(around))
    every = np.arange(len(index))
    colours = images[index, rows[every, down, 0], columns[every, 0, right]].astype(np.float32)
    before, after = shares[index, row, column], grown[index, row, column]
    changed = images.astype(np.float32)
    weights = ((after - before) / (1 - before))[:, None]
    changed[index, row, column] += weights * (colours - changed[index, row, column])
    return changed


def _moved(shares: Shares, down: int, right: int) -> Shares:
    """Shares moved by up to a pixel; nothing comes in from outside."""
    padded = np.pad(shares, ((0, 0), (1, 1), (1, 1)))
    return padded[:, 1 - down : padded.shape[1] - 1 - down, 1 - right : padded.shape[2] - 1 - right]


SHIFTS = {
    "background-colour": Shift("the background has another colour", _background_colour),
    "background-texture": Shift("the background has a smooth texture", _background_texture),
    "brightness": Shift(f"all is darker, by a factor of {DARKER}", _brightness),
    "distractor": Shift("a small disc moves about in front of everything", _distractor),
    "agent-colour": Shift("the agent has another colour", _agent_colour, needs_agent=True),
    "agent-size": Shift("the agent is larger, by a pixel of 64 to each side", _agent_size, needs_agent=True),
}
"""Name → the shift."""
