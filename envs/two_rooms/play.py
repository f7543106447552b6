"""Play Two Rooms: ``python -m envs.two_rooms.play``.

Arrow keys or WASD move the agent, or hold a mouse button to pull it towards the pointer. R or space starts a new
episode, Esc quits.
"""

import argparse
import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from envs.two_rooms.env import TwoRoomsEnv
from envs.two_rooms.layouts import LAYOUT_SETS
from envs.two_rooms.physics import COLLISIONS, MAX_STEP, SIZE, Layout
from envs.two_rooms.pictures.viewer import Window, draw_scene, pygame
from envs.two_rooms.task import MAX_EPISODE_STEPS, ORIENTATIONS

logger = logging.getLogger(__name__)

_KEYS = {
    pygame.K_LEFT: (-1, 0),
    pygame.K_a: (-1, 0),
    pygame.K_RIGHT: (1, 0),
    pygame.K_d: (1, 0),
    pygame.K_UP: (0, -1),
    pygame.K_w: (0, -1),
    pygame.K_DOWN: (0, 1),
    pygame.K_s: (0, 1),
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m envs.two_rooms.play",
        description="Play Two Rooms. Arrow keys or WASD move, a held mouse button pulls the agent towards the pointer, "
        "R or space starts a new episode, Esc quits.",
    )
    parser.add_argument("--collision", choices=COLLISIONS, default="stay", help="what a blocked step does")
    parser.add_argument("--wall-orientation", choices=ORIENTATIONS, default="vertical", help="how the wall runs")
    parser.add_argument("--layout-set", choices=LAYOUT_SETS, default="all", help="layouts that episodes are drawn from")
    parser.add_argument("--seed", type=_natural, help="seed of the episodes; by default they differ each time")
    parser.add_argument("--size", type=_positive, default=650, help="side of the window in pixels")
    parser.add_argument("--fps", type=int, default=30, help="steps a second; 0 for as fast as possible")
    parser.add_argument("--max-steps", type=_positive, help="quit after this many steps")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the game until it is quit."""
    args = parse_args(argv)
    env = TwoRoomsEnv(
        observation="state",
        collision=args.collision,
        wall_orientation=args.wall_orientation,
        layout_set=args.layout_set,
    )
    window = Window(args.size, "Two Rooms")
    try:
        game = Game(env, args.size, args.seed)
        while window.is_open and not game.quit and (args.max_steps is None or game.total_steps < args.max_steps):
            game.handle(pygame.event.get())
            game.step(pressed_direction(game.position, args.size))
            window.set_caption(game.caption())
            window.show(game.picture(), fps=args.fps)
    finally:
        window.close()
        env.close()
    logger.info("%d episodes, %d reached the goal", game.num_episodes, game.num_successes)


class Game:
    """A session of play: the episode in progress and the score.

    Args:
        env: The environment.
        size: Side of the window in pixels.
        seed: Seed of the episodes.

    Attributes:
        quit: Whether the player wants to stop.
        total_steps: Calls of :meth:`step`.
        num_episodes: Episodes started.
        num_successes: Episodes in which the goal was reached.
        reached_after: Steps after which the goal was reached in this episode; None if it was not yet.
    """

    def __init__(self, env: TwoRoomsEnv, size: int, seed: int | None = None) -> None:
        self.quit = False
        self.total_steps = self.num_episodes = self.num_successes = 0
        self._env = env
        self._size = size
        self.new_episode(seed)

    def new_episode(self, seed: int | None = None) -> None:
        """Starts an episode."""
        _, self._info = self._env.reset(seed=seed)
        self._trail = [self.position]
        self.reached_after: int | None = None
        self.num_episodes += 1

    @property
    def position(self) -> NDArray[np.float32]:
        """Where the agent is, ``(2,)``."""
        return self._info["position"]

    def handle(self, events: Sequence["pygame.event.Event"]) -> None:
        """Takes in keys and clicks on the window."""
        for event in events:
            key = event.key if event.type == pygame.KEYDOWN else None
            if event.type in (pygame.QUIT, pygame.WINDOWCLOSE) or key == pygame.K_ESCAPE:
                self.quit = True
            elif key in (pygame.K_r, pygame.K_SPACE):
                self.new_episode()

    def step(self, direction: NDArray[np.float32]) -> None:
        """Moves the agent; standing still takes no time in the episode."""
        self.total_steps += 1
        if not direction.any():
            return
        self._info = self._env.step(direction)[-1]
        self._trail.append(self.position)
        if self._info["is_success"] and self.reached_after is None:
            self.reached_after = len(self._trail) - 1
            self.num_successes += 1

    def caption(self) -> str:
        """The window's title: how the episode stands."""
        steps = len(self._trail) - 1
        if self.reached_after is not None:
            status = f"goal reached after {self.reached_after} steps – R for a new episode"
        elif steps > MAX_EPISODE_STEPS:
            status = f"step {steps}: more than the {MAX_EPISODE_STEPS} an agent has"
        else:
            status = f"step {steps}, {self._info['distance']:.0f} px to the goal"
        return f"Two Rooms – {status} – {self.num_successes} of {self.num_episodes}"

    def picture(self) -> NDArray[np.uint8]:
        """The scene, ``(size, size, 3)``."""
        layout = Layout(*self._info["layout"])
        return draw_scene(self._size, layout, self.position, self._info["goal"], np.stack(self._trail))


def pressed_direction(position: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The action that keys and mouse ask for now, float32 ``(2,)``; zero for none.

    Args:
        position: Where the agent is, ``(2,)``.
        size: Side of the window in pixels.
    """
    pressed = pygame.key.get_pressed()
    moves = [move for key, move in _KEYS.items() if pressed[key]]
    if not moves and pygame.mouse.get_pressed()[0]:
        pointer = np.array(pygame.mouse.get_pos()) * (SIZE / size) - 0.5
        return (pointer - position).astype(np.float32)  # the environment bounds its length
    return key_action(moves)


def key_action(moves: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
    """The action of pressed keys: a full step in their joint direction, zero if they cancel out."""
    direction = np.array(moves, dtype=np.float64).reshape(-1, 2).sum(axis=0)
    length = np.linalg.norm(direction)
    return (direction * (MAX_STEP / length if length else 0.0)).astype(np.float32)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {value}")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be a non-negative integer, got {value}")
    return value


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
