"""Windows without end: trajectories are simulated as they are asked for, and drawn on the training device."""

from collections.abc import Iterator

import numpy as np
import torch

from envs.simulation import Array, Simulation
from pretrain.data.windows import WindowBatch, check_window

AT_ONCE = 64
"""Trajectories that are simulated at once, where many are asked for."""


class SimulatedWindows:
    """Windows of simulated trajectories, drawn anew at each call.

    Args:
        simulation: The environment as arithmetic.
        num_frames: Frames T of a window.
        frame_skip: Environment steps between two frames, for which actions may be held.
        context: Frames that a model sees at once; trajectories begin so much earlier than windows.
        recipe: How trajectories are drawn, one of the simulation's recipes; by default its first.
        layout_set: Layouts to draw from.
        action_max_norm: Largest Euclidean norm of an action, or None.
        device: Where windows are put.

    Raises:
        ValueError: If the recipe is unknown, or a window has fewer than two frames.
    """

    longest: int | None = None

    def __init__(
        self,
        simulation: Simulation,
        num_frames: int,
        frame_skip: int,
        *,
        context: int = 1,
        recipe: str = "",
        layout_set: str = "train",
        action_max_norm: float | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if recipe and recipe not in simulation.recipes:
            raise ValueError(f"recipe must be one of {', '.join(map(repr, simulation.recipes))}, got {recipe!r}")
        check_window(num_frames, frame_skip, context)
        self.simulation = simulation
        self.num_frames = num_frames
        self.frame_skip = frame_skip
        self.context = context
        self.recipe = recipe
        self.layout_set = layout_set
        self.pixel_shape = simulation.pixel_shape
        self.action_low, self.action_high = simulation.action_low, simulation.action_high
        self.action_dim = len(self.action_low)
        self.action_max_norm = action_max_norm
        self.device = torch.device(device)

    def sample(self, batch_size: int, generator: np.random.Generator, per_scene: int = 1) -> WindowBatch:
        """Draws windows, with positions and layouts; a scene is a layout."""
        return self._draw_windows(batch_size, self.num_frames, generator, self.context - 1, per_scene)

    def _draw_windows(
        self, count: int, num_frames: int, generator: np.random.Generator, before: int = 0, per_scene: int = 1
    ) -> WindowBatch:
        """Draws windows, with so many more images before each."""
        positions, actions, layout = self.simulation.trajectories(
            generator,
            count,
            (before + num_frames - 1) * self.frame_skip,
            hold=self.frame_skip,
            recipe=self.recipe,
            layout_set=self.layout_set,
            per_layout=per_scene,
        )
        frames = positions[:, :: self.frame_skip].copy()
        blocks = actions.reshape(count, before + num_frames - 1, -1)
        return WindowBatch(
            pixels=self._draw(frames, layout),
            actions=torch.from_numpy(blocks[:, before:].copy()).to(self.device),
            positions=torch.from_numpy(frames[:, before:].copy()).to(self.device),
            layout=torch.from_numpy(layout).to(self.device),
        )

    def whole_episodes(
        self, count: int, num_frames: int, per_scene: int, generator: np.random.Generator
    ) -> Iterator[WindowBatch]:
        """Draws trajectories, some in the same layout; see :class:`~pretrain.data.windows.WindowSource`."""
        at_once = max(1, AT_ONCE // per_scene) * per_scene
        for first in range(0, count, at_once):
            yield self._draw_windows(min(at_once, count - first), num_frames, generator, per_scene=per_scene)

    def _draw(self, positions: Array, layout: Array) -> torch.Tensor:
        """Draws on the training device.

        On a CPU numpy draws: it uses one thread, where torch's threads would compete with those of the training step.
        """
        if self.device.type == "cpu":
            return torch.from_numpy(self.simulation.draw(positions, layout))
        there = (torch.from_numpy(array).to(self.device) for array in (positions, layout))
        return self.simulation.draw(*there)
