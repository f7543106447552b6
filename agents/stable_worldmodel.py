"""Agents and planners of this project in stable-worldmodel (https://github.com/galilai-group/stable-worldmodel).

Its ``World`` asks a policy for actions with the infos of all environments; its cost models say what candidate plans
cost, and its solvers look for cheap ones. It need not be installed: nothing of it is imported here.

::

    agent ────────────────► WorldPolicy ───► World.set_policy
    cost model, planner ──► PlannerSolver ─► WorldModelPolicy(solver, config) ─► World.set_policy
    environment ──────────► WithoutInfo ───► World(..., pre_wrappers=[WithoutInfo])
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from envs.domain import Policy
from worldmodel.planning import CostFn, Planner

STEP = "step_idx"
"""The info that tells how many steps of its episode an environment has done."""


@runtime_checkable
class CostModel(Protocol):
    """What stable-worldmodel plans with, such as its LeWM or PLDM."""

    def get_cost(self, info_dict: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """Costs ``(b, n)`` of plans ``(b, n, t, a)``; infos are repeated for each plan, ``(b, n, ...)``."""
        ...


class WithoutInfo(gym.Wrapper):
    """An environment whose infos are empty.

    A ``World`` puts observations, actions and rewards into the infos, and refuses an environment which has an entry of
    such a name already.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The environment's observation, and no infos."""
        return self.env.reset(seed=seed, options=options)[0], {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """What the environment gives, without infos."""
        return *self.env.step(action)[:4], {}


class WorldPolicy:
    """An agent as a policy of a ``World``.

    Args:
        agent: Anything with Stable-Baselines3's ``predict``.
        deterministic: Passed to ``predict``.
    """

    def __init__(self, agent: Policy, *, deterministic: bool = True) -> None:
        self.agent = agent
        self.deterministic = deterministic
        self.env: Any = None
        self.type = "agent"
        self._state: Any = None

    def set_env(self, env: Any) -> None:
        """Takes the environments of a ``World``; all of them begin an episode."""
        self.env, self._state = env, None

    def get_action(self, info_dict: Mapping[str, Any], **_: Any) -> NDArray[Any]:
        """Actions ``(num_envs, ...)``.

        Args:
            info_dict: Infos of all environments, ``(num_envs, 1, ...)``, observations among them.

        Raises:
            ValueError: If there are no environments, infos lack a part of the observation, or the agent refuses it.
        """
        if self.env is None:
            raise ValueError("set_env must be called before get_action, as World.set_policy does, got no environments")
        space = self.env.single_observation_space
        keys = list(space) if isinstance(space, spaces.Dict) else ["observation"]
        missing = [key for key in (*keys, STEP) if key not in info_dict]
        if missing:
            raise ValueError(f"info_dict must hold {missing[0]!r}, got {', '.join(map(repr, info_dict))}")
        parts = {key: np.asarray(info_dict[key])[:, -1] for key in keys}
        observation = parts if isinstance(space, spaces.Dict) else parts["observation"]
        starts = np.asarray(info_dict[STEP])[:, -1] == 0
        actions, self._state = self.agent.predict(observation, self._state, starts, self.deterministic)
        return actions


class PlannerSolver:
    """A planner of this project as a solver: plans by the costs of a model of stable-worldmodel.

    Actions are in the units of the model, in which the planner has its bounds. Where data were normalised, these are
    normalised ones, and ``WorldModelPolicy(process=...)`` turns plans into the environment's.

    Args:
        model: What gives the costs.
        planner: What searches.
        batch_size: Environments whose plans the model is asked about at once, as of the library's solvers: LeWM takes
            one alone.
        seed: Seed of the planner's noise.
        device: Where to plan.

    Raises:
        ValueError: If ``batch_size`` is less than one.
    """

    def __init__(
        self,
        model: CostModel,
        planner: Planner,
        *,
        batch_size: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.model, self.planner, self.batch_size = model, planner, batch_size
        self.seed, self.device = seed, torch.device(device)
        self._num_envs, self._num_calls = 0, 0

    @property
    def action_dim(self) -> int:
        """Numbers of a planned action: of a block of the environment's actions."""
        return self.planner.bounds.action_dim

    @property
    def n_envs(self) -> int:
        """Environments of the ``World``."""
        return self._num_envs

    @property
    def horizon(self) -> int:
        """Steps of a plan."""
        return self.planner.horizon

    def configure(self, *, action_space: spaces.Space[Any], n_envs: int, config: Any) -> None:
        """Takes what a ``World`` says of itself.

        Args:
            action_space: Space of the actions of all environments.
            n_envs: Their number.
            config: Has a ``horizon`` and an ``action_block``.

        Raises:
            ValueError: If the planner plans actions or horizons of another length.
        """
        wanted = int(np.prod((action_space.shape or ())[1:])) * config.action_block
        if self.action_dim != wanted:
            raise ValueError(
                f"planner must plan {wanted} numbers a step, action_block = {config.action_block} actions of "
                f"{action_space}, got {self.action_dim}"
            )
        if self.horizon != config.horizon:
            raise ValueError(f"planner must have the horizon of config, {config.horizon}, got {self.horizon}")
        self._num_envs = n_envs

    def __call__(self, info_dict: Mapping[str, Any], init_action: Tensor | None = None) -> dict[str, Any]:
        """The same as :meth:`solve`."""
        return self.solve(info_dict, init_action)

    @torch.no_grad()
    def solve(self, info_dict: Mapping[str, Any], init_action: Tensor | None = None) -> dict[str, Any]:
        """Plans for some environments.

        Args:
            info_dict: Their infos, ``(b, ...)``, as the model takes them.
            init_action: Plans to start from ``(b, t, a)``, which may be shorter than the horizon; None: from nothing.

        Returns:
            The ``actions`` ``(b, horizon, a)`` and their ``costs``.

        Raises:
            FloatingPointError: If for some environment no candidate has a finite cost.
        """
        count = len(next(iter(info_dict.values())))
        if init_action is not None:
            missing = self.horizon - init_action.shape[1]
            init_action = torch.nn.functional.pad(init_action, (0, 0, 0, missing)).to(self.device, torch.float32)
        self._num_calls += 1
        generators = [self._generator(i) for i in range(count)]
        plan = self.planner.plan(self._costs(info_dict), init=init_action, generators=generators)
        return {"actions": plan.actions.cpu(), "costs": plan.cost.tolist()}

    def _costs(self, info_dict: Mapping[str, Any]) -> CostFn:
        given = {key: _placed(value, self.device) for key, value in info_dict.items()}

        def costs(actions: Tensor) -> Tensor:
            found = []
            for first in range(0, len(actions), self.batch_size):
                some = slice(first, first + self.batch_size)
                # Anew at each call, since models leave in it what they encoded, for as many candidates as there were.
                infos = {key: _repeated(value[some], actions.shape[1]) for key, value in given.items()}
                found.append(self.model.get_cost(infos, actions[some]).float())
            return torch.cat(found)

        return costs

    def _generator(self, index: int) -> torch.Generator:
        key = np.random.SeedSequence([self.seed, self._num_calls, index]).generate_state(1)
        return torch.Generator(self.device).manual_seed(int(key[0]))


def _placed(value: Any, device: torch.device) -> Any:
    """A tensor where it is planned, and in the planner's precision if it holds floats; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    return value.to(device, torch.float32 if value.is_floating_point() else None)


def _repeated(value: Any, num_samples: int) -> Any:
    """Infos ``(b, ...)`` for each candidate, ``(b, n, ...)``; lists stay as they are, as in the library's solvers."""
    if isinstance(value, Tensor):
        return value[:, None].expand(-1, num_samples, *value.shape[1:])
    return np.repeat(value[:, None], num_samples, axis=1) if isinstance(value, np.ndarray) else value
