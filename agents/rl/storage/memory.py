"""How much memory a model of reinforcement learning takes, asked before any of it is allocated."""

import math
from itertools import pairwise
from typing import Any

import torch
from gymnasium import spaces

from agents.rl.algorithms import check_options, default_options, is_off_policy
from agents.rl.features import FEATURES
from agents.rl.storage.files import RunConfig
from worldmodel.nn.devices import TRAINING_COPIES, require_memory

NUMBER = 4
"""Bytes of a float32."""
HINDSIGHT = 2 * 8 + 72
"""Bytes that hindsight keeps with a transition: where its episode begins and ends, and an empty info."""
LSTM = 4 * 256 * NUMBER
"""Bytes of the states that a recurrent policy keeps with a step."""


def require_networks(run: RunConfig, *, train: bool) -> None:
    """Refuses networks that do not fit into memory.

    Args:
        run: The configuration of what is to be built.
        train: Whether they are to be trained, not only to act.

    Raises:
        ValueError: If this machine has too little memory, or the features do not fit what is observed.
    """
    with torch.device("meta"):
        extractor = FEATURES[run.features](run.read_spaces()[0], **run.feature_options)
    widths = [extractor.features_dim, *run.net_arch]
    layers = NUMBER * sum(first * second for first, second in pairwise(widths))
    extraction = sum(p.numel() * p.element_size() for p in extractor.parameters())
    # An actor and a critic that share features; or an actor, two critics, and targets of these.
    trained, fixed, extractors = (3, 2, 3) if is_off_policy(run.algorithm) else (2, 0, 1)
    copies = TRAINING_COPIES if train else 1
    require_memory((trained * copies + fixed) * layers + extractors * extraction, "networks of net_arch")


def require_buffer(run: RunConfig, num_envs: int) -> None:
    """Refuses a replay buffer, a rollout or a batch that does not fit into memory.

    Args:
        run: The configuration of what is to be trained.
        num_envs: Environments that are stepped together.

    Raises:
        ValueError: If this machine has too little memory.
    """
    values = default_options(run.algorithm) | check_options(run.algorithm, run.hyperparameters)
    observed, done = map(_num_bytes, run.read_spaces())
    if is_off_policy(run.algorithm):
        size, batch = values["buffer_size"], values["batch_size"]
        transition = 2 * observed + done + 3 * NUMBER
        require_memory(size * (transition + HINDSIGHT * run.hindsight), f"a replay buffer of buffer_size {size:,}")
        require_memory(batch * transition, f"a batch of batch_size {batch:,}")
        return
    steps = values["n_steps"]
    step = observed + done + 6 * NUMBER + LSTM * (run.algorithm == "recurrent-ppo")
    require_memory(steps * num_envs * step, f"a rollout of n_steps {steps:,} in {num_envs:,} environments")


def _num_bytes(space: spaces.Space[Any]) -> int:
    boxes = space.spaces.values() if isinstance(space, spaces.Dict) else (space,)
    return sum(math.prod(box.shape or ()) * (box.dtype.itemsize if box.dtype else NUMBER) for box in boxes)
