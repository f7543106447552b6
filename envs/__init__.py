"""Gymnasium environments of this project; importing the package registers them.

==================  ====================================================
id                  what it is
==================  ====================================================
TwoRooms-v0         wall and door are elsewhere in each episode
TwoRoomsFixed-v0    the wall is at 32, the door at 18
Pillars-v0          round pillars stand on a square floor
==================  ====================================================

Example:
    >>> import gymnasium as gym
    >>> gym.make("envs:TwoRooms-v0").spec.max_episode_steps
    200
"""

from envs.domain import Domain, Policy, Recipe, domain_of, domains, find_domain, find_spec, register
from envs.pillars.domain import DOMAIN as PILLARS
from envs.two_rooms.domain import DOMAIN as TWO_ROOMS

__all__ = ["Domain", "Policy", "Recipe", "domain_of", "domains", "find_domain", "find_spec", "register"]

for _domain in (TWO_ROOMS, PILLARS):
    register(_domain)
