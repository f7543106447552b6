"""From states to pixels, written on the array API: numpy arrays in the environment, torch tensors on a training device.

An image has two channels of 65 × 65 bytes: channel 0 shows the agent as a Gaussian blob, channel 1 the walls.
The functions take and return whichever kind of array they are given; nothing here imports torch.
"""

from functools import cache
from typing import Any

import array_api_compat

from envs.two_rooms.physics import ARENA_MAX, ARENA_MIN, DOOR_HALF_WIDTH, SIZE, WALL_HALF_THICKNESS, Layout

BLOB_STD = 1.3
"""Standard deviation of the agent's blob, in pixels."""


def draw_agents(positions: Any, images: Any) -> tuple[Any, Any]:
    """Draws agents into channel 0 of black images, in place.

    Only the 10 × 10 pixels around an agent are computed: beyond 4.34 px the blob is darker than one level.

    Args:
        positions: float32 ``(..., 2)``, pixels, inside the arena.
        images: uint8 ``(..., C, 65, 65)``, contiguous, with channel 0 black; changed in place.

    Returns:
        What was drawn, with the leading dimensions flattened to ``N``: the first column and row of each window, int64
        ``(N, 2)``, and its pixels, uint8 ``(N, 10, 10)``.
    """
    xp = array_api_compat.array_namespace(positions)
    window, grid = _window(xp, array_api_compat.device(positions))
    flat = positions.reshape((-1, 2))
    lowest = xp.floor(flat) - 4.0
    offsets = (flat - lowest)[..., None] - window  # (N, 2, 10), exact
    factors = xp.exp(offsets * offsets * (-0.5 / BLOB_STD**2))  # the Gaussian is a product over the two axes
    blobs = xp.astype(factors[:, 1, :, None] * (factors[:, 0, None, :] * 255.0), xp.uint8)
    corners = xp.astype(lowest, xp.int64)
    first = corners[:, 1] * SIZE + corners[:, 0]
    if len(flat) > 1:
        first += xp.arange(len(flat), dtype=xp.int64, device=first.device) * (images.shape[-3] * SIZE**2)
    images.reshape((-1,))[first[:, None, None] + grid] = blobs
    return corners, blobs


@cache
def _window(xp: Any, device: Any) -> tuple[Any, Any]:
    """Offsets within a window along one axis, float32 ``(10,)``, and within a flat image, int64 ``(10, 10)``."""
    pixels = xp.arange(10, dtype=xp.int64, device=device)
    return xp.astype(pixels, xp.float32), pixels[:, None] * SIZE + pixels


def render_walls(layout: Layout) -> Any:
    """Draws walls: 255 on the inner wall outside the door, and on rows and columns 4 and 60; 0 elsewhere.

    Args:
        layout: Fields of shape ``(...)``, arrays of one kind.

    Returns:
        uint8 ``(..., 65, 65)``.
    """
    wall, door, horizontal = layout
    xp = array_api_compat.array_namespace(wall)
    pixels = xp.arange(SIZE, dtype=xp.int32, device=array_api_compat.device(wall))
    across = xp.abs(pixels - wall[..., None]) <= WALL_HALF_THICKNESS  # (..., 65)
    along = xp.abs(pixels - door[..., None]) > DOOR_HALF_WIDTH
    swap = horizontal[..., None]
    columns, rows = xp.where(swap, along, across), xp.where(swap, across, along)
    border = (pixels == ARENA_MIN) | (pixels == ARENA_MAX)
    drawn = (rows[..., :, None] & columns[..., None, :]) | border[:, None] | border[None, :]
    return xp.astype(drawn, xp.uint8) * 255


def render(positions: Any, layout: Layout) -> Any:
    """Draws whole observations.

    Args:
        positions: float32 ``(..., 2)``, pixels.
        layout: Fields of a shape that broadcasts with ``(...)``, arrays of the same kind as ``positions``. With one
            layout a trajectory (shape ``(B, 1)`` for positions ``(B, T, 2)``) each wall image is drawn once.

    Returns:
        uint8 ``(..., 2, 65, 65)``.
    """
    xp = array_api_compat.array_namespace(positions)
    shape = (*positions.shape[:-1], 2, SIZE, SIZE)
    images = xp.zeros(shape, dtype=xp.uint8, device=array_api_compat.device(positions))
    images[..., 1, :, :] = render_walls(layout)
    draw_agents(positions, images)
    return images
