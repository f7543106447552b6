"""Pictures of Two Rooms for people: crisp, antialiased, of any size; and a window to show them in.

:func:`draw_scene` draws on no screen, so it works everywhere; :func:`to_canvas` tells where to draw over its pictures.
"""

import os
import weakref
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # pygame greets on standard output otherwise
import pygame

from envs.inputs import check_count
from envs.two_rooms.physics import (
    ARENA_MAX,
    ARENA_MIN,
    DOOR_HALF_WIDTH,
    GOAL_RADIUS,
    SIZE,
    WALL_HALF_THICKNESS,
    Layout,
)

Color = tuple[int, int, int]

FLOOR: Color = (247, 246, 242)
OUTSIDE: Color = (226, 225, 220)
WALL: Color = (52, 58, 70)
GOAL: Color = (38, 158, 108)
AGENT: Color = (222, 82, 56)
TRAIL: Color = (58, 118, 214)

# pygame-ce 2.5.8 finds no WINDOWCLOSE by its type: in SDL 2 all window events are of one type, SDL_WINDOWEVENT.
_WINDOW_EVENTS = (pygame.WINDOWCLOSE, 0x200)
_SUPERSAMPLING = 3
_AGENT_RADIUS = 1.35
_FRAME = 1.2


def to_canvas(points: Any, size: int) -> NDArray[np.float64]:
    """Where points of the scene lie in a picture.

    Args:
        points: ``(..., 2)``, in pixels of the 65 × 65 image, whose centres have whole coordinates.
        size: Side of the picture in pixels.

    Returns:
        ``(..., 2)``: column and row in the picture, measured from its upper left corner.
    """
    return (np.asarray(points, dtype=np.float64) + 0.5) * (size / SIZE)


def draw_scene(
    size: int,
    layout: Layout,
    position: Any | None,
    goal: Any | None,
    trail: Any | None = None,
    goal_radius: float = GOAL_RADIUS,
) -> NDArray[np.uint8]:
    """Draws a scene: floor, goal disc, trail, walls, agent.

    Args:
        size: Side of the picture in pixels.
        layout: Wall and door.
        position: Where the agent is, ``(2,)``; None draws no agent.
        goal: Centre of the goal disc, ``(2,)``; None draws none. The disc is deeper in colour when the agent is in it.
        trail: Where the agent has been, ``(T, 2)``; older parts are paler.
        goal_radius: Radius of the goal disc, in pixels of the environment.

    Returns:
        uint8 ``(size, size, 3)``, RGB.

    Raises:
        ValueError: If the size is not a positive integer.
    """
    canvas = _Canvas(check_count("size", size))
    canvas.box(OUTSIDE, (-0.5, -0.5), (SIZE - 0.5, SIZE - 0.5))
    canvas.box(FLOOR, (ARENA_MIN,) * 2, (ARENA_MAX,) * 2)
    if goal is not None:
        _draw_goal(canvas, np.asarray(goal, dtype=np.float64), position, goal_radius)
    if trail is not None:
        points = np.asarray(trail, dtype=np.float64).reshape(-1, 2)
        for i, (a, b) in enumerate(pairwise(points)):
            canvas.stroke(_blend(TRAIL, FLOOR, 0.25 + 0.65 * (i + 1) / len(points)), a, b, width=0.7)
    canvas.box(WALL, (ARENA_MIN - _FRAME,) * 2, (ARENA_MAX + _FRAME,) * 2, width=_FRAME)
    _draw_wall(canvas, layout)
    if position is not None:
        canvas.disc(FLOOR, position, _AGENT_RADIUS + 0.35)
        canvas.disc(AGENT, position, _AGENT_RADIUS)
    return canvas.picture()


class Window:
    """A window of its own that shows pictures; all others of the process, ours or not, are left alone.

    When a person closes it, nothing is shown any more. When other code quits pygame, which takes all windows along, it
    is opened again for the next picture.

    Args:
        size: Side in pixels.
        caption: Title.

    Attributes:
        is_open: Whether pictures are shown: nobody has closed the window.
    """

    def __init__(self, size: int, caption: str) -> None:
        self.is_open = True
        self._size = size
        self._caption = caption
        self._window: Any = None
        self._clock: Any = None
        self._open()

    def show(self, picture: NDArray[np.uint8], *, fps: float) -> None:
        """Shows a picture ``(size, size, 3)`` and waits for the time of the next frame; ``fps`` 0 does not wait."""
        if self.is_open:
            self._open()
            self._take_events()
        if self.is_open:
            screen = self._window.get_surface()
            screen.blit(pygame.surfarray.make_surface(picture.swapaxes(0, 1)), (0, 0))
            self._window.flip()
            self._clock.tick(fps)

    def set_caption(self, caption: str) -> None:
        """Sets the title."""
        self._caption = caption
        if self._is_alive():
            self._window.title = caption

    def close(self) -> None:
        """Closes the window; closing twice is harmless."""
        self.is_open = False
        if self._is_alive():
            self._window.destroy()
            pygame.event.pump()  # without it macOS goes on showing the window
        self._window = None

    def _open(self) -> None:
        if self._is_alive():
            return
        self._window = None  # before a new one may get its place in memory
        pygame.display.init()
        self._window = pygame.Window(self._caption, (self._size, self._size))
        self._clock = pygame.time.Clock()  # starts anew with pygame
        # Quitting pygame destroys all windows. One that is touched afterwards crashes the process.
        itself = weakref.ref(self)
        pygame.register_quit(lambda: _forget_window(itself()))

    def _is_alive(self) -> bool:
        return self._window is not None and bool(pygame.display.get_init())

    def _take_events(self) -> None:
        """Closes the window if a person asked for it; all other events stay for whoever waits for them."""
        if not pygame.event.peek(_WINDOW_EVENTS):
            return
        window = self._window
        for event in pygame.event.get(_WINDOW_EVENTS):
            if event.type == pygame.WINDOWCLOSE and event.window is window:
                self.close()
            else:
                pygame.event.post(event)


def _forget_window(window: Window | None) -> None:
    if window is not None:
        window._window = None


class _Canvas:
    """Shapes in scene coordinates on a picture that is drawn larger and shrunk, which smooths the edges."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._large = size * _SUPERSAMPLING
        self._scale = self._large / SIZE
        self._surface = pygame.Surface((self._large, self._large), depth=24)

    def box(self, color: Color, low: Any, high: Any, width: float = 0.0) -> None:
        """A filled box, or with a width its rounded border."""
        (left, top), (right, bottom) = (np.rint(to_canvas(corner, self._large)).astype(int) for corner in (low, high))
        rect = pygame.Rect(left, top, right - left, bottom - top)
        border = round(width * self._scale)
        pygame.draw.rect(self._surface, color, rect, border, border_radius=border)

    def disc(self, color: Color, center: Any, radius: float, width: float = 0.0) -> None:
        ring = max(1, round(width * self._scale)) if width else 0
        at = to_canvas(center, self._large)
        pygame.draw.circle(self._surface, color, (at[0], at[1]), radius * self._scale, ring)

    def stroke(self, color: Color, a: Any, b: Any, width: float) -> None:
        """A straight line with round ends."""
        start, end = to_canvas(a, self._large), to_canvas(b, self._large)
        half = width * self._scale / 2
        length = float(np.linalg.norm(end - start))
        if length > 0:
            side = (end - start)[::-1] * (half / length) * (1, -1)
            pygame.draw.polygon(self._surface, color, [start + side, end + side, end - side, start - side])
        pygame.draw.circle(self._surface, color, (start[0], start[1]), half)
        pygame.draw.circle(self._surface, color, (end[0], end[1]), half)

    def picture(self) -> NDArray[np.uint8]:
        small = pygame.transform.smoothscale(self._surface, (self._size, self._size))
        return np.ascontiguousarray(pygame.surfarray.array3d(small).swapaxes(0, 1))


def _blend(color: Color, background: Color, opacity: float) -> Color:
    r, g, b = (round(opacity * c + (1 - opacity) * d) for c, d in zip(color, background, strict=True))
    return r, g, b


def _draw_goal(canvas: _Canvas, goal: NDArray[np.float64], position: Any | None, radius: float) -> None:
    reached = position is not None and float(np.linalg.norm(np.asarray(position) - goal)) < radius
    canvas.disc(_blend(GOAL, FLOOR, 0.45 if reached else 0.18), goal, radius)
    canvas.disc(_blend(GOAL, FLOOR, 0.95 if reached else 0.7), goal, radius, width=0.35)
    canvas.disc(GOAL, goal, 0.6)


def _draw_wall(canvas: _Canvas, layout: Layout) -> None:
    wall, door = float(layout.wall), float(layout.door)
    for first, last in ((ARENA_MIN, door - DOOR_HALF_WIDTH), (door + DOOR_HALF_WIDTH, ARENA_MAX)):
        low, high = (wall - WALL_HALF_THICKNESS, first), (wall + WALL_HALF_THICKNESS, last)
        if layout.horizontal:
            low, high = low[::-1], high[::-1]
        canvas.box(WALL, low, high)
