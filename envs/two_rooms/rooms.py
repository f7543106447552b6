"""A batch of Two Rooms episodes in progress: what the scalar environment has one of and the vector environment many.

::

    begin(which, episodes)   sets layout, start and goal, and draws what stays the same: walls and goal images
    step(actions, noise)     moves the agents (envs.two_rooms.physics.step)
    view()                   observations, rewards and infos as they are now
    pictures(size)           the same for people
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from envs.two_rooms import physics
from envs.two_rooms.physics import SIZE, Layout
from envs.two_rooms.pictures.rendering import draw_agents, render
from envs.two_rooms.task import Episode, Settings, distances, image_positions, window_positions


class Rooms:
    """``N`` episodes of a task in progress.

    Args:
        task: Settings.
        num: ``N``.
        keep_trails: Whether trails are kept, for pictures.

    Attributes:
        positions: Where the agents are, float32 ``(N, 2)``; replaced, never written to.
        goals: float32 ``(N, 2)``.
        layouts: int64 ``(N, 2)``, wall and door, or ``(N, 3)`` with a 1 behind them for horizontal walls.
        begun: In which places an episode has ever begun, bool ``(N,)``.
    """

    def __init__(self, task: Settings, num: int, *, keep_trails: bool = False) -> None:
        self.task = task
        self.positions = np.zeros((num, 2), dtype=np.float32)
        self.goals = np.zeros((num, 2), dtype=np.float32)
        self.layouts = np.ones((num, 3 if task.horizontal else 2), dtype=np.int64)
        self.begun = np.zeros(num, dtype=bool)
        self._all_begun = False
        self._layout = Layout(np.zeros(num), np.zeros(num), task.horizontal)  # layouts as floats, for speed
        self._keep_trails = keep_trails
        self._trails: list[list[NDArray[np.float32]]] = [[] for _ in range(num)]
        if task.observation == "pixels":
            shape = (num, 2, SIZE, SIZE)
            self._scenes = np.zeros(shape, dtype=np.uint8)  # walls without an agent
            self._goal_images = np.zeros(shape, dtype=np.uint8)
            self._goals_seen = np.zeros((num, 2))  # positions as read off the goal images

    def begin(self, which: Sequence[int], episodes: Sequence[Episode]) -> None:
        """Starts new episodes in the places ``which``."""
        index = np.asarray(which, dtype=np.int64)
        layouts = np.array([layout[:2] for layout, _, _ in episodes], dtype=np.int64)
        goals = np.stack([goal for _, _, goal in episodes])
        positions = self.positions.copy()
        positions[index] = np.stack([start for _, start, _ in episodes])
        self.positions = positions
        self.goals[index] = goals
        self.layouts[index, :2] = layouts
        self._layout.wall[index], self._layout.door[index] = layouts.T
        self.begun[index] = True
        self._all_begun = bool(self.begun.all())
        for i in which:
            self._trails[i] = [positions[i]]
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
        if self._keep_trails:
            for trail, position in zip(self._trails, self.positions, strict=True):
                trail.append(position)
        return moved

    def view(
        self, moved: physics.Step | None = None
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64], dict[str, NDArray[Any]]]:
        """What can be seen of the episodes as they are now.

        Rewards are those of :meth:`Settings.compute_reward` for the goals shown: with pixels, of positions read off
        the images. Distances and successes are of the true positions.

        Args:
            moved: The step that led here, for the info.

        Returns:
            Observations, rewards float64 ``(N,)`` and infos; arrays ``(N, ...)`` that are all new.
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
        info = {
            "is_success": exact < self.task.goal_radius,
            "distance": exact,
            "position": positions.copy(),
            "goal": goals.copy(),
            "layout": self.layouts.copy(),
        }
        if moved is not None:
            info |= {"action": moved.actions.copy(), "blocked": moved.blocked}
        return observation, rewards, info

    def shortest_paths(self) -> NDArray[np.float64]:
        """Lengths of the shortest paths from the agents to the discs around their goals, in pixels, ``(N,)``."""
        self.check_begun("optimal_path_length")
        return physics.shortest_path_to_goal_disc(self.positions, self.goals, self._layout, self.task.goal_radius)

    def pictures(self, size: int) -> tuple[NDArray[np.uint8], ...]:
        """Pictures of each scene with the agent's trail, uint8 ``(size, size, 3)``."""
        self.check_begun("render")
        from envs.two_rooms.pictures.viewer import draw_scene  # pygame is slow to import and needed for pictures only

        scenes = zip(self.layouts, self.positions, self.goals, self._trails, strict=True)
        return tuple(
            draw_scene(size, Layout(*layout), position, goal, np.stack(trail), self.task.goal_radius)
            for layout, position, goal, trail in scenes
        )

    def check_begun(self, method: str) -> None:
        """Raises :class:`gymnasium.error.ResetNeeded` in a method before the first reset."""
        if not self._all_begun:
            raise ResetNeeded(f"reset must be called before {method}")
