"""An environment as arithmetic on arrays: an optional part of a domain, for training data without the environment."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Trajectories(NamedTuple):
    """Simulated trajectories of B agents over S steps.

    Attributes:
        positions: Where they are, float32 ``(B, S + 1, P)``.
        actions: What they did, float32 ``(B, S, A)``.
        layout: What stays while they move, float32 ``(B, L)``.
    """

    positions: Array
    actions: Array
    layout: Array


class Trial(NamedTuple):
    """Agents that are pushed somewhere: does a world model imagine the right end?

    Attributes:
        positions: Where they start, float32 ``(N, P)``.
        layout: What surrounds them, float32 ``(N, L)``.
        action: What they do at each step, float32 ``(N, A)``.
        num_steps: Number of these steps.
        is_wrong: From the positions ``(N, P)`` where they are imagined to end, which of these cannot be.
    """

    positions: Array
    layout: Array
    action: Array
    num_steps: int
    is_wrong: Callable[[Array], NDArray[np.bool_]]


@runtime_checkable
class Simulation(Protocol):
    """An environment as arithmetic on arrays: for training data, true dynamics, maps and checks of world models.

    A *state* is the agent's position ``(P,)`` and the layout ``(L,)``, all that stays while it moves. Datasets store
    observations of kind :attr:`envs.domain.Domain.compact`, which are states: position first, layout behind it.

    Attributes:
        pixel_shape: ``(C, H, W)`` of an image.
        action_low: Smallest value of each component of an action.
        action_high: Largest value of each.
        position_low: Smallest value of each coordinate of a position.
        position_high: Largest value of each.
        layout_names: What each number of a layout is.
        recipes: Names of the ways to draw trajectories; the first is the default.
    """

    pixel_shape: tuple[int, int, int]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    position_low: tuple[float, ...]
    position_high: tuple[float, ...]
    layout_names: tuple[str, ...]
    recipes: tuple[str, ...]

    def trajectories(
        self,
        generator: np.random.Generator,
        count: int,
        num_steps: int,
        *,
        hold: int = 1,
        recipe: str = "",
        layout_set: str = "train",
        per_layout: int = 1,
    ) -> Trajectories:
        """Draws trajectories, so many in a row in the same layout; actions may be held for ``hold`` steps.

        Raises:
            ValueError: If there is no such recipe, or it has no trajectories as long as that.
        """
        ...

    def trials(self, generator: np.random.Generator, layout_set: str, recipe: str = "") -> Mapping[str, Trial]:
        """What decides planning in this environment, by the name of the metric; may be empty.

        They are in layouts of the set; where a recipe has layouts of its own, in these.
        """
        ...

    def displacement(self, actions: Any) -> Any:
        """How far actions ``(..., A)`` move an agent that nothing blocks, ``(..., P)``; of numpy or torch."""
        ...

    def step(self, positions: Array, actions: Array, layout: Array) -> Array:
        """Positions ``(B, P)`` after actions ``(B, A)`` in layouts ``(B, L)``."""
        ...

    def draw(self, positions: Any, layout: Any) -> Any:
        """Images uint8 ``(B, T, C, H, W)`` of positions ``(B, T, P)`` in layouts ``(B, L)``; of numpy or torch."""
        ...

    def read(self, images: NDArray[np.uint8]) -> tuple[Array, Array]:
        """Positions ``(B, P)`` and layouts ``(B, L)`` that images ``(B, C, H, W)`` show."""
        ...

    def distance(self, positions: Array, goals: Array, layout: Array) -> NDArray[np.float64]:
        """Lengths ``(B,)`` of the shortest paths from positions to where goals ``(B, P)`` count as reached."""
        ...

    def free_positions(self, layout: Array) -> NDArray[np.float32]:
        """Positions ``(N, P)`` on a grid of spacing 1 where an agent can be, in a layout ``(L,)``."""
        ...


def state_size(simulation: Simulation) -> int:
    """Numbers that make up a state: a position and a layout."""
    return len(simulation.position_low) + len(simulation.layout_names)
