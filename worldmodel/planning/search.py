"""The loop that all sampling planners share: sample, project, evaluate, select elites, refine.

A planner is this loop with its own rule for the next mean and standard deviation (:meth:`SamplingPlanner.refine`).
"""

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodel.nn.devices import require_memory
from worldmodel.planning.bounds import LARGEST, ActionBounds
from worldmodel.planning.noise import coloured_noise
from worldmodel.planning.plan import CostFn, Plan, SearchOptions, Trace

WORST = LARGEST
"""The cost of candidates whose cost is not finite."""

EASY_ACTIONS = 1e15
"""Actions up to this have sums and squares that single precision holds."""


@dataclass
class _Progress:
    """The state of a search; every tensor starts with the environments' dimension."""

    mean: Tensor  # (b, t, a)
    std: Tensor  # (b, t, a)
    elites: Tensor  # (b, k, t, a), best first
    elite_costs: Tensor  # (b, k)
    best: Tensor  # (b, t, a)
    best_cost: Tensor  # (b,)
    trace: Tensor  # (b, 3): best, mean and elite cost of the last iteration
    num_stalled: Tensor  # (b,) iterations in a row without improvement
    num_iterations: Tensor  # (b,)


@dataclass(frozen=True, kw_only=True)
class SamplingPlanner:
    """Searches for action sequences of low cost; a planner adds its rule :meth:`refine`.

    Candidates of no finite cost are never executed, shape no mean and are not carried over.

    Attributes:
        bounds: Bounds of the actions.
        options: How to search.

    Raises:
        ValueError: If ``init_std`` is None and the actions are unbounded, or a search does not fit into memory.
    """

    own_options: ClassVar[type | None] = None
    """Configuration of the fields that a planner adds, which checks them."""
    bounds: ActionBounds
    options: SearchOptions = SearchOptions()  # noqa: RUF009 - frozen
    mean_candidate: ClassVar[bool] = False
    """Whether the mean is a candidate of the last iteration."""

    def __post_init__(self) -> None:
        if self.own_options is not None:
            self.own_options(**{f.name: getattr(self, f.name) for f in fields(self.own_options)})
        # The noise of all iterations is drawn at once, in single precision.
        sizes = {name: getattr(self.options, name) for name in ("num_iterations", "num_samples", "horizon")}
        shown = " × ".join(f"{name} {size}" for name, size in sizes.items())
        require_memory(4.0 * math.prod(sizes.values()) * self.bounds.action_dim, f"the noise of a search ({shown})")
        if math.isinf(self.init_std):
            raise ValueError(f"init_std must be given where actions are unbounded, got None with {self.bounds}")

    @property
    def horizon(self) -> int:
        """Steps of a plan."""
        return self.options.horizon

    @functools.cached_property
    def init_std(self) -> float:
        """Standard deviation of the first iteration's noise."""
        return (0.4 * self.bounds.radius or 1.0) if self.options.init_std is None else self.options.init_std

    @property
    def min_std(self) -> float:
        """Lower bound of the standard deviation."""
        return 0.05 * self.init_std if self.options.min_std is None else self.options.min_std

    @functools.cached_property
    def _is_easy(self) -> bool:
        """Whether sums and squares of actions stay finite."""
        return self.bounds.largest <= EASY_ACTIONS

    def refine(
        self,
        elites: Float[Tensor, "b k t a"],
        costs: Float[Tensor, "b k"],
        mean: Float[Tensor, "b t a"],
        std: Float[Tensor, "b t a"],
    ) -> tuple[Float[Tensor, "b t a"], Float[Tensor, "b t a"]]:
        """The next mean and standard deviation, environment by environment.

        Args:
            elites: Best candidates, best first; any number of them, all of finite cost.
            costs: Their costs.
            mean: The mean that they were sampled around.
            std: The standard deviation that they were sampled with.
        """
        raise NotImplementedError

    @torch.no_grad()
    def plan(
        self, cost: CostFn, *, init: Tensor | None, generators: Sequence[torch.Generator], record: bool = False
    ) -> Plan:
        """Plans for ``len(generators)`` environments; see :meth:`worldmodel.planning.Planner.plan`."""
        started = time.perf_counter()
        if not generators:
            raise ValueError("generators must hold one generator for each environment, got none")
        options, device = self.options, generators[0].device
        bounds = self.bounds.to(device)
        given = bounds.project(_starting_plans(init, len(generators), bounds.action_dim, options, device))
        samples = options.samples_per_iteration
        # Environment by environment: each gets the same numbers, bit for bit, whichever others are planned for.
        shape = sum(samples), options.horizon, bounds.action_dim
        noise = torch.stack([coloured_noise(*shape, options.noise_beta, generator) for generator in generators])
        search = functools.partial(self._search, cost, given, init is not None, noise, started, record)
        # Each iteration must know whether there are costs that are not finite. Asking a device would wait for it every
        # time, so there the search trusts that all are, and is made again where that was wrong.
        asks = _is_free(device)
        progress, trace, costs = search(asks=asks)
        if not asks and float(torch.cat(costs, 1).max()) >= WORST:
            progress, trace, _ = search(asks=True)
        check_finite(progress.best_cost)
        return _conclude(progress, cost, bounds, options, trace)

    def _search(
        self, cost: CostFn, given: Tensor, has_init: bool, noise: Tensor, started: float, record: bool, *, asks: bool
    ) -> tuple[_Progress, Trace, list[Tensor]]:
        """All iterations, from plans ``given`` and with their noise.

        Args:
            cost: What to minimise.
            given: Plans to start from.
            has_init: Whether somebody gave them, so that they are candidates.
            noise: Of all candidates of all iterations.
            started: When the search began.
            record: Keep all candidates.
            asks: Whether it asks after each iteration for candidates of no finite cost, and leaves them out.

        Returns:
            How the search ended, how it went, and the costs of each iteration's candidates.
        """
        options, bounds, samples = self.options, self.bounds.to(given.device), self.options.samples_per_iteration
        progress = self._begin(given, noise.dtype)
        rows, seen, recorded = [], [], []
        for i, iteration_noise in enumerate(noise.split(samples, dim=1)):
            candidates = bounds.project(torch.addcmul(progress.mean[:, None], progress.std[:, None], iteration_noise))
            if i == 0:
                _inject(candidates, given, has_init, bounds, options)
            elif self.mean_candidate and i == len(samples) - 1 and samples[i] > 1:
                # Allowed but for rounding, since the elites are.
                allowed = bounds.allow(progress.mean)[..., None]
                fits = _is_free(allowed.device) and bool(allowed.all())
                projected = progress.mean if fits else bounds.project(progress.mean)
                candidates[:, 0] = torch.where(allowed, progress.mean, projected)
            costs = evaluate(cost, candidates)
            progress = self._advance(progress, candidates, costs, asks=asks)
            rows.append(progress.trace)
            seen.append(costs)
            if record:
                recorded.append(candidates)
            if _finished(progress, started, options):
                break
        best, mean, elite = torch.stack(rows, 1).unbind(-1)
        trace = Trace(
            best=best,
            mean=mean,
            elite=elite,
            candidates=tuple(recorded) if record else None,
            candidate_costs=tuple(seen) if record else None,
        )
        return progress, trace, seen

    def _begin(self, given: Tensor, dtype: torch.dtype) -> _Progress:
        num_envs, _, horizon, action_dim = given.shape
        return _Progress(
            mean=given[:, 0],
            std=torch.full_like(given[:, 0], min(self.init_std, LARGEST)),
            elites=given.new_empty(num_envs, 0, horizon, action_dim),
            elite_costs=given.new_empty(num_envs, 0),
            best=given[:, 0],
            best_cost=torch.full((num_envs,), math.inf, dtype=dtype, device=given.device),
            trace=given.new_zeros(num_envs, 3),
            num_stalled=torch.zeros(num_envs, dtype=torch.int64, device=given.device),
            num_iterations=torch.zeros(num_envs, dtype=torch.int64, device=given.device),
        )

    def _advance(self, progress: _Progress, candidates: Tensor, costs: Tensor, *, asks: bool) -> _Progress:
        """One iteration's selection and refinement; environments whose search has stopped stay as they are."""
        options = self.options
        kept, kept_costs = progress.elites[:, : options.num_kept], progress.elite_costs[:, : options.num_kept]
        population = torch.cat([kept, candidates], 1) if kept.shape[1] else candidates
        population_costs = torch.cat([kept_costs, costs], 1) if kept.shape[1] else costs
        # Best first; among equals the earlier first (a stable sort, as on every device).
        order = population_costs.argsort(dim=1, stable=True)[:, : options.num_elites]
        envs = torch.arange(len(costs), device=costs.device)[:, None]
        elites, elite_costs = population[envs, order], population_costs[envs, order]
        mean, std = self._refined(elites, elite_costs, progress.mean, progress.std)
        if asks and float(population_costs.max()) >= WORST:
            mean, std = self._of_finite_cost(mean, std, elites, elite_costs, costs, progress)
        better = elite_costs[:, 0] < progress.best_cost
        best_cost = torch.where(better, elite_costs[:, 0], progress.best_cost)
        new = _Progress(
            mean=mean,
            std=std,
            elites=elites,
            elite_costs=elite_costs,
            best=torch.where(better[:, None, None], elites[:, 0], progress.best),
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

    def _refined(self, elites: Tensor, costs: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """The rule's mean and standard deviation, bounded from below; a number that overflows stays as it was."""
        new_mean, new_std = self.refine(elites, costs, mean, std)
        if not self._is_easy:
            new_mean = torch.where(new_mean.isfinite(), new_mean, mean)
            new_std = torch.where(new_std.isfinite(), new_std, std)
        return new_mean, new_std.clamp_min(min(self.min_std, LARGEST))

    def _of_finite_cost(
        self, mean: Tensor, std: Tensor, elites: Tensor, elite_costs: Tensor, costs: Tensor, progress: _Progress
    ) -> tuple[Tensor, Tensor]:
        """Leaves elites of no finite cost out of the next mean and standard deviation.

        Environments whose new candidates all have no finite cost keep what they had.
        """
        found = (costs < WORST).any(1).tolist()
        num_finite = (elite_costs < WORST).sum(1).tolist()
        means, stds = list(mean.split(1)), list(std.split(1))
        for i, count in enumerate(num_finite):
            env, best = slice(i, i + 1), slice(count)
            before = progress.mean[env], progress.std[env]
            if not found[i]:
                means[i], stds[i] = before
            elif count < elites.shape[1]:
                means[i], stds[i] = self._refined(elites[env, best], elite_costs[env, best], *before)
        return torch.cat(means), torch.cat(stds)


def evaluate(cost: CostFn, candidates: Float[Tensor, "b n t a"]) -> Float[Tensor, "b n"]:
    """Costs as finite float32: those that are not finite become :data:`WORST`, so that they never win.

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
            f"cost must be finite for some candidate of every environment, got none in environments "
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


def _inject(candidates: Tensor, given: Tensor, has_init: bool, bounds: ActionBounds, options: SearchOptions) -> None:
    """Puts the given plans and the zero plan in place of the first candidates, as far as there is room."""
    num_given = min(given.shape[1], candidates.shape[1]) if has_init else 0
    candidates[:, :num_given] = given[:, :num_given]
    if options.zero_candidate:
        candidates[:, num_given : num_given + 1] = bounds.nothing


def _conclude(progress: _Progress, cost: CostFn, bounds: ActionBounds, options: SearchOptions, trace: Trace) -> Plan:
    """The plan that a search has found."""
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
    return Plan(
        actions=actions,
        cost=final_cost,
        elites=elites[:, first_other : options.num_kept],
        num_iterations=progress.num_iterations,
        trace=trace,
    )


def _is_free(device: torch.device) -> bool:
    """Whether a number can be read without waiting for the device."""
    return device.type == "cpu"


def _finished(progress: _Progress, started: float, options: SearchOptions) -> bool:
    if options.tolerance is not None and not bool((progress.num_stalled < options.patience).any()):
        return True
    if options.budget_ms is None:
        return False
    if progress.mean.device.type != "cpu":
        torch.accelerator.synchronize(progress.mean.device)
    return (time.perf_counter() - started) * 1000 >= options.budget_ms
