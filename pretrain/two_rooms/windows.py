"""An endless source of Two Rooms windows: trajectories are simulated on the fly and rendered on the training device.

Two recipes:

- ``"reference"``: EB-JEPA's (arXiv 2602.03604): 91-step random walks (von Mises headings, concentration 5; step length
  N(1, 0.4) truncated to [0.2, 1.8] px), 35 % of them steered through the door; a window is cut from each.
- ``"wall-rich"``: short trajectories that mostly start near the inner wall and head for the door or the wall beside it,
  because what decides planning is what happens there. Actions are held for a block of ``frame_skip`` steps.

Steps are taken by :func:`envs.two_rooms.physics.step`, like the environment's.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from envs.two_rooms.layouts import sample_layouts
from envs.two_rooms.physics import (
    ARENA_MAX,
    ARENA_MIN,
    DOOR_HALF_WIDTH,
    MAX_STEP,
    SIZE,
    WALL_HALF_THICKNESS,
    Layout,
    is_free,
    step,
)
from envs.two_rooms.rendering import render
from pretrain.data.windows import SceneBatch, WindowBatch
from pretrain.two_rooms.diagnostics import crossing_rates
from worldmodel.jepa import JEPA
from worldmodel.nn.probes import Probe

RECIPES = ("reference", "wall-rich")
"""Names of the ways to draw trajectories."""
REFERENCE_STEPS = 90
"""Steps of a trajectory of the reference's recipe."""
DIAGNOSIS_SEED = 20_000_047
"""Seed of the trials at walls and doors."""

Array = NDArray[Any]


class TwoRoomsWindows:
    """Windows of Two Rooms trajectories, drawn anew at each call.

    Args:
        num_frames: Frames T of a window.
        frame_skip: Environment steps between two frames.
        recipe: One of :data:`RECIPES`.
        layout_set: Layouts to draw from (see :mod:`envs.two_rooms.layouts`).
        crossings: Whether trajectories may lead through the door. Without, no position is ever within the wall's
            thickness, not even in the doorway, and each trajectory stays in one room.
        device: Where windows are rendered.

    Raises:
        ValueError: If the recipe is unknown, a window has fewer than two frames, or it is longer than the reference's
            trajectories.
    """

    pixel_shape: tuple[int, int, int] = (2, SIZE, SIZE)
    action_dim: int = 2
    action_low: tuple[float, ...] = (-MAX_STEP, -MAX_STEP)
    action_high: tuple[float, ...] = (MAX_STEP, MAX_STEP)
    action_max_norm: float | None = MAX_STEP
    position_low: tuple[float, float] | None = (ARENA_MIN, ARENA_MIN)
    position_high: tuple[float, float] | None = (ARENA_MAX, ARENA_MAX)

    def __init__(
        self,
        num_frames: int,
        frame_skip: int,
        *,
        recipe: str = "wall-rich",
        layout_set: str = "train",
        crossings: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        if recipe not in RECIPES:
            raise ValueError(f"recipe must be one of {', '.join(map(repr, RECIPES))}, got {recipe!r}")
        if num_frames < 2 or frame_skip < 1:
            raise ValueError(
                f"num_frames must be at least 2 and frame_skip at least 1, got {num_frames} and {frame_skip}"
            )
        num_steps = (num_frames - 1) * frame_skip
        if recipe == "reference" and num_steps > REFERENCE_STEPS:
            raise ValueError(
                f"a window of the reference recipe must fit in {REFERENCE_STEPS} steps, "
                f"got {num_frames} frames {frame_skip} steps apart"
            )
        self.num_frames = num_frames
        self.frame_skip = frame_skip
        self.recipe = recipe
        self.layout_set = layout_set
        self.crossings = crossings
        self.device = torch.device(device)

    def sample(self, batch_size: int, generator: np.random.Generator, per_scene: int = 1) -> WindowBatch:
        """Draws a batch of windows.

        Args:
            batch_size: Number of windows B.
            generator: Source of all randomness.
            per_scene: How many windows in a row share a layout.

        Returns:
            Pixels uint8 ``(B, T, 2, 65, 65)``, blocks of actions ``(B, T − 1, frame_skip · 2)`` in pixels, and for
            probes and metrics positions ``(B, T, 2)`` and layouts ``(B, 2)``.
        """
        layouts = sample_layouts(generator, -(-batch_size // per_scene), self.layout_set)
        layout = layouts.select(np.arange(batch_size) // per_scene)
        num_steps = (self.num_frames - 1) * self.frame_skip
        draw = _reference_walk if self.recipe == "reference" else _wall_rich_walk
        positions, actions = draw(generator, layout, num_steps, self.frame_skip)
        if not self.crossings:
            crossed = _crosses(positions, layout)
            while len(rows := np.flatnonzero(crossed)):
                positions[rows], actions[rows] = draw(generator, layout.select(rows), num_steps, self.frame_skip)
                crossed[rows] = _crosses(positions[rows], layout.select(rows))
        frames = positions[:, :: self.frame_skip].copy()
        return WindowBatch(
            pixels=self._render(frames, layout),
            actions=torch.from_numpy(actions.reshape(batch_size, self.num_frames - 1, -1)).to(self.device),
            positions=torch.from_numpy(frames).to(self.device),
            layout=torch.from_numpy(np.stack([layout.wall, layout.door], -1).astype(np.float32)).to(self.device),
        )

    def sample_scenes(self, batch_size: int, num_images: int, generator: np.random.Generator) -> SceneBatch:
        """Draws layouts, and positions in each: as the trajectories start, near the inner wall or anywhere.

        Args:
            batch_size: Number of scenes B.
            num_images: Images M of a scene.
            generator: Source of all randomness.

        Returns:
            Pixels uint8 ``(B, M, 2, 65, 65)``.
        """
        layout = sample_layouts(generator, batch_size, self.layout_set)
        repeated = Layout(*(np.repeat(field, num_images) for field in layout))
        positions = _starts(generator, repeated, 0.5)
        if not self.crossings:
            inside = _crosses(positions[:, None], repeated)
            while len(rows := np.flatnonzero(inside)):
                positions[rows] = _starts(generator, repeated.select(rows), 0.5)
                inside[rows] = _crosses(positions[rows, None], repeated.select(rows))
        return SceneBatch(self._render(positions.reshape(batch_size, num_images, 2), layout))

    def diagnose(self, model: JEPA, probe: Probe) -> dict[str, float]:
        """How often the model walks through walls and refuses doors; the same trials at every call."""
        return crossing_rates(model, probe, self.layout_set, np.random.default_rng(DIAGNOSIS_SEED))

    def _render(self, positions: Array, layout: Layout) -> torch.Tensor:
        """Renders on the training device.

        On a CPU numpy draws: it uses one thread, where torch's threads would compete with those of the training step.
        """
        per_window = Layout(*(np.ascontiguousarray(field)[:, None] for field in layout))
        if self.device.type == "cpu":
            return torch.from_numpy(render(positions, per_window))
        fields = (torch.from_numpy(field).to(self.device) for field in per_window)
        return render(torch.from_numpy(positions).to(self.device), Layout(*fields))


def _simulate(start: Array, actions: Array, layout: Layout) -> Array:
    """Positions ``(B, S + 1, 2)`` visited from ``start`` under ``actions`` ``(B, S, 2)``; blocked steps stay."""
    positions = np.empty((len(start), actions.shape[1] + 1, 2), dtype=np.float32)
    positions[:, 0] = start
    for t in range(actions.shape[1]):
        positions[:, t + 1] = step(positions[:, t], actions[:, t], layout).positions
    return positions


def _free_points(generator: np.random.Generator, layout: Layout, propose: Any) -> Array:
    """Draws one free point a layout by rejection; ``propose(generator, layout) -> (n, 2)``."""
    n = len(layout.wall)
    points = np.empty((n, 2), dtype=np.float32)
    missing = np.arange(n)
    while len(missing):
        part = layout.select(missing)
        drawn = propose(generator, part).astype(np.float32)
        points[missing] = drawn
        missing = missing[~is_free(drawn, part)]
    return points


def _anywhere(generator: np.random.Generator, layout: Layout) -> Array:
    return generator.uniform(ARENA_MIN, ARENA_MAX, size=(len(layout.wall), 2))


def _near_wall(generator: np.random.Generator, layout: Layout) -> Array:
    """Points within 9 px of the inner wall; half of them within 9 px of the door's centre along it."""
    n = len(layout.wall)
    across = layout.wall + generator.uniform(0.0, 9.0, size=n) * generator.choice([-1.0, 1.0], size=n)
    near_door = layout.door + generator.uniform(-9.0, 9.0, size=n)
    along = np.where(generator.random(n) < 0.5, near_door, generator.uniform(ARENA_MIN, ARENA_MAX, size=n))
    return np.stack([across, along], -1)


def _starts(generator: np.random.Generator, layout: Layout, near_fraction: float) -> Array:
    """Free points, this fraction of them near the inner wall, the others anywhere."""
    near = generator.random(len(layout.wall)) < near_fraction
    near_points, points = _free_points(generator, layout, _near_wall), _free_points(generator, layout, _anywhere)
    return np.where(near[:, None], near_points, points)


def _crosses(positions: Array, layout: Layout) -> NDArray[np.bool_]:
    """Whether trajectories ``(B, S, 2)`` enter the wall's thickness, in the doorway, or change rooms."""
    across = positions[..., 0] - layout.wall[:, None]
    return (np.abs(across) <= WALL_HALF_THICKNESS).any(1) | (np.sign(across) != np.sign(across[:, :1])).any(1)


def _wall_rich_walk(
    generator: np.random.Generator, layout: Layout, num_steps: int, frame_skip: int
) -> tuple[Array, Array]:
    n = len(layout.wall)
    num_blocks = num_steps // frame_skip
    start = _starts(generator, layout, 0.85)
    # Half head for a point across the wall: at the door, or anywhere along the wall; half in any direction.
    beyond = layout.wall + np.sign(layout.wall - start[:, 0]) * generator.uniform(0.0, 6.0, size=n)
    at_door = layout.door + generator.uniform(-1.5, 1.5, size=n) * DOOR_HALF_WIDTH
    along = np.where(generator.random(n) < 0.5, at_door, start[:, 1] + generator.uniform(-9.0, 9.0, size=n))
    aimed = np.arctan2(along - start[:, 1], beyond - start[:, 0])
    heading = np.where(generator.random(n) < 0.5, aimed, generator.uniform(-np.pi, np.pi, size=n))
    turns = generator.vonmises(0.0, 3.0, size=(n, num_blocks))
    turns[:, 0] = 0.0
    headings = heading[:, None] + np.cumsum(turns, axis=1)
    lengths = MAX_STEP * np.sqrt(generator.uniform(0.0, 1.0, size=(n, num_blocks)))
    blocks = lengths[..., None] * np.stack([np.cos(headings), np.sin(headings)], -1)
    actions = np.repeat(blocks, frame_skip, axis=1).astype(np.float32)
    return _simulate(start, actions, layout), actions


def _reference_walk(
    generator: np.random.Generator, layout: Layout, num_steps: int, frame_skip: int
) -> tuple[Array, Array]:
    n = len(layout.wall)
    start = _free_points(generator, layout, _anywhere)
    through_door = generator.random(n) < 0.35
    heading = generator.uniform(-np.pi, np.pi, size=n)
    side = np.sign(layout.wall - start[:, 0])
    positions = np.empty((n, REFERENCE_STEPS + 1, 2), dtype=np.float32)
    actions = np.empty((n, REFERENCE_STEPS, 2), dtype=np.float32)
    positions[:, 0] = start
    for t in range(REFERENCE_STEPS):
        turn = generator.vonmises(0.0, 5.0, size=n)
        length = _truncated_normal(generator, n)
        # Steered trajectories turn to the door until they are through: first before it, then to its far side.
        x, y = positions[:, t].T.astype(np.float64)
        before = (layout.wall - x) * side > 0
        aligned = np.abs(y - layout.door) < DOOR_HALF_WIDTH - 1
        target_x = layout.wall + side * np.where(aligned, 4.0, -4.0)
        steered = through_door & before
        heading = np.where(steered, np.arctan2(layout.door - y, target_x - x), heading)
        heading = heading + np.where(steered & aligned, 0.3, 1.0) * turn
        actions[:, t] = length[:, None] * np.stack([np.cos(heading), np.sin(heading)], -1)
        positions[:, t + 1] = step(positions[:, t], actions[:, t], layout).positions
    first = generator.integers(REFERENCE_STEPS - num_steps + 1, size=n)[:, None]
    rows = np.arange(n)[:, None]
    window = first + np.arange(num_steps + 1)
    return positions[rows, window], actions[rows, window[:, :-1]]


def _truncated_normal(generator: np.random.Generator, n: int) -> Array:
    """Step lengths N(1, 0.4) truncated to [0.2, 1.8] px."""
    lengths = generator.normal(1.0, 0.4, size=n)
    while len(outside := np.flatnonzero((lengths < 0.2) | (lengths > 1.8))):
        lengths[outside] = generator.normal(1.0, 0.4, size=len(outside))
    return lengths
