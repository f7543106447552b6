"""An environment to act in, as somebody asked for it: its id, its keywords, its domain.

::

    --env-id, --env-kwargs, --goal-image.…  ──► make_task ──► Task ──► make, vector

The keyword ``goal_image`` is not the environment's: it holds the arguments of :class:`envs.goal_image.GoalImage`, which
is put around it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

import envs as _envs  # noqa: F401 - registers the environments of this project
from envs.domain import Domain, domain_of
from envs.goal_image import knows_success, make, wrapped_domain
from worldmodel.config import ConfigError, Count, Positive, Side, config

GOAL_IMAGE = "goal_image"
"""Keyword that holds the arguments of the wrapper."""


@config
class GoalImageConfig:
    """Shows an environment as images, with a goal image; any of these wraps it."""

    size: Side | None = None
    """Side of the images in pixels, 64 by default."""
    image: str | None = None
    """Where images come from: 'render', or the key of an image in the observations; by default the only one there, else
    what the environment renders."""
    axes: str | None = None
    """Axes of that image, such as HWC or SCHW (S: a stack of frames), where its shape does not tell."""
    channels: Count | None = None
    """Channels of one frame, where frames are stacked along the channels."""
    goals: str | None = None
    """Where goals come from: 'explore' (default): what an explorer reaches from the same reset; or MODULE:FUNCTION, a
    function of environment and generator that brings it to the goal and returns what is observed there."""
    goal_steps: Count | None = None
    """Steps of that explorer, 50 by default."""
    explorer: str | None = None
    """Who explores, 'random-walk' by default."""
    success: str | None = None
    """When a goal counts as reached: the key of an observation, or of a part of it ('observation[0:2]'), or info.KEY,
    which must come within the tolerance of its value at the goal; 'own', the environment's own; or MODULE:FUNCTION.
    Collecting needs none."""
    tolerance: Positive | None = None
    """Largest distance of such a value from the goal's."""

    def keywords(self) -> dict[str, Any]:
        """The keyword ``goal_image``, in JSON types; none where nothing was given."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        found = {name: value for name, value in given.items() if value is not None}
        return {GOAL_IMAGE: found} if found else {}

    def require_none(self) -> None:
        """Checks that nothing was given, for episodes of a manifest, which have goals of their own.

        Raises:
            ConfigError: If something was.
        """
        if given := self.keywords().get(GOAL_IMAGE):
            raise ConfigError(
                GOAL_IMAGE, "given with --env-id only: episodes of a manifest have goals of their own", given
            )

    def join(self, env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Keywords of an environment, and these.

        Raises:
            ConfigError: If the keyword ``goal_image`` among them is no object.
        """
        given, own = env_kwargs.get(GOAL_IMAGE), self.keywords()
        if given is None:
            return {**env_kwargs, **own}
        if not isinstance(given, dict):
            raise ConfigError(f"env_kwargs[{GOAL_IMAGE!r}]", "a JSON object", given)
        return {**env_kwargs, GOAL_IMAGE: {**given, **own.get(GOAL_IMAGE, {})}}


@dataclass(frozen=True)
class Task:
    """An environment to act in.

    Attributes:
        env_id: Its Gymnasium id.
        env_kwargs: Keywords that it is made with, and the arguments of the wrapper as ``goal_image``.
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
        return make(self.env_id, **self.keywords(observation=observation), **kwargs)

    def vector(
        self, observation: str | None = None, *, autoreset_mode: AutoresetMode | None = None, **kinds: Any
    ) -> Callable[[int], VectorEnv]:
        """A function that makes a vector of N such environments.

        Args:
            observation: Kind of observation.
            autoreset_mode: When environments reset themselves; by default as evaluations want it.
            kinds: Kinds of ``reward`` and ``layout_set``.
        """
        kwargs = self.keywords(observation=observation, **kinds)
        if self.domain.has_vector:
            native = kwargs | {"autoreset_mode": (autoreset_mode or AutoresetMode.DISABLED).value}
            return lambda num_envs: gym.make_vec(self.env_id, num_envs=num_envs, **native)

        def make_one(index: int) -> gym.Env[Any, Any]:
            return _OwnOptions(make(self.env_id, **kwargs), index)

        mode = autoreset_mode or AutoresetMode.NEXT_STEP
        return lambda num_envs: SyncVectorEnv(
            [partial(make_one, index) for index in range(num_envs)], autoreset_mode=mode
        )

    def keywords(self, **kinds: Any) -> dict[str, Any]:
        """Keywords of the environment that shows these kinds; see :meth:`envs.domain.Domain.keywords`."""
        return self.env_kwargs | self.domain.keywords(**kinds)

    def check_success(self) -> None:
        """Checks that somebody says what success is, as far as that can be known beforehand.

        Raises:
            ConfigError: If nobody does.
        """
        if not knows_success(self.env_kwargs.get(GOAL_IMAGE) or {"success": "own"}):
            raise ConfigError(
                "--goal-image.success",
                "given where success is measured and goals are explored: a key of observations or info (with "
                f"--goal-image.tolerance), 'own' or 'MODULE:FUNCTION', in {self.env_id!r}",
                None,
            )


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

    Args:
        env_id: Its Gymnasium id.
        env_kwargs: Its keywords, and the arguments of the wrapper as ``goal_image``.

    Raises:
        ValueError: If there is no such environment, or it cannot be made so.
    """
    kwargs = dict(env_kwargs or {})
    try:
        env = make(env_id, **kwargs)
    except (gym.error.Error, ImportError, TypeError) as error:
        raise ValueError(
            f"env_id must be a registered Gymnasium environment, got {env_id!r} with keywords {kwargs}: {error}"
        ) from error
    spec = env.spec
    env.close()
    domain, goal_image = domain_of(spec), kwargs.get(GOAL_IMAGE)
    return Task(
        env_id=env_id,
        env_kwargs=kwargs,
        domain=domain if goal_image is None else wrapped_domain(domain, goal_image),
        max_steps=spec.max_episode_steps if spec else None,
        action_space=env.action_space,
        observation_space=env.observation_space,
    )
