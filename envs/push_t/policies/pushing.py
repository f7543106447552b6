"""Pushes: where the block can be touched, what each push would do, and which is the best.

All that moves the block without friction is a force along a normal of its rim. In the space of the block's centre and
its angle times the radius of gyration, such a push moves it in a fixed direction; how much of the way to the goal lies
in that direction tells which pushes are worth simulating. These are then tried on boards of their own.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.push_t.geometry import AGENT_RADIUS, CENTRE, OUTLINE, Array, centre, distance_to_block, wrap
from envs.push_t.physics import INERTIA, MASS, REACH, Board
from envs.push_t.policies.walking import STANDOFF, from_frame, on_board, walks

GYRATION = math.sqrt(INERTIA / MASS)
"""Radius of gyration in pixels: a turn by an angle moves the block as far as a shift by that times this."""
SPEED = 40.0
"""Pixels that the agent walks in a step, about."""
MAX_STEPS = 14
"""Of a push."""

GAP = STANDOFF - AGENT_RADIUS
"""Between agent and block before a push, in pixels."""

_SPACING = 9.0
_CANDIDATES = 9
_STRETCHES = (0.55, 0.8, 1.0, 1.25)  # lengths to try, in units of what the first order says
_LONGEST = 190.0
_OVERHEAD = 3.0  # steps that stopping and turning around take
_SETTLED = 2.0  # pixels from its target when a push counts as done


class Push(NamedTuple):
    """A push that was simulated.

    Attributes:
        target: Where the agent is drawn to, ``(2,)``.
        steps: How many steps it takes.
        error: How far the block is from its goal afterwards.
    """

    target: Array
    steps: int
    error: float


class Contacts(NamedTuple):
    """Where the block can be pushed, in its own frame.

    Attributes:
        stands: Where the agent stands before, ``(C, 2)``.
        directions: In which it pushes, ``(C, 2)``: against the rim's normal.
        turns: Torque of a push of force 1 over the radius of gyration, ``(C,)``.
    """

    stands: Array
    directions: Array
    turns: Array


@lru_cache(maxsize=1)
def contacts() -> Contacts:
    """Contacts all around the T, a few pixels apart, where the agent has room."""
    points, normals = [], []
    for a, b in zip(OUTLINE, np.roll(OUTLINE, -1, 0), strict=True):
        length = float(np.hypot(*(b - a)))
        count = max(2, round(length / _SPACING))
        shares = (np.arange(count) + 0.5) / count
        points.append(a + shares[:, None] * (b - a))
        normals.append(np.repeat([[(b - a)[1] / length, -(b - a)[0] / length]], count, 0))
    rim, normal = np.concatenate(points), np.concatenate(normals)
    stands = rim + STANDOFF * normal
    free = distance_to_block(stands, np.zeros(3)) > STANDOFF - 0.5
    rim, normal, stands = rim[free], normal[free], stands[free]
    lever = rim - np.array([0.0, CENTRE])
    turns = (lever[:, 0] * -normal[:, 1] + lever[:, 1] * normal[:, 0]) / GYRATION
    return Contacts(stands, -normal, turns)


def error_of(block: Array, goal: Array) -> NDArray[np.float64]:
    """The way ``(3,)`` from a block ``(3,)`` to its goal ``(3,)``: shift of the centre, and turn, all in pixels."""
    return np.append(centre(goal) - centre(block), GYRATION * wrap(goal[2] - block[2]))


def simulate(pose: Array, velocity: Array, target: Array, goal: Array) -> Push:
    """Tries a push on a board of its own."""
    board = Board(pose, velocity)
    steps = 0
    while steps < MAX_STEPS:
        x, y, *_ = board.pose
        away_x, away_y = float(target[0]) - x, float(target[1]) - y
        if abs(away_x) + abs(away_y) < _SETTLED:
            break
        steps += 1
        board.step(x + min(max(away_x, -REACH), REACH), y + min(max(away_y, -REACH), REACH))
    return Push(target, steps, float(np.sqrt((error_of(np.array(board.pose[2:]), goal) ** 2).sum())))


def push_from(pose: Array, velocity: Array, contact: int, length: float, goal: Array) -> Push:
    """The best push at a contact where the agent already stands, around a length in pixels."""
    ahead = from_frame(contacts().directions[contact], np.array([0.0, 0.0, pose[4]]))
    tries = [
        simulate(pose, velocity, pose[:2] + ahead * length * share, goal)
        for share in (0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.25)
    ]
    return min(tries, key=lambda push: push.error)


class Choice(NamedTuple):
    """A push to walk to.

    Attributes:
        contact: Which of :func:`contacts`.
        length: How far the agent is to be drawn, in pixels.
        gain: By how much it brings the block nearer to its goal, in pixels.
    """

    contact: int
    length: float
    gain: float


def choose(pose: Array, velocity: Array, goal: Array) -> Choice | None:
    """The push that brings the block towards its goal fastest, the way there included; None if none can be reached."""
    touch, block = contacts(), pose[2:]
    way = error_of(block, goal)
    error = float(np.sqrt((way**2).sum()))
    stands = from_frame(touch.stands, block)
    reachable = np.flatnonzero(on_board(stands))
    if not len(reachable):
        return None
    distances = walks(pose[:2], stands[reachable], block)
    ahead = from_frame(touch.directions[reachable], np.array([0.0, 0.0, block[2]]))
    turns = touch.turns[reachable]
    stretch = np.sqrt(1 + turns**2)  # the agent's way for a way of 1 of the block
    share = (ahead @ way[:2] + turns * way[2]) / stretch  # of the way, along the direction of each push
    wanted = np.clip(share * stretch, 0.0, _LONGEST)
    share = wanted / stretch
    gains = error - np.sqrt(np.maximum(error**2 - share**2, 0.0))
    times = distances / SPEED + wanted / SPEED + _OVERHEAD
    rates = np.where((share > 0) & np.isfinite(distances), gains / times, -np.inf)
    best: tuple[float, Choice] | None = None
    for i in np.argsort(-rates, kind="stable")[:_CANDIDATES].tolist():
        if not np.isfinite(rates[i]):
            break
        start = np.append(stands[reachable[i]], block)
        for stretched in _STRETCHES:
            length = float(wanted[i] * stretched + GAP)
            push = simulate(start, np.zeros(2), start[:2] + ahead[i] * length, goal)
            gain = error - push.error
            rate = gain / (distances[i] / SPEED + push.steps + _OVERHEAD)
            if best is None or rate > best[0]:
                best = rate, Choice(int(reachable[i]), length, gain)
    return None if best is None else best[1]
