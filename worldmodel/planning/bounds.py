"""Bounds of actions: a box and, optionally, a ball."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NORM_SLACK = 1e-6
"""An action may exceed its norm bound by this fraction: the rounding of single precision."""
LARGEST = torch.finfo(torch.float32).max
"""The largest number of single precision."""
EASY_NORMS, EASY_LENGTH = (1e-15, 1e15), 1e37
"""Norm bounds, and norms of actions to shorten, that single precision can compute with."""


class ActionBounds:
    """Bounds of an action by a box and by its Euclidean norm, and the projection of candidates into them.

    A planner's action may be a block of ``block`` environment actions, one after another in its last dimension. The
    bounds are those of one environment action and hold for each action of the block.

    Attributes:
        low: Lower corner of the box, a sequence, array or tensor ``(env_action_dim,)``, kept as float32; may be −inf.
            Where single precision does not hold a corner given in double precision, the next number inside the box.
        high: Upper corner of the box, of the same shape; may be +inf. The same.
        max_norm: Largest Euclidean norm of one environment action, in the units of the actions; None for no such bound.
        block: Environment actions in one action of the planner.
        nothing: The action nearest to doing nothing, float32 ``(action_dim,)``: 0 where the box contains it.

    Raises:
        ValueError: If the corners do not describe a box, the norm is not positive, the ball's centre lies outside the
            box, or the block is empty.
    """

    def __init__(
        self, low: Sequence[float] | Any, high: Sequence[float] | Any, max_norm: float | None = None, *, block: int = 1
    ) -> None:
        self.low, self.high = _single_precision(low, high)
        if self.low.ndim != 1 or self.low.shape != self.high.shape or len(self.low) == 0:
            raise ValueError(
                "low and high must have one shape (env_action_dim,), "
                f"got {tuple(self.low.shape)} and {tuple(self.high.shape)}"
            )
        if not bool((self.low <= self.high).all()):
            raise ValueError(f"low must not exceed high, got {self.low.tolist()} and {self.high.tolist()}")
        if max_norm is not None and not max_norm > 0:
            raise ValueError(f"max_norm must be positive or None, got {max_norm}")
        if max_norm is not None and not bool(((self.low <= 0) & (self.high >= 0)).all()):
            # Clamping shrinks an action only if the box contains 0; then both bounds hold after one pass.
            raise ValueError(f"max_norm needs a box that contains 0, got {self.low.tolist()} to {self.high.tolist()}")
        if block < 1:
            raise ValueError(f"block must be at least 1, got {block}")
        self.max_norm = max_norm
        self.block = block
        self._boxed = bool(torch.isfinite(self.low).any() or torch.isfinite(self.high).any())
        self.nothing = self.project(torch.zeros(self.action_dim, device=self.low.device))

    def __repr__(self) -> str:
        return (
            f"ActionBounds(low={self.low.tolist()}, high={self.high.tolist()}, max_norm={self.max_norm}, "
            f"block={self.block})"
        )

    @property
    def env_action_dim(self) -> int:
        """Dimension of one environment action."""
        return len(self.low)

    @property
    def action_dim(self) -> int:
        """Dimension of the planner's action: ``block * env_action_dim``."""
        return self.block * self.env_action_dim

    @property
    def radius(self) -> float:
        """How far an action can go from the centre: the norm bound or half the box's longest side, whichever is less.

        Infinite where actions are unbounded.
        """
        side = float((self.high - self.low).max())
        if math.isinf(side):  # of an unbounded box, or of one whose sides single precision does not hold
            side = float((self.high.cpu().double() - self.low.cpu().double()).max())
        half_side = side / 2
        return half_side if self.max_norm is None else min(half_side, self.max_norm)

    @property
    def largest(self) -> float:
        """The largest absolute value of a component, or infinity where some are unbounded."""
        side = float(torch.maximum(self.low.abs(), self.high.abs()).max())
        return side if self.max_norm is None else min(side, self.max_norm)

    def to(self, device: torch.device | str) -> "ActionBounds":
        """The same bounds on another device."""
        if self.low.device == torch.device(device):
            return self
        moved = copy.copy(self)
        moved.low, moved.high, moved.nothing = (t.to(device) for t in (self.low, self.high, self.nothing))
        return moved

    def project(self, actions: Float[Tensor, "*batch a"]) -> Float[Tensor, "*batch a"]:
        """Brings actions within the bounds: scales those that are too long, then clamps them to the box.

        The result is allowed, whatever the actions were. NaN counts as 0, infinite numbers as the largest.

        Args:
            actions: Any leading dimensions; the last one is :attr:`action_dim`.

        Returns:
            Allowed actions of the same shape; the argument is unchanged.

        Raises:
            ValueError: If the last dimension is not :attr:`action_dim`.
        """
        parts = self._parts(actions)
        if self.max_norm is not None and math.isfinite(self.max_norm):
            parts = self._shortened(parts, self.max_norm)
        else:
            parts = _finite(parts)
        if self._boxed:
            parts = parts.clamp(self.low, self.high)
        return parts.flatten(-2)

    def allow(self, actions: Float[Tensor, "*batch a"]) -> Bool[Tensor, "*batch"]:
        """Whether actions are within the bounds; their norms may exceed theirs by :data:`NORM_SLACK`.

        Args:
            actions: Any leading dimensions; the last one is :attr:`action_dim`.

        Raises:
            ValueError: If the last dimension is not :attr:`action_dim`.
        """
        parts = self._parts(actions)
        within = ((parts >= self.low) & (parts <= self.high)).all(-1)
        if self.max_norm is not None:
            within &= torch.linalg.vector_norm(parts, dim=-1) <= self.max_norm * (1 + NORM_SLACK)
        return within.all(-1)

    def _parts(self, actions: Tensor) -> Tensor:
        """Environment actions ``(..., block, env_action_dim)``."""
        if actions.shape[-1] != self.action_dim:
            raise ValueError(f"actions must have {self.action_dim} as last dimension, got shape {tuple(actions.shape)}")
        return actions.unflatten(-1, (self.block, self.env_action_dim))

    def _shortened(self, parts: Tensor, max_norm: float) -> Tensor:
        """Finite actions, those that are too long scaled to the norm bound."""
        if not EASY_NORMS[0] <= max_norm <= EASY_NORMS[1]:
            return _shortened_exactly(_finite(parts), max_norm)
        norm = torch.linalg.vector_norm(parts, dim=-1, keepdim=True)
        shortened = parts * (max_norm / norm.clamp_min(max_norm))
        # Elsewhere, asking would wait for the device.
        if norm.device.type == "cpu" and (norm.numel() == 0 or float(norm.amax()) <= EASY_LENGTH):
            return shortened
        return torch.where(norm <= EASY_LENGTH, shortened, _shortened_exactly(_finite(parts), max_norm))


def _finite(parts: Tensor) -> Tensor:
    return parts.nan_to_num(nan=0.0, posinf=LARGEST, neginf=-LARGEST)


def _shortened_exactly(parts: Tensor, max_norm: float) -> Tensor:
    """Actions of norm ``max_norm`` at most, where squares or reciprocals in single precision over- or underflow."""
    exact = (parts.cpu() if parts.device.type == "mps" else parts).double()  # which is not on every device
    norm = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)
    return (exact * torch.where(norm > max_norm, max_norm / norm, 1.0)).to(parts)


def _single_precision(low: Any, high: Any) -> tuple[Tensor, Tensor]:
    """Corners as float32. Finite ones stay finite, and those given in double precision are rounded into the box."""
    device = low.device if isinstance(low, Tensor) else None
    (low, low_exact, low_inside), (high, high_exact, high_inside) = _rounded(low, 1), _rounded(high, -1)
    if low.shape != high.shape or not bool((low_exact <= high_exact).all()):
        return low, high  # the caller explains what is wrong
    # Single precision may hold no number in between: then the nearest one has to do.
    crossed = low_inside > high_inside
    corners = torch.where(crossed, low, low_inside), torch.where(crossed, low, high_inside)
    return corners if device is None else (corners[0].to(device), corners[1].to(device))


def _rounded(corner: Any, inwards: int) -> tuple[Tensor, Tensor, Tensor]:
    """A corner in single precision, in double precision, and in single precision rounded inwards (1: up, −1: down)."""
    corner = corner.detach().cpu() if isinstance(corner, Tensor) else corner
    exact = torch.as_tensor(corner, dtype=torch.float64).clone()
    nearest = torch.where(exact.isinf(), exact, exact.clamp(-LARGEST, LARGEST)).float()
    outside = inwards * (nearest.double() - exact) < 0
    if torch.as_tensor(corner).dtype != torch.float64:  # Python's numbers stand for those that single precision holds
        outside = torch.zeros_like(outside)
    next_inside = torch.nextafter(nearest, torch.full_like(nearest, inwards * math.inf))
    return nearest, exact, torch.where(outside, next_inside, nearest)
