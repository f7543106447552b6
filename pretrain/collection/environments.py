"""Registered environments: found by id, and told apart by what makes them, never by how they are called."""

import difflib
import importlib
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator

import envs  # noqa: F401  (registers the environments of this project)

TWO_ROOMS_ENTRY_POINT = "envs.two_rooms.env:TwoRoomsEnv"
"""What makes the Two Rooms environments, in the registry and in datasets."""


def is_two_rooms(spec: EnvSpec | None) -> bool:
    """Whether a specification is of one of the Two Rooms environments, whatever its id."""
    return spec is not None and _entry_point_name(spec.entry_point) == TWO_ROOMS_ENTRY_POINT


def has_horizontal_walls(spec: EnvSpec | None) -> bool:
    """Whether the walls of a Two Rooms environment run from left to right."""
    return spec is not None and spec.kwargs.get("wall_orientation") == "horizontal"


def find_spec(env_id: str) -> EnvSpec:
    """The specification of a registered environment, which a dataset can store.

    Args:
        env_id: Its id, such as "TwoRooms-v0" or "my_module:MyEnv-v0".

    Raises:
        ValueError: If there is no such environment, or its entry point cannot be imported by name.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(
                f"env_id must name an importable module before its colon, got {env_id!r}: {error} "
                "(is its folder in PYTHONPATH?)"
            ) from error
    try:
        return _serializable(gym.spec(name))
    except gym.error.Error as error:
        close = difflib.get_close_matches(name, list(gym.registry), n=5, cutoff=0.5)
        hint = f"; close matches are {', '.join(map(repr, close))}" if close else ""
        raise ValueError(
            f"env_id must be a registered Gymnasium environment (or 'module:Env-v0'), got {env_id!r}{hint}"
        ) from error


def _serializable(spec: EnvSpec) -> EnvSpec:
    """The specification with its entry point as a name, for a dataset cannot store the class itself."""
    entry_point = spec.entry_point
    if callable(entry_point):
        name = str(_entry_point_name(entry_point))
        try:
            found = load_env_creator(name)
        except (AttributeError, ImportError):
            found = None
        if found is not entry_point:
            raise ValueError(f"the entry point of {spec.id!r} must be importable by name, got {entry_point!r}")
        spec.entry_point = name
    return spec


def _entry_point_name(entry_point: Any) -> str | None:
    """An entry point as ``module:name``, whether it is that already or the class itself."""
    if callable(entry_point):
        return f"{getattr(entry_point, '__module__', '')}:{getattr(entry_point, '__qualname__', '')}"
    return entry_point
