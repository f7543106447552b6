"""Gymnasium environments of this project; importing the package registers them.

=============================  ===================================================================
id                             what it is
=============================  ===================================================================
TwoRooms-v0                    wall and door are elsewhere in each episode
TwoRoomsFixed-v0               the wall is at 32, the door at 18
Pillars-v0                     round pillars stand on a square floor
Pendulum-Pixels-v0             Gymnasium's pendulum: swing up and hold, or reach an angle
PushT-v0                       a T-shaped block is pushed into a pose (extra ``pusht``)
PointMaze-UMaze-Pixels-v0      a ball is pushed through a maze shaped as a U (extra ``mujoco``)
PointMaze-Medium-Pixels-v0     the same in a larger maze (extra ``mujoco``)
Reacher-Pixels-v0              an arm of two links reaches with its fingertip (extra ``mujoco``)
=============================  ===================================================================

Example:
    >>> import gymnasium as gym
    >>> gym.make("envs:TwoRooms-v0").spec.max_episode_steps
    200
"""

from typing import TYPE_CHECKING, Any

from envs.domain import Domain, Policy, Recipe, domain_of, domains, find_domain, find_spec, register
from envs.pendulum.domain import DOMAIN as PENDULUM
from envs.pillars.domain import DOMAIN as PILLARS
from envs.point_maze.domain import DOMAINS as POINT_MAZES
from envs.push_t.domain import DOMAIN as PUSH_T
from envs.reacher.domain import DOMAIN as REACHER
from envs.two_rooms.domain import DOMAIN as TWO_ROOMS

if TYPE_CHECKING:
    from envs.goal_image import GoalImage

__all__ = ["Domain", "GoalImage", "Policy", "Recipe", "domain_of", "domains", "find_domain", "find_spec", "register"]

for _domain in (TWO_ROOMS, PILLARS, PENDULUM, PUSH_T, *POINT_MAZES, REACHER):
    register(_domain)


def __getattr__(name: str) -> Any:
    """Imports :class:`~envs.goal_image.GoalImage`, and Pillow with it, when it is first used."""
    if name != "GoalImage":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from envs.goal_image import GoalImage

    return GoalImage
