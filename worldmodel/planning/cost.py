"""Costs of imagined trajectories: how far, in latent space, from the goal."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodel.planning.plan import CostFn

Measure = Callable[[Float[Tensor, "B t s"], Float[Tensor, "B d"]], Float[Tensor, "B"]]
"""Cost of imagined trajectories of states, given the goal of each, a latent."""
Rollout = Callable[[Float[Tensor, "B s"], Float[Tensor, "B t a"]], Float[Tensor, "B t s"]]
"""Imagines the states that follow from states and actions."""


def squared_distances(latents: Float[Tensor, "*b t d"], goal: Float[Tensor, "*b d"]) -> Float[Tensor, "*b t"]:
    """Squared Euclidean distances to a goal latent, divided by the latent's dimension.

    Args:
        latents: Imagined trajectories.
        goal: A goal for each trajectory.

    Returns:
        A distance for each step.
    """
    return (latents - goal[..., None, :]).square().mean(-1)


def summed(distances: Float[Tensor, "*b t"]) -> Float[Tensor, "*b"]:
    """Sum over the horizon (EB-JEPA's): rewards being near at all times, so detours are dear."""
    return distances.sum(-1)


def last(distances: Float[Tensor, "*b t"]) -> Float[Tensor, "*b"]:
    """Distance at the end of the horizon only."""
    return distances[..., -1]


def closest(distances: Float[Tensor, "*b t"]) -> Float[Tensor, "*b"]:
    """Closest approach: the least distance over the horizon. Detours are free; near the goal it may hover."""
    return distances.amin(-1)


def reach(distances: Float[Tensor, "*b t"], *, weight: float = 1.0, scale: float = 0.5) -> Float[Tensor, "*b"]:
    """Closest approach plus the mean of a distance that saturates: get there, early, and stay.

    ``min_t d_t + weight · mean_t (1 − exp(−d_t / scale))``. Far from the goal the second term is flat, so that a detour
    costs next to nothing (with the summed distance agents wait at the wall); near it, every step spent there counts
    (with closest approach alone agents hover).

    Args:
        distances: Squared distances to the goal.
        weight: Weight of the saturating term.
        scale: Squared distance at which it saturates.

    Returns:
        The costs.

    Raises:
        ValueError: If the weight is negative or the scale not positive.
    """
    if weight < 0:
        raise ValueError(f"weight must be at least 0, got {weight}")
    if scale <= 0:
        raise ValueError(f"scale must be positive, got {scale}")
    return distances.amin(-1) - weight * torch.expm1(distances / -scale).mean(-1)


COST_KINDS: dict[str, Callable[..., Tensor]] = {"summed": summed, "last": last, "closest": closest, "reach": reach}
"""From distances at each step of the horizon to a cost."""


def distance_measure(kind: str, **options: Any) -> Measure:
    """A measure of trajectories by the latent distances of their steps to the goal.

    Args:
        kind: One of :data:`COST_KINDS`.
        **options: Options of the kind, such as ``weight`` and ``scale`` of :func:`reach`.

    Returns:
        A function from states ``(B, t, s)``, which end in their latents, and goals ``(B, d)`` to costs ``(B,)``.

    Raises:
        ValueError: If the kind is unknown or an option is out of its range.
        TypeError: If the kind has no such option.
    """
    if kind not in COST_KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, COST_KINDS))}, got {kind!r}")
    reduce = functools.partial(COST_KINDS[kind], **options)
    reduce(torch.ones(1))  # wrong options fail here, not in the middle of an episode
    return lambda states, goals: reduce(squared_distances(states[..., -goals.shape[-1] :], goals))


def make_cost(
    rollout: Rollout, start: Tensor, goal: Tensor, measure: Measure, *, chunk_size: int | None = None
) -> CostFn:
    """The cost of action sequences: roll out the model from a state and measure the trajectory.

    Args:
        rollout: The model.
        start: State of each environment, ``(b, s)``.
        goal: Latent of each environment's goal, ``(b, d)``.
        measure: Cost of a trajectory: one of distances (:func:`distance_measure`), or a learned one such as
            :meth:`worldmodel.imagination.actor_critic.ActorCritic.trajectory_cost`.
        chunk_size: Most trajectories to roll out at once, to bound the memory; None rolls out all.

    Returns:
        A function from candidates ``(b, n, t, a)`` to costs ``(b, n)``.

    Raises:
        ValueError: If the shapes or the chunk size are not valid.
    """
    if start.ndim != 2 or goal.ndim != 2 or len(start) != len(goal) or start.shape[1] < goal.shape[1]:
        raise ValueError(
            "start must have shape (b, s) and goal (b, d), of which a state is the last part, got "
            f"{tuple(start.shape)} and {tuple(goal.shape)}"
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1 or None, got {chunk_size}")

    def cost(actions: Tensor) -> Tensor:
        num_envs, num_samples = actions.shape[:2]
        if num_envs != len(start):
            raise ValueError(f"actions must be for {len(start)} environments, got shape {tuple(actions.shape)}")
        flat = actions.flatten(0, 1)
        starts, goals = (x[:, None].expand(-1, num_samples, -1).flatten(0, 1) for x in (start, goal))
        size = chunk_size or len(flat)
        costs = [
            measure(rollout(z, a).to(goals.dtype), g)
            for z, a, g in zip(starts.split(size), flat.split(size), goals.split(size), strict=True)
        ]
        return torch.cat(costs).view(num_envs, num_samples)

    return cost
