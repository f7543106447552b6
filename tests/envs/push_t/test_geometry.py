import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.push_t.drawing import AGENT, BLOCK, draw, read_goals
from envs.push_t.geometry import (
    OUTLINE,
    SIZE,
    TOLERANCE,
    block_is_inside,
    centre,
    distance,
    distance_to_block,
    outline,
    sample_episode,
    sample_pose,
    to_goals,
    to_poses,
    wrap,
)

ANGLES = st.floats(-math.pi, math.pi)


@given(st.floats(0, 30), st.floats(0, 30), st.floats(0, 30), ANGLES, ANGLES)
def test_success_is_when_each_error_is_within_its_tolerance(agent, block, degrees, angle, heading):
    along = np.array([math.cos(heading), math.sin(heading)])
    pose = np.array([100.0, 200.0, 300.0, 250.0, angle])
    shift = np.concatenate([agent * along, -block * along, [math.radians(degrees)]])
    away = float(distance(to_goals(pose), to_goals(pose + shift)))
    assert away == pytest.approx(max(agent, block, degrees), abs=1e-3)
    if abs(away - TOLERANCE) > 1e-3:
        assert (away < TOLERANCE) == (agent < 20 and block < 20 and degrees < 20)


def test_the_edge_of_success_is_outside():
    goal = np.array([100, 100, 300, 300, 1, 0], dtype=np.float32)
    for axis in range(4):
        for shift, success in ((19.99, True), (20.0, False), (-20.0, False)):
            other = goal.copy()
            other[axis] += shift
            assert (distance(goal, other) < TOLERANCE) == success
    half_turn = np.array([100, 100, 300, 300, -1, 0], dtype=np.float32)
    assert distance(goal, half_turn) == pytest.approx(180)
    assert distance(goal, np.full(6, np.nan)) == SIZE


@given(st.floats(-20, 20), st.integers(-3, 3))
def test_angles_count_modulo_whole_turns(angle, turns):
    first, second = (to_goals(np.array([0, 0, 0, 0, a])) for a in (angle, angle + 2 * math.pi * turns))
    assert distance(first, second) == pytest.approx(0, abs=1e-3)
    assert wrap(angle) == pytest.approx(to_poses(first)[4], abs=1e-5) or abs(wrap(angle)) > 3.14


def test_the_rim_of_the_block():
    block = np.array([200.0, 300.0, 1.0])
    corners = outline(block)
    assert distance_to_block(corners, block) == pytest.approx(0, abs=1e-9)
    assert distance_to_block(centre(block), block) == pytest.approx(-15)
    assert np.hypot(*(corners[1] - corners[0])) == pytest.approx(120)
    assert distance_to_block(np.array([[0.0, -7.0], [100.0, 15.0], [0.0, 60.0]]), np.zeros(3)) == pytest.approx(
        [7, 40, -15]
    )
    area = 0.5 * abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(OUTLINE, np.roll(OUTLINE, -1, 0), strict=True)))
    assert area == 120 * 30 + 30 * 90


def test_poses_are_drawn_in_their_ranges_and_all_angles():
    rng = np.random.default_rng(0)
    poses = np.stack([sample_pose(rng) for _ in range(500)])
    assert (distance_to_block(poses[:, :2], poses[:, 2:]) > 15).all()
    assert all(block_is_inside(pose[2:]) for pose in poses)
    assert np.ptp(poses, axis=0) == pytest.approx([400, 400, 300, 300, 2 * math.pi], rel=0.1)
    start = sample_pose(rng)
    assert all(np.array_equal(sample_episode(rng, start=start)[0], start) for _ in range(3))


@pytest.mark.parametrize(("size", "place", "turn"), [(64, 2.0, 2.5), (96, 1.0, 1.5)])
def test_goals_are_read_off_images(size, place, turn):
    rng = np.random.default_rng(0)
    poses = np.stack([sample_pose(rng) for _ in range(300)])
    images = draw(poses, size)
    read = read_goals(images)
    assert np.abs(read[:, :4] - poses[:, :4]).max() < place
    assert np.degrees(np.abs(wrap(to_poses(read)[:, 4] - poses[:, 4]))).max() < turn
    assert np.abs(distance(read, to_goals(poses))).mean() < 1
    for i in range(5):  # a batch is its members, exactly
        assert np.array_equal(draw(poses[i : i + 1], size)[0], images[i])
        assert np.array_equal(read_goals(images[i]), read[i])
    assert read_goals(images[:4].reshape(2, 2, size, size, 3)).shape == (2, 2, 6)


def test_goals_are_read_off_images_where_the_agent_touches_the_block():
    rng = np.random.default_rng(1)
    poses = np.stack([sample_pose(rng) for _ in range(200)])
    rim = np.array([[-40, -15], [75, 15], [30, 45], [0, 135], [-30, 60]])
    for pose in poses:
        point, cos, sin = rim[rng.integers(5)], math.cos(pose[4]), math.sin(pose[4])
        pose[:2] = pose[2:4] + np.array([cos * point[0] - sin * point[1], sin * point[0] + cos * point[1]])
    poses = poses[(np.abs(poses[:, :2] - 256) < 240).all(1)]
    assert distance_to_block(poses[:, :2], poses[:, 2:]) == pytest.approx(15)
    assert distance(read_goals(draw(poses, 64)), to_goals(poses)).max() < 3
    assert distance(read_goals(draw(poses, 64)), to_goals(poses)).mean() < 1


def test_the_agent_is_drawn_where_it_is():
    pose = np.array([300.0, 120.0, 200.0, 300.0, 0.0])
    image = draw(pose[None], 64)[0].astype(float)
    weight = 240 - image[..., 2]
    y, x = np.indices((64, 64)) * 8 + 4
    assert ((weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()) == pytest.approx((300, 120), abs=0.5)
    assert weight.sum() / 200 * 64 == pytest.approx(math.pi * 15**2, rel=0.05)
    assert image[15, 37].tolist() == list(AGENT)
    assert image[39, 25].tolist() == list(BLOCK)
    assert (240 - image[..., 0]).sum() / 180 * 64 == pytest.approx(6300, rel=0.02)


def test_the_agent_covers_the_block():
    apart, over = draw(np.array([[400.0, 400, 200, 300, 0], [200.0, 316, 200, 300, 0]]), 64)
    assert over[39, 25].tolist() == list(AGENT)
    assert apart[39, 25].tolist() == list(BLOCK)


def test_what_is_not_in_the_image_cannot_be_read():
    read = read_goals(draw(np.array([[-60.0, 100, 200, 200, 0], [100, 100, 900, 200, 0]]), 64))
    assert np.isnan(read).tolist() == [[True] * 2 + [False] * 4, [False] * 2 + [True] * 4]
    assert distance(read, read).tolist() == [SIZE, SIZE]
