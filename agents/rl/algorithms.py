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
    """What an option must be.

    Attributes:
        kind: Type that it is turned into.
        words: The rule.
        holds: Whether a number obeys it.
    """

    kind: type[int] | type[float] | type[bool]
    words: str
    holds: Callable[[float], bool]


def _whole(low: int) -> _Rule:
    return _Rule(int, f"an integer, at least {low}", lambda x: low <= x <= MAX_COUNT)


_COUNT, _SWITCH = _whole(1), _Rule(bool, "True or False (or 1 or 0)", lambda x: x in (0, 1))
_COUNT_OR_ALL = _Rule(int, "an integer, at least 1, or -1", lambda x: x == -1 or 1 <= x <= MAX_COUNT)
_POSITIVE = _Rule(float, "a finite number greater than 0", lambda x: x > 0)
_NON_NEGATIVE = _Rule(float, "a finite number, at least 0", lambda x: x >= 0)
_SHARE = _Rule(float, "a number greater than 0, at most 1", lambda x: 0 < x <= 1)

RULES: dict[str, _Rule] = {
    "learning_rate": _POSITIVE,
    "gamma": _SHARE,
    "stats_window_size": _COUNT,
    "use_sde": _SWITCH,
    "sde_sample_freq": _COUNT_OR_ALL,
    # with a replay buffer
    "buffer_size": _COUNT,
    "learning_starts": _whole(0),
    "batch_size": _COUNT,
    "tau": _SHARE,
    "train_freq": _COUNT,
    "gradient_steps": _COUNT_OR_ALL,
    "policy_delay": _COUNT,
    "target_policy_noise": _NON_NEGATIVE,
    "target_noise_clip": _NON_NEGATIVE,
    "target_update_interval": _COUNT,
    "target_entropy": _Rule(float, "a finite number", lambda x: True),
    "use_sde_at_warmup": _SWITCH,
    "top_quantiles_to_drop_per_net": _Rule(int, "an integer from 0 to 24", lambda x: 0 <= x <= 24),
    # without one
    "n_steps": _COUNT,
    "n_epochs": _COUNT,
    "gae_lambda": _Rule(float, "a number from 0 to 1", lambda x: 0 <= x <= 1),
    "ent_coef": _NON_NEGATIVE,
    "vf_coef": _NON_NEGATIVE,
    "max_grad_norm": _POSITIVE,
    "clip_range": _POSITIVE,
    "clip_range_vf": _POSITIVE,
    "normalize_advantage": _SWITCH,
    "target_kl": _POSITIVE,
    "rms_prop_eps": _POSITIVE,
    "use_rms_prop": _SWITCH,
    "cg_max_steps": _COUNT,
    "cg_damping": _NON_NEGATIVE,
    "line_search_shrinking_factor": _Rule(float, "a number between 0 and 1", lambda x: 0 < x < 1),
    "line_search_max_iter": _COUNT,
    "n_critic_updates": _COUNT,
}
"""Rules of all options of all algorithms."""
NOT_OPTIONS = ("n_steps",)
"""Keywords of algorithms with a replay buffer that need other observations than a Dict."""


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


def option_names(algorithm: str) -> list[str]:
    """Names of the options of an algorithm."""
    left_out = NOT_OPTIONS if is_off_policy(algorithm) else ()
    keywords = inspect.signature(algorithm_class(algorithm)).parameters
    return [name for name in keywords if name in RULES and name not in left_out]


def check_options(algorithm: str, options: Mapping[str, Any], field: str = "options") -> dict[str, Any]:
    """Options of an algorithm, each of the type that it takes: 1e5 becomes an integer where one is needed.

    Args:
        algorithm: Name of the algorithm.
        options: Its options.
        field: What they are called in messages.

    Raises:
        ConfigError: If the algorithm has no such option, or a value makes no sense.
    """
    known = option_names(algorithm)
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


def with_defaults(algorithm: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of an algorithm, those that are not given at the values that it has for them."""
    keywords = inspect.signature(algorithm_class(algorithm)).parameters
    return {name: options.get(name, keywords[name].default) for name in option_names(algorithm)}


def check_rollouts(algorithm: str, options: Mapping[str, Any], num_envs: int) -> None:
    """Checks that advantages can be normalised: there must be more than one.

    Raises:
        ConfigError: If there is but one in a rollout or in a batch.
    """
    values = with_defaults(algorithm, options)
    if not values.get("normalize_advantage"):
        return
    if values.get("batch_size") == 1:
        raise ConfigError("options.batch_size", "at least 2 with normalize_advantage", 1)
    if values["n_steps"] * num_envs == 1:
        raise ConfigError("options.n_steps", "at least 2 with normalize_advantage and one environment", 1)
