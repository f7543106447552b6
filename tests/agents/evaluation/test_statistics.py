import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from agents.evaluation.statistics import compare_paired, share_kept, spl, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3 (score, no continuity correction).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_gives_newcombes_published_values(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 3_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_interval_is_scipys(counts, confidence):
    expected = stats.binomtest(*counts).proportion_ci(confidence, method="wilson")
    assert wilson_interval(*counts, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(0, 600), st.integers(0, 600))
def test_the_paired_test_is_scipys_exact_one(only_first, only_second):
    first = [True] * only_first + [False] * only_second + [True]
    second = [False] * only_first + [True] * only_second + [True]
    discordant = only_first + only_second
    expected = stats.binomtest(only_first, discordant, 0.5).pvalue if discordant else 1.0
    assert compare_paired(first, second).p_value == pytest.approx(expected, rel=1e-9)


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


def _records(both, only_before, only_after, neither):
    before = [True] * (both + only_before) + [False] * (only_after + neither)
    after = [True] * both + [False] * only_before + [True] * only_after + [False] * neither
    return before, after


def test_the_share_that_is_kept_is_a_ratio_of_rates():
    assert share_kept(*_records(30, 10, 6, 4))[0] == pytest.approx(36 / 40)
    assert share_kept(*_records(0, 0, 3, 7)) is None


def test_where_nothing_was_lost_a_share_is_as_sure_as_the_rate():
    """With no failure before, the interval is Wilson's of the rate after, widened by what is not known of the other."""
    share, low, high = share_kept(*_records(45, 5, 0, 0))
    below, above = wilson_interval(45, 50)
    assert share == 0.9
    assert low == pytest.approx(below, abs=1e-9) or low < below
    assert above < high < 1.1


def test_the_ends_of_a_share_are_where_the_difference_could_be_nothing():
    """They solve the equation that the method is named after, with Wilson's interval of each rate."""
    before, after = _records(20, 12, 3, 15)
    share, low, high = share_kept(before, after)
    p, q = np.mean(after), np.mean(before)
    (p_low, p_high), (q_low, q_high) = (wilson_interval(sum(one), len(one)) for one in (after, before))
    r = np.corrcoef(before, after)[0, 1]

    def half(x, first, second):
        return np.sqrt(first**2 + (x * second) ** 2 - 2 * r * first * x * second)

    assert low < share < high
    assert p - low * q == pytest.approx(half(low, p - p_low, q_high - q))
    assert high * q - p == pytest.approx(half(high, p_high - p, q - q_low))


def test_any_record_has_a_share_within_its_interval():
    for n in (1, 2, 5):
        for counts in np.ndindex(*[n + 1] * 3):
            if sum(counts) <= n and counts[0] + counts[1]:
                share, low, high = share_kept(*_records(*counts, n - sum(counts)))
                assert 0 <= low <= share + 1e-9
                assert share <= high + 1e-9
                assert np.isfinite(high)


def test_the_interval_of_a_share_covers_it():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        before = rng.random(60) < 0.8
        after = before & (rng.random(60) < 0.6)
        _, low, high = share_kept(before.tolist(), after.tolist())
        hits += low <= 0.6 <= high
    assert 0.92 < hits / 400 < 0.99


@pytest.mark.parametrize("records", [([True], [True, False]), ([], [])])
def test_shares_of_records_of_different_length_are_refused(records):
    with pytest.raises(ValueError, match="paired records must be two equally long lists of at least one episode, got"):
        share_kept(*records)
