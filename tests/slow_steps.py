"""Pendulum as somebody brings it along: its steps take a while, and by option end the process or fail.

With this folder on the module path, ``gym.make("slow_steps:SlowPendulum-v0")`` makes it.
"""

import os
import time

import gymnasium as gym
from gymnasium.envs.classic_control.pendulum import PendulumEnv


class UnreadableError(ValueError):
    """An error that cannot be made again from its message alone, as other processes do."""

    def __init__(self, place: str, value: float) -> None:
        super().__init__(f"{place} must be small, got {value}")


class SlowPendulum(PendulumEnv):
    """Gymnasium's Pendulum; a step takes so many seconds."""

    def __init__(self, seconds: float = 0.0, trouble: str = "", render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self.seconds, self.trouble, self.steps = seconds, trouble, 0

    def step(self, action):
        self.steps += 1
        if self.trouble and self.steps > 15:
            if self.trouble == "exit":
                os._exit(7)
            raise {"value": UnreadableError("angle", 3), "other": ZeroDivisionError("by zero")}[self.trouble]
        time.sleep(self.seconds)
        return super().step(action)


gym.register("SlowPendulum-v0", SlowPendulum, max_episode_steps=10)
