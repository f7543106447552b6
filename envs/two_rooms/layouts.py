"""Layouts of Two Rooms: which exist, the disjoint sets they fall into, and how episodes are drawn in them."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.inputs import check_choice, is_listed, real_numbers, shown
from envs.two_rooms.physics import Layout, is_free

WALL_RANGE = (20, 44)
"""First and last position of the wall, in pixels."""
DOOR_RANGE = (10, 54)
"""First and last position of the door's centre, in pixels."""
MARGIN_MIN, MARGIN_MAX = 6.6, 57.4
"""Starts and goals lie between these coordinates, in pixels."""
WALL_CLEARANCE = 3.6
"""Starts and goals keep this distance from the wall's centre line, so none is reached through the wall."""
LAYOUT_SETS = ("train", "validation", "held-out", "all")
"""Names of the layout sets; the first three are disjoint and make up the fourth."""
FIXED_LAYOUT = Layout(wall=32, door=18)
"""The layout of ``TwoRoomsFixed-v0``."""
PLDM_LAYOUT = Layout(wall=32, door=10)
"""The one layout of PLDM's experiments (arXiv 2502.14819)."""


@cache
def layout_set(name: str) -> NDArray[np.int64]:
    """All layouts of a set.

    Held-out: the wall in 30–34 and the door in 28–36. Validation: of the rest, those with (7 · wall + door) mod 11 = 0.
    Train: what remains.

    Args:
        name: One of :data:`LAYOUT_SETS`.

    Returns:
        ``(L, 2)``: wall and door of each layout, in pixels. The array is shared and cannot be written to.

    Raises:
        ValueError: If the name is unknown.

    Example:
        >>> [len(layout_set(name)) for name in ("train", "validation", "held-out", "all")]
        [982, 98, 45, 1125]
    """
    check_choice("layout set", name, LAYOUT_SETS)
    walls, doors = (np.arange(first, last + 1) for first, last in (WALL_RANGE, DOOR_RANGE))
    wall, door = (grid.ravel() for grid in np.meshgrid(walls, doors, indexing="ij"))
    held_out = (wall >= 30) & (wall <= 34) & (door >= 28) & (door <= 36)
    validation = ~held_out & ((7 * wall + door) % 11 == 0)
    members = {
        "train": ~held_out & ~validation,
        "validation": validation,
        "held-out": held_out,
        "all": np.ones_like(held_out),
    }[name]
    layouts = np.stack([wall[members], door[members]], -1)
    layouts.setflags(write=False)
    return layouts


def sample_layouts(rng: np.random.Generator, n: int, name: str = "train", *, horizontal: bool = False) -> Layout:
    """Draws ``n`` layouts of a set, uniformly.

    Returns:
        A :class:`~envs.two_rooms.physics.Layout` whose fields have shape ``(n,)``.
    """
    chosen = layout_set(name)
    wall, door = chosen[rng.integers(len(chosen), size=n)].T
    return Layout(wall, door, np.full(n, horizontal))


def sample_endpoints(rng: np.random.Generator, layout: Layout) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draws a start and a goal in different rooms for each of ``N`` layouts.

    Returns:
        Starts and goals, float32 ``(N, 2)`` each, in pixels.
    """
    wall = np.asarray(layout.wall, dtype=np.float64)
    n = len(wall)
    low = rng.uniform(MARGIN_MIN, wall - WALL_CLEARANCE, size=n)
    high = rng.uniform(wall + WALL_CLEARANCE, MARGIN_MAX, size=n)
    along = rng.uniform(MARGIN_MIN, MARGIN_MAX, size=(2, n))
    start_low = rng.random(n) < 0.5
    across = np.stack([np.where(start_low, low, high), np.where(start_low, high, low)])  # start, goal
    starts, goals = np.stack(layout.exchanged(across, along), -1).astype(np.float32)  # (2, N, 2)
    return starts, goals


def check_layout(layout: Any, *, horizontal: bool = False) -> Layout:
    """Turns ``(wall, door)``, ``(wall, door, horizontal)`` or a :class:`Layout` into a valid layout of plain integers.

    Raises:
        ValueError: If it is not a pair of integers within :data:`WALL_RANGE` and :data:`DOOR_RANGE`, or its
            orientation is not that of the environment.
    """
    parts = list(layout) if is_listed(layout) else []
    if len(parts) == 3 and isinstance(parts[2], bool | np.bool_):
        parts[2] = int(parts[2])  # arrays of layouts have 0 or 1 there
    numbers = real_numbers(parts)
    if (
        numbers is None
        or numbers.shape not in ((2,), (3,))
        or not (np.isfinite(numbers) & (numbers == np.trunc(numbers))).all()
        or not np.isin(numbers[2:], (0, 1)).all()
    ):
        raise ValueError(f"layout must be a pair of integers (wall, door), got {shown(layout)}")
    wall, door, turned = map(int, (*numbers, horizontal)[:3])
    if turned != horizontal:
        orientation = "horizontal" if horizontal else "vertical"
        raise ValueError(f"layout must have a {orientation} wall in this environment, got {shown(layout)}")
    for name, value, (first, last) in (("wall", wall, WALL_RANGE), ("door", door, DOOR_RANGE)):
        if not first <= value <= last:
            raise ValueError(f"layout's {name} must be an integer from {first} to {last}, got {shown(value)}")
    return Layout(wall, door, horizontal)


def check_position(name: str, position: Any, layout: Layout) -> NDArray[np.float32]:
    """Turns a start or goal into a float32 array of shape ``(2,)`` that lies in free space.

    Raises:
        ValueError: If it is not a pair of finite numbers in free space.
    """
    numbers = real_numbers(position)
    if numbers is None:
        raise ValueError(f"{name} must be a pair of numbers (x, y), got {shown(position)}")
    with np.errstate(over="ignore"):  # what overflows becomes infinite
        point = numbers.astype(np.float32)
    if point.shape != (2,) or not np.isfinite(point).all():
        raise ValueError(f"{name} must be a pair of finite numbers (x, y), got {shown(position)}")
    if not is_free(point[None], layout)[0]:
        raise ValueError(
            f"{name} must lie in free space (4 < x, y < 60, outside the wall at {layout.wall} "
            f"with its door at {layout.door}), got {point.tolist()}"
        )
    return point
