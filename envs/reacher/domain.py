"""What the rest of the project may ask of Reacher.

===============  ========  ======================================================================
manifest         episodes  start and goal
===============  ========  ======================================================================
far              200       poses drawn independently, at rest; 200 steps
near             200       a pose, at rest, and that after 25 steps of somebody swinging; 50 steps
validation       100       as far (for all tuning)
validation-near  100       as near (for all tuning)
===============  ========  ======================================================================
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.domain import VALIDATION, Domain, Episodes, Recipe
from envs.explorers import random_walk
from envs.reacher.arm import GOAL_RADIUS, MAX_ELBOW, distance, fingertip, poses, sample_poses
from envs.reacher.drawing import agent_pixels, draw_picture, read_positions, to_canvas
from envs.reacher.env import OBSERVATIONS, REWARDS, ReacherEnv
from envs.reacher.expert import ExpertPolicy
from envs.reacher.explorer import SwingExplorer

ENV_ID = "Reacher-Pixels-v0"
MAX_EPISODE_STEPS = 200
NEAR_STEPS, NEAR_EPISODE_STEPS = 25, 50
"""Steps from start to goal in near episodes, and steps that they last."""


def draw_episodes(recipe: Recipe) -> Episodes:
    """Draws the episodes of a manifest; always the same ones. Near ones need MuJoCo, which they are played with."""
    rng = np.random.default_rng(recipe.seed)
    draw = _far if recipe.max_steps is None else _near
    options = draw(rng, recipe.num_episodes)
    return Episodes(rng.integers(2**31, size=recipe.num_episodes).tolist(), options)


def _far(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    options: list[dict[str, Any]] = []
    while len(options) < count:
        start, goal = sample_poses(rng, 2)
        if distance(fingertip(start), fingertip(goal)) >= GOAL_RADIUS:
            options.append({"start": start.tolist(), "goal": goal.tolist()})
    return options


def _near(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    options: list[dict[str, Any]] = []
    env = ReacherEnv(observation="state")
    swinger = SwingExplorer(env.observation_space, env.action_space, int(rng.integers(2**31)))
    while len(options) < count:
        seen, info = env.reset(seed=int(rng.integers(2**31)))
        start, memory = info["angles"], None
        for _ in range(NEAR_STEPS):
            action, memory = swinger.predict(seen, memory)
            seen, *_, info = env.step(action)
        goal = info["angles"].round(4)
        if distance(fingertip(start), fingertip(goal)) >= GOAL_RADIUS and abs(goal[1]) <= MAX_ELBOW:
            options.append({"start": start.tolist(), "goal": goal.tolist()})
    env.close()
    return options


def draw_scene(size: int, info: Mapping[str, Any], position: NDArray[Any], trail: NDArray[Any]) -> NDArray[np.uint8]:
    """Draws a scene for people: of the two poses with the fingertip there, that on the elbow's side of the arm."""
    angles = poses(position)[0 if info["angles"][1] >= 0 else 1]
    return draw_picture(size, angles, info["goal"], trail)


def _recipe(seed: int, num_episodes: int, max_steps: int | None = None) -> Recipe:
    return Recipe(seed=seed, num_episodes=num_episodes, env_id=ENV_ID, max_steps=max_steps)


DOMAIN = Domain(
    name="reacher",
    title="Reacher",
    environments={
        ENV_ID: {"entry_point": "envs.reacher.env:ReacherEnv", "max_episode_steps": MAX_EPISODE_STEPS},
    },
    unit="cm",
    observations={kind: {"observation": kind} for kind in OBSERVATIONS},
    rewards={kind: {"reward": kind} for kind in REWARDS},
    goal_radius=GOAL_RADIUS,
    recipes={
        "far": _recipe(41, 200),
        "near": _recipe(42, 200, NEAR_EPISODE_STEPS),
        VALIDATION: _recipe(43, 100),
        f"{VALIDATION}-near": _recipe(44, 100, NEAR_EPISODE_STEPS),
    },
    draw_episodes=draw_episodes,
    compared_on=("far", "near"),
    manifests=Path(__file__).parent / "manifests",
    expert=lambda env_kwargs: ExpertPolicy(),
    expert_sees="state",
    explorers={
        "swing": lambda observation_space, action_space, env_kwargs: SwingExplorer(observation_space, action_space),
        "random-walk": random_walk,
    },
    read_positions=read_positions,
    agent_pixels=agent_pixels,
    draw_scene=draw_scene,
    to_canvas=to_canvas,
)
