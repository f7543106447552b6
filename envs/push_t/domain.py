"""What the rest of the project may ask of Push-T.

===============  ========  =====  ==============================================================
manifest         episodes  steps  start and goal
===============  ========  =====  ==============================================================
far              200       300    drawn independently
near             200       50     states of an expert's trajectory, 25 steps apart
validation       100       300    as in far (for all tuning)
validation-near  100       50     as in near (for all tuning)
===============  ========  =====  ==============================================================
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.domain import VALIDATION, Domain, Episodes, Policy, Recipe
from envs.explorers import random_walk
from envs.push_t.boards import Boards
from envs.push_t.drawing import agent_pixels, draw_picture, read_goals, to_canvas
from envs.push_t.geometry import TOLERANCE, Array, distance, distance_to_block, sample_episode, to_goals
from envs.push_t.policies.expert import ExpertPolicy
from envs.push_t.policies.explorers import mixed, noisy_expert, play
from envs.push_t.task import MAX_EPISODE_STEPS, OBSERVATIONS, REWARDS, Settings, Setup

ENV_ID = "PushT-v0"
FAR, NEAR = "far", "near"
"""Kinds of episodes: values of :attr:`Recipe.layout_set`."""
NEAR_STEPS = 50
"""Steps of a near episode."""
GOAL_AHEAD = 25
"""Steps of the expert between start and goal of a near episode."""
WINDOWS = 6
"""Near episodes that one trajectory of the expert gives at most."""

_BEYOND = 10  # steps after the first success in which starts may still lie


def draw_episodes(recipe: Recipe) -> Episodes:
    """Draws the episodes of a manifest; always the same ones.

    Raises:
        ImportError: If they need the expert and pymunk is not installed.
    """
    rng = np.random.default_rng(recipe.seed)
    options: list[dict[str, Any]] = []
    if recipe.layout_set == NEAR:
        while len(options) < recipe.num_episodes:
            options += _near_episodes(rng)
    else:
        for _ in range(recipe.num_episodes):
            start, goal = sample_episode(rng)
            options.append({"start": start.tolist(), "goal": goal.tolist()})
    return Episodes(rng.integers(2**31, size=recipe.num_episodes).tolist(), options[: recipe.num_episodes])


def _near_episodes(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Options of some episodes from one trajectory of the expert."""
    poses, velocities, last = _expert_trajectory(*sample_episode(rng))
    for start in rng.permutation(last)[:WINDOWS].tolist():
        ends = [_rounded(poses[step]) for step in (start, start + GOAL_AHEAD)]
        is_free = all(distance_to_block(end[:2], end[2:]) > 0 for end in ends)
        if is_free and distance(*map(to_goals, ends)) >= TOLERANCE:
            begin, goal = (end.tolist() for end in ends)
            yield {"start": begin, "goal": goal, "start_velocity": velocities[start].round(2).tolist()}


def _expert_trajectory(start: Array, goal: Array) -> tuple[Array, Array, int]:
    """Poses ``(T, 5)`` and velocities ``(T, 2)`` of the expert, and until which step something happens.

    It goes on for 25 steps after that.
    """
    task, expert, memory = Settings(observation="state"), ExpertPolicy(), None
    boards = Boards(task, 1)
    boards.begin([0], [Setup(start, goal, np.zeros(2))])
    poses, velocities, last = [boards.poses[0].copy()], [boards.velocities[0].copy()], MAX_EPISODE_STEPS - GOAL_AHEAD
    while len(poses) <= last + GOAL_AHEAD:
        observation, _, info = boards.view()
        if info["is_success"][0]:
            last = min(last, len(poses) + _BEYOND)
        actions, memory = expert.predict(observation, memory)
        boards.step(actions)
        poses.append(boards.poses[0].copy())
        velocities.append(boards.velocities[0].copy())
    return np.stack(poses), np.stack(velocities), last


def _rounded(pose: Array) -> NDArray[np.float64]:
    """A pose with two decimals, four of the angle, which lies in [−π, π]: small manifests, the same on any machine."""
    angle = np.remainder(pose[4] + np.pi, 2 * np.pi) - np.pi
    return np.append(pose[:4].round(2), angle.round(4))


def draw_scene(size: int, info: Mapping[str, Any], position: Array, trail: Array) -> NDArray[np.uint8]:
    """Draws a board for people."""
    return draw_picture(size, info["block"], info["goal"], position, trail)


def read_positions(images: NDArray[np.uint8]) -> Array:
    """Where agents are in images ``(N, size, size, 3)``, ``(N, 2)``."""
    return read_goals(images)[..., :2]


def _expert(env_kwargs: Mapping[str, Any]) -> Policy:
    return ExpertPolicy(env_kwargs.get("control", "relative"))


DOMAIN = Domain(
    # What it is
    name="push-t",
    title="Push-T",
    environments={
        ENV_ID: {
            "entry_point": "envs.push_t.env:PushTEnv",
            "vector_entry_point": "envs.push_t.vector:PushTVectorEnv",
            "max_episode_steps": MAX_EPISODE_STEPS,
        },
    },
    unit="px",
    observations={kind: {"observation": kind} for kind in OBSERVATIONS},
    rewards={kind: {"reward": kind} for kind in REWARDS},
    has_vector=True,
    goal_radius=TOLERANCE,
    # What everyone is evaluated on
    recipes={
        "far": Recipe(seed=31, num_episodes=200, env_id=ENV_ID, layout_set=FAR),
        "near": Recipe(seed=32, num_episodes=200, env_id=ENV_ID, layout_set=NEAR, max_steps=NEAR_STEPS),
        VALIDATION: Recipe(seed=33, num_episodes=100, env_id=ENV_ID, layout_set=FAR),
        "validation-near": Recipe(seed=34, num_episodes=100, env_id=ENV_ID, layout_set=NEAR, max_steps=NEAR_STEPS),
    },
    draw_episodes=draw_episodes,
    compared_on=("near", "far"),
    manifests=Path(__file__).parent / "manifests",
    # Who reaches nearly every goal, the ceiling in comparisons, and who gathers data
    expert=_expert,
    expert_sees="state",
    explorers={"mixed": mixed, "play": play, "noisy-expert": noisy_expert, "random-walk": random_walk},
    explorers_see=dict.fromkeys(("mixed", "play", "noisy-expert"), "state"),
    read_positions=read_positions,
    agent_pixels=agent_pixels,
    # What films show
    draw_scene=draw_scene,
    to_canvas=to_canvas,
)
