"""The physics of Push-T: one board with its walls, the agent and the block, simulated by pymunk.

The constants are those of the published environment (Chi et al., Diffusion Policy, arXiv 2303.04137; gym-pusht). The
agent is a kinematic disc that a PD controller draws to a target: the block cannot hold it up, nor can the walls. All
motion of the block is damped away within one step of the solver (damping 0), and nothing has friction: the block moves
only while it is pushed, along the normal of the contact.
"""

import importlib
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from envs.push_t.geometry import AGENT_RADIUS, BAR, CENTRE, SIZE, STEM

STIFFNESS, DAMPING = 100.0, 20.0
"""Gains k_p and k_v of the agent's controller, per s² and per s: critically damped."""
TIME_STEP = 0.01
"""Of the solver, in seconds."""
SUBSTEPS = 10
"""Steps of the solver in a step of the environment, which therefore acts at 10 Hz."""
MASS, INERTIA = 1.0, 3000.0
"""Of the block: the published moment counts the bar twice, about the middle of its edge."""
REACH = 100.0
"""How far a relative action of 1 puts the target, in pixels."""

_WALL_RADIUS = 2.0
_WALL_LOW, _WALL_HIGH = 5.0, 506.0


def pymunk() -> Any:
    """The module pymunk, an optional dependency.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        return importlib.import_module("pymunk")
    except ImportError as error:
        raise ImportError('Push-T needs pymunk: pip install "worldmodel[pusht]"') from error


class Board:
    """A board in motion. Each is a space of its own, made anew, so that nothing of the solver survives from another.

    Boards that are made and moved alike are equal bit for bit. Beside what :meth:`pose` and :meth:`velocity` tell,
    the solver knows how fast the block was just pushed, which moves it in the first hundredth of the next step.

    Args:
        pose: Agent x, y, block x, y, angle.
        velocity: The agent's, in pixels per second.

    Raises:
        ImportError: If pymunk is not installed.
    """

    def __init__(self, pose: Iterable[float], velocity: Iterable[float] = (0.0, 0.0)) -> None:
        engine = pymunk()
        agent_x, agent_y, block_x, block_y, angle = map(float, pose)
        self._space = engine.Space()
        self._space.damping = 0.0
        low, high = _WALL_LOW, _WALL_HIGH
        corners = (low, high), (low, low), (high, low), (high, high)
        walls = [
            engine.Segment(self._space.static_body, a, b, _WALL_RADIUS) for a, b in pairwise((*corners, corners[0]))
        ]
        self._agent = engine.Body(body_type=engine.Body.KINEMATIC)
        self._agent.position = agent_x, agent_y
        self._agent.velocity = tuple(map(float, velocity))
        self._block = engine.Body(MASS, INERTIA)
        rectangles = [
            engine.Poly(self._block, [(left, top), (right, top), (right, bottom), (left, bottom)])
            for left, top, right, bottom in (BAR, STEM)
        ]
        self._block.center_of_gravity = 0.0, CENTRE
        self._block.angle = angle  # before the position, for it turns the block about its centre of gravity
        self._block.position = block_x, block_y
        disc = engine.Circle(self._agent, AGENT_RADIUS)
        self._space.add(*walls, self._agent, disc, self._block, *rectangles)

    def step(self, x: float, y: float) -> None:
        """Draws the agent to a target for a tenth of a second; the target is brought onto the board."""
        x, y = min(max(x, 0.0), SIZE), min(max(y, 0.0), SIZE)
        agent, advance = self._agent, self._space.step
        (agent_x, agent_y), (speed_x, speed_y) = agent.position, agent.velocity
        for _ in range(SUBSTEPS):
            speed_x += (STIFFNESS * (x - agent_x) - DAMPING * speed_x) * TIME_STEP
            speed_y += (STIFFNESS * (y - agent_y) - DAMPING * speed_y) * TIME_STEP
            agent.velocity = speed_x, speed_y
            advance(TIME_STEP)
            agent_x += speed_x * TIME_STEP
            agent_y += speed_y * TIME_STEP

    @property
    def pose(self) -> tuple[float, float, float, float, float]:
        """Agent x, y, block x, y, and the block's angle, which grows with each turn."""
        agent, block = self._agent.position, self._block.position
        return agent.x, agent.y, block.x, block.y, self._block.angle

    @property
    def velocity(self) -> tuple[float, float]:
        """The agent's, in pixels per second."""
        speed = self._agent.velocity
        return speed.x, speed.y
