"""Windows are apart: what happens to one harms no other. A crash would end the process of the tests."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

from envs.two_rooms.env import TwoRoomsEnv
from envs.two_rooms.pictures.viewer import Window, pygame


@pytest.fixture
def pair():
    envs = [TwoRoomsEnv(render_mode="human") for _ in range(2)]
    for env in envs:
        env.reset(seed=0)
    yield envs
    for env in envs:
        env.close()


def dismiss(env):
    """A person clicks on the cross of a window."""
    pygame.event.post(pygame.event.Event(pygame.WINDOWCLOSE, window=env._window._window))


def shown(window):
    return pygame.surfarray.array3d(window._window.get_surface()).swapaxes(0, 1)


def test_closing_one_environment_leaves_the_other():
    code = """
import gymnasium as gym, envs
a, b = (gym.make("TwoRooms-v0", render_mode="human") for _ in range(2))
a.reset(seed=0), b.reset(seed=1)
b.close()
a.step(a.action_space.sample())
b.step(b.action_space.sample())
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_each_window_shows_its_own_environment(pair):
    first, second = pair
    second.step(np.ones(2))
    pictures = [shown(env._window) for env in pair]
    assert not np.array_equal(*pictures)
    twin = TwoRoomsEnv(render_mode="rgb_array")
    twin.reset(seed=0)
    assert np.array_equal(pictures[0], twin.render())
    second.close()
    first.step(np.ones(2))
    assert np.array_equal(shown(first._window), pictures[1])


def test_closing_twice_is_harmless_and_stepping_opens_again(pair):
    env, _ = pair
    window = env._window
    env.close()
    env.close()
    window.close()
    window.set_caption("gone")
    window.show(np.zeros((520, 520, 3), dtype=np.uint8), fps=0)
    assert not window.is_open
    env.step(np.ones(2))
    assert env._window.is_open


def test_a_window_that_a_person_closes_stays_closed_until_the_next_episode(pair):
    first, second = pair
    dismiss(first)
    second.step(np.ones(2))
    first.step(np.ones(2))
    first.step(np.ones(2))
    assert [env._window.is_open for env in pair] == [False, True]
    first.reset()
    assert first._window.is_open
    dismiss(first)
    first.step(np.ones(2))
    first.close()


def test_events_of_others_stay():
    window = Window(50, "ours")
    pygame.event.clear()
    events = [pygame.event.Event(pygame.KEYDOWN, key=pygame.K_a), pygame.event.Event(pygame.WINDOWCLOSE, window=None)]
    for event in events:
        pygame.event.post(event)
    window.show(np.zeros((50, 50, 3), dtype=np.uint8), fps=0)
    assert [event.type for event in pygame.event.get()] == [event.type for event in events]
    window.close()


def test_other_code_may_quit_pygame(pair):
    first, second = pair
    for quit_all in (pygame.display.quit, pygame.quit, lambda: (pygame.quit(), pygame.display.init())):
        quit_all()
        first.step(np.ones(2))
        assert first._window.is_open
        second.close()
    pygame.quit()
    first._window.set_caption("nowhere to be seen")
    first.close()


def test_environments_of_gymnasium_in_one_process(pair):
    cart = gym.make("CartPole-v1", render_mode="human")
    cart.reset(seed=0)
    pair[0].step(np.ones(2))
    cart.close()
    pair[0].step(np.ones(2))
    pair[1].step(np.ones(2))


def test_captions_and_pictures():
    window = Window(60, "before")
    window.set_caption("after")
    assert window._window.title == "after"
    picture = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    window.show(picture, fps=0)
    assert np.array_equal(shown(window), picture)
    window._window.size = (40, 80)  # window managers do as they please
    window.show(picture, fps=0)
    assert np.array_equal(shown(window)[:60, :40], picture[:, :40])
    window.close()
