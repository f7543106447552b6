"""Episodes as they are recorded: a policy acts in an environment, and sees it as it likes best.

::

    env     ──► observation ──► recorded
    twin    ──► observation ──► policy ──► action ──► both      reset with the same seed

The twin is the same environment with the kind of observation that the policy looks at. Where that is what is recorded,
there is none.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from agents.evaluation.task import GOAL_IMAGE, make_task
from envs.domain import PIXELS, Policy, domain_of, find_spec
from envs.goal_image import make
from pretrain.collection.policies import make_policy, set_random_seed
from pretrain.collection.shards import RecordedEpisode
from pretrain.data.formats.recording import first_fault


@dataclass(frozen=True)
class Source:
    """All that an episode depends on, beside its number.

    Attributes:
        env_id: Gymnasium id of the environment.
        policy: Who acts, as for :func:`pretrain.collection.policies.make_policy`.
        seed: Seed of everything random.
        max_episode_steps: Steps after which it is cut off; None: as many as the environment's own limit.
        env_kwargs: Keywords of the environment, and the arguments of :class:`envs.goal_image.GoalImage` as
            ``goal_image``.
    """

    env_id: str
    policy: str
    seed: int
    max_episode_steps: int | None
    env_kwargs: Mapping[str, Any]

    @contextlib.contextmanager
    def open(self) -> Iterator["Recorder"]:
        """Makes environments and policy.

        Raises:
            ValueError: If they cannot be made, or the policy is not for this environment.
        """
        threads = torch.get_num_threads()
        with contextlib.ExitStack() as closing:
            # With more of them, networks may give other last digits.
            closing.callback(torch.set_num_threads, threads)
            torch.set_num_threads(1)
            env = closing.enter_context(contextlib.closing(make_env(self)))
            task = make_task(self.env_id, self.env_kwargs)
            if PIXELS in task.domain.observations:  # what agents see, whatever is recorded
                task = make_task(self.env_id, task.keywords(observation=PIXELS))
            policy, twin = make_policy(self.policy, env, task)
            if twin is not None:
                closing.callback(twin.close)
            yield Recorder(self.seed, env, policy, twin)


@dataclass(frozen=True)
class Recorder:
    """Records any episode of a source.

    Attributes:
        seed: Seed of everything random.
        env: The environment.
        policy: Who acts.
        twin: The environment as the policy sees it; None: as it is recorded.
    """

    seed: int
    env: gym.Env[Any, Any]
    policy: Policy
    twin: gym.Env[Any, Any] | None

    def record(self, index: int) -> RecordedEpisode:
        """Records an episode, which depends on the seed and its number alone."""
        env_seed, policy_seed = map(int, np.random.SeedSequence((self.seed, index)).generate_state(2))
        return run_episode(self.env, self.policy, twin=self.twin, env_seed=env_seed, policy_seed=policy_seed)


def make_env(source: Source) -> gym.Env[Any, Any]:
    """Makes the environment to record.

    Raises:
        ValueError: If the id is unknown, the keywords do not fit, actions are not a bounded Box, observations are
            neither a Box nor a Dict of Boxes, or nothing limits an episode's length.
    """
    env_id, domain = source.env_id, domain_of(find_spec(source.env_id))
    stored = {} if source.env_kwargs.get(GOAL_IMAGE) else domain.keywords(observation=domain.compact)
    kwargs = {**stored, **source.env_kwargs}
    try:
        env = make(env_id, max_episode_steps=source.max_episode_steps, **kwargs)
    except (TypeError, gym.error.Error) as error:
        raise ValueError(f"environment {env_id!r} cannot be made with keywords {kwargs}: {error}") from error
    if not isinstance(env.action_space, gym.spaces.Box) or not env.action_space.is_bounded():
        raise ValueError(f"environment {env_id!r} must have bounded Box actions, got {env.action_space}")
    space = env.observation_space
    leaves = list(space.spaces.values()) if isinstance(space, gym.spaces.Dict) else [space]
    if not all(isinstance(leaf, gym.spaces.Box) for leaf in leaves):
        raise ValueError(
            f"environment {env_id!r} must have observations that are a Box or a Dict of Boxes, got {space}"
        )
    if env.spec is None or env.spec.max_episode_steps is None:
        raise ValueError(f"environment {env_id!r} has no time limit: max_episode_steps must be given, got None")
    return env


def run_episode(
    env: gym.Env[Any, Any],
    policy: Policy,
    *,
    env_seed: int,
    policy_seed: int,
    twin: gym.Env[Any, Any] | None = None,
) -> RecordedEpisode:
    """Runs one episode.

    A policy that draws random numbers is seeded by its ``set_random_seed`` first, where it has one.

    Args:
        env: The environment.
        policy: Who acts.
        env_seed: Seed of the environment.
        policy_seed: Seed of the policy.
        twin: The environment as the policy sees it; None: as it is recorded.

    Raises:
        ValueError: If the policy's actions are not in the action space, or the twin ends its episode at another time.
    """
    set_random_seed(policy, policy_seed)
    executed_in_info = domain_of(env.spec).reports_action
    observation, info = env.reset(seed=env_seed)
    seen = observation if twin is None else twin.reset(seed=env_seed)[0]
    observations, success = [_copy(observation, env.observation_space)], [info.get("is_success")]
    actions: list[Any] = []
    rewards: list[float] = []
    state, terminated, truncated = None, False, False
    while not (terminated or truncated):
        start = np.array([not actions])
        action, state = policy.predict(seen, state=state, episode_start=start, deterministic=False)
        if np.shape(action) != env.action_space.shape:
            raise ValueError(
                f"the policy must return actions of shape {env.action_space.shape}, got {np.shape(action)}"
            )
        observation, reward, terminated, truncated, info = env.step(action)
        seen = observation
        if twin is not None:
            seen, _, *ends, _ = twin.step(action)
            if ends != [terminated, truncated]:
                raise ValueError(
                    f"{env} must go the same way whatever it shows, for the policy sees another kind of observation "
                    f"than is recorded; got {[terminated, truncated]} and {ends} for terminated and truncated"
                )
        # What was executed is what explains the next observation.
        actions.append(np.array(info["action"] if executed_in_info else action, dtype=env.action_space.dtype))
        observations.append(_copy(observation, env.observation_space))
        success.append(info.get("is_success"))
        rewards.append(float(reward))
    taken, is_last = np.stack(actions), np.arange(1, len(actions) + 1) == len(actions)
    assert isinstance(env.action_space, gym.spaces.Box)
    if fault := first_fault(taken, env.action_space):
        raise ValueError(f"the policy must return actions that are finite and within their bounds, got {fault}")
    return RecordedEpisode(
        seed=env_seed,
        observations=_stack(observations),
        actions=taken,
        rewards=np.array(rewards),
        terminations=is_last & bool(terminated),
        truncations=is_last & bool(truncated),
        infos={} if None in success else {"is_success": np.array(success, dtype=bool)},
    )


def _copy(observation: Any, space: gym.Space[Any]) -> Any:
    """A copy of an observation in the types of its space."""
    if isinstance(space, gym.spaces.Dict):
        return {key: np.array(observation[key], dtype=leaf.dtype) for key, leaf in space.spaces.items()}
    return np.array(observation, dtype=space.dtype)


def _stack(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: np.stack([o[key] for o in observations]) for key in observations[0]}
    return np.stack(observations)
