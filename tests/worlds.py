"""What stable-worldmodel 0.1.1 asks of environments, policies and solvers, in a few lines; for machines without it.

``World``, ``WorldModelPolicy`` and ``PlanConfig`` take the same arguments, hand over infos of the same names and
shapes, and refuse the same environments. Tests on these run on the library itself where it can be imported.
"""

from collections import deque
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector.utils import batch_space


@dataclass(frozen=True)
class PlanConfig:
    horizon: int
    receding_horizon: int
    history_len: int = 1
    action_block: int = 1
    warm_start: bool = True


class EverythingToInfo(gym.Wrapper):
    """Puts a transition into the infos, among which nothing of these names may be."""

    def reset(self, **arguments):
        self.step_idx = 0
        observation, info = self.env.reset(**arguments)
        action = np.full_like(self.env.action_space.sample(), np.nan)
        return observation, self._told(observation, info, np.nan, False, False, action)

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.step_idx += 1
        told = self._told(observation, info, reward, terminated, truncated, action)
        return observation, reward, terminated, truncated, told

    def _told(self, observation, info, reward, terminated, truncated, action):
        parts = observation if isinstance(observation, dict) else {"observation": observation}
        flags = {"reward": reward, "terminated": bool(terminated), "truncated": bool(truncated)}
        added = parts | flags | {"action": action, "step_idx": self.step_idx}
        for key in added:
            assert key not in info
        return info | added


class EnvPool:
    """Environments whose infos are arrays ``(num_envs, 1, ...)`` that are written in place."""

    def __init__(self, make, num_envs):
        self.envs = [make() for _ in range(num_envs)]
        self.num_envs, self.seeds = num_envs, np.zeros(num_envs, np.int64)
        self.single_action_space = self.envs[0].action_space
        self.single_observation_space = self.envs[0].observation_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.infos = {}

    def reset(self, seeds, options, which):
        for i in which:
            self.seeds[i] = seeds[i]
            self._write(i, self.envs[i].reset(seed=seeds[i], options=options)[1])

    def step(self, actions):
        flags = np.zeros((2, self.num_envs), bool)
        for i, env in enumerate(self.envs):
            _, _, *flags[:, i], info = env.step(actions[i])
            self._write(i, info)
        return flags

    def _write(self, i, info):
        for key, value in info.items():
            value = np.asarray(value)
            self.infos.setdefault(key, np.zeros((self.num_envs, 1, *value.shape), value.dtype))[i, 0] = value


class World:
    def __init__(self, env_name, num_envs, max_episode_steps=100, pre_wrappers=(), add_pixels=True, **kwargs):
        assert not add_pixels

        def make():
            env = gym.make(env_name, max_episode_steps=max_episode_steps, **kwargs)
            for wrapper in pre_wrappers:
                env = wrapper(env)
            return EverythingToInfo(env)

        self.envs = EnvPool(make, num_envs)

    def set_policy(self, policy):
        self.policy = policy
        policy.set_env(self.envs)

    def evaluate(self, episodes, seed, options=None):
        num_envs, successes, seeds = self.envs.num_envs, np.zeros(episodes), np.zeros(episodes, np.int64)
        self.envs.reset(list(range(seed, seed + num_envs)), options, range(num_envs))
        done, count, following = np.zeros(num_envs, bool), 0, seed + num_envs
        while True:
            infos = self.envs.infos | ({"_needs_flush": done} if done.any() else {})
            terminated, truncated = self.envs.step(self.policy.get_action(infos))
            done = terminated | truncated
            for i in np.flatnonzero(done):
                successes[count], seeds[count] = terminated[i], self.envs.seeds[i]
                count += 1
                if count == episodes:
                    return {"success_rate": successes.mean() * 100, "episode_successes": successes, "seeds": seeds}
            begun = {i: following + rank for rank, i in enumerate(np.flatnonzero(done))}
            following += len(begun)
            self.envs.reset(begun, options, begun)

    def close(self):
        for env in self.envs.envs:
            env.close()


class WorldModelPolicy:
    """Executes ``receding_horizon`` steps of what a solver plans, and starts the next search from the rest."""

    def __init__(self, solver, config):
        self.solver, self.config = solver, config

    def set_env(self, env):
        self.env, self.next_init = env, None
        self.solver.configure(action_space=env.action_space, n_envs=env.num_envs, config=self.config)
        self.pending = [deque() for _ in range(env.num_envs)]

    def get_action(self, info_dict):
        infos = {key: torch.from_numpy(value) for key, value in info_dict.items()}
        for i in np.flatnonzero(infos.pop("_needs_flush", ())):
            self.pending[i].clear()
            self.next_init[i] = 0
        due = [i for i, actions in enumerate(self.pending) if not actions]
        if due:
            init = None if self.next_init is None else self.next_init[due]
            plans = self.solver({key: value[due] for key, value in infos.items()}, init_action=init)["actions"]
            now, rest = plans.split([self.config.receding_horizon, plans.shape[1] - self.config.receding_horizon], 1)
            if self.next_init is None:
                self.next_init = torch.zeros(self.env.num_envs, *rest.shape[1:])
            self.next_init[due] = rest
            for i, plan in zip(due, now, strict=True):
                self.pending[i].extend(plan.unflatten(1, (self.config.action_block, -1)).flatten(0, 1))
        return torch.stack([actions.popleft() for actions in self.pending]).numpy()
