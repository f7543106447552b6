"""Who collects: policies by name, and saved agents by path."""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import gymnasium as gym

from agents.evaluation.task import Task
from agents.saved import RANDOM, SCRIPTED
from agents.saved import make_policy as open_policy
from envs.domain import Domain, Policy
from worldmodel.checkpoint import CheckpointError, locate
from worldmodel.storage.files import open_regular


def make_policy(policy: str, env: gym.Env[Any, Any], task: Task) -> tuple[Policy, gym.Env[Any, Any] | None]:
    """Makes a policy that gathers data.

    Args:
        policy: "random", one of the explorers of the environment's domain, "expert" where it has one, or the path (or
            shipped name) of a saved agent.
        env: The environment that is recorded.
        task: The same as agents see it.

    Returns:
        The policy, and the environment as it sees it; None: as it is recorded.

    Raises:
        ValueError: If there is no such policy or agent, or it is not for this environment.
    """
    domain = task.domain
    assert isinstance(env.action_space, gym.spaces.Box)
    if policy in domain.explorers:
        twin = _make_twin(env, task, domain.explorers_see.get(policy))
        space = (twin or env).observation_space
        return domain.explorers[policy](space, env.action_space, task.env_kwargs), twin
    try:
        agent, sees = open_policy(policy, task)
    except (OSError, ValueError) as error:
        names = ", ".join(map(repr, (*SCRIPTED, *domain.explorers)))
        raise ValueError(f"policy must be one of {names} or a saved agent, got {policy!r}: {error}") from error
    return agent, None if policy == RANDOM else _make_twin(env, task, sees)


def _make_twin(env: gym.Env[Any, Any], task: Task, sees: str | None) -> gym.Env[Any, Any] | None:
    """The environment as a policy sees it, where that is not what is recorded."""
    if sees is None or env.spec is None:
        return None
    twin = task.make(sees, max_episode_steps=env.spec.max_episode_steps)
    if twin.observation_space != env.observation_space:
        return twin
    twin.close()
    return None


def set_random_seed(policy: Policy, seed: int | None) -> None:
    """Seeds a policy that has Stable-Baselines3's ``set_random_seed``; others draw no random numbers."""
    if hasattr(policy, "set_random_seed"):
        policy.set_random_seed(seed)


def agent_digest(policy: str, domain: Domain) -> str | None:
    """SHA-256 of the files of an agent that is saved, ships or is on a hub, but for hidden ones; ``None`` for others.

    Raises:
        ValueError: If one of them is a pipe, a device or the like.
        worldmodel.storage.hub.HubError: If a hub does not give it.
    """
    if policy in (*SCRIPTED, *domain.explorers):
        return None
    path = Path(policy)
    with contextlib.suppress(CheckpointError):
        path = locate(policy)
    if not path.exists():
        return None
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*") if path.is_dir() else [path]):
        if file.is_dir() or not file.exists() or file.name.startswith("."):
            continue
        digest.update(file.name.encode())
        with open_regular(file) as content:
            while chunk := content.read(2**20):
                digest.update(chunk)
    return digest.hexdigest()
