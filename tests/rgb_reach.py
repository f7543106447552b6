"""A small goal-reaching environment with RGB images: what someone would bring along.

With this folder on the module path, ``gym.make("rgb_reach:RGBReach-v0")`` makes it.
"""

from typing import Any

import gymnasium as gym
import numpy as np

SIZE = 32
LOW, HIGH = 4.0, 27.0
STEP = 2.0
BLOB_STD = 1.5
SUCCESS_DISTANCE = 3.0
BACKGROUND = (20, 24, 40)
DOT = (240, 90, 30)


def draw(position: np.ndarray) -> np.ndarray:
    """A soft orange dot on a dark background, uint8 (32, 32, 3)."""
    axis = np.arange(SIZE)
    squared = (axis[None, :] - position[0]) ** 2 + (axis[:, None] - position[1]) ** 2
    alpha = np.exp(-squared / (2 * BLOB_STD**2))[..., None]
    return np.round((1 - alpha) * np.array(BACKGROUND) + alpha * np.array(DOT)).astype(np.uint8)


def locate(images: np.ndarray) -> np.ndarray:
    """Where the dot is in images (..., 32, 32, 3): the centroid of what is redder than the background, (..., 2)."""
    weight = np.clip(images[..., 0].astype(np.float64) - BACKGROUND[0], 0, None)
    total = np.maximum(weight.sum((-2, -1)), 1e-9)
    axis = np.arange(SIZE)
    return np.stack([(weight.sum(-2) * axis).sum(-1) / total, (weight.sum(-1) * axis).sum(-1) / total], -1)


class RGBReach(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """Move a dot to where the goal image shows it; an action of 1 moves it by two pixels along an axis."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        image = gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        keys = ("observation", "achieved_goal", "desired_goal")
        self.observation_space = gym.spaces.Dict(dict.fromkeys(keys, image))
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self.position = self.np_random.uniform(LOW, HIGH, 2)
        self.goal = self.np_random.uniform(LOW, HIGH, 2)
        while np.linalg.norm(self.goal - self.position) < 2 * SUCCESS_DISTANCE:
            self.goal = self.np_random.uniform(LOW, HIGH, 2)
        return self._observation(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (2,) or not np.isfinite(action).all():
            raise ValueError(f"action must be two finite numbers, got {action}")
        self.position = np.clip(self.position + STEP * np.clip(action, -1, 1), LOW, HIGH)
        info = self._info()
        return self._observation(), 0.0 if info["is_success"] else -1.0, False, False, info

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> np.ndarray:
        distance = np.linalg.norm(locate(achieved_goal) - locate(desired_goal), axis=-1)
        return np.where(distance < SUCCESS_DISTANCE, 0.0, -1.0)

    def render(self) -> np.ndarray | None:
        return np.kron(draw(self.position), np.ones((8, 8, 1), np.uint8)) if self.render_mode else None

    def _observation(self) -> dict[str, np.ndarray]:
        image = draw(self.position)
        return {"observation": image, "achieved_goal": image.copy(), "desired_goal": draw(self.goal)}

    def _info(self) -> dict[str, Any]:
        distance = float(np.linalg.norm(self.position - self.goal))
        return {"is_success": distance < SUCCESS_DISTANCE, "distance": distance}


if "RGBReach-v0" not in gym.registry:
    gym.register("RGBReach-v0", "rgb_reach:RGBReach", max_episode_steps=30)
