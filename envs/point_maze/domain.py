"""What the rest of the project may ask of PointMaze: each maze is a domain, for what is learned in one is of one.

===============  ========  ============================================================
manifest         episodes  start and goal
===============  ========  ============================================================
far              200       drawn independently, at rest; 300 steps
near             200       two states 25 steps apart while somebody wanders; 50 steps
validation       100       as far (for all tuning)
validation-near  100       as near
===============  ========  ============================================================
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.domain import VALIDATION, Domain, Episodes, Recipe
from envs.explorers import random_walk
from envs.point_maze.drawing import agent_pixels, draw_picture, find_positions, to_canvas
from envs.point_maze.env import OBSERVATIONS, REWARDS, PointMazeEnv
from envs.point_maze.expert import ExpertPolicy
from envs.point_maze.explorer import BUMPING, WanderExplorer
from envs.point_maze.mazes import GOAL_RADIUS, distance, is_free, sample_places, shortest_path_to_disc

ENV_IDS = {"umaze": "PointMaze-UMaze-Pixels-v0", "medium": "PointMaze-Medium-Pixels-v0"}
"""Ids by the names of the mazes."""
MAX_EPISODE_STEPS = 300
NEAR_STEPS, NEAR_EPISODE_STEPS = 25, 50
"""Steps from start to goal in near episodes, and steps that they last."""


def draw_episodes(recipe: Recipe) -> Episodes:
    """Draws the episodes of a manifest; always the same ones. Near ones need MuJoCo, which they are played with."""
    rng = np.random.default_rng(recipe.seed)
    maze = next(name for name, env_id in ENV_IDS.items() if env_id == recipe.env_id)
    is_near = recipe.max_steps is not None
    options = _near(rng, maze, recipe.num_episodes) if is_near else _far(rng, maze, recipe.num_episodes)
    shortest = None
    if not is_near:
        ends = [(np.array(one["start"]), np.array(one["goal"])) for one in options]
        shortest = [round(shortest_path_to_disc(maze, start, goal), 4) for start, goal in ends]
    return Episodes(rng.integers(2**31, size=recipe.num_episodes).tolist(), options, shortest)


def _far(rng: np.random.Generator, maze: str, count: int) -> list[dict[str, Any]]:
    options: list[dict[str, Any]] = []
    while len(options) < count:
        start, goal = sample_places(maze, rng, 2)
        if distance(start, goal) >= GOAL_RADIUS:
            options.append({"start": start.tolist(), "goal": goal.tolist()})
    return options


def _near(rng: np.random.Generator, maze: str, count: int) -> list[dict[str, Any]]:
    """Where somebody who wanders through the maze begins, at rest, and is some steps later."""
    options: list[dict[str, Any]] = []
    env = PointMazeEnv(maze=maze, observation="state")
    wanderer = WanderExplorer(env.observation_space, env.action_space, int(rng.integers(2**31)))
    while len(options) < count:
        seen, info = env.reset(seed=int(rng.integers(2**31)))
        start, memory = info["position"], None
        for _ in range(NEAR_STEPS):
            action, memory = wanderer.predict(seen, memory)
            seen, *_, info = env.step(action)
        goal = info["position"].round(4)
        if distance(start, goal) >= GOAL_RADIUS and is_free(maze, goal):
            options.append({"start": start.tolist(), "goal": goal.tolist()})
    env.close()
    return options


def draw_scene(size: int, info: Mapping[str, Any], position: NDArray[Any], trail: NDArray[Any]) -> NDArray[np.uint8]:
    """Draws a scene for people."""
    return draw_picture(size, info["maze"], position, info["goal"], trail)


def _recipe(seed: int, maze: str, num_episodes: int, max_steps: int | None = None) -> Recipe:
    return Recipe(seed=seed, num_episodes=num_episodes, env_id=ENV_IDS[maze], max_steps=max_steps)


def _domain(maze: str, name: str, title: str, seeds: tuple[int, int, int, int]) -> Domain:
    """The domain of a maze, with the seeds of its manifests."""
    far, near, validation, validation_near = seeds
    return Domain(
        name=name,
        title=title,
        environments={
            ENV_IDS[maze]: {
                "entry_point": "envs.point_maze.env:PointMazeEnv",
                "max_episode_steps": MAX_EPISODE_STEPS,
                "kwargs": {"maze": maze},
            }
        },
        unit="m",
        observations={kind: {"observation": kind} for kind in OBSERVATIONS},
        rewards={kind: {"reward": kind} for kind in REWARDS},
        goal_radius=GOAL_RADIUS,
        recipes={
            "far": _recipe(far, maze, 200),
            "near": _recipe(near, maze, 200, NEAR_EPISODE_STEPS),
            VALIDATION: _recipe(validation, maze, 100),
            f"{VALIDATION}-near": _recipe(validation_near, maze, 100, NEAR_EPISODE_STEPS),
        },
        draw_episodes=draw_episodes,
        compared_on=("far", "near"),
        manifests=Path(__file__).parent / "manifests" / maze,
        expert=lambda env_kwargs: ExpertPolicy(),
        expert_sees="state",
        explorers={
            "wander": lambda observation_space, action_space, env_kwargs: WanderExplorer(
                observation_space, action_space
            ),
            "bump": lambda observation_space, action_space, env_kwargs: WanderExplorer(
                observation_space, action_space, phases=BUMPING
            ),
            "random-walk": random_walk,
        },
        read_positions=find_positions,
        agent_pixels=agent_pixels,
        draw_scene=draw_scene,
        to_canvas=to_canvas,
    )


DOMAINS = (
    _domain("umaze", "point-maze", "PointMaze UMaze", (31, 32, 35, 36)),
    _domain("medium", "point-maze-medium", "PointMaze Medium", (33, 34, 37, 38)),
)
"""The smaller maze, and the larger one."""
