"""Gymnasium environments of this project; importing the package registers them.

==================  ====================================================
id                  what it is
==================  ====================================================
TwoRooms-v0         wall and door are elsewhere in each episode
TwoRoomsFixed-v0    the wall is at 32, the door at 18
==================  ====================================================

Example:
    >>> import gymnasium as gym
    >>> gym.make("envs:TwoRooms-v0").spec.max_episode_steps
    200
"""

from typing import Any

import gymnasium

from envs.two_rooms.layouts import FIXED_LAYOUT
from envs.two_rooms.task import MAX_EPISODE_STEPS


def _register(env_id: str, **kwargs: Any) -> None:
    """Registers a Two Rooms environment, once however often the package is imported."""
    if env_id not in gymnasium.registry:
        gymnasium.register(
            id=env_id,
            entry_point="envs.two_rooms.env:TwoRoomsEnv",
            vector_entry_point="envs.two_rooms.vector:TwoRoomsVectorEnv",
            max_episode_steps=MAX_EPISODE_STEPS,
            kwargs=kwargs,
        )


_register("TwoRooms-v0", layout_set="train")
_register("TwoRoomsFixed-v0", layout=(FIXED_LAYOUT.wall, FIXED_LAYOUT.door))
