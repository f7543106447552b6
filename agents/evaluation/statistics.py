"""Statistics of success rates: intervals, SPL, paired comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate (Wilson, J. Am. Stat. Assoc. 22, 1927): honest near 0 and 1 and for few trials.

    Args:
        successes: Number of successes.
        trials: Number of trials, at least 1.
        confidence: Coverage.

    Returns:
        Lower and upper end, in [0, 1].

    Raises:
        ValueError: If the counts are impossible.

    Example:
        >>> low, high = wilson_interval(9, 10)
        >>> round(low, 3), round(high, 3)
        (0.596, 0.982)
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"successes must be between 0 and the number of trials (at least 1), got {successes}/{trials}")
    rate, z = successes / trials, _quantile(confidence)
    scale = 2 * (trials + z**2)
    centre = (2 * trials * rate + z**2) / scale
    half = z / scale * sqrt(4 * trials * rate * (1 - rate) + z**2)
    # Rounding alone would keep the interval from its ends.
    return centre - half if successes else 0.0, centre + half if successes < trials else 1.0


def spl(success: Sequence[bool], shortest: Sequence[float], travelled: Sequence[float]) -> float:
    """Success weighted by path length: the mean of ``success · shortest / max(shortest, travelled)``.

    Equation 1 of Anderson et al., "On Evaluation of Embodied Navigation Agents" (arXiv 1807.06757).

    Args:
        success: Whether each episode reached its goal.
        shortest: Length of each episode's shortest path.
        travelled: Length of the path taken until the goal was first reached.

    Returns:
        A number in [0, 1].

    Example:
        >>> spl([True, True, False], [10.0, 10.0, 10.0], [10.0, 20.0, 10.0])
        0.5
    """
    shortest_path, path = np.asarray(shortest, dtype=np.float64), np.asarray(travelled, dtype=np.float64)
    longest = np.maximum(shortest_path, path)
    ratio = np.where(longest > 0, shortest_path / np.where(longest > 0, longest, 1.0), 1.0)  # already there: perfect
    return float(np.mean(np.asarray(success, dtype=np.float64) * ratio))


def share_kept(
    before: Sequence[bool], after: Sequence[bool], confidence: float = 0.95
) -> tuple[float, float, float] | None:
    """The share of a success rate that is kept in other circumstances, in the same episodes: one rate over the other.

    The interval is made from Wilson's intervals of both rates and the correlation of the pairs, by the method of
    variance estimates recovery (Donner and Zou, Stat. Methods Med. Res. 21, 2012): it is sensible for few episodes and
    for rates of 0 and 1.

    Args:
        before: Whether each episode succeeded before.
        after: Whether it does after.
        confidence: Coverage.

    Returns:
        The share, and the lower and upper end of its interval, from 0; above 1 where more succeed after. None if none
        succeeded before.

    Raises:
        ValueError: If the records differ in length or are empty.
    """
    b, a = _paired(before, after)
    if not b.any():
        return None
    (p, (p_low, p_high)), (q, (q_low, q_high)) = (
        (float(one.mean()), wilson_interval(int(one.sum()), len(one), confidence)) for one in (a, b)
    )
    spread = sqrt(p * (1 - p) * q * (1 - q))
    r = (float((a & b).mean()) - p * q) / spread if spread else 0.0
    # The ends are those ratios x at which the interval of the difference p - x·q has 0 for an end.
    middle, first, last = p * q - r * (p - p_low) * (q_high - q), p_low * (2 * p - p_low), q_high * (2 * q - q_high)
    low = first / (middle + sqrt(max(0.0, middle**2 - first * last))) if first else 0.0
    middle, first, last = p * q - r * (p_high - p) * (q - q_low), p_high * (2 * p - p_high), q_low * (2 * q - q_low)
    high = (middle + sqrt(max(0.0, middle**2 - first * last))) / last
    return p / q, low, high


@dataclass(frozen=True)
class Comparison:
    """Two policies on the same episodes.

    Attributes:
        rates: Success rate of the first and of the second policy.
        difference: First rate minus second.
        low: Lower end of the difference's 95% interval.
        high: Upper end.
        p_value: Exact McNemar test (two-sided) of equal rates.
        only_first: Episodes in which only the first policy succeeded.
        only_second: Episodes in which only the second did.
        num_episodes: Number of episodes compared.
    """

    rates: tuple[float, float]
    difference: float
    low: float
    high: float
    p_value: float
    only_first: int
    only_second: int
    num_episodes: int


def compare_paired(first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95) -> Comparison:
    """Compares two success records of the same episodes, pair by pair.

    The interval is Bonett and Price's adjusted Wald interval for paired proportions (J. Educ. Behav. Stat. 37, 2012),
    which keeps its coverage for few episodes and for rates near 0 and 1; the test is McNemar's, exact.

    Raises:
        ValueError: If the records differ in length or are empty.
    """
    a, b = _paired(first, second)
    n, only_a, only_b = len(a), int((a & ~b).sum()), int((b & ~a).sum())
    rate_a, rate_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    centre = rate_a - rate_b
    half = _quantile(confidence) * sqrt((rate_a + rate_b - centre**2) / (n + 2))
    discordant = only_a + only_b
    # Twice the smaller tail of a fair coin's tosses.
    tail = sum(comb(discordant, k) for k in range(min(only_a, only_b) + 1))
    return Comparison(
        rates=(float(a.mean()), float(b.mean())),
        difference=(only_a - only_b) / n,
        low=float(max(-1.0, centre - half)),
        high=float(min(1.0, centre + half)),
        p_value=min(1.0, 2 * tail / 2**discordant),
        only_first=only_a,
        only_second=only_b,
        num_episodes=n,
    )


def _quantile(confidence: float) -> float:
    """By how many standard deviations a normal variable strays at most, with this probability."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _paired(first: Sequence[bool], second: Sequence[bool]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two success records of the same episodes as arrays.

    Raises:
        ValueError: If they differ in length or are empty.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(
            f"paired records must be two equally long lists of at least one episode, got {a.size} and {b.size}"
        )
    return a, b
