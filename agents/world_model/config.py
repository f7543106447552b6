"""How the planning agent plans, as one flat set of options, and the planners built from it."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

from gymnasium import spaces

from worldmodel.checkpoint import Pretrained
from worldmodel.config import Count, Name, NonNegative, Positive, config
from worldmodel.planning import (
    COST_KINDS,
    FILLS,
    PLANNERS,
    ActionBounds,
    Measure,
    Planner,
    SearchOptions,
    distance_measure,
)

if TYPE_CHECKING:  # type checkers cannot follow the registry
    from worldmodel.planning import CEMOptions, MPPIOptions

    class _Options(MPPIOptions, CEMOptions, SearchOptions): ...
else:
    _own = dict.fromkeys(kind.own_options for kind in PLANNERS.values() if kind.own_options)
    _Options = type("_Options", (*_own, SearchOptions), {})


LONG: dict[str, Any] = {
    "propose": False, "horizon": 20, "num_samples": 64, "num_iterations": 3, "num_elites": 16, "init_std": 2.45,
}  # fmt: skip
"""Fields of a search that can do without what was learned in imagination: far ahead, with more candidates."""


@config
class PlannerConfig(_Options):
    """The options of all planners, and how the agent uses them.

    One planner step is one predictor step, which spans ``frame_skip`` environment steps.
    """

    planner: Annotated[str, Name(PLANNERS)] = "mppi"
    """How the next distribution of plans is made from the elites. policy: no search, the learned actor acts."""
    cost: Annotated[str, Name(("value",), COST_KINDS)] = "value"
    """value: learned cost-to-go from the end of the plan, and the cost of each step until then. Others: distance to the
    goal over the horizon: its sum, at the end, at the closest approach, or closest and stay. Without a learned
    cost-to-go they need long horizons."""
    propose: bool = True
    """Whether the learned actor's plan is a candidate, and the first mean."""
    replan_every: Count | None = None
    """Environment steps before planning again; None: one where the actor acts alone, otherwise a predictor step."""
    reach_weight: NonNegative = 2.0
    """Cost 'reach': weight of the term that rewards arriving early and staying."""
    reach_scale: Positive = 0.03
    """Cost 'reach': squared latent distance (mean over features) at which that term saturates."""
    constant_blocks: bool = True
    """Whether the environment actions of one planner step are all the same; otherwise each is planned for itself."""
    warm_start: bool = True
    """Whether a search starts from the previous plan, shifted."""
    fill: Annotated[str, Name(FILLS)] = "last"
    """How to fill the end of a shifted plan: with its last action, or with zeros."""
    redraw: bool = True
    """Whether images of looks unlike those of the training data are redrawn first; familiar ones stay as they are."""
    chunk_size: Count | None = None
    """Most trajectories to roll out at once, to bound the memory; None: all."""

    @property
    def cost_options(self) -> dict[str, float]:
        """Options of the cost, for :func:`worldmodel.planning.distance_measure`."""
        return {"weight": self.reach_weight, "scale": self.reach_scale} if self.cost == "reach" else {}


def bounds_from_space(space: spaces.Space[Any], max_norm: float | None = None, *, block: int = 1) -> ActionBounds:
    """The bounds of an action space, flattened.

    Args:
        space: A ``Box``.
        max_norm: Largest Euclidean norm of an action, or None.
        block: Environment actions in one action of the planner.

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
        bounds: Bounds of the planner's actions.

    Raises:
        ValueError: If ``init_std`` is None and the actions are unbounded, or a search does not fit into memory.
    """
    kind, given = PLANNERS[config.planner], {f.name: getattr(config, f.name) for f in fields(config)}
    named = {f.name for f in fields(kind)}
    own = {name: value for name, value in given.items() if name in named}
    if "options" in named:
        own["options"] = SearchOptions(**{f.name: given[f.name] for f in fields(SearchOptions)})
    return kind(bounds=bounds, **own)


def build_measure(config: PlannerConfig, pretrained: Pretrained) -> Measure:
    """Makes the cost of imagined trajectories that a configuration names.

    Raises:
        ValueError: If planning so takes an actor and a critic, and the checkpoint has none.
    """
    if pretrained.actor_critic is None and (config.planner == "policy" or config.cost == "value"):
        raise ValueError(
            f"planner {config.planner!r} with cost {config.cost!r} needs a checkpoint with an actor and critics; "
            f"{pretrained.path} has none: give it another cost, one of {', '.join(map(repr, COST_KINDS))}, and a "
            "horizon that reaches the goal"
        )
    if config.cost == "value":
        return pretrained.actor_critic.trajectory_cost  # type: ignore[union-attr]
    return distance_measure(config.cost, **config.cost_options)
