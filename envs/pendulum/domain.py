"""What the rest of the project may ask of Pendulum.

===============  ========  ==================================================================
manifest         episodes  start and goal
===============  ========  ==================================================================
far              200       anywhere; upright, to be held for the last 10 of 200 steps
near             200       two states 25 steps apart while somebody plays; 50 steps
validation       100       as far (for all tuning)
validation-near  100       as near (for all tuning)
===============  ========  ==================================================================
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.domain import VALIDATION, Domain, Episodes, Recipe
from envs.explorers import random_walk
from envs.pendulum.drawing import agent_pixels, draw_picture, to_canvas
from envs.pendulum.env import OBSERVATIONS, REWARDS, TOLERANCE
from envs.pendulum.expert import ExpertPolicy, swing_up
from envs.pendulum.explorer import SwingExplorer
from envs.pendulum.physics import MAX_TORQUE, angle_between, step

ENV_ID = "Pendulum-Pixels-v0"
MAX_EPISODE_STEPS = 200
NEAR_STEPS, NEAR_EPISODE_STEPS = 25, 50
"""Steps from start to goal in near episodes, and steps that they last."""
NEAR = {"goals": "any", "hold": 1}
"""Keywords of the environment in near episodes."""


def draw_episodes(recipe: Recipe) -> Episodes:
    """Draws the episodes of a manifest; always the same ones."""
    rng = np.random.default_rng(recipe.seed)
    options: list[dict[str, Any]] = []
    while len(options) < recipe.num_episodes:
        start = rng.uniform((-np.pi, -1), (np.pi, 1))
        goal = 0.0
        if recipe.env_kwargs:
            states = _play(rng, start)
            first = int(rng.integers(len(states) - NEAR_STEPS))
            start, goal = states[first], float(states[first + NEAR_STEPS, 0])
        if np.degrees(angle_between(start[0], goal)) >= TOLERANCE:
            options.append({"start": start.round(4).tolist(), "goal": round(goal, 4)})
    return Episodes(rng.integers(2**31, size=recipe.num_episodes).tolist(), options)


def _play(rng: np.random.Generator, state: NDArray[Any]) -> NDArray[np.float64]:
    """States ``(T, 2)`` of an episode of someone who swings the pendulum up, or plays with the torque."""
    swings, torque, states = rng.random() < 0.5, 0.0, [state]
    for _ in range(MAX_EPISODE_STEPS):
        torque = 0.9 * torque + 0.44 * MAX_TORQUE * rng.standard_normal()
        states.append(step(states[-1], swing_up(states[-1]) if swings else torque))
    return np.stack(states)


def draw_scene(size: int, info: Mapping[str, Any], position: NDArray[Any], trail: NDArray[Any]) -> NDArray[np.uint8]:
    """Draws a scene for people."""
    return draw_picture(size, float(np.arctan2(-position[0], position[1])), float(info["goal"]), trail)


def _near(seed: int, num_episodes: int) -> Recipe:
    shared: dict[str, Any] = {"env_id": ENV_ID, "env_kwargs": NEAR, "max_steps": NEAR_EPISODE_STEPS}
    return Recipe(seed=seed, num_episodes=num_episodes, measure="ever", **shared)


DOMAIN = Domain(
    name="pendulum",
    title="Pendulum",
    environments={
        ENV_ID: {"entry_point": "envs.pendulum.env:PendulumEnv", "max_episode_steps": MAX_EPISODE_STEPS},
    },
    unit="°",
    observations={kind: {"observation": kind} for kind in OBSERVATIONS},
    rewards={kind: {"reward": kind} for kind in REWARDS},
    goal_radius=TOLERANCE,
    recipes={
        "far": Recipe(seed=21, num_episodes=200, env_id=ENV_ID),
        "near": _near(seed=22, num_episodes=200),
        VALIDATION: Recipe(seed=23, num_episodes=100, env_id=ENV_ID),
        f"{VALIDATION}-near": _near(seed=24, num_episodes=100),
    },
    draw_episodes=draw_episodes,
    compared_on=("far", "near"),
    manifests=Path(__file__).parent / "manifests",
    expert=lambda env_kwargs: ExpertPolicy(),
    expert_sees="state",
    explorers={
        "swing": lambda seen, actions, keywords: SwingExplorer(seen, actions),
        "random-walk": random_walk,
    },
    explorers_see={"swing": "state"},
    agent_pixels=agent_pixels,
    draw_scene=draw_scene,
    to_canvas=to_canvas,
)
