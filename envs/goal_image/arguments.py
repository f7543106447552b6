"""The wrapper's arguments as they travel through the project: what is made of them, and what is known of it."""

import inspect
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from envs.domain import PIXELS, STATE, Domain, find_spec
from envs.goal_image.images import AUTO
from envs.goal_image.success import INFO, is_key
from envs.goal_image.wrapper import EXPLORE, GIVEN, GoalImage
from envs.inputs import check_choice
from envs.offscreen import find_backend

ARGUMENTS = tuple(inspect.signature(GoalImage).parameters)[1:]
"""Keywords of :class:`GoalImage`."""


def make(env_id: str, *, goal_image: Mapping[str, Any] | None = None, **kwargs: Any) -> gym.Env[Any, Any]:
    """:func:`gymnasium.make`, with :class:`GoalImage` around the environment where its arguments are given.

    Args:
        env_id: Gymnasium id of the environment.
        goal_image: Arguments of :class:`GoalImage`; None: the environment as it is. One that can render is made with
            ``render_mode="rgb_array"``.
        kwargs: Keywords of the environment.

    Raises:
        ValueError: If the wrapper's arguments do not fit.
        gymnasium.error.DependencyNotInstalled: If MuJoCo cannot draw here without a screen.
    """
    if env_id not in gym.registry:
        find_spec(env_id)
    if goal_image is None:
        return gym.make(env_id, **kwargs)
    arguments = {key: goal_image[check_choice("goal_image", key, ARGUMENTS)] for key in goal_image}
    creator = load_env_creator(str(find_spec(env_id).entry_point))
    if "rgb_array" in getattr(creator, "metadata", {}).get("render_modes", ()):
        kwargs = {"render_mode": "rgb_array"} | kwargs
        if "mujoco" in sys.modules:  # which would look for a screen
            find_backend()
    return GoalImage(gym.make(env_id, **kwargs), **arguments)


def wrapped_domain(domain: Domain, goal_image: Mapping[str, Any]) -> Domain:
    """What is known of environments within :class:`GoalImage`: how they are called, who explores them, what they show.

    Args:
        domain: Their own domain.
        goal_image: Arguments of the wrapper.
    """
    kinds = [PIXELS]
    if is_key(success := goal_image.get("success", AUTO)) and success != AUTO and not success.startswith(INFO):
        kinds.append(STATE)
    return Domain(
        name=domain.name,
        title=domain.title,
        observations={kind: {"goal_image": {**goal_image, "observation": kind}} for kind in kinds},
        reports_action=domain.reports_action,
        action_max_norm=domain.action_max_norm,
        # Those that look at what only the domain's own observations say are left out.
        explorers={name: make for name, make in domain.explorers.items() if name not in domain.explorers_see},
    )


def knows_success(goal_image: Mapping[str, Any]) -> bool:
    """Whether arguments of :class:`GoalImage` say what success is."""
    success, goals = (goal_image.get(name, default) for name, default in (("success", AUTO), ("goals", EXPLORE)))
    return success != "" and (success != AUTO or goals not in (EXPLORE, GIVEN))
