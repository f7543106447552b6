"""Which episodes an evaluation is of: those of a manifest, of an environment of one's own, or with recorded goals."""

from dataclasses import replace

import numpy as np

from agents.evaluation.evaluate import Manifest
from agents.evaluation.task import Task, make_task
from benchmarks.evaluation.config import DEFAULT_EPISODES, EvaluateConfig
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.evaluation.recorded import recorded_episodes
from worldmodel.config import ConfigError


def find_episodes(config: EvaluateConfig) -> tuple[Manifest, Task]:
    """The episodes, and the environment they take place in.

    Raises:
        ValueError: If there are none of this name, or nobody knows success in this environment.
    """
    if config.env_id is None:
        config.goal_image.require_none()
        if config.goals_from is not None:
            raise ConfigError(
                "goals_from", "given with --env-id only: a manifest has goals of its own", config.goals_from
            )
        manifest = load_manifest(config.manifest)
        kwargs = manifest.env_kwargs | config.env_kwargs
        if kwargs != manifest.env_kwargs:
            # Another task, so another name and another hash.
            changes = ", ".join(f"{key}={value}" for key, value in config.env_kwargs.items())
            manifest = replace(manifest, name=f"{manifest.name}, {changes}", env_kwargs=kwargs)
        return manifest, make_task(manifest.env_id, manifest.env_kwargs)
    task = make_task(config.env_id, config.goal_image.join(config.env_kwargs))
    task.check_success()
    count = config.num_episodes or DEFAULT_EPISODES
    if config.goals_from is not None:
        return recorded_episodes(task, config.goals_from, config.steps_ahead, count, config.seed), task
    # Drawn one after the other, so that fewer episodes are the first of more.
    seeds = tuple(np.random.default_rng([config.seed, 1]).integers(2**31, size=count).tolist())
    return Manifest(config.env_id, config.env_id, seeds, env_kwargs=task.env_kwargs, max_steps=task.max_steps), task
