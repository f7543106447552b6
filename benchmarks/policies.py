"""What a command line asks for, made into a policy and an environment."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
from gymnasium.vector import VectorEnv

import envs as _envs  # noqa: F401 - registers Two Rooms
from agents import rl
from agents.evaluate import Policy
from agents.held_actions import HeldPolicy
from agents.image_codes import CodedPolicy, open_code
from agents.offline import FORMAT as OFFLINE_FORMAT
from agents.offline import OfflineAgent
from agents.planner_config import PlannerConfig
from agents.planning_agent import PlanningAgent
from agents.scripted import RandomPolicy
from benchmarks import provenance
from envs.two_rooms.expert import ExpertPolicy
from pretrain.datasets import is_two_rooms
from pretrain.two_rooms import TwoRoomsWindows
from worldmodel.checkpoint import SHIPPED, Pretrained, load_pretrained, read_format, shipped_checkpoints

SCRIPTED = ("random", "expert")
"""Policies that are no checkpoint; the expert is for Two Rooms."""


@dataclass(frozen=True)
class Task:
    """An environment to act in.

    Attributes:
        env_id: Its Gymnasium id.
        env_kwargs: Keywords that it is made with.
        two_rooms: Whether it is Two Rooms.
        max_steps: Steps after which it truncates an episode; None: never.
        action_space: Its action space.
        observation_space: Its observation space.
    """

    env_id: str
    env_kwargs: dict[str, Any]
    two_rooms: bool
    max_steps: int | None
    action_space: gym.Space[Any]
    observation_space: gym.Space[Any]

    def vector(self, observation: str = "pixels") -> Callable[[int], VectorEnv]:
        """A function that makes a vector of so many environments.

        Args:
            observation: Kind of observation of Two Rooms, "pixels" or "state"; other environments have but one.
        """
        kwargs = dict(self.env_kwargs)
        if self.two_rooms:
            kwargs |= {"observation": observation, "autoreset_mode": "Disabled"}

        def make_env(num_envs: int) -> VectorEnv:
            return gym.make_vec(self.env_id, num_envs=num_envs, **kwargs)

        return make_env


def make_task(env_id: str, env_kwargs: dict[str, Any] | None = None) -> Task:
    """Looks an environment up.

    Raises:
        ValueError: If there is no such environment, or it cannot be made so.
    """
    kwargs = dict(env_kwargs or {})
    try:
        env = gym.make(env_id, **kwargs)
    except (gym.error.Error, ImportError, TypeError) as error:
        raise ValueError(f"env_id must be a registered Gymnasium environment, got {env_id!r}: {error}") from error
    spec = env.spec
    env.close()
    return Task(
        env_id=env_id,
        env_kwargs=kwargs,
        two_rooms=is_two_rooms(spec),
        max_steps=spec.max_episode_steps if spec else None,
        action_space=env.action_space,
        observation_space=env.observation_space,
    )


@dataclass(frozen=True)
class Source:
    """What a policy's name stands for.

    Attributes:
        kind: A scripted policy, or what the folder of a training run holds.
        path: The folder; None for scripted policies.
    """

    kind: Literal["scripted", "world model", "offline", "rl"]
    path: Path | None = None

    @property
    def sha256(self) -> str | None:
        """Hash of the weights, in hexadecimal; None for scripted policies."""
        return None if self.path is None else provenance.file_hash(provenance.weights_file(self.path))


def find_policy(policy: str) -> Source:
    """Looks up what a policy's name stands for.

    Args:
        policy: "random", "expert", the folder of a training run or the name of a shipped checkpoint.

    Raises:
        ValueError: If there is no such policy.
    """
    if policy in SCRIPTED:
        return Source("scripted")
    path = Path(policy)
    if not path.is_dir() and policy in shipped_checkpoints():
        path = SHIPPED / policy
    if not path.is_dir():
        names = ", ".join(map(repr, (*SCRIPTED, *shipped_checkpoints())))
        raise ValueError(f"policy must be one of {names} or the directory of a checkpoint, got {policy!r}")
    if (path / rl.CONFIG).exists():
        return Source("rl", path)
    return Source("offline" if read_format(path) == OFFLINE_FORMAT else "world model", path)


def open_checkpoint(policy: str, device: str = "cpu") -> Pretrained | None:
    """The world model that a policy's name stands for; None for policies without one.

    Raises:
        ValueError: If there is no such policy, or its checkpoint is not valid.
    """
    source = find_policy(policy)
    return load_pretrained(source.path, device) if source.kind == "world model" and source.path else None


def make_policy(
    policy: str,
    task: Task,
    *,
    planner: PlannerConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
    record: bool = False,
) -> tuple[Policy, str]:
    """Makes a policy, and says what it looks at.

    Args:
        policy: "random", "expert", the folder of a training run or the name of a shipped checkpoint.
        task: The environment it acts in.
        planner: How an agent with a checkpoint plans.
        seed: Seed of the policy.
        device: Where the agent plans.
        record: Whether the agent records its plans, for pictures.

    Returns:
        The policy, and the kind of observation that it is given in Two Rooms.

    Raises:
        ValueError: If there is no such policy, or it does not fit the environment.
    """
    source = find_policy(policy)
    if policy == "random":
        return RandomPolicy(task.action_space, seed), "state"
    if source.kind == "rl" and not task.two_rooms:
        raise ValueError(f"policy {policy!r} was trained in Two Rooms, got environment {task.env_id!r}")
    if policy == "expert":
        if not task.two_rooms:
            raise ValueError(f"policy 'expert' is for Two Rooms only, got environment {task.env_id!r}")
        return ExpertPolicy(task.env_kwargs.get("wall_orientation", "vertical")), "state"
    assert source.path is not None
    if source.kind == "rl":
        return _learned(source.path, task, device)
    if not isinstance(task.action_space, gym.spaces.Box):
        raise ValueError(f"the action space of {task.env_id!r} must be a Box, got {task.action_space}")
    if source.kind == "offline":
        offline = OfflineAgent.from_pretrained(source.path, task.action_space)
        _check_images(task, offline.pixel_shape)
        return offline, "pixels"
    pretrained = load_pretrained(source.path, device)
    _check_images(task, pretrained.data.pixel_shape)
    agent = PlanningAgent.from_pretrained(
        pretrained.path, planner, action_space=task.action_space, seed=seed, device=device, record=record
    )
    return agent, "pixels"


def _learned(folder: Path, task: Task, device: str) -> tuple[Policy, str]:
    """A policy of reinforcement learning: the one that was best at validation, seeing and acting as it was trained."""
    config = rl.read_config(folder)
    model = rl.load(folder, best=True, device=device)
    policy: Policy = model
    seen = "state" if config["observation"] == "state" else "pixels"
    if config["kept_as"] not in (None, "state"):
        policy = CodedPolicy(model, open_code(config["kept_as"], folder, TwoRoomsWindows.pixel_shape))
    return (HeldPolicy(policy, config["action_repeat"]) if config["action_repeat"] > 1 else policy), seen


def _check_images(task: Task, pixel_shape: tuple[int, int, int]) -> None:
    space = task.observation_space
    keys = ("observation", "desired_goal")
    if not isinstance(space, gym.spaces.Dict) or not set(keys) <= set(space.spaces):
        raise ValueError(
            f"the observations of {task.env_id!r} must be a Dict with images 'observation' and 'desired_goal' "
            f"(Gymnasium-Robotics' names), got {space}"
        )
    c, h, w = pixel_shape
    for key in keys:
        shape = space[key].shape
        if shape not in ((c, h, w), (h, w, c)):
            raise ValueError(
                f"{key!r} of {task.env_id!r} must have the shape the checkpoint was trained on, "
                f"{(c, h, w)} or {(h, w, c)}, got {shape}"
            )
