import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.analysis import maps
from benchmarks.analysis.maps import MapsConfig, distances, run
from benchmarks.records.store import read_record
from envs.domain import find_domain
from worldmodel.checkpoint import load_pretrained


def test_maps_are_drawn_with_their_correlations(checkpoint, tmp_path):
    record = run(MapsConfig(policy=str(checkpoint), episodes=(0, 3), output=tmp_path / "maps.png"))
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")
    assert read_record(tmp_path / "maps.json") == record
    assert [row["episode"] for row in record.rows] == [0, 3]
    for row in record.rows:
        for kind in ("latent", "critic"):
            assert all(-1 <= row[kind][where] <= 1 for where in ("all", "hidden"))


def test_distances_are_none_at_the_goal_and_long_around_the_wall(checkpoint):
    goal = np.array([20.0, 20.0], np.float32)
    positions = np.array([[20.0, 20.0], [40.0, 20.0]], np.float32)
    simulation = find_domain("two-rooms").simulation()
    found = distances(load_pretrained(checkpoint), simulation, positions, goal, np.array([30, 50, 0]))
    assert found["true"][0] == 0.0
    assert found["true"][1] > 50.0
    assert found["latent"][0] == pytest.approx(0.0, abs=1e-9)
    assert (found["critic"] > 0).all()


def test_wrong_requests_are_explained(checkpoint):
    with pytest.raises(ValueError, match="policy must be a checkpoint, got 'expert'"):
        run(MapsConfig(policy="expert"))
    with pytest.raises(ValueError, match=r"episodes must be from 0 to 499, got \(500,\)"):
        run(MapsConfig(policy=str(checkpoint), episodes=(500,)))


@given(st.lists(st.integers(0, 9), min_size=3, max_size=30), st.randoms(use_true_random=False))
def test_rank_correlation_is_spearmans_with_ties(values, random):
    first, second = np.array(values, float), np.array([random.randrange(5) for _ in values], float)
    assume(len(set(first)) > 1 and len(set(second)) > 1)
    assert maps._rank_correlation(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
