"""Who collects: policies by name, and saved agents by path."""

import hashlib
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agents.scripted import RandomPolicy
from envs.two_rooms.physics import Layout
from envs.two_rooms.rendering import render
from pretrain.collection.environments import has_horizontal_walls, is_two_rooms
from pretrain.collection.explorers import Policy, WallSeekingExplorer, random_walk
from worldmodel.storage.files import open_regular

POLICIES = ("random", "random-walk", "wall-seeking", "expert")
"""Names of the built-in policies; the last two are for Two Rooms."""

Array = NDArray[Any]


def make_policy(policy: str, env: gym.Env[Any, Any]) -> Policy:
    """Makes a policy from its name, or loads a saved agent.

    Args:
        policy: One of :data:`POLICIES`, or the path (or shipped name) of a saved agent.
        env: The environment that it is to act in.

    Raises:
        ValueError: If there is no such policy or agent, or it is not for this environment.
    """
    two_rooms = is_two_rooms(env.spec)
    if policy in ("wall-seeking", "expert") and not two_rooms:
        raise ValueError(
            f"policy {policy!r} is for Two Rooms only, got environment {env.spec.id if env.spec else env!r}; "
            "in others act 'random', 'random-walk' and saved agents"
        )
    observation_space, action_space = env.observation_space, env.action_space
    assert isinstance(action_space, gym.spaces.Box)
    if policy == "random":
        return RandomPolicy(action_space)
    if policy == "random-walk":
        return random_walk(observation_space, action_space)
    horizontal = has_horizontal_walls(env.spec)
    if policy == "wall-seeking":
        return WallSeekingExplorer(observation_space, action_space, horizontal=horizontal)
    if policy == "expert":
        from envs.two_rooms.expert import ExpertPolicy

        return ExpertPolicy("horizontal" if horizontal else "vertical")
    agent = _load_agent(policy, action_space)
    if two_rooms and WallSeekingExplorer.accepts(observation_space):
        return PixelsFromStates(agent, horizontal=horizontal)
    return agent


class PixelsFromStates:
    """Lets an agent that looks at pixels act in Two Rooms with observations of kind "state", by rendering them.

    The images equal those that the environment gives with ``observation="pixels"``.

    Args:
        policy: The agent.
        horizontal: Whether the environment's walls are horizontal.
    """

    def __init__(self, policy: Policy, *, horizontal: bool = False) -> None:
        self.policy = policy
        self.horizontal = horizontal

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seeds the agent, where it can be seeded."""
        set_random_seed(self.policy, seed)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Array | None = None, deterministic: bool = False
    ) -> tuple[Array, Any]:
        """Renders the observation and lets the agent act; see :class:`~pretrain.collection.explorers.Policy`."""
        scene = np.asarray(observation["observation"], dtype=np.float32)
        wall, door = np.asarray(scene[..., 2]), np.asarray(scene[..., 3])
        layout = Layout(wall, door, np.full(wall.shape, self.horizontal))
        image = render(scene[..., :2], layout)
        goal = render(np.asarray(observation["desired_goal"], dtype=np.float32), layout)
        pixels = {"observation": image, "achieved_goal": image.copy(), "desired_goal": goal}
        return self.policy.predict(pixels, state=state, episode_start=episode_start, deterministic=deterministic)


def set_random_seed(policy: Policy, seed: int | None) -> None:
    """Seeds a policy that has Stable-Baselines3's ``set_random_seed``; others draw no random numbers."""
    if hasattr(policy, "set_random_seed"):
        policy.set_random_seed(seed)


def agent_digest(policy: str) -> str | None:
    """SHA-256 of a saved agent's files but for hidden ones; ``None`` for what is not a path.

    Raises:
        ValueError: If one of them is a pipe, a device or the like.
    """
    path = Path(policy)
    if policy in POLICIES or not path.exists():
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


def _load_agent(policy: str, action_space: gym.spaces.Box) -> Policy:
    from agents.planning_agent import PlanningAgent

    try:
        agent: Policy = PlanningAgent.from_pretrained(policy, action_space=action_space)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"policy must be one of {', '.join(map(repr, POLICIES))} or a saved agent, got {policy!r}: {error}"
        ) from error
    return agent
