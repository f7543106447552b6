"""Small models of reinforcement learning in Two Rooms, for tests."""

import gymnasium as gym

import envs  # noqa: F401 - registers Two Rooms
from agents import rl
from agents.rl.storage.spaces import space_to_json
from agents.rl.vec_env import SB3VecEnv

ON_POLICY = {"a2c": {"n_steps": 4}, "ppo": {"n_steps": 8, "batch_size": 8, "n_epochs": 1}}
ON_POLICY["trpo"] = {"n_steps": 8, "batch_size": 8}
ON_POLICY["recurrent-ppo"] = {"n_steps": 8, "batch_size": 8, "n_epochs": 1}
OFF_POLICY = {"buffer_size": 500, "learning_starts": 30, "batch_size": 8, "train_freq": 1, "gradient_steps": 1}


def rooms(num_envs: int = 2, observation: str = "state", steps: int = 10) -> SB3VecEnv:
    return SB3VecEnv(
        gym.make_vec(
            "TwoRooms-v0",
            num_envs=num_envs,
            autoreset_mode="SameStep",
            observation=observation,
            max_episode_steps=steps,
        )
    )


def make(algorithm: str, env, sample=None, **changes):
    return rl.make_model(described(algorithm, env, **changes), env, sample=sample)


def write_config(folder, algorithm: str, **changes) -> None:
    rl.write_run(folder, described(algorithm, rooms(), **changes))


def described(algorithm: str, env, **changes) -> rl.RunConfig:
    off_policy = rl.is_off_policy(algorithm)
    values = {
        "format": rl.FORMAT,
        "algorithm": algorithm,
        "observation": "state",
        "kept_as": "state",
        "action_repeat": 1,
        "hindsight": off_policy,
        "net_arch": (8,),
        "features": "vectors",
        "feature_options": {},
        "hyperparameters": OFF_POLICY if off_policy else ON_POLICY[algorithm],
        "observation_space": space_to_json(env.observation_space),
        "action_space": space_to_json(env.action_space),
    }
    return rl.RunConfig(**values | changes)
