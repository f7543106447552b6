"""What actions are allowed: a box, and optionally a ball."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class ActionBounds:
    """Bounds of an action by a box and by its Euclidean norm, and the projection of candidates into them.

    A planner's action may be a block of ``block`` environment actions, one after another in its last dimension. The
    bounds are those of one environment action and hold for each action of the block.

    Attributes:
        low: Lower corner of the box, float32 ``(env_action_dim,)``; may be −inf.
        high: Upper corner of the box, float32 ``(env_action_dim,)``; may be +inf.
        max_norm: Largest Euclidean norm of one environment action, or None.
        block: Environment actions in one action of the planner.
    """

    def __init__(
        self,
        low: Sequence[float] | Any,
        high: Sequence[float] | Any,
        max_norm: float | None = None,
        *,
        block: int = 1,
    ) -> None:
        """Makes bounds of one environment action.

        Args:
            low: Lower corner of the box, a sequence, array or tensor of shape ``(env_action_dim,)``.
            high: Upper corner, of the same shape.
            max_norm: Largest Euclidean norm, in the units of the actions; None for no such bound.
            block: Environment actions in one action of the planner.

        Raises:
            ValueError: If the corners do not describe a box, the norm is not positive, the ball's centre lies outside
                the box, or the block is empty.
        """
        self.low = torch.as_tensor(low, dtype=torch.float32).detach().clone()
        self.high = torch.as_tensor(high, dtype=torch.float32).detach().clone()
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
        half_side = float((self.high - self.low).max()) / 2
        return half_side if self.max_norm is None else min(half_side, self.max_norm)

    def to(self, device: torch.device | str) -> "ActionBounds":
        """The same bounds on another device."""
        if self.low.device == torch.device(device):
            return self
        moved = ActionBounds(self.low, self.high, self.max_norm, block=self.block)
        moved.low, moved.high = self.low.to(device), self.high.to(device)
        return moved

    def project(self, actions: Float[Tensor, "*batch a"]) -> Float[Tensor, "*batch a"]:
        """The nearest way back: actions that are too long are scaled, then clamped to the box.

        Args:
            actions: Any leading dimensions; the last one is :attr:`action_dim`.

        Returns:
            Allowed actions of the same shape; the argument is unchanged.

        Raises:
            ValueError: If the last dimension is not :attr:`action_dim`.
        """
        if actions.shape[-1] != self.action_dim:
            raise ValueError(f"actions must have {self.action_dim} as last dimension, got shape {tuple(actions.shape)}")
        parts = actions.unflatten(-1, (self.block, self.env_action_dim))
        if self.max_norm is not None and math.isfinite(self.max_norm):
            norm = torch.linalg.vector_norm(parts, dim=-1, keepdim=True)
            parts = parts * (self.max_norm / norm.clamp_min(self.max_norm))
        if self._boxed:
            parts = parts.clamp(self.low, self.high)
        return parts.flatten(-2)
