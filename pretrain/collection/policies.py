"""Who collects: policies by name, and saved agents by path."""

import hashlib
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from agents.evaluation.task import Task
from agents.saved import SCRIPTED
from agents.saved import make_policy as open_policy
from envs.domain import PIXELS, Domain, Policy
from envs.simulation import Array, Simulation, state_size
from worldmodel.storage.files import open_regular


def make_policy(policy: str, env: gym.Env[Any, Any], task: Task) -> Policy:
    """Makes a policy that gathers data.

    Args:
        policy: "random", one of the explorers of the environment's domain, "expert" where it has one, or the path (or
            shipped name) of a saved agent.
        env: The environment that it is to act in.
        task: The same as agents see it, where data are stored in another form.

    Raises:
        ValueError: If there is no such policy or agent, or it is not for this environment.
    """
    domain, kwargs = task.domain, task.env_kwargs
    assert isinstance(env.action_space, gym.spaces.Box)
    if policy in domain.explorers:
        return domain.explorers[policy](env.observation_space, env.action_space, kwargs)
    try:
        agent, sees = open_policy(policy, task)
    except (OSError, ValueError) as error:
        names = ", ".join(map(repr, (*SCRIPTED, *domain.explorers)))
        raise ValueError(f"policy must be one of {names} or a saved agent, got {policy!r}: {error}") from error
    if domain.simulate and sees == PIXELS:
        simulation, space = domain.simulation(kwargs), env.observation_space
        if isinstance(space, gym.spaces.Dict) and space["observation"].shape == (state_size(simulation),):
            return PixelsFromStates(agent, simulation)
    return agent


class PixelsFromStates:
    """Lets an agent that looks at pixels act where observations are states, by drawing them.

    The images equal those that the environment gives.

    Args:
        policy: The agent.
        simulation: What draws.
    """

    def __init__(self, policy: Policy, simulation: Simulation) -> None:
        self.policy = policy
        self.simulation = simulation

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seeds the agent, where it can be seeded."""
        set_random_seed(self.policy, seed)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Array | None = None, deterministic: bool = False
    ) -> tuple[Array, Any]:
        """Draws the observation and lets the agent act; see :class:`~envs.domain.Policy`."""
        states = np.atleast_2d(np.asarray(observation["observation"], dtype=np.float32))
        goals = np.atleast_2d(np.asarray(observation["desired_goal"], dtype=np.float32))
        num_coordinates = goals.shape[-1]
        both = np.stack([states[:, :num_coordinates], goals], 1)  # (N, 2, P)
        drawn = self.simulation.draw(both, states[:, num_coordinates:])
        if np.ndim(observation["observation"]) == 1:
            drawn = drawn[0]
        image, goal = np.moveaxis(drawn, -4, 0).copy()
        pixels = {"observation": image, "achieved_goal": image.copy(), "desired_goal": goal}
        return self.policy.predict(pixels, state=state, episode_start=episode_start, deterministic=deterministic)


def set_random_seed(policy: Policy, seed: int | None) -> None:
    """Seeds a policy that has Stable-Baselines3's ``set_random_seed``; others draw no random numbers."""
    if hasattr(policy, "set_random_seed"):
        policy.set_random_seed(seed)


def agent_digest(policy: str, domain: Domain) -> str | None:
    """SHA-256 of a saved agent's files but for hidden ones; ``None`` for policies that are not saved.

    Raises:
        ValueError: If one of them is a pipe, a device or the like.
    """
    path = Path(policy)
    if policy in (*SCRIPTED, *domain.explorers) or not path.exists():
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
