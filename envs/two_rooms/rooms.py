"""A batch of Two Rooms episodes in progress: what the scalar environment has one of and the vector environment many.

::

    begin(which, episodes)   sets layout, start and goal, and draws what stays the same: walls and goal images
    step(actions, noise)     moves the agents (envs.two_rooms.physics.step)
    view()                   observations, rewards and distances as they are now
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.two_rooms import physics
from envs.two_rooms.physics import GOAL_RADIUS, SIZE, Layout
from envs.two_rooms.pictures.rendering import draw_agents, render
from envs.two_rooms.task import Settings, Setup, distances, image_positions, window_positions


class View(NamedTuple):
    """What can be seen of ``N`` episodes; all arrays are new.

    Attributes:
        observation: ``observation``, ``achieved_goal`` and ``desired_goal``, ``(N, ...)`` each.
        rewards: float64 ``(N,)``.
        distances: From agent to goal, in pixels, float64 ``(N,)``.
        successes: Whether the goal is reached, bool ``(N,)``.
    """

    observation: dict[str, NDArray[Any]]
    rewards: NDArray[np.float64]
    distances: NDArray[np.float64]
    successes: NDArray[np.bool_]


class Rooms:
    """``N`` episodes of a task in progress.

    Args:
        task: Settings.
        num: ``N``.

    Attributes:
        positions: Where the agents are, float32 ``(N, 2)``; replaced, never written to.
        goals: float32 ``(N, 2)``.
        layouts: int64 ``(N, 2)``, wall and door, or ``(N, 3)`` with a 1 behind them for horizontal walls.
    """

    def __init__(self, task: Settings, num: int) -> None:
        self.task = task
        self.num = num
        self.positions = np.zeros((num, 2), dtype=np.float32)
        self.goals = np.zeros((num, 2), dtype=np.float32)
        self.layouts = np.ones((num, 3 if task.horizontal else 2), dtype=np.int64)
        self._layout = Layout(np.zeros(num), np.zeros(num), task.horizontal)
        if task.observation == "pixels":
            shape = (num, 2, SIZE, SIZE)
            self._scenes = np.zeros(shape, dtype=np.uint8)  # walls without an agent
            self._goal_images = np.zeros(shape, dtype=np.uint8)
            self._goals_seen = np.zeros((num, 2))  # positions as read off the goal images

    @property
    def layout(self) -> Layout:
        """The layouts, fields of shape ``(N,)``."""
        return Layout(self.layouts[:, 0], self.layouts[:, 1], np.full(self.num, self.task.horizontal))

    def begin(self, which: Sequence[int], episodes: Sequence[Setup]) -> None:
        """Starts new episodes in the places ``which``."""
        index = np.asarray(which, dtype=np.int64)
        layouts = np.array([episode.layout[:2] for episode in episodes], dtype=np.int64)
        goals = np.stack([episode.goal for episode in episodes])
        positions = self.positions.copy()
        positions[index] = np.stack([episode.start for episode in episodes])
        self.positions = positions
        self.goals[index] = goals
        self.layouts[index, :2] = layouts
        self._layout.wall[index], self._layout.door[index] = layouts.T
        if self.task.observation == "pixels":
            horizontal = np.full(len(index), self.task.horizontal)
            images = render(goals, Layout(layouts[:, 0], layouts[:, 1], horizontal))
            self._goal_images[index] = images
            self._scenes[index, 1] = images[:, 1]
            self._goals_seen[index] = image_positions(images)

    def step(self, actions: NDArray[np.float32], noise: NDArray[np.float64] | None) -> physics.Step:
        """Moves the agents; see :func:`envs.two_rooms.physics.step`."""
        moved = physics.step(self.positions, actions, self._layout, collision=self.task.collision, noise=noise)
        self.positions = moved.positions
        return moved

    def view(self) -> View:
        """Observations, rewards and distances as they are now.

        Rewards are those of :meth:`Settings.compute_reward` for the goals shown: with pixels, of positions read off
        the images. Distances and successes are of the true positions.
        """
        positions, goals = self.positions, self.goals
        exact = distances(positions, goals)
        observation: dict[str, NDArray[Any]]
        if self.task.observation == "pixels":
            image = self._scenes.copy()
            seen = window_positions(*draw_agents(positions, image))
            observation = {
                "observation": image,
                "achieved_goal": image.copy(),
                "desired_goal": self._goal_images.copy(),
            }
            rewards = self.task.reward_at(distances(seen, self._goals_seen))
        else:
            state = np.concatenate([positions, self.layouts[:, :2]], axis=1, dtype=np.float32, casting="same_kind")
            observation = {"observation": state, "achieved_goal": positions.copy(), "desired_goal": goals.copy()}
            rewards = self.task.reward_at(exact)
        return View(observation, rewards, exact, exact < GOAL_RADIUS)

    def info(self, view: View, moved: physics.Step | None = None) -> dict[str, NDArray[Any]]:
        """What environments report beside observations, ``(N, ...)`` each, all new; after a step also what it did."""
        info = {
            "is_success": view.successes,
            "distance": view.distances,
            "position": self.positions.copy(),
            "goal": self.goals.copy(),
            "layout": self.layouts.copy(),
        }
        if moved is not None:
            info["action"] = moved.actions.copy()
            info["blocked"] = moved.blocked
        return info

    def shortest_paths(self) -> NDArray[np.float64]:
        """Lengths of the shortest paths from the agents to the discs around their goals, in pixels, ``(N,)``."""
        return physics.shortest_path_to_goal_disc(self.positions, self.goals, self.layout)
