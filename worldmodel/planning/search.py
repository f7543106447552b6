"""The loop that all sampling planners share: sample, project, evaluate, select elites, refine.

A planner is this loop with its own rule for the next mean and standard deviation (:data:`Refine`).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodel.planning.bounds import LARGEST, ActionBounds
from worldmodel.planning.noise import draw_noise
from worldmodel.planning.plan import CostFn, Plan, Trace

EXECUTE = ("best", "mean")
"""What a planner can return: the best candidate, or the mean of the final distribution."""

WORST = LARGEST
"""The cost of candidates whose cost is not finite."""

EASY_ACTIONS = 1e15
"""Actions up to this have sums and squares that single precision holds."""

Refine = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From elites ``(b, k, t, a)`` with costs ``(b, k)``, mean and std ``(b, t, a)`` to the next mean and std.

Environment by environment, and for any number of elites: those of no finite cost are left out."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Options that all sampling planners share.

    Attributes:
        horizon: Steps of a plan.
        num_samples: Candidates of an iteration.
        num_iterations: Most iterations of a search.
        num_elites: Best candidates from which the next distribution is made.
        init_std: Standard deviation of the first iteration's noise, in units of the actions.
        min_std: Lower bound of the standard deviation, in units of the actions.
        noise_beta: Exponent of the noise's spectrum (0 white, 1 pink, 2 red).
        keep_elites: Fraction of the elites that compete again in the next iteration, their costs remembered, and
            that :func:`worldmodel.planning.warm_start` carries to the next search; any above 0 keeps at least one.
        sample_decay: Factor by which an iteration has fewer samples than the one before, down to ``2 · num_elites``.
        execute: ``"best"`` returns the best candidate of all iterations, ``"mean"`` the final mean.
        zero_candidate: Whether doing nothing is a candidate of the first iteration; in a box without 0, what is nearest
            to it.
        mean_candidate: Whether the mean is a candidate of the last iteration.
        tolerance: An environment's search stops when its best cost has improved by less than this fraction of itself
            in ``patience`` iterations on end; None searches on.
        patience: See ``tolerance``.
        budget_ms: No iteration is begun after this many milliseconds, but one always is; None for no limit. Plans
            then depend on the speed of the machine.

    Raises:
        ValueError: If an option is out of its range.
    """

    horizon: int = 20
    num_samples: int = 128
    num_iterations: int = 3
    num_elites: int = 16
    init_std: float = 1.0
    min_std: float = 0.05
    noise_beta: float = 0.0
    keep_elites: float = 0.0
    sample_decay: float = 1.0
    execute: str = "best"
    zero_candidate: bool = True
    mean_candidate: bool = False
    tolerance: float | None = None
    patience: int = 1
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        for name in ("horizon", "num_samples", "num_iterations", "num_elites", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_elites > self.num_samples:
            raise ValueError(f"num_elites must not exceed num_samples ({self.num_samples}), got {self.num_elites}")
        if not 0 < self.init_std < math.inf:
            raise ValueError(f"init_std must be positive and finite, got {self.init_std}")
        for name in ("min_std", "noise_beta"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        if not 0 <= self.keep_elites <= 1:
            raise ValueError(f"keep_elites must be a fraction in [0, 1], got {self.keep_elites}")
        if not self.sample_decay >= 1:
            raise ValueError(f"sample_decay must be at least 1, got {self.sample_decay}")
        if self.execute not in EXECUTE:
            raise ValueError(f"execute must be one of {', '.join(map(repr, EXECUTE))}, got {self.execute!r}")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise ValueError(f"tolerance must be at least 0 or None, got {self.tolerance}")
        if self.budget_ms is not None and not self.budget_ms > 0:
            raise ValueError(f"budget_ms must be positive or None, got {self.budget_ms}")

    @property
    def num_kept(self) -> int:
        """Elites that are kept."""
        return math.ceil(self.keep_elites * self.num_elites)

    @property
    def samples_per_iteration(self) -> list[int]:
        """Candidates of each iteration, after decay (Pinneri et al. 2020, algorithm 1)."""
        fewest = min(self.num_samples, 2 * self.num_elites)
        return [max(int(self.num_samples * self.sample_decay**-i), fewest) for i in range(self.num_iterations)]


@dataclass
class _Progress:
    """What a search knows so far; every tensor starts with the environments' dimension."""

    mean: Tensor  # (b, t, a)
    std: Tensor  # (b, t, a)
    elites: Tensor  # (b, k, t, a), best first
    elite_costs: Tensor  # (b, k)
    best: Tensor  # (b, t, a)
    best_cost: Tensor  # (b,)
    trace: Tensor  # (b, 3): best, mean and elite cost of the last iteration
    num_stalled: Tensor  # (b,) iterations without improvement, on end
    num_iterations: Tensor  # (b,)


@torch.no_grad()
def search(
    cost: CostFn,
    *,
    bounds: ActionBounds,
    options: SearchOptions,
    refine: Refine,
    init: Tensor | None,
    generators: Sequence[torch.Generator],
    record: bool = False,
) -> Plan:
    """Searches for action sequences of low cost.

    Candidates of no finite cost are never executed, shape no mean and are not carried over.

    Args:
        cost: What to minimise.
        bounds: What actions are allowed.
        options: How to search.
        refine: The planner's rule for the next distribution.
        init: Plans to start from, ``(b, t, a)`` or ``(b, k, t, a)``; None for zero actions, within the bounds.
        generators: One for each environment.
        record: Keep all candidates in the trace.

    Returns:
        The plans; see :class:`worldmodel.planning.Planner`.

    Raises:
        ValueError: If ``init``, the generators or the costs have a wrong shape.
        FloatingPointError: If for some environment no candidate has a finite cost.
    """
    started = time.perf_counter()
    if not generators:
        raise ValueError("generators must hold one generator for each environment, got none")
    device = generators[0].device
    bounds = bounds.to(device)
    if not bounds.largest <= EASY_ACTIONS:
        refine = _without_overflow(refine)
    given = bounds.project(_starting_plans(init, len(generators), bounds.action_dim, options, device))
    samples = options.samples_per_iteration
    noise = draw_noise(generators, sum(samples), options.horizon, bounds.action_dim, options.noise_beta)
    progress = _begin(given, options, noise.dtype)
    rows, recorded = [], []
    for i, iteration_noise in enumerate(noise.split(samples, dim=1)):
        candidates = bounds.project(sample(progress.mean, progress.std, iteration_noise))
        if i == 0:
            _inject(candidates, given, init is not None, bounds, options)
        elif options.mean_candidate and i == len(samples) - 1 and samples[i] > 1:
            # Allowed but for rounding, since the elites are.
            allowed = bounds.allow(progress.mean)[..., None]
            projected = progress.mean if bool(allowed.all()) else bounds.project(progress.mean)
            candidates[:, 0] = torch.where(allowed, progress.mean, projected)
        costs = evaluate(cost, candidates)
        progress = _advance(progress, candidates, costs, refine, options)
        rows.append(progress.trace)
        if record:
            recorded.append((candidates, costs))
        if _finished(progress, started, options):
            break
    check_finite(progress.best_cost)
    actions, final_cost, first_other = progress.best, progress.best_cost, 1  # the best is the first of the kept elites
    if options.execute == "mean":
        first_other = 0
        actions = bounds.project(progress.mean)
        final_cost = evaluate(cost, actions[:, None])[:, 0]
        worthless = final_cost >= WORST
        actions = torch.where(worthless[:, None, None], progress.best, actions)
        final_cost = torch.where(worthless, progress.best_cost, final_cost)
    finite = (progress.elite_costs < WORST)[..., None, None]
    elites = torch.where(finite, progress.elites, progress.best[:, None])
    best, mean, elite = torch.stack(rows, 1).unbind(-1)
    return Plan(
        actions=actions,
        cost=final_cost,
        elites=elites[:, first_other : options.num_kept],
        num_iterations=progress.num_iterations,
        trace=Trace(
            best=best,
            mean=mean,
            elite=elite,
            candidates=tuple(c for c, _ in recorded) if record else None,
            candidate_costs=tuple(c for _, c in recorded) if record else None,
        ),
    )


def sample(
    mean: Float[Tensor, "b t a"], std: Float[Tensor, "b t a"], noise: Float[Tensor, "b n t a"]
) -> Float[Tensor, "b n t a"]:
    """Candidates around a mean: ``mean + std · noise``."""
    return torch.addcmul(mean[:, None], std[:, None], noise)


def select_elites(
    candidates: Float[Tensor, "b n t a"], costs: Float[Tensor, "b n"], num_elites: int
) -> tuple[Float[Tensor, "b k t a"], Float[Tensor, "b k"]]:
    """The candidates of lowest cost, best first; of equals the earlier (a stable sort, the same on every device).

    Args:
        candidates: Action sequences.
        costs: Their costs.
        num_elites: How many to take; fewer if there are fewer.

    Returns:
        The elites and their costs.
    """
    order = costs.argsort(dim=1, stable=True)[:, :num_elites]
    envs = torch.arange(len(costs), device=costs.device)[:, None]
    return candidates[envs, order], costs[envs, order]


def evaluate(cost: CostFn, candidates: Float[Tensor, "b n t a"]) -> Float[Tensor, "b n"]:
    """Costs as finite float32: what is not finite becomes :data:`WORST`, so that it never wins.

    Raises:
        ValueError: If the costs have a wrong shape.
    """
    costs = cost(candidates)
    if costs.shape != candidates.shape[:2]:
        raise ValueError(f"cost must return shape {tuple(candidates.shape[:2])}, got {tuple(costs.shape)}")
    return costs.float().nan_to_num(nan=WORST, posinf=WORST, neginf=WORST)


def check_finite(best_cost: Float[Tensor, "b"]) -> None:
    """Raises FloatingPointError if the best cost of some environment is the worst there is."""
    hopeless = best_cost >= WORST
    if bool(hopeless.any()):
        raise FloatingPointError(
            f"cost must be finite for some candidate of every environment; it is for none of environments "
            f"{hopeless.nonzero()[:, 0].tolist()}"
        )


def _starting_plans(
    init: Tensor | None, num_envs: int, action_dim: int, options: SearchOptions, device: torch.device
) -> Tensor:
    """Plans to start from ``(b, k, t, a)``; the first is the first mean."""
    step = (options.horizon, action_dim)
    if init is None:
        return torch.zeros(num_envs, 1, *step, device=device)
    plans = init[:, None] if init.ndim == 3 else init
    if plans.ndim != 4 or plans.shape[0] != num_envs or plans.shape[1] < 1 or plans.shape[2:] != step:
        raise ValueError(
            f"init must have shape ({num_envs}, {step[0]}, {step[1]}) or ({num_envs}, k, {step[0]}, {step[1]}), k ≥ 1, "
            f"one plan or more for each generator; got {tuple(init.shape)}"
        )
    return plans.to(device, torch.float32)


def _begin(given: Tensor, options: SearchOptions, dtype: torch.dtype) -> _Progress:
    num_envs, _, horizon, action_dim = given.shape
    empty = given.new_empty(num_envs, 0, horizon, action_dim)
    return _Progress(
        mean=given[:, 0],
        std=torch.full_like(given[:, 0], min(options.init_std, LARGEST)),
        elites=empty,
        elite_costs=given.new_empty(num_envs, 0),
        best=given[:, 0],
        best_cost=torch.full((num_envs,), math.inf, dtype=dtype, device=given.device),
        trace=given.new_zeros(num_envs, 3),
        num_stalled=torch.zeros(num_envs, dtype=torch.int64, device=given.device),
        num_iterations=torch.zeros(num_envs, dtype=torch.int64, device=given.device),
    )


def _inject(candidates: Tensor, given: Tensor, has_init: bool, bounds: ActionBounds, options: SearchOptions) -> None:
    """Puts the given plans and the zero plan in place of the first candidates, as far as there is room."""
    num_given = min(given.shape[1], candidates.shape[1]) if has_init else 0
    candidates[:, :num_given] = given[:, :num_given]
    if options.zero_candidate:
        candidates[:, num_given : num_given + 1] = bounds.nothing


def _advance(
    progress: _Progress, candidates: Tensor, costs: Tensor, refine: Refine, options: SearchOptions
) -> _Progress:
    """One iteration's selection and refinement; environments whose search has stopped stay as they are."""
    kept, kept_costs = progress.elites[:, : options.num_kept], progress.elite_costs[:, : options.num_kept]
    population = torch.cat([kept, candidates], 1) if kept.shape[1] else candidates
    population_costs = torch.cat([kept_costs, costs], 1) if kept.shape[1] else costs
    elites, elite_costs = select_elites(population, population_costs, options.num_elites)
    mean, std = refine(elites, elite_costs, progress.mean, progress.std)
    std = std.clamp_min(min(options.min_std, LARGEST))
    if float(population_costs.max()) >= WORST:
        mean, std = _of_finite_cost(mean, std, elites, elite_costs, costs, progress, refine, options)
    better = elite_costs[:, 0] < progress.best_cost
    best = torch.where(better[:, None, None], elites[:, 0], progress.best)
    best_cost = torch.where(better, elite_costs[:, 0], progress.best_cost)
    new = _Progress(
        mean=mean,
        std=std,
        elites=elites,
        elite_costs=elite_costs,
        best=best,
        best_cost=best_cost,
        trace=torch.stack([elite_costs[:, 0], costs.mean(1), elite_costs.mean(1)], 1),
        num_stalled=progress.num_stalled,
        num_iterations=progress.num_iterations + 1,
    )
    if options.tolerance is None or progress.elites.shape[1] == 0:  # the first iteration has nothing to improve on
        return new
    gain = progress.best_cost - best_cost
    stalled = (gain <= options.tolerance * progress.best_cost.abs()) & (best_cost < WORST)
    new.num_stalled = torch.where(stalled, progress.num_stalled + 1, 0)
    active = progress.num_stalled < options.patience

    def choose(after: Tensor, before: Tensor) -> Tensor:
        return torch.where(active.view(-1, *[1] * (after.ndim - 1)), after, before)

    return _Progress(**{name: choose(getattr(new, name), getattr(progress, name)) for name in vars(new)})


def _of_finite_cost(
    mean: Tensor,
    std: Tensor,
    elites: Tensor,
    elite_costs: Tensor,
    costs: Tensor,
    progress: _Progress,
    refine: Refine,
    options: SearchOptions,
) -> tuple[Tensor, Tensor]:
    """The next mean and standard deviation where some costs are not finite: of the other elites.

    Environments of which no new candidate has a finite cost keep what they had.
    """
    found = (costs < WORST).any(1).tolist()
    num_finite = (elite_costs < WORST).sum(1).tolist()
    means, stds = list(mean.split(1)), list(std.split(1))
    for i, count in enumerate(num_finite):
        env, best = slice(i, i + 1), slice(count)
        if not found[i]:
            means[i], stds[i] = progress.mean[env], progress.std[env]
        elif count < elites.shape[1]:
            means[i], std_i = refine(elites[env, best], elite_costs[env, best], progress.mean[env], progress.std[env])
            stds[i] = std_i.clamp_min(min(options.min_std, LARGEST))
    return torch.cat(means), torch.cat(stds)


def _without_overflow(refine: Refine) -> Refine:
    """The same rule for bounds so wide that sums or squares of actions overflow: what does stays as it was."""

    def careful(elites: Tensor, costs: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        new_mean, new_std = refine(elites, costs, mean, std)
        return torch.where(new_mean.isfinite(), new_mean, mean), torch.where(new_std.isfinite(), new_std, std)

    return careful


def _finished(progress: _Progress, started: float, options: SearchOptions) -> bool:
    if options.tolerance is not None and not bool((progress.num_stalled < options.patience).any()):
        return True
    if options.budget_ms is None:
        return False
    if progress.mean.device.type != "cpu":
        torch.accelerator.synchronize(progress.mean.device)
    return (time.perf_counter() - started) * 1000 >= options.budget_ms
