"""What tests need that draw with MuJoCo; without it they are skipped, for it needs more than Python's packages."""

from types import ModuleType

import gymnasium as gym
import pytest

from envs.offscreen import find_backend


def require_mujoco() -> ModuleType:
    """MuJoCo, on a machine where it can draw; skips the test, or the module of tests, anywhere else."""
    mujoco = pytest.importorskip("mujoco")
    try:
        find_backend()
    except gym.error.DependencyNotInstalled as error:
        pytest.skip(str(error), allow_module_level=True)
    return mujoco
