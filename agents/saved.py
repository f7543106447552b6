"""Any agent by its name: scripted, the folder of a training run, or shipped, or on a hub; its files are read once.

::

    open_source    name or folder ──► Source: what it is, its files as they were read, the hash of its weights
    make_policy    Source, task   ──► a policy with ``predict``, and the kind of observation that it is given
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym

from agents import rl
from agents.evaluation.task import Task
from agents.observations import KEYS
from agents.offline.agent import OFFLINE_METHOD, OfflineAgent
from agents.scripted import RandomPolicy
from agents.world_model.agent import PlanningAgent
from agents.world_model.config import PlannerConfig
from envs.domain import PIXELS, STATE, Policy
from worldmodel.checkpoint import (
    CONFIG,
    WORLD_MODEL,
    CheckpointError,
    CheckpointFiles,
    Pretrained,
    load_pretrained,
    locate,
    read_format,
    shipped_checkpoints,
)
from worldmodel.config import ConfigError
from worldmodel.storage import hub
from worldmodel.storage.files import current

RANDOM, EXPERT = "random", "expert"
SCRIPTED = (RANDOM, EXPERT)
"""Policies that have no weights; the expert is the environment's own, where it has one."""


@dataclass(frozen=True)
class Source:
    """What a policy's name stands for, its files read once: what is hashed is what acts, whatever is written meanwhile.

    Attributes:
        kind: A scripted policy, or what the folder of a training run holds.
        name: Its name: a scripted policy's, a hub's, or the folder's.
        path: The folder; None for scripted policies.
        checkpoint: Files of a checkpoint of this project.
        run: Files of a reinforcement learning run.
    """

    kind: Literal["scripted", "world model", "offline", "rl"]
    name: str
    path: Path | None = None
    checkpoint: CheckpointFiles | None = None
    run: "rl.RunFiles | None" = None

    @property
    def sha256(self) -> str | None:
        """Hash of the weights, in hexadecimal; None for scripted policies."""
        files = self.checkpoint or self.run
        return None if files is None else files.sha256


def open_source(policy: str | Path) -> Source:
    """Looks up what a policy's name stands for, and reads its files.

    Args:
        policy: "random", "expert", the folder of a training run, or the name of a checkpoint that ships or is on a hub.

    Raises:
        ValueError: If there is no such policy, or its files are not valid.
        ImportError: If it is on a hub and huggingface_hub is not installed.
    """
    if policy in SCRIPTED:
        return Source("scripted", str(policy))
    try:
        path = locate(policy)
    except CheckpointError as error:
        names = ", ".join(map(repr, (*SCRIPTED, *shipped_checkpoints())))
        raise ConfigError("policy", f"one of {names} or the directory of a checkpoint", str(policy)) from error
    name = str(policy) if hub.is_name(policy) else path.name
    # A checkpoint of this project is what its config.json says, whatever else lies in its folder.
    if not current(path, CONFIG).exists() and current(path, rl.CONFIG).exists():
        return Source("rl", name, path, run=rl.read_files(path))
    if read_format(path) == OFFLINE_METHOD.format:
        return Source("offline", name, path, OFFLINE_METHOD.read(path))
    return Source("world model", name, path, WORLD_MODEL.read(path))


def find_hash(folder: Path) -> str | None:
    """Hash of the weights that a folder of a training run holds; None where it holds none that can be read."""
    try:
        return open_source(folder).sha256
    except (OSError, ValueError):
        return None


def open_checkpoint(policy: str, device: str = "cpu") -> Pretrained:
    """The world model that a policy's name stands for.

    Raises:
        ValueError: If there is no such policy or device, it has no world model, or its checkpoint is not valid.
    """
    source = open_source(policy)
    if source.kind != "world model" or source.checkpoint is None:
        raise ValueError(f"policy must be a checkpoint, got {policy!r}")
    return load_pretrained(source.checkpoint, device)


def make_policy(
    policy: str | Source,
    task: Task,
    *,
    planner: PlannerConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
    record: bool = False,
) -> tuple[Policy, str | None]:
    """Makes a policy, and says what it looks at.

    Args:
        policy: As for :func:`open_source`, or what that gives.
        task: The environment it acts in.
        planner: How an agent with a checkpoint plans.
        seed: Seed of the policy.
        device: Where the agent plans.
        record: Whether the agent records its plans, for pictures.

    Returns:
        The policy, and the kind of observation that it is given, one of the domain's; None: any.

    Raises:
        ValueError: If there is no such policy, or it does not fit the environment.
    """
    source = policy if isinstance(policy, Source) else open_source(policy)
    domain = task.domain
    if source.kind == "scripted" and source.name == RANDOM:
        return RandomPolicy(task.action_space, seed), domain.expert_sees
    if source.kind == "scripted":
        if domain.expert is None:
            raise ValueError(f"policy 'expert' needs an environment with a scripted expert, got {task.env_id!r}")
        return domain.expert(task.env_kwargs), domain.expert_sees
    if not isinstance(task.action_space, gym.spaces.Box):
        raise ValueError(f"the action space of {task.env_id!r} must be a Box, got {task.action_space}")
    if source.run is not None:
        return _learned(source.run, task, device)
    assert source.checkpoint is not None
    if source.kind == "offline":
        offline = OfflineAgent.from_pretrained(source.checkpoint, task.action_space, device)
        _check_images(task, offline.pixel_shape)
        return offline, PIXELS
    pretrained = load_pretrained(source.checkpoint, device)
    _check_images(task, pretrained.data.pixel_shape)
    agent = PlanningAgent.from_pretrained(
        pretrained, planner, action_space=task.action_space, seed=seed, device=device, record=record
    )
    return agent, PIXELS


def _learned(files: "rl.RunFiles", task: Task, device: str) -> tuple[Policy, str]:
    """A policy of reinforcement learning: the one that was best at validation, seeing and acting as it was trained."""
    run, path = files.config, files.folder / rl.CONFIG
    seen, done = run.read_spaces()
    kind = STATE if run.observation == STATE else PIXELS
    assert isinstance(task.action_space, gym.spaces.Box)
    if task.action_space.shape != done.shape:
        raise ValueError(f"the action space of {task.env_id!r} must be as in {path}, {done}")
    env = task.make(kind)
    env.close()
    given = _shapes(env.observation_space)
    model = rl.load_to_act(files, device)
    policy: Policy = model
    if run.kept_as in (None, "state"):
        if given != _shapes(seen):
            raise ValueError(f"the observations of {task.env_id!r} must be as in {path}, {seen}")
    else:
        code = rl.open_code(run.kept_as, files.folder, given["observation"])
        if _shapes(seen)["observation"] != (code.dim,):
            raise CheckpointError(
                f"{path} must describe observations of {code.dim} numbers, as {run.kept_as} are, got {seen}"
            )
        policy = rl.CodedPolicy(model, code)
    return rl.HeldPolicy(policy, run.action_repeat, task.action_space), kind


def _shapes(space: gym.Space[Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of the parts of an observation; of a goal-conditioned one, of each part."""
    parts = space.spaces if isinstance(space, gym.spaces.Dict) else {"observation": space}
    return {key: part.shape or () for key, part in parts.items()}


def _check_images(task: Task, pixel_shape: tuple[int, int, int]) -> None:
    space = task.observation_space
    if not isinstance(space, gym.spaces.Dict) or not set(KEYS) <= set(space.spaces):
        raise ValueError(
            f"the observations of {task.env_id!r} must be a Dict with images 'observation' and 'desired_goal' "
            f"(Gymnasium-Robotics' names), got {space}; --goal-image.size 64 would show it as such images"
        )
    c, h, w = pixel_shape
    for key in KEYS:
        shape = space[key].shape
        if shape not in ((c, h, w), (h, w, c)):
            raise ValueError(
                f"{key!r} of {task.env_id!r} must have the shape the checkpoint was trained on, "
                f"{(c, h, w)} or {(h, w, c)}, got {shape}"
            )
