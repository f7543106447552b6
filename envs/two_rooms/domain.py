"""What the rest of the project may ask of Two Rooms.

===============  ========  ===================================  ====================
manifest         episodes  layouts                              collision
===============  ========  ===================================  ====================
random-wall      1,000     train                                stay
fixed-wall       300       wall 32, door 18                     stay
held-out         500       held-out                             stay
validation       500       validation (for all tuning)          stay
bounce           1,000     those of random-wall, same episodes  bounce
pldm             200       wall 32, door 10                     bounce
validation-pldm  100       wall 32, door 10 (for tuning)        bounce
===============  ========  ===================================  ====================

"pldm" is the protocol of PLDM (arXiv 2502.14819) for models of the recipes of that name: the goal counts when it is
passed, at a distance below √2 px.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.domain import VALIDATION, Domain, Episodes, Recipe
from envs.explorers import random_walk
from envs.simulation import Array
from envs.two_rooms.layouts import FIXED_LAYOUT, LAYOUT_SETS, PLDM_LAYOUT, sample_endpoints, sample_layouts
from envs.two_rooms.physics import GOAL_RADIUS, MAX_STEP, Layout, shortest_path_to_goal_disc
from envs.two_rooms.policies.expert import ExpertPolicy
from envs.two_rooms.policies.explorer import WallSeekingExplorer
from envs.two_rooms.simulation.states import IN_ONE_LAYOUT, TwoRoomsSimulation
from envs.two_rooms.task import MAX_EPISODE_STEPS, OBSERVATIONS, REWARDS, agent_pixels, image_positions

PLDM_GOAL_RADIUS = math.sqrt(2)
"""Distance at which PLDM counts a goal as reached, in pixels: the mean squared error of the two coordinates is 1."""


def _environment(**kwargs: Any) -> dict[str, Any]:
    """How an environment is registered."""
    return {
        "entry_point": "envs.two_rooms.env:TwoRoomsEnv",
        "vector_entry_point": "envs.two_rooms.vector:TwoRoomsVectorEnv",
        "max_episode_steps": MAX_EPISODE_STEPS,
        "kwargs": kwargs,
    }


def _recipe(seed: int, num_episodes: int, layout_set: str | None, collision: str = "stay") -> Recipe:
    return Recipe(
        seed=seed,
        num_episodes=num_episodes,
        env_id="TwoRoomsFixed-v0" if layout_set is None else "TwoRooms-v0",
        env_kwargs={"collision": collision},
        layout_set=layout_set,
    )


def _pldm(seed: int, num_episodes: int) -> Recipe:
    return Recipe(
        seed=seed,
        num_episodes=num_episodes,
        env_id="TwoRooms-v0",
        env_kwargs={"collision": "bounce", "layout": list(PLDM_LAYOUT[:2]), "goal_radius": PLDM_GOAL_RADIUS},
        measure="ever",
        trained_on=IN_ONE_LAYOUT,
    )


def draw_episodes(recipe: Recipe) -> Episodes:
    """Draws the episodes of a manifest; always the same ones."""
    rng, n = np.random.default_rng(recipe.seed), recipe.num_episodes
    if recipe.layout_set is None:
        layouts = Layout(*recipe.env_kwargs.get("layout", FIXED_LAYOUT)).broadcast((n,))
    else:
        layouts = sample_layouts(rng, n, recipe.layout_set)
    # Two decimals keep the files small; the bounds of starts and goals have one, so rounding never leaves them.
    starts, goals = (points.astype(np.float64).round(2) for points in sample_endpoints(rng, layouts))
    radius = recipe.env_kwargs.get("goal_radius", GOAL_RADIUS)
    shortest = shortest_path_to_goal_disc(starts.astype(np.float32), goals.astype(np.float32), layouts, radius)
    options = [
        {"layout": [int(wall), int(door)], "start": start.tolist(), "goal": goal.tolist()}
        for wall, door, start, goal in zip(layouts.wall, layouts.door, starts, goals, strict=True)
    ]
    return Episodes(rng.integers(2**31, size=n).tolist(), options, shortest.round(4).tolist())


def draw_scene(size: int, info: Mapping[str, Any], position: Array, trail: Array) -> NDArray[np.uint8]:
    """Draws a scene for people; see :func:`envs.two_rooms.pictures.viewer.draw_scene`."""
    from envs.two_rooms.pictures import viewer  # pygame is slow to import and needed for pictures only

    return viewer.draw_scene(size, Layout(*info["layout"]), position, info["goal"], trail)


def to_canvas(points: Array, size: int) -> Array:
    """Where positions lie in such a picture."""
    from envs.two_rooms.pictures import viewer

    return viewer.to_canvas(points, size)


def _orientation(env_kwargs: Mapping[str, Any]) -> str:
    return env_kwargs.get("wall_orientation", "vertical")


DOMAIN = Domain(
    name="two-rooms",
    title="Two Rooms",
    environments={
        "TwoRooms-v0": _environment(layout_set="train"),
        "TwoRoomsFixed-v0": _environment(layout=(FIXED_LAYOUT.wall, FIXED_LAYOUT.door)),
    },
    unit="px",
    observations={kind: {"observation": kind} for kind in OBSERVATIONS},
    compact="state",
    rewards={kind: {"reward": kind} for kind in REWARDS},
    layout_sets=LAYOUT_SETS,
    has_vector=True,
    reports_action=True,
    action_max_norm=MAX_STEP,
    goal_radius=GOAL_RADIUS,
    recipes={
        "random-wall": _recipe(1, 1000, "train"),
        "fixed-wall": _recipe(2, 300, None),
        "held-out": _recipe(3, 500, "held-out"),
        VALIDATION: _recipe(4, 500, "validation"),
        "bounce": _recipe(1, 1000, "train", collision="bounce"),
        "pldm": _pldm(5, 200),
        f"{VALIDATION}-pldm": _pldm(6, 100),
    },
    draw_episodes=draw_episodes,
    compared_on=("random-wall", "held-out", "bounce"),
    manifests=Path(__file__).parent / "manifests",
    expert=lambda env_kwargs: ExpertPolicy(_orientation(env_kwargs)),
    expert_sees="state",
    explorers={
        "random-walk": random_walk,
        "wall-seeking": lambda observation_space, action_space, env_kwargs: WallSeekingExplorer(
            observation_space, action_space, horizontal=_orientation(env_kwargs) == "horizontal"
        ),
    },
    explorers_see={"wall-seeking": "state"},
    read_positions=image_positions,
    agent_pixels=agent_pixels,
    simulate=lambda env_kwargs: TwoRoomsSimulation(_orientation(env_kwargs)),
    draw_scene=draw_scene,
    to_canvas=to_canvas,
)
