from itertools import pairwise

import numpy as np
import pytest

from envs.push_t.geometry import AGENT_RADIUS, centre, distance_to_block, sample_pose
from envs.push_t.physics import Board

pymunk = pytest.importorskip("pymunk")


def published(pose, targets):
    """The published environment's steps, written down plainly from its description and constants."""
    space = pymunk.Space()
    space.damping = 0.0
    corners = (5, 506), (5, 5), (506, 5), (506, 506), (5, 506)
    space.add(*[pymunk.Segment(space.static_body, a, b, 2) for a, b in pairwise(corners)])
    agent = pymunk.Body(body_type=pymunk.Body.KINEMATIC)
    agent.position = tuple(pose[:2])
    space.add(agent, pymunk.Circle(agent, 15))
    bar = [(-60, 30), (60, 30), (60, 0), (-60, 0)]
    stem = [(-15, 30), (-15, 120), (15, 120), (15, 30)]
    block = pymunk.Body(1, 2 * pymunk.moment_for_poly(1, bar))
    shapes = [pymunk.Poly(block, bar), pymunk.Poly(block, stem)]
    block.center_of_gravity = (shapes[0].center_of_gravity + shapes[1].center_of_gravity) / 2
    block.angle = pose[4]
    block.position = tuple(pose[2:4])
    space.add(block, *shapes)
    states = []
    for target in targets:
        for _ in range(10):
            pull = 100 * (pymunk.Vec2d(*target) - agent.position) - 20 * agent.velocity
            agent.velocity += pull * 0.01
            space.step(0.01)
        states.append((*agent.position, *block.position, block.angle))
    return np.array(states)


def test_the_dynamics_are_the_published_ones():
    moved = 0.0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        pose = sample_pose(rng)
        targets = np.clip(pose[2:4] + np.cumsum(rng.normal(0, 60, (60, 2)), 0) % 300 - 150, 0, 512).tolist()
        board, states = Board(pose), []
        for target in targets:
            board.step(*target)
            states.append(board.pose)
        expected = published(pose, targets)
        assert np.array(states) == pytest.approx(expected, abs=1e-6)
        moved += np.abs(np.diff(expected[:, 2:4], axis=0)).sum()
    assert moved > 1000


def test_boards_that_are_made_alike_move_alike():
    rng = np.random.default_rng(1)
    pose, targets = sample_pose(rng), rng.uniform(0, 512, (50, 2)).tolist()
    boards = [Board(pose, (20.0, 30.0)) for _ in range(3)]
    for target in targets:
        for board in boards:
            board.step(*target)
        assert boards[0].pose == boards[1].pose == boards[2].pose
        assert boards[0].velocity == boards[1].velocity


def test_the_block_moves_only_while_it_is_pushed():
    board = Board((300.0, 256.0, 256.0, 211.0, 0.0))  # to the right of the stem
    for _ in range(5):
        board.step(400.0, 256.0)
    assert board.pose[2:] == (256.0, 211.0, 0.0)
    for _ in range(12):
        board.step(200.0, 256.0)
    assert board.pose[0] == pytest.approx(200, abs=1)
    assert board.pose[2] < 200 - AGENT_RADIUS + 2
    assert distance_to_block(np.array(board.pose[:2]), np.array(board.pose[2:])) == pytest.approx(AGENT_RADIUS, abs=0.2)
    rest = board.pose
    for _ in range(5):
        board.step(350.0, 256.0)
    assert board.pose[2:] == pytest.approx(rest[2:], abs=0.1)


def test_walls_stop_the_block():
    board = Board((300.0, 256.0, 256.0, 211.0, 0.0))
    for _ in range(60):
        x, y, *block = board.pose
        if centre(np.array(block))[0] < 45:
            break
        board.step(max(x - 15, 60.0), y)
    for _ in range(20):
        board.step(60.0, 256.0)
    assert board.pose[2] > 7


def test_targets_are_brought_onto_the_board():
    for target, place in (((900.0, -50.0), (512.0, 0.0)), ((-1.0, 600.0), (0.0, 512.0))):
        board = Board((100.0, 100.0, 300.0, 300.0, 0.0))
        for _ in range(20):
            board.step(*target)
        assert board.pose[:2] == pytest.approx(place, abs=0.1)
