import numpy as np
import pytest
from scipy import stats

from agents.evaluation.statistics import compare_paired, spl, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3 (score, no continuity correction).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_gives_newcombes_published_values(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_is_symmetric_and_stays_within_0_and_1():
    low, high = wilson_interval(0, 50)
    assert low == 0.0
    assert wilson_interval(50, 50) == pytest.approx((1 - high, 1.0))


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (5, 4), (-1, 3)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ValueError, match=f"successes must be between 0 .* got {successes}/{trials}"):
        wilson_interval(successes, trials)


def test_spl_weighs_successes_by_path_length():
    success = [True, True, False, True]
    # 1 for the shortest path, 1/4 for one four times as long, 0 for a failure, 1 for one that starts at the goal.
    assert spl(success, [10.0, 5.0, 3.0, 0.0], [10.0, 20.0, 3.0, 0.0]) == pytest.approx((1 + 0.25 + 0 + 1) / 4)


def test_spl_never_exceeds_one_where_a_discrete_path_is_shorter_than_the_shortest():
    assert spl([True], [10.0], [9.9]) == 1.0


def test_paired_comparison_counts_discordant_pairs():
    first = [True] * 8 + [False] * 2
    second = [True] * 3 + [False] * 5 + [False, True]
    result = compare_paired(first, second)
    assert (result.only_first, result.only_second, result.num_episodes) == (5, 1, 10)
    assert result.rates == (0.8, 0.4)
    assert result.difference == pytest.approx(0.4)
    assert result.low < 0.4 < result.high
    assert result.p_value == pytest.approx(2 * (6 + 1) / 64)  # exact McNemar: P(X >= 5) of Binomial(6, 1/2), doubled


def test_equal_records_do_not_differ():
    result = compare_paired([True, False] * 30, [True, False] * 30)
    assert result.difference == 0.0
    assert result.p_value == 1.0
    assert result.low < 0 < result.high


def test_interval_of_the_difference_covers_it():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        first = rng.random(60) < 0.9
        second = np.where(rng.random(60) < 0.5, first, rng.random(60) < 0.6)  # correlated; true difference 0.15
        result = compare_paired(first.tolist(), second.tolist())
        covered += result.low <= 0.15 <= result.high
    assert stats.binom(400, 0.95).cdf(covered) > 1e-3


def test_records_of_different_length_are_refused():
    with pytest.raises(ValueError, match="equally long lists of at least one episode, got 2 and 1"):
        compare_paired([True, False], [True])
