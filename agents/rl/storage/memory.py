"""How much memory a model of reinforcement learning takes, asked before any of it is allocated."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from agents.rl.algorithms import is_off_policy, with_defaults
from worldmodel.nn.devices import TRAINING_COPIES, require_memory

NUMBER = 4
"""Bytes of a float32."""
HINDSIGHT = 2 * 8 + 72
"""Bytes that hindsight keeps with a transition: where its episode begins and ends, and an empty info."""
LSTM = 4 * 256 * NUMBER
"""Bytes of the states that a recurrent policy keeps with a step."""


def require_networks(
    algorithm: str,
    observation_space: spaces.Space[Any],
    features: type[BaseFeaturesExtractor],
    feature_options: Mapping[str, Any],
    net_arch: Sequence[int],
    *,
    train: bool,
) -> None:
    """Refuses networks that do not fit into memory.

    Args:
        algorithm: Name of the algorithm.
        observation_space: What it observes.
        features: Features extractor.
        feature_options: Its keywords, without its sample.
        net_arch: Widths of the hidden layers of actor and critic.
        train: Whether they are to be trained, not only to act.

    Raises:
        ValueError: If this machine has too little memory, or the features do not fit what is observed.
    """
    with torch.device("meta"):
        extractor = features(observation_space, **feature_options)
    widths = [extractor.features_dim, *net_arch]
    layers = NUMBER * sum(first * second for first, second in pairwise(widths))
    extraction = sum(p.numel() * p.element_size() for p in extractor.parameters())
    # An actor and a critic that share features; or an actor, two critics, and targets of these.
    trained, fixed, extractors = (3, 2, 3) if is_off_policy(algorithm) else (2, 0, 1)
    copies = TRAINING_COPIES if train else 1
    require_memory((trained * copies + fixed) * layers + extractors * extraction, "networks of net_arch")


def require_buffer(
    algorithm: str,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    options: Mapping[str, Any],
    num_envs: int,
    *,
    hindsight: bool,
) -> None:
    """Refuses a replay buffer, a rollout or a batch that does not fit into memory.

    Args:
        algorithm: Name of the algorithm.
        observation_space: What it observes.
        action_space: What it does.
        options: Keywords of the algorithm.
        num_envs: Environments that are stepped together.
        hindsight: Whether goals are relabelled.

    Raises:
        ValueError: If this machine has too little memory.
    """
    values = with_defaults(algorithm, options)
    observed, done = _num_bytes(observation_space), _num_bytes(action_space)
    if is_off_policy(algorithm):
        size, batch = values["buffer_size"], values["batch_size"]
        transition = 2 * observed + done + 3 * NUMBER
        require_memory(size * (transition + HINDSIGHT * hindsight), f"a replay buffer of buffer_size {size:,}")
        require_memory(batch * transition, f"a batch of batch_size {batch:,}")
        return
    steps = values["n_steps"]
    step = observed + done + 6 * NUMBER + LSTM * (algorithm == "recurrent-ppo")
    require_memory(steps * num_envs * step, f"a rollout of n_steps {steps:,} in {num_envs:,} environments")


def _num_bytes(space: spaces.Space[Any]) -> int:
    boxes = space.spaces.values() if isinstance(space, spaces.Dict) else (space,)
    return sum(math.prod(box.shape or ()) * (box.dtype.itemsize if box.dtype else NUMBER) for box in boxes)
