"""An environment to act in, as somebody asked for it: its id, its keywords, its domain."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium.vector import SyncVectorEnv, VectorEnv

import envs as _envs  # noqa: F401 - registers the environments of this project
from envs.domain import Domain, domain_of


@dataclass(frozen=True)
class Task:
    """An environment to act in.

    Attributes:
        env_id: Its Gymnasium id.
        env_kwargs: Keywords that it is made with.
        domain: What is known of it.
        max_steps: Steps after which it truncates an episode; None: never.
        action_space: Its action space.
        observation_space: Its observation space, of the kind that it gives by default.
    """

    env_id: str
    env_kwargs: dict[str, Any]
    domain: Domain
    max_steps: int | None
    action_space: gym.Space[Any]
    observation_space: gym.Space[Any]

    def make(self, observation: str | None = None, **kwargs: Any) -> gym.Env[Any, Any]:
        """Makes a single environment with this kind of observation, one of its domain's."""
        return gym.make(self.env_id, **self._keywords(observation), **kwargs)

    def vector(self, observation: str | None = None) -> Callable[[int], VectorEnv]:
        """A function that makes a vector of N such environments."""
        if self.domain.has_vector:
            kwargs = self._keywords(observation) | {"autoreset_mode": "Disabled"}
            return lambda num_envs: gym.make_vec(self.env_id, num_envs=num_envs, **kwargs)

        def make_one(index: int) -> Callable[[], gym.Env[Any, Any]]:
            return lambda: _OwnOptions(self.make(observation), index)

        return lambda num_envs: SyncVectorEnv([make_one(index) for index in range(num_envs)])

    def _keywords(self, observation: str | None) -> dict[str, Any]:
        return self.env_kwargs | self.domain.keywords(observation=observation)


class _OwnOptions(gym.Wrapper[Any, Any, Any, Any]):
    """One of several environments that takes its own entry of the options that all are reset with.

    Args:
        env: The environment.
        index: Which it is.
    """

    def __init__(self, env: gym.Env[Any, Any], index: int) -> None:
        super().__init__(env)
        self.index = index

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the environment with its own options."""
        return self.env.reset(seed=seed, options=options and {key: value[self.index] for key, value in options.items()})


def make_task(env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> Task:
    """Looks an environment up.

    Raises:
        ValueError: If there is no such environment, or it cannot be made so.
    """
    kwargs = dict(env_kwargs or {})
    try:
        env = gym.make(env_id, **kwargs)
    except (gym.error.Error, ImportError, TypeError) as error:
        raise ValueError(
            f"env_id must be a registered Gymnasium environment, got {env_id!r} with keywords {kwargs}: {error}"
        ) from error
    spec = env.spec
    env.close()
    return Task(
        env_id=env_id,
        env_kwargs=kwargs,
        domain=domain_of(spec),
        max_steps=spec.max_episode_steps if spec else None,
        action_space=env.action_space,
        observation_space=env.observation_space,
    )
