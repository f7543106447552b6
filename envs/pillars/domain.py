"""What the rest of the project may ask of Pillars: all that makes an environment of one's own a full citizen.

==========  ========  ===========================
manifest    episodes  layouts
==========  ========  ===========================
random      500       train
held-out    300       held-out
validation  300       validation (for all tuning)
==========  ========  ===========================

It brings no vector environment and no simulation, which are optional: they make training and measuring faster.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.domain import VALIDATION, Domain, Episodes, Recipe
from envs.pillars.drawing import agent_pixels, draw_picture, to_canvas
from envs.pillars.env import OBSERVATIONS, REWARDS
from envs.pillars.expert import ExpertPolicy
from envs.pillars.scene import GOAL_RADIUS, LAYOUT_SETS, pillars_of, sample_endpoints, shortest_path_to_disc

ENV_ID = "Pillars-v0"
MAX_EPISODE_STEPS = 100


def draw_episodes(recipe: Recipe) -> Episodes:
    """Draws the episodes of a manifest; always the same ones."""
    rng, options, shortest = np.random.default_rng(recipe.seed), [], []
    for layout in rng.choice(LAYOUT_SETS[recipe.layout_set or "all"], recipe.num_episodes):
        pillars = pillars_of(int(layout))
        start, goal = sample_endpoints(rng, pillars)
        shortest.append(round(shortest_path_to_disc(pillars, start, goal), 4))
        start, goal = (point.astype(np.float64).round(2).tolist() for point in (start, goal))
        options.append({"layout": int(layout), "start": start, "goal": goal})
    return Episodes(rng.integers(2**31, size=recipe.num_episodes).tolist(), options, shortest)


def draw_scene(size: int, info: Mapping[str, Any], position: NDArray[Any], trail: NDArray[Any]) -> NDArray[np.uint8]:
    """Draws a scene for people."""
    return draw_picture(size, pillars_of(int(info["layout"])), position, info["goal"], trail)


DOMAIN = Domain(
    # What it is
    name="pillars",
    title="Pillars",
    environments={
        ENV_ID: {"entry_point": "envs.pillars.env:PillarsEnv", "max_episode_steps": MAX_EPISODE_STEPS},
    },
    unit="px",
    observations={kind: {"observation": kind} for kind in OBSERVATIONS},
    rewards={kind: {"reward": kind} for kind in REWARDS},
    layout_sets=tuple(LAYOUT_SETS),
    goal_radius=GOAL_RADIUS,
    # What everyone is evaluated on
    recipes={
        "random": Recipe(seed=11, num_episodes=500, env_id=ENV_ID, layout_set="train"),
        "held-out": Recipe(seed=12, num_episodes=300, env_id=ENV_ID, layout_set="held-out"),
        VALIDATION: Recipe(seed=13, num_episodes=300, env_id=ENV_ID, layout_set="validation"),
    },
    draw_episodes=draw_episodes,
    compared_on=("random", "held-out"),
    manifests=Path(__file__).parent / "manifests",
    # Who reaches every goal, the ceiling in comparisons
    expert=lambda env_kwargs: ExpertPolicy(),
    expert_sees="state",
    agent_pixels=agent_pixels,
    # What films show
    draw_scene=draw_scene,
    to_canvas=to_canvas,
)
