"""A batch of Push-T episodes in progress: what the scalar environment has one of and the vector environment many.

::

    begin(which, episodes)   makes boards anew and draws the goals' images
    step(actions)            moves agents and blocks (envs.push_t.physics.Board)
    view(actions)            observations, rewards and infos as they are now
    pictures(size)           the same for people
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from envs.push_t import physics
from envs.push_t.drawing import draw, draw_picture, read_goals
from envs.push_t.geometry import TOLERANCE, distance, to_goals, wrap
from envs.push_t.task import Settings, Setup

Array = NDArray[Any]


class View(NamedTuple):
    """What can be seen of ``N`` episodes; all arrays are new.

    Attributes:
        observation: ``observation``, ``achieved_goal`` and ``desired_goal``, ``(N, ...)`` each.
        rewards: float64 ``(N,)``.
        info: What environments report beside them, ``(N, ...)`` each.
    """

    observation: dict[str, Array]
    rewards: NDArray[np.float64]
    info: dict[str, Array]


class Boards:
    """``N`` episodes of a task in progress.

    Args:
        task: Settings.
        num: ``N``.
        keep_trails: Whether trails are kept, for pictures.

    Attributes:
        poses: Agent x, y, block x, y, angle, float64 ``(N, 5)``.
        velocities: The agents', float64 ``(N, 2)``.
        goals: Poses of the goals, float64 ``(N, 5)``.
        begun: In which places an episode has ever begun, bool ``(N,)``.

    Raises:
        ImportError: If pymunk is not installed.
    """

    def __init__(self, task: Settings, num: int, *, keep_trails: bool = False) -> None:
        physics.pymunk()  # whoever has none shall know at once
        self.task = task
        self.poses, self.goals, self.velocities = np.zeros((num, 5)), np.zeros((num, 5)), np.zeros((num, 2))
        self.begun = np.zeros(num, dtype=bool)
        self._boards: list[physics.Board | None] = [None] * num
        self._desired = np.zeros((num, 6), dtype=np.float32)  # goals as observations of kind "state" show them
        self._space = task.action_space()
        self._keep_trails = keep_trails
        self._trails: list[list[Array]] = [[] for _ in range(num)]
        if task.sees_pixels:
            self._goal_images = np.zeros((num, task.size, task.size, 3), dtype=np.uint8)
            self._goals_seen = np.zeros((num, 6))  # goals as read off their images

    def begin(self, which: Sequence[int], episodes: Sequence[Setup]) -> None:
        """Starts new episodes in the places ``which``."""
        for i, episode in zip(which, episodes, strict=True):
            self._boards[i] = physics.Board(episode.start, episode.velocity)
            self.poses[i], self.velocities[i], self.goals[i] = episode.start, episode.velocity, episode.goal
            self._trails[i] = [self.poses[i, :2].copy()]
        index = np.asarray(which, dtype=np.int64)
        self.begun[index] = True
        self._desired[index] = to_goals(self.goals[index])
        if self.task.sees_pixels:
            images = draw(self.goals[index], self.task.size)
            self._goal_images[index], self._goals_seen[index] = images, read_goals(images)

    def step(self, actions: NDArray[np.float32], skipped: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Moves agents and blocks for a tenth of a second, except where ``skipped`` ``(N,)`` says so.

        Returns:
            The actions ``(N, 2)`` as executed: clipped to their space.

        Raises:
            ValueError: If an action is not finite.
        """
        finite = np.isfinite(actions).all(-1)
        if not finite.all():
            raise ValueError(f"action must be finite, got {actions[~finite][0].tolist()}")
        actions = np.clip(actions, self._space.low, self._space.high)
        targets = actions.astype(np.float64)
        if self.task.control == "relative":
            targets = self.poses[:, :2] + physics.REACH * targets
        for i, (board, target) in enumerate(zip(self._boards, targets.tolist(), strict=True)):
            if board is None or (skipped is not None and skipped[i]):
                continue
            board.step(*target)
            self.poses[i], self.velocities[i] = board.pose, board.velocity
            if self._keep_trails:
                self._trails[i].append(self.poses[i, :2].copy())
        return actions

    def view(self, actions: Array | None = None) -> View:
        """Observations, rewards and infos as they are now; after a step ``actions`` are what was executed.

        Rewards are those of :meth:`Settings.compute_reward` for the goals shown: with pixels, of poses read off the
        images. What infos say is true of the poses themselves.
        """
        achieved = to_goals(self.poses)
        exact = distance(achieved, self._desired)
        shown: dict[str, Array]
        if self.task.sees_pixels:
            images = draw(self.poses, self.task.size)
            shown = {"observation": images, "achieved_goal": images.copy(), "desired_goal": self._goal_images.copy()}
            rewards = self.task.reward_at(distance(read_goals(images), self._goals_seen))
        else:
            state = np.concatenate([achieved, self.velocities.astype(np.float32)], -1)
            shown = {"observation": state, "achieved_goal": achieved, "desired_goal": self._desired.copy()}
            rewards = self.task.reward_at(exact)
        info = {
            "is_success": exact < TOLERANCE,
            "distance": exact,
            "position": self.poses[:, :2].copy(),
            "velocity": self.velocities.copy(),
            "block": np.concatenate([self.poses[:, 2:4], wrap(self.poses[:, 4:])], -1),
            "goal": self.goals.copy(),
        }
        return View(shown, rewards, info if actions is None else info | {"action": actions.copy()})

    def pictures(self, size: int) -> tuple[NDArray[np.uint8], ...]:
        """Pictures of each board with the goal's outline and the agent's trail, uint8 ``(size, size, 3)``."""
        self.check_begun("render")
        return tuple(
            draw_picture(size, pose[2:], goal, pose[:2], np.stack(trail))
            for pose, goal, trail in zip(self.poses, self.goals, self._trails, strict=True)
        )

    def check_begun(self, method: str) -> None:
        """Raises :class:`gymnasium.error.ResetNeeded` in a method before the first reset."""
        if not self.begun.all():
            raise ResetNeeded(f"reset must be called before {method}")
