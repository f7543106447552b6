"""Algorithms of Stable-Baselines3 and sb3-contrib by name, and what their options must be.

An option is a keyword of an algorithm that is a number; the others follow from how a run is configured, or have no
meaning for observations that are a Dict.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sb3_contrib
import stable_baselines3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from worldmodel.config import ConfigError

Algorithm = Literal["a2c", "ppo", "trpo", "recurrent-ppo", "ddpg", "td3", "sac", "tqc"]
"""Names of algorithms."""
ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    "a2c": stable_baselines3.A2C,
    "ppo": stable_baselines3.PPO,
    "trpo": sb3_contrib.TRPO,
    "recurrent-ppo": sb3_contrib.RecurrentPPO,
    "ddpg": stable_baselines3.DDPG,
    "td3": stable_baselines3.TD3,
    "sac": stable_baselines3.SAC,
    "tqc": sb3_contrib.TQC,
}
"""Algorithms for continuous actions that take Dict observations (ARS and CrossQ of sb3-contrib do not)."""
MAX_COUNT = 10**12
"""Most of anything that an option counts."""


@dataclass(frozen=True)
class _Rule:
    """What some options must be.

    Attributes:
        options: Their names, with spaces between.
        kind: Type that they are turned into.
        words: The rule.
        holds: Whether a number obeys it.
    """

    options: str
    kind: type[int] | type[float] | type[bool]
    words: str
    holds: Callable[[float], bool]


_RULES = (
    _Rule("learning_starts", int, "an integer, at least 0", lambda x: 0 <= x <= MAX_COUNT),
    _Rule(
        "stats_window_size buffer_size batch_size train_freq policy_delay target_update_interval n_steps n_epochs "
        "cg_max_steps line_search_max_iter n_critic_updates",
        int,
        "an integer, at least 1",
        lambda x: 1 <= x <= MAX_COUNT,
    ),
    _Rule(
        "sde_sample_freq gradient_steps",
        int,
        "an integer, at least 1, or -1",
        lambda x: x == -1 or 1 <= x <= MAX_COUNT,
    ),
    _Rule("top_quantiles_to_drop_per_net", int, "an integer from 0 to 24", lambda x: 0 <= x <= 24),
    _Rule(
        "use_sde use_sde_at_warmup normalize_advantage use_rms_prop",
        bool,
        "True or False (or 1 or 0)",
        lambda x: x in (0, 1),
    ),
    _Rule("target_entropy", float, "a finite number", lambda x: True),
    _Rule(
        "learning_rate max_grad_norm clip_range clip_range_vf target_kl rms_prop_eps",
        float,
        "a finite number greater than 0",
        lambda x: x > 0,
    ),
    _Rule(
        "target_policy_noise target_noise_clip ent_coef vf_coef cg_damping",
        float,
        "a finite number, at least 0",
        lambda x: x >= 0,
    ),
    _Rule("gamma tau", float, "a number greater than 0, at most 1", lambda x: 0 < x <= 1),
    _Rule("gae_lambda", float, "a number from 0 to 1", lambda x: 0 <= x <= 1),
    _Rule("line_search_shrinking_factor", float, "a number between 0 and 1", lambda x: 0 < x < 1),
)
RULES = {option: rule for rule in _RULES for option in rule.options.split()}
"""Rules of all options of all algorithms."""


def algorithm_class(name: str) -> type[BaseAlgorithm]:
    """The class of an algorithm.

    Raises:
        ValueError: If there is no such algorithm.
    """
    if name not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(map(repr, ALGORITHMS))}, got {name!r}")
    return ALGORITHMS[name]


def is_off_policy(algorithm: str) -> bool:
    """Whether an algorithm learns from a replay buffer, and can relabel goals in hindsight.

    Raises:
        ValueError: If there is no such algorithm.
    """
    return issubclass(algorithm_class(algorithm), OffPolicyAlgorithm)


def default_options(algorithm: str) -> dict[str, Any]:
    """All options of an algorithm, at the values that it has for them."""
    left_out = ("n_steps",) if is_off_policy(algorithm) else ()  # a replay buffer of n steps holds no Dict
    keywords = inspect.signature(algorithm_class(algorithm)).parameters
    return {name: keyword.default for name, keyword in keywords.items() if name in RULES and name not in left_out}


def check_options(algorithm: str, options: Mapping[str, Any], field: str = "options") -> dict[str, Any]:
    """Options of an algorithm, each of the type that it takes: 1e5 becomes an integer where one is needed.

    Args:
        algorithm: Name of the algorithm.
        options: Its options.
        field: What they are called in messages.

    Raises:
        ConfigError: If the algorithm has no such option, or a value makes no sense.
    """
    known = default_options(algorithm)
    checked: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            raise ConfigError(field, f"keywords of {algorithm} ({', '.join(known)})", name)
        rule = RULES[name]
        is_number = isinstance(value, int | float) and (rule.kind is bool or not isinstance(value, bool))
        is_finite = is_number and -sys.float_info.max <= value <= sys.float_info.max
        if not is_finite or not rule.holds(value) or rule.kind(value) != value:
            raise ConfigError(f"{field}.{name}", rule.words, value)
        checked[name] = rule.kind(value)
    return checked


def check_rollouts(algorithm: str, options: Mapping[str, Any], num_envs: int) -> None:
    """Checks that advantages can be normalised: there must be more than one.

    Raises:
        ConfigError: If there is but one in a rollout or in a batch.
    """
    values = default_options(algorithm) | dict(options)
    if not values.get("normalize_advantage"):
        return
    if values.get("batch_size") == 1:
        raise ConfigError("options.batch_size", "at least 2 with normalize_advantage", 1)
    if values["n_steps"] * num_envs == 1:
        raise ConfigError("options.n_steps", "at least 2 with normalize_advantage and one environment", 1)
