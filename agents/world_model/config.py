"""How the planning agent plans, as one flat set of options, and the planners built from it."""

import math
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from gymnasium import spaces

from worldmodel.config import (
    ConfigError,
    Count,
    Fraction,
    NonNegative,
    Positive,
    ProperFraction,
    config,
    number,
)
from worldmodel.nn.devices import require_memory
from worldmodel.planning import CEM, ICEM, MPPI, ActionBounds, Planner, ProposalPlanner, SearchOptions


@config
class PlannerConfig:
    """Options of planning. One planner step is one predictor step, which spans ``frame_skip`` environment steps."""

    planner: Literal["mppi", "cem", "icem", "policy"] = "mppi"
    """How the next distribution of plans is made from the elites. policy: no search, the learned actor acts."""
    cost: Literal["value", "summed", "last", "closest", "reach"] = "value"
    """value: learned cost-to-go from the end of the plan, and the cost of each step until then. Others: distance to the
    goal over the horizon: its sum, at the end, at the closest approach, or closest and stay. Without a learned
    cost-to-go they need long horizons."""
    propose: bool = True
    """Whether the learned actor's plan is a candidate, and the first mean."""
    reach_weight: NonNegative = 2.0
    """Cost 'reach': weight of the term that rewards arriving early and staying."""
    reach_scale: Positive = 0.03
    """Cost 'reach': squared latent distance (mean over features) at which that term saturates."""
    horizon: Annotated[int, Ge(1), Le(10_000), number(int, "≥ 1")] = 3
    """Planner steps to look ahead."""
    num_samples: Count = 32
    """Candidate plans of an iteration."""
    num_iterations: Annotated[int, Ge(1), Le(100_000), number(int, "≥ 1")] = 2
    """Iterations of a replan."""
    num_elites: Count = 8
    """Best candidates from which the next distribution is made."""
    init_std: Positive | None = None
    """Standard deviation of the first candidates, in units of the actions; None: 0.4 of the bounds' radius."""
    min_std: NonNegative | None = None
    """Lower bound of the standard deviation, in units of the actions; None: 5 % of init_std."""
    noise_beta: Annotated[float, Ge(0), Le(10), number(float, "in [0, 10]")] = 0.0
    """Colour of the noise: 0 white, 1 pink, 2 red; the higher, the slower the actions change."""
    temperature: Positive = 0.1
    """MPPI: cost difference that lowers an elite's weight by a factor e."""
    momentum: ProperFraction = 0.1
    """CEM and iCEM: weight of the old mean and standard deviation in the new ones."""
    keep_elites: Fraction = 0.3
    """Fraction of the elites that compete again in the next iteration and, shifted, in the next replan."""
    sample_decay: Annotated[float, Ge(1), number(float, "≥ 1")] = 1.0
    """Factor by which each iteration has fewer samples than the one before (iCEM's authors use 1.25)."""
    execute: Literal["best", "mean"] = "best"
    """Whether to execute the best candidate or the final mean."""
    zero_candidate: bool = True
    """Whether doing nothing is always a candidate."""
    tolerance: NonNegative | None = None
    """Stop a search whose best cost improves by less than this fraction; None: search on."""
    patience: Count = 1
    """Iterations on end without such an improvement before a search stops."""
    budget_ms: Positive | None = None
    """Begin no iteration after this many milliseconds of a replan; None: no limit. Plans then depend on the machine."""
    replan_every: Count = 1
    """Planner steps to execute before planning again."""
    constant_blocks: bool = True
    """Whether the environment actions of one planner step are all the same; otherwise each is planned for itself."""
    warm_start: bool = True
    """Whether a search starts from the plan before, shifted."""
    fill: Literal["last", "zeros"] = "last"
    """What ends the previous plan, shifted, when the next search starts from it: its last action, or none."""
    chunk_size: Count | None = None
    """Most trajectories to roll out at once, to bound the memory; None: all."""

    def rules(self) -> None:
        """Checks that numbers fit one another."""
        if self.planner == "policy":
            return
        if self.num_elites > self.num_samples:
            raise ConfigError("num_elites", f"at most num_samples ({self.num_samples})", self.num_elites)
        if self.replan_every > self.horizon:
            raise ConfigError("replan_every", f"at most horizon ({self.horizon})", self.replan_every)

    @property
    def cost_options(self) -> dict[str, float]:
        """Options of the cost, for :func:`worldmodel.planning.distance_measure`."""
        return {"weight": self.reach_weight, "scale": self.reach_scale} if self.cost == "reach" else {}

    @property
    def needs_actor_critic(self) -> bool:
        """Whether planning so takes a checkpoint with an actor and a critic."""
        return self.planner == "policy" or self.cost == "value"


def bounds_from_space(space: spaces.Space[Any], max_norm: float | None = None, *, block: int = 1) -> ActionBounds:
    """The bounds of an action space, flattened.

    Args:
        space: A ``Box``.
        max_norm: Largest Euclidean norm of an action, or None.
        block: Environment actions in one action of the planner.

    Returns:
        The bounds.

    Raises:
        ValueError: If the space is not a ``Box``.
    """
    if not isinstance(space, spaces.Box):
        raise ValueError(f"action_space must be a Box, got {space}")
    return ActionBounds(space.low.reshape(-1), space.high.reshape(-1), max_norm, block=block)


def build_planner(config: PlannerConfig, bounds: ActionBounds) -> Planner:
    """Makes the planner that a configuration describes.

    Args:
        config: How to plan.
        bounds: What the planner's actions are allowed to be.

    Returns:
        The planner.

    Raises:
        ValueError: If ``init_std`` is None and the actions are unbounded, or a search does not fit into memory.
    """
    if config.planner == "policy":
        return ProposalPlanner(bounds=bounds, horizon=config.replan_every)
    # The noise of all iterations is drawn at once, in single precision.
    numbers = config.num_iterations * config.num_samples * config.horizon * bounds.action_dim
    size = f"num_iterations {config.num_iterations} × num_samples {config.num_samples} × horizon {config.horizon}"
    require_memory(4.0 * numbers, f"the noise of a search ({size})")
    init_std = (0.4 * bounds.radius or 1.0) if config.init_std is None else config.init_std
    if math.isinf(init_std):
        raise ValueError(f"init_std must be given where actions are unbounded, got None with {bounds}")
    options = SearchOptions(
        horizon=config.horizon,
        num_samples=config.num_samples,
        num_iterations=config.num_iterations,
        num_elites=config.num_elites,
        init_std=init_std,
        min_std=0.05 * init_std if config.min_std is None else config.min_std,
        noise_beta=config.noise_beta,
        keep_elites=config.keep_elites,
        sample_decay=config.sample_decay,
        execute=config.execute,
        zero_candidate=config.zero_candidate,
        tolerance=config.tolerance,
        patience=config.patience,
        budget_ms=config.budget_ms,
    )
    if config.planner == "mppi":
        return MPPI(bounds=bounds, options=options, temperature=config.temperature)
    if config.planner == "cem":
        return CEM(bounds=bounds, options=options, momentum=config.momentum)
    return ICEM(bounds=bounds, options=options, momentum=config.momentum)
