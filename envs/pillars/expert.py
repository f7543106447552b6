"""The scripted expert of Pillars, the ceiling in comparisons: it knows the geometry and follows the shortest path."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.pillars.scene import MAX_STEP, NUM_PILLARS, shortest_path


class ExpertPolicy:
    """Goes to the goal by the shortest path and stays there, with Stable-Baselines3's ``predict``.

    It has no memory: each call plans from where the agent is.
    """

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[NDArray[np.float32], Any]:
        """Actions ``(2,)`` or ``(N, 2)`` for observations of kind "state", one or a batch; ``state`` passes through.

        Raises:
            ValueError: If the observation is of another kind.
        """
        scenes, goals = np.asarray(observation["observation"]), np.asarray(observation["desired_goal"])
        if scenes.shape[-1] != 2 + 2 * NUM_PILLARS or goals.shape != (*scenes.shape[:-1], 2):
            raise ValueError(f"the expert needs observations of kind 'state', got shapes {scenes.shape}, {goals.shape}")
        pairs = zip(np.atleast_2d(scenes), np.atleast_2d(goals), strict=True)
        actions = np.stack([_action(scene, goal) for scene, goal in pairs])
        return actions.reshape(goals.shape), state


def _action(scene: NDArray[Any], goal: NDArray[Any]) -> NDArray[np.float32]:
    """The longest step along the first straight part of the path."""
    position, pillars = scene[:2], scene[2:].reshape(NUM_PILLARS, 2)
    step = (shortest_path(pillars, position, goal[None])[1] - position) / MAX_STEP
    return (step / max(1.0, np.abs(step).max())).astype(np.float32)
