import functools
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.two_rooms.layouts import DOOR_RANGE, WALL_RANGE, sample_endpoints, sample_layouts
from envs.two_rooms.physics import (
    ARENA_MAX,
    ARENA_MIN,
    DOOR_HALF_WIDTH,
    MAX_STEP,
    WALL_HALF_THICKNESS,
    Layout,
    clip_actions,
    is_free,
    segment_blocked,
    shortest_path,
    shortest_path_to_goal_disc,
    step,
)

walls, doors = st.integers(*WALL_RANGE), st.integers(*DOOR_RANGE)
layouts = st.builds(Layout, walls, doors, st.booleans())
anywhere = st.floats(-5, 70, width=32)
inside = st.floats(np.nextafter(np.float32(4), np.float32(5)), np.nextafter(np.float32(60), np.float32(5)), width=32)
displacements = st.floats(-100, 100, width=32)


@st.composite
def scenes(draw):
    """A layout and a free position, often next to the wall, a corner of the door or the arena's border."""
    layout = draw(layouts)
    corner = np.array(
        [
            layout.wall + draw(st.sampled_from([-1, 1])) * WALL_HALF_THICKNESS,
            layout.door + draw(st.sampled_from([-1, 1])) * DOOR_HALF_WIDTH,
        ]
    )
    near = corner + draw(st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)))
    border = np.array([draw(st.sampled_from([4.0001, 59.9999])), draw(inside)])
    place = np.array(draw(st.tuples(inside, inside)))
    position = draw(st.sampled_from([near, corner, border, border[::-1], place]))
    position = (position[::-1] if layout.horizontal else position).astype(np.float32)
    if not is_free(position[None], layout)[0]:
        position = np.array([10.0, 10.0], dtype=np.float32)
    return layout, position


def free_by_definition(points, layout, slack=0.0):
    """Free space as the specification words it; a slack shrinks walls."""
    x, y = points[:, 0], points[:, 1]
    if layout.horizontal:
        x, y = y, x
    arena = (x > 4 - slack) & (x < 60 + slack) & (y > 4 - slack) & (y < 60 + slack)
    wall = (np.abs(x - layout.wall) <= 1 - slack) & (np.abs(y - layout.door) > 4 + slack)
    return arena & ~wall


@given(scenes(), anywhere, anywhere)
def test_segments_are_blocked_where_dense_sampling_finds_a_wall(scene, x, y):
    layout, start = scene
    end = np.array([x, y], dtype=np.float32)
    points = start + np.linspace(0, 1, 5001)[:, None] * (end.astype(np.float64) - start)
    blocked = segment_blocked(start[None], end[None], layout)[0]
    if not blocked:
        assert free_by_definition(points, layout, slack=1e-9).all()
    else:  # a wall is met, if only just: sampling every 0.02 px may miss a graze by as much
        assert not free_by_definition(points, layout, slack=-0.03).all()


@given(scenes(), displacements, displacements, st.sampled_from(["stay", "bounce"]), st.integers(0, 2**32 - 1))
def test_no_step_crosses_a_wall(scene, dx, dy, collision, seed):
    layout, position = scene
    rng = np.random.default_rng(seed)
    for action in ((dx, dy), *rng.normal(0, 2, (10, 2))):
        moved = step(
            position[None],
            np.array([action]),
            layout,
            collision=collision,
            noise=rng.standard_normal((1, 2)),
        )
        assert is_free(moved.positions, layout)[0]
        assert not segment_blocked(position[None], moved.positions, layout)[0]
        assert np.linalg.norm(moved.actions[0]) <= MAX_STEP * (1 + 1e-6)
        position = moved.positions[0]


@given(layouts, st.lists(st.tuples(inside, inside, displacements, displacements), min_size=1, max_size=8))
def test_batched_is_scalar(layout, rows):
    data = np.array(rows, dtype=np.float32)
    data = data[is_free(data[:, :2], layout)]
    noise = np.random.default_rng(0).standard_normal((len(data), 2))
    several = layout.broadcast((len(data),))
    for collision in ("stay", "bounce"):
        batch = step(data[:, :2], data[:, 2:], several, collision=collision, noise=noise)
        for i, row in enumerate(data):
            one = step(row[None, :2], row[None, 2:], layout, collision=collision, noise=noise[i : i + 1])
            assert all(np.array_equal(whole[i], single[0]) for whole, single in zip(batch, one, strict=True))


@given(walls, doors, st.tuples(inside, inside, displacements, displacements), st.integers(0, 99))
def test_horizontal_is_vertical_exchanged(wall, door, row, seed):
    vertical, horizontal = Layout(wall, door), Layout(wall, door, True)
    position, action = np.array([row[:2]], dtype=np.float32), np.array([row[2:]], dtype=np.float32)
    assert is_free(position, vertical) == is_free(position[:, ::-1], horizontal)
    noise = np.random.default_rng(seed).standard_normal((1, 2))
    if is_free(position, vertical)[0]:
        for collision in ("stay", "bounce"):
            a = step(position, action, vertical, collision=collision, noise=noise)
            b = step(position[:, ::-1], action[:, ::-1], horizontal, collision=collision, noise=noise[:, ::-1])
            assert np.array_equal(a.positions, b.positions[:, ::-1])
            assert a.blocked == b.blocked


def test_stay_does_not_move_and_bounce_lands_near_the_contact():
    layout = Layout(32, 18)
    position, action = np.array([[30.0, 40.0]], dtype=np.float32), np.array([[2.0, 0.0]], dtype=np.float32)
    stayed = step(position, action, layout)
    assert stayed.blocked.tolist() == [True]
    assert np.array_equal(stayed.positions, position)
    bounced = step(position, action, layout, collision="bounce", noise=np.array([[1.0, -2.0]]))
    assert bounced.positions[0] == pytest.approx([31.0 - 0.5, 40.0 - 1.0])
    into_the_border = step(
        np.array([[59.0, 40.0]], dtype=np.float32), action, layout, collision="bounce", noise=np.array([[0.2, 0.0]])
    )
    assert into_the_border.positions[0] == pytest.approx([60.0 - 0.1, 40.0])


def test_bounce_falls_back_to_a_little_off_the_contact():
    layout = Layout(32, 10)  # the noise would carry the agent out of the arena
    position, action = np.array([[30.5, 59.5]], dtype=np.float32), np.array([[1.0, 0.0]], dtype=np.float32)
    moved = step(position, action, layout, collision="bounce", noise=np.array([[0.1, 5.0]]))
    assert moved.positions[0] == pytest.approx([31.0 - 0.3, 59.5])


def test_touching_counts_as_collision():
    layout = Layout(32, 18)
    position = np.array([[30.0, 40.0]], dtype=np.float32)
    assert segment_blocked(position, np.array([[31.0, 40.0]]), layout)[0]
    assert not segment_blocked(position, np.array([[30.999, 40.0]]), layout)[0]
    assert segment_blocked(position, np.array([[30.0, 60.0]]), layout)[0]
    through = np.array([[29.0, 22.0]]), np.array([[35.0, 22.0]])  # |y − door| = 4 is the door
    assert not segment_blocked(*through, layout)[0]
    assert segment_blocked(through[0], through[1] + [0, 0.01], layout)[0]


@given(st.lists(st.tuples(displacements, displacements), min_size=1, max_size=5))
def test_bounding_actions_keeps_direction_and_is_idempotent(rows):
    actions = np.array(rows, dtype=np.float32)
    bounded = clip_actions(actions)
    assert np.array_equal(clip_actions(bounded), bounded)
    lengths, kept = np.linalg.norm(actions, axis=1), np.linalg.norm(bounded, axis=1)
    assert kept == pytest.approx(np.minimum(lengths, MAX_STEP), rel=1e-5)
    assert actions[:, 0] * bounded[:, 1] == pytest.approx(actions[:, 1] * bounded[:, 0], rel=1e-4, abs=1e-6)


def test_enormous_actions_are_bounded_without_overflow():
    bounded = clip_actions(np.array([[3e38, -3e38], [1e30, 0.0]], dtype=np.float32))
    assert np.linalg.norm(bounded, axis=1) == pytest.approx([MAX_STEP, MAX_STEP])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_actions_raise(bad):
    with pytest.raises(ValueError, match=r"actions must be finite, got \[1.0, (nan|inf|-inf)\]"):
        clip_actions(np.array([[0.0, 0.0], [1.0, bad]]))


def test_bad_collision_modes_raise():
    position = np.array([[30.0, 40.0]], dtype=np.float32)
    with pytest.raises(ValueError, match="collision must be one of 'stay', 'bounce', got 'slide'"):
        step(position, np.zeros((1, 2)), Layout(32, 18), collision="slide")
    with pytest.raises(ValueError, match=r"collision 'bounce' needs noise of shape \(N, 2\), got None"):
        step(position, np.array([[2.0, 0.0]]), Layout(32, 18), collision="bounce")


@pytest.mark.parametrize("horizontal", [False, True])
def test_shortest_paths_are_free_and_no_shorter_than_straight(horizontal):
    rng = np.random.default_rng(0)
    layout = sample_layouts(rng, 300, "all", horizontal=horizontal)
    start, goal = sample_endpoints(rng, layout)
    waypoints, length = shortest_path(start, goal, layout)
    straight = np.linalg.norm(goal.astype(np.float64) - start, axis=1)
    assert np.isfinite(length).all()
    assert (length >= straight - 1e-9).all()
    clear = ~segment_blocked(start, goal, layout)
    assert length[clear] == pytest.approx(straight[clear])
    assert (length[~clear] > straight[~clear]).all()
    assert clear.any()
    assert not clear.all()
    for i in range(len(length)):
        between = np.linspace(0, 1, 100)[:, None]
        points = np.concatenate([a + between * (b - a) for a, b in pairwise(waypoints[i])])
        assert free_by_definition(points, layout.select(i), slack=1e-6).all()
    to_disc = shortest_path_to_goal_disc(start, goal, layout)
    assert (to_disc <= length - 4.5 + 1e-6).all()
    assert (to_disc >= straight - 4.5 - 1e-9).all()


def test_shortest_path_in_known_scenes():
    layout = Layout(32, 18)

    def path(start, goal, length=lambda *args: shortest_path(*args)[1]):
        return length(np.array([start]), np.array([goal]), layout)

    assert path((10.0, 50.0), (20.0, 50.0)) == pytest.approx([10.0])
    expected = 2 * np.hypot(11.0, 18.0) + 2.0  # round the two corners of the door
    assert path((20.0, 40.0), (44.0, 40.0)) == pytest.approx([expected])
    assert path((20.0, 40.0), (44.0, 40.0), shortest_path_to_goal_disc) == pytest.approx([expected - 4.5])
    assert path((20.0, 40.0), (22.0, 40.0), shortest_path_to_goal_disc) == pytest.approx([0.0])
    small = functools.partial(shortest_path_to_goal_disc, radius=0.5)
    assert path((20.0, 40.0), (44.0, 40.0), small) == pytest.approx([expected - 0.5])
    assert path((20.0, 40.0), (22.0, 40.0), small) == pytest.approx([1.5])


def test_the_arena_is_where_the_specification_says():
    assert (ARENA_MIN, ARENA_MAX) == (4.0, 60.0)
    points = np.random.default_rng(0).uniform(0, 65, (5000, 2)).astype(np.float32)
    for layout in (Layout(20, 10), Layout(44, 54, True), Layout(32, 18)):
        assert np.array_equal(is_free(points, layout), free_by_definition(points.astype(np.float64), layout))
