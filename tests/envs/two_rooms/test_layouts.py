import numpy as np
import pytest

from envs.two_rooms.layouts import (
    FIXED_LAYOUT,
    LAYOUT_SETS,
    check_layout,
    check_position,
    layout_set,
    sample_endpoints,
    sample_layouts,
)
from envs.two_rooms.physics import Layout, is_free


def test_layout_sets_are_disjoint_and_complete():
    sets = {name: set(map(tuple, layout_set(name).tolist())) for name in LAYOUT_SETS}
    assert {name: len(members) for name, members in sets.items()} == {
        "train": 982,
        "validation": 98,
        "held-out": 45,
        "all": 1125,
    }
    assert sets["train"] | sets["validation"] | sets["held-out"] == sets["all"]
    assert sum(len(sets[name]) for name in ("train", "validation", "held-out")) == len(sets["all"])
    assert sets["held-out"] == {(wall, door) for wall in range(30, 35) for door in range(28, 37)}
    assert all((7 * wall + door) % 11 == 0 for wall, door in sets["validation"])
    assert (FIXED_LAYOUT.wall, FIXED_LAYOUT.door) in sets["validation"]  # so it is not trained on either


def test_layout_sets_cannot_be_changed_by_callers():
    with pytest.raises(ValueError, match="read-only"):
        layout_set("train")[0] = 0


def test_unknown_layout_set():
    with pytest.raises(ValueError, match="layout set must be one of 'train', 'validation', 'held-out', 'all', got 'te"):
        layout_set("test")


@pytest.mark.parametrize("horizontal", [False, True])
@pytest.mark.parametrize("name", LAYOUT_SETS)
def test_samples_follow_the_rules(name, horizontal):
    rng = np.random.default_rng(0)
    layout = sample_layouts(rng, 500, name, horizontal=horizontal)
    members = set(map(tuple, layout_set(name).tolist()))
    assert set(zip(layout.wall.tolist(), layout.door.tolist(), strict=True)) <= members
    start, goal = sample_endpoints(rng, layout)
    assert start.dtype == goal.dtype == np.float32
    for points in (start, goal):
        assert points.min() >= 6.6 - 1e-5
        assert points.max() <= 57.4 + 1e-5
        assert is_free(points, layout).all()
        across = points[:, int(horizontal)]
        assert (np.abs(across - layout.wall) >= 3.6 - 1e-5).all()
    sides = [points[:, int(horizontal)] < layout.wall for points in (start, goal)]
    assert (sides[0] != sides[1]).all()
    assert 0.4 < sides[0].mean() < 0.6


@pytest.mark.parametrize("given", [(32, 18), [32, 18], np.array([32, 18]), Layout(32, 18), (32.0, 18.0), (32, 18, 0)])
def test_layouts_in_many_forms(given):
    layout = check_layout(given)
    assert layout == Layout(32, 18, False)
    assert type(layout.wall) is int


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ((19, 18), "layout's wall must be an integer from 20 to 44, got 19"),
        ((32, 55), "layout's door must be an integer from 10 to 54, got 55"),
        ((32.5, 18), r"layout must be a pair of integers \(wall, door\), got \(32.5, 18\)"),
        ((32,), "layout must be a pair of integers"),
        ((32, 18, 0, 0), "layout must be a pair of integers"),
        (("a", "b"), "layout must be a pair of integers"),
        ((np.inf, 18), "layout must be a pair of integers"),
        ((np.nan, 18), "layout must be a pair of integers"),
        (32, "layout must be a pair of integers"),
        (Layout(32, 18, True), "layout must have a vertical wall in this environment"),
    ],
)
def test_bad_layouts(layout, message):
    with pytest.raises(ValueError, match=message):
        check_layout(layout)


@pytest.mark.parametrize(
    ("position", "message"),
    [
        ((4, 30), r"start must lie in free space .*, got \[4.0, 30.0\]"),
        ((32, 40), "start must lie in free space .* wall at 32 with its door at 18"),
        ((1, 2, 3), r"start must be a pair of finite numbers \(x, y\), got \(1, 2, 3\)"),
        ((np.nan, 3), "start must be a pair of finite numbers"),
        (("a", 3), "start must be a pair of numbers"),
        (None, "start must be a pair of"),
    ],
)
def test_bad_positions(position, message):
    with pytest.raises(ValueError, match=message):
        check_position("start", position, Layout(32, 18))
