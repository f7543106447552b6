"""Goal images: any environment that can be seen, with pictures of where it shall go.

::

    images.py     where an environment's images are, and how they become uint8 (H, W, C) of one size
    success.py    when a goal counts as reached
    wrapper.py    GoalImage, which puts the two around an environment
    arguments.py  environments made, and domains known, from the wrapper's arguments
"""

from envs.goal_image.arguments import knows_success, make, wrapped_domain
from envs.goal_image.wrapper import GoalImage

__all__ = ["GoalImage", "knows_success", "make", "wrapped_domain"]
