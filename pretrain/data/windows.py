"""Windows of experience to train on: what sources of training data have in common.

A window is T frames and the actions between them; ``k`` environment steps (the frame skip) lie between two frames:

    frames     o_s ──────────── o_(s+k) ──────────── o_(s+2k) ... o_(s+(T−1)k)
    actions     [a_s … a_(s+k−1)]  [a_(s+k) … a_(s+2k−1)]  ...

so ``actions[:, t]`` takes frame ``t`` to frame ``t + 1``. A window never reaches over the end of an episode.

A model that sees the last ``context`` frames, ``k`` steps apart, needs those in front of a window too; before the first
frame of an episode there is that frame again.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8
from torch import Tensor

from envs.simulation import Simulation


class WindowBatch(NamedTuple):
    """A batch of B windows of T frames, ``k`` environment steps apart, in an environment with A action components.

    Attributes:
        pixels: Frames, uint8 ``(B, context − 1 + T, C, H, W)``: those of the window behind those in front of it.
        actions: Blocks of ``k`` actions in the environment's units, flattened, float32 ``(B, T − 1, k · A)``.
        positions: Where the agent is, float32 ``(B, T, P)``, or ``None`` where unknown. For probes and metrics only:
            nothing computed from it may send gradients into the model.
        layout: What else the scene holds, float32 ``(B, L)``, or ``None``. As ``positions``.
    """

    pixels: UInt8[Tensor, "b context_minus_1_plus_t c h w"]
    actions: Float32[Tensor, "b t_minus_1 k_a"]
    positions: Float32[Tensor, "b t p"] | None = None
    layout: Float32[Tensor, "b l"] | None = None


@runtime_checkable
class WindowSource(Protocol):
    """Where training windows come from.

    Attributes:
        num_frames: Frames T of a window.
        frame_skip: Environment steps ``k`` between two frames.
        context: Frames that a model sees at once, the newest included.
        pixel_shape: ``(C, H, W)`` of a frame.
        action_dim: Number of components A of one environment action.
        action_low: Smallest value of each component, of length A, in the environment's units.
        action_high: Largest value of each component, of length A.
        action_max_norm: Largest Euclidean norm of one action, or ``None`` where only the box bounds it.
        longest: Environment steps of the longest episode, or ``None`` where all are simulated as asked for.
    """

    num_frames: int
    frame_skip: int
    context: int
    pixel_shape: tuple[int, int, int]
    action_dim: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_max_norm: float | None
    longest: int | None

    @property
    def simulation(self) -> Simulation | None:
        """What knows the positions and layouts of windows, or ``None`` where these are unknown."""

    def sample(self, batch_size: int, generator: np.random.Generator, per_scene: int = 1) -> WindowBatch:
        """Draws windows.

        Args:
            batch_size: Number of windows B.
            generator: Source of all randomness.
            per_scene: How many windows in a row are of the same scene.

        Returns:
            The windows, on the source's device.
        """

    def whole_episodes(
        self, count: int, num_frames: int, per_scene: int, generator: np.random.Generator
    ) -> Iterator[WindowBatch]:
        """Whole episodes, batches of equal length, for what looks at each image once.

        Args:
            count: How many, where they are simulated; of recorded data these are all of the split.
            num_frames: Images of each, where they are simulated.
            per_scene: How many in a row share a scene, where they are simulated.
            generator: Source of all randomness.

        Yields:
            Images ``(B, F, C, H, W)`` and the actions between them: single ones where every environment step is
            recorded, blocks of ``k`` where the simulation shows every k-th.
        """


def check_window(num_frames: int, frame_skip: int, context: int) -> None:
    """Checks the sizes of windows.

    Raises:
        ValueError: If a window has fewer than two frames, or one of the others is not positive.
    """
    if num_frames < 2 or frame_skip < 1:
        raise ValueError(f"num_frames must be at least 2 and frame_skip at least 1, got {num_frames} and {frame_skip}")
    if context < 1:
        raise ValueError(f"context must be at least 1, got {context}")
