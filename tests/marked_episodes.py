"""Pendulum as somebody brings it along: each episode leaves a mark, which says in which node of a cluster it ran.

With this folder on the module path, ``gym.make("marked_episodes:MarkedPendulum-v0", folder=…)`` makes it.
"""

import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.classic_control.pendulum import PendulumEnv


class MarkedPendulum(PendulumEnv):
    """Gymnasium's Pendulum, with a goal: the upper half.

    In tasks of Ray a step takes so many seconds, and episodes wait until some have begun in so many nodes.
    """

    def __init__(self, folder: str, seconds: float = 0.0, nodes: int = 1, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self.folder, self.node, self.nodes = Path(folder), _node(), nodes
        self.seconds = seconds if self.node else 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        if seed is not None:
            with (self.folder / str(seed)).open("a") as file:
                file.write(f"{self.node or 'none'}\n")
            deadline = time.monotonic() + 60
            while self.node and len(set().union(*marks(self.folder).values())) < self.nodes:
                assert time.monotonic() < deadline, "no other node began an episode"
                time.sleep(0.02)
        return super().reset(seed=seed, options=options)

    def step(self, action):
        time.sleep(self.seconds)
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, info | {"is_success": bool(observation[0] > 0)}


def marks(folder: Path) -> dict[int, list[str]]:
    """Where each episode ran, once or several times, by its seed; without Ray in no node."""
    return {int(path.name): path.read_text().split() for path in folder.iterdir()}


def _node() -> str | None:
    """The node of the cluster that this is a task in."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    return context.get_node_id() if context.get_task_id() else None


gym.register("MarkedPendulum-v0", MarkedPendulum, max_episode_steps=10)
