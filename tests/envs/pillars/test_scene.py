import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from envs.pillars import scene
from envs.pillars.domain import DOMAIN, draw_episodes
from envs.pillars.drawing import draw_agent, draw_floor, read_positions
from envs.pillars.scene import (
    AGENT_RADIUS,
    GOAL_RADIUS,
    LAYOUT_SETS,
    MIN_DISTANCE,
    PILLAR_RADIUS,
    SIZE,
    is_blocked,
    is_free,
    pillars_of,
    sample_endpoints,
    shortest_path,
    shortest_path_to_disc,
)


def test_layout_sets_are_disjoint_and_together_all():
    parts = [LAYOUT_SETS[name] for name in ("train", "validation", "held-out")]
    assert sorted([*parts[0], *parts[1], *parts[2]]) == list(LAYOUT_SETS["all"])


def test_the_agent_passes_between_any_two_pillars_and_the_border():
    for layout in LAYOUT_SETS["all"]:
        pillars = pillars_of(layout)
        gaps = np.linalg.norm(pillars[:, None] - pillars, axis=-1)[np.triu_indices(4, 1)] - 2 * PILLAR_RADIUS
        assert gaps.min() > 2 * AGENT_RADIUS
        assert min(pillars.min(), SIZE - pillars.max()) - PILLAR_RADIUS > 2 * AGENT_RADIUS
    assert np.array_equal(pillars_of(7), pillars_of.__wrapped__(7))


@given(st.integers(0, 999), st.integers(0, 2**31))
def test_steps_are_blocked_where_points_along_them_are_not_free(layout, seed):
    rng, pillars = np.random.default_rng(seed), pillars_of(layout)
    starts, ends = rng.uniform(0, SIZE, (2, 50, 2))
    along = starts + np.linspace(0, 1, 400)[:, None, None] * (ends - starts)
    blocked, free = is_blocked(starts, ends, pillars), is_free(along, pillars).all(0)
    assert blocked[~free].all()
    assert (blocked & free).sum() <= 1  # grazed between two of the points
    assert np.array_equal(blocked, [is_blocked(a, b, pillars) for a, b in zip(starts, ends, strict=True)])


def test_positions_are_read_off_images():
    rng = np.random.default_rng(0)
    for layout in range(50):
        pillars = pillars_of(layout)
        points = rng.uniform(AGENT_RADIUS, SIZE - AGENT_RADIUS, (40, 2))
        points[:4] = [(2, 2), (62, 62), (2, 62), (62, 2)]
        points = points[is_free(points, pillars)]
        images = np.stack([draw_agent(draw_floor(pillars), point) for point in points])
        assert read_positions(images) == pytest.approx(points, abs=0.05)
        assert np.array_equal(read_positions(images)[3], read_positions(images[3]))


def test_shortest_paths_on_finer_polygons_are_hardly_shorter(monkeypatch):
    rng = np.random.default_rng(0)
    cases = [(pillars_of(layout), *sample_endpoints(rng, pillars_of(layout))) for layout in range(40)]
    coarse = np.array([shortest_path_to_disc(*case) for case in cases])
    scene._roadmap.cache_clear()
    monkeypatch.setattr(scene, "_NUM_CORNERS", 48)
    fine = np.array([shortest_path_to_disc(*case) for case in cases])
    scene._roadmap.cache_clear()
    assert (fine <= coarse + 1e-2).all()
    assert (coarse / fine).max() < 1.014


def test_shortest_path_around_a_pillar_and_to_nowhere():
    pillars = np.array([[32, 32], [12, 12], [12, 52], [52, 12]], dtype=np.float32)
    start, goal = np.array([32.0, 50.0]), np.array([32.0, 14.0])
    tangent, bend = np.sqrt(18**2 - 8**2), 8 * (np.pi - 2 * np.arccos(8 / 18))
    length, first = shortest_path(pillars, start, goal[None])
    assert length == pytest.approx(2 * tangent + bend, rel=0.014)
    assert not is_blocked(start, first, pillars)
    assert shortest_path(pillars, start, pillars[:1])[0] == np.inf
    assert shortest_path_to_disc(pillars, start, start + 1) == 0.0


@pytest.mark.parametrize("name", DOMAIN.recipes)
def test_episodes_of_manifests(name):
    recipe = DOMAIN.recipes[name]
    episodes = draw_episodes(recipe)
    assert episodes == draw_episodes(recipe)
    assert len(episodes.seeds) == len(episodes.options) == len(episodes.shortest_paths) == recipe.num_episodes
    assert {options["layout"] for options in episodes.options} <= set(LAYOUT_SETS[recipe.layout_set])
    starts, goals = (np.array([options[key] for options in episodes.options]) for key in ("start", "goal"))
    straight = np.linalg.norm(goals - starts, axis=1)
    pillars = np.stack([pillars_of(options["layout"]) for options in episodes.options])
    assert straight.min() >= MIN_DISTANCE - 1e-5
    assert (np.array(episodes.shortest_paths) >= straight - GOAL_RADIUS - 1e-3).all()
    assert is_blocked(starts, goals, pillars).mean() > 0.5
