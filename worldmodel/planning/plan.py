"""What planners take, and what they return."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import torch
from annotated_types import Ge, Le
from jaxtyping import Float, Int
from torch import Tensor

from worldmodel.config import ConfigError, Count, Fraction, NonNegative, Positive, config, number
from worldmodel.planning.bounds import ActionBounds

CostFn = Callable[[Float[Tensor, "b n t a"]], Float[Tensor, "b n"]]
"""Costs of ``n`` candidate action sequences of ``t`` steps for each of ``b`` environments; a pure function."""

FILLS = ("last", "zeros")
"""How :func:`shift` can fill the end of a plan."""


@config
class SearchOptions:
    """Options that all planners share which sample; standard deviations are in units of the actions."""

    horizon: Annotated[int, Ge(1), Le(10_000), number(int, "≥ 1")] = 3
    """Planner steps to look ahead."""
    num_samples: Count = 32
    """Candidate plans of an iteration."""
    num_iterations: Annotated[int, Ge(1), Le(100_000), number(int, "≥ 1")] = 2
    """Most iterations of a search."""
    num_elites: Count = 8
    """Best candidates from which the next distribution is made."""
    init_std: Positive | None = None
    """Standard deviation of the first candidates; None: 0.4 of the bounds' radius."""
    min_std: NonNegative | None = None
    """Lower bound of the standard deviation; None: 5 % of init_std."""
    noise_beta: Annotated[float, Ge(0), Le(10), number(float, "in [0, 10]")] = 0.0
    """Colour of the noise: 0 white, 1 pink, 2 red (iCEM's authors use 2); the higher, the slower the actions change."""
    keep_elites: Fraction = 0.3
    """Fraction of the elites that compete again in the next iteration and, shifted, in the next search; any above 0
    keeps at least one."""
    sample_decay: Annotated[float, Ge(1), number(float, "≥ 1")] = 1.0
    """Factor by which each iteration has fewer samples than the one before, down to 2 · num_elites (iCEM's authors use
    1.25)."""
    execute: Literal["best", "mean"] = "best"
    """Whether to execute the best candidate of all iterations or the final mean."""
    zero_candidate: bool = True
    """Whether doing nothing is a candidate of the first iteration; in a box without 0, the action nearest to it."""
    tolerance: NonNegative | None = None
    """Stop a search whose best cost improves by less than this fraction; None: search on."""
    patience: Count = 1
    """Iterations in a row without such an improvement before a search stops."""
    budget_ms: Positive | None = None
    """Begin no iteration but the first after this many milliseconds; None: no limit. Plans then depend on the speed of
    the machine."""

    def rules(self) -> None:
        """Checks that there are enough candidates for the elites."""
        if self.num_elites > self.num_samples:
            raise ConfigError("num_elites", f"at most num_samples ({self.num_samples})", self.num_elites)

    @property
    def num_kept(self) -> int:
        """Elites that are kept."""
        return math.ceil(self.keep_elites * self.num_elites)

    @property
    def samples_per_iteration(self) -> list[int]:
        """Candidates of each iteration, after decay (Pinneri et al. 2020, algorithm 1)."""
        fewest = min(self.num_samples, 2 * self.num_elites)
        return [max(int(self.num_samples * self.sample_decay**-i), fewest) for i in range(self.num_iterations)]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """How a search went, iteration by iteration.

    Attributes:
        best: Lowest cost among an iteration's candidates and the elites kept from the one before.
        mean: Mean cost of an iteration's new candidates.
        elite: Mean cost of the elites.
        candidates: New candidates of each iteration (their number may fall), or None unless recorded.
        candidate_costs: Their costs, or None unless recorded.
    """

    best: Float[Tensor, "b i"]
    mean: Float[Tensor, "b i"]
    elite: Float[Tensor, "b i"]
    candidates: tuple[Float[Tensor, "b _ t a"], ...] | None = None
    candidate_costs: tuple[Float[Tensor, "b _"], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The result of planning for ``b`` environments.

    Attributes:
        actions: The plan to execute, within the bounds.
        cost: Its cost; NaN where a planner had no need of it.
        elites: Other good plans to carry over to the next search, best first; ``k`` may be 0. Where fewer had a finite
            cost, the best one is repeated.
        num_iterations: Iterations that each environment's search took.
        trace: Costs of every iteration. An environment whose search stopped early repeats its last entry.
    """

    actions: Float[Tensor, "b t a"]
    cost: Float[Tensor, "b"]
    elites: Float[Tensor, "b k t a"]
    num_iterations: Int[Tensor, "b"]
    trace: Trace

    def select(self, env: int) -> "Plan":
        """The plan of one environment, with its batch dimension of 1 kept."""

        def part(value: Any) -> Any:
            if isinstance(value, Trace):
                return Trace(**{name: part(tensors) for name, tensors in vars(value).items()})
            if isinstance(value, tuple):
                return tuple(map(part, value))
            return None if value is None else value[env : env + 1]

        return Plan(**{name: part(value) for name, value in vars(self).items()})


@runtime_checkable
class Planner(Protocol):
    """Searches for action sequences of low cost."""

    @property
    def bounds(self) -> ActionBounds:
        """Bounds of the actions it plans."""

    @property
    def horizon(self) -> int:
        """Steps of a plan."""

    def plan(
        self, cost: CostFn, *, init: Tensor | None, generators: Sequence[torch.Generator], record: bool = False
    ) -> Plan:
        """Plans for ``b = len(generators)`` environments at once.

        Args:
            cost: What to minimise.
            init: Where to start: a plan ``(b, t, a)`` for each environment, or several, best first, ``(b, k, t, a)``.
                All of them are candidates, within the bounds. None starts from zero actions, within the bounds.
            generators: One for each environment, on the device to plan on. An environment's noise depends on its own
                generator only.
            record: Keep all candidates in the trace.

        Returns:
            The plans. They do not depend on which other environments are planned for, exactly if the cost does not.

        Raises:
            ValueError: If ``init``, the generators or the costs have a wrong shape.
            FloatingPointError: If for some environment no candidate has a finite cost.
        """


def shift(actions: Float[Tensor, "*batch t a"], steps: int, *, fill: str = "last") -> Float[Tensor, "*batch t a"]:
    """Moves plans ``steps`` ahead in time, as after executing that many steps.

    Args:
        actions: Plans.
        steps: How many of the first steps to drop; at least 0. Dropping all leaves only the fill.
        fill: ``"last"`` repeats the plan's last action at its end, ``"zeros"`` puts zero actions there; a planner
            that is given the plan brings them within its bounds.

    Returns:
        Plans of the same shape.

    Raises:
        ValueError: If ``steps`` is negative or ``fill`` unknown.
    """
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}")
    if fill not in FILLS:
        raise ValueError(f"fill must be one of {', '.join(map(repr, FILLS))}, got {fill!r}")
    steps = min(steps, actions.shape[-2])
    if steps == 0:
        return actions
    last = actions[..., -1:, :]
    end = (last if fill == "last" else torch.zeros_like(last)).expand(*actions.shape[:-2], steps, -1)
    return torch.cat([actions[..., steps:, :], end], -2)


def warm_start(plan: Plan, steps: int, *, fill: str = "last") -> Float[Tensor, "b k t a"]:
    """Where the next search should start after ``steps`` steps of a plan were executed.

    Args:
        plan: The plan executed.
        steps: How many of its steps.
        fill: See :func:`shift`.

    Returns:
        The plan and its elites, shifted; the ``init`` of the next :meth:`Planner.plan`.
    """
    return shift(torch.cat([plan.actions[:, None], plan.elites], 1), steps, fill=fill)
