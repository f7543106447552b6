"""Episodes that start and end where recorded ones were: the goal is what was seen some steps later."""

from typing import Any

import minari
import numpy as np

from agents.evaluation.manifest import Manifest
from agents.evaluation.task import GOAL_IMAGE, Task
from pretrain.data.formats.minari import MinariRecording
from pretrain.data.formats.registry import open_recording
from worldmodel.config import ConfigError

ALLOWED = 2
"""Steps that an episode has, in multiples of those that the recording took."""
TRIES = 20
"""Draws for each episode, until fewer starts than are wanted count as unsolved."""


def recorded_episodes(task: Task, dataset: str, steps_ahead: int, num_episodes: int, seed: int) -> Manifest:
    """Draws starts from recorded episodes, whose goals are what was seen so many steps later.

    The environment is reset with the recorded seed, and the recorded actions lead it to the start and to the goal.
    Starts at which the goal is reached already are left out.

    Args:
        task: The environment, in :class:`envs.goal_image.GoalImage`.
        dataset: Id or folder of a Minari dataset that was collected in it.
        steps_ahead: Steps from start to goal; twice as many are allowed.
        num_episodes: Number of episodes.
        seed: Seed of the draw.

    Raises:
        ValueError: If the dataset does not say how its episodes began, is of another environment, or has too few
            starts.
    """
    if GOAL_IMAGE not in task.env_kwargs:
        raise ConfigError("goals_from", "given with --goal-image, which leads to recorded states", dataset)
    recording = open_recording(dataset)
    seeds = _seeds(recording)
    if seeds is None:
        raise ConfigError("goals_from", "a Minari dataset with the seed of each episode", dataset)
    space = recording.action_space
    if space.shape != task.action_space.shape:
        raise ConfigError("goals_from", f"recorded in an environment with actions {task.action_space}", space)
    # What leads to the start counts in the environment's time limit.
    latest = np.asarray(recording.lengths) - steps_ahead
    if task.max_steps is not None:
        latest = np.minimum(latest, task.max_steps - ALLOWED * steps_ahead)
    able = np.flatnonzero(latest >= 0)
    if not len(able):
        rule = (
            f"recorded in episodes of at least {steps_ahead} steps, in an environment that allows {ALLOWED} times these"
        )
        raise ConfigError("goals_from", rule, f"episodes of up to {max(recording.lengths)} steps")
    rng, found, env = np.random.default_rng([seed, 2]), [], task.make()
    try:
        for _ in range(TRIES * num_episodes):
            episode = int(rng.choice(able))
            first = int(rng.integers(latest[episode], endpoint=True))
            actions = recording.actions(episode)[: first + steps_ahead].tolist()
            options = {"start_actions": actions[:first], "goal_actions": actions[first:]}
            if not env.reset(seed=seeds[episode], options=options)[1].get("is_success"):
                found.append((seeds[episode], options))
            if len(found) == num_episodes:
                break
        else:
            rule = f"recorded so that {num_episodes} starts are not at their goals {steps_ahead} steps later"
            raise ConfigError("goals_from", rule, f"{len(found)} of {TRIES * num_episodes}")
    finally:
        env.close()
    return Manifest(
        name=f"{task.env_id}, {steps_ahead} steps ahead in {recording.name}",
        env_id=task.env_id,
        seeds=tuple(seed for seed, _ in found),
        episodes=tuple(options for _, options in found),
        env_kwargs=task.env_kwargs,
        max_steps=ALLOWED * steps_ahead,
    )


def _seeds(recording: Any) -> list[int] | None:
    """Seeds with which recorded episodes began; None where they are not known."""
    if not isinstance(recording, MinariRecording):
        return None
    storage = minari.MinariDataset(recording.files[0].parent).storage
    seeds = [about.get("seed") for about in storage.get_episode_metadata(range(len(recording.lengths)))]
    return None if any(seed is None for seed in seeds) else [int(seed) for seed in seeds]
