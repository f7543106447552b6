import numpy as np
import pytest

from envs.two_rooms import play
from envs.two_rooms.env import TwoRoomsEnv
from envs.two_rooms.layouts import FIXED_LAYOUT
from envs.two_rooms.physics import MAX_STEP, Layout
from envs.two_rooms.pictures.viewer import AGENT, FLOOR, GOAL, OUTSIDE, WALL, Window, draw_scene, pygame, to_canvas


@pytest.fixture
def game():
    env = TwoRoomsEnv(observation="state")
    return play.Game(env, 260, seed=0)


def press(key):
    return pygame.event.Event(pygame.KEYDOWN, key=key)


def test_runs_from_the_command_line(caplog):
    caplog.set_level("INFO")
    play.main(["--max-steps", "3", "--fps", "0", "--seed", "1", "--size", "200", "--collision", "bounce"])
    assert "1 episodes, 0 reached the goal" in caplog.text


def test_leaves_other_windows_alone():
    other = Window(100, "other")
    play.main(["--max-steps", "1", "--fps", "0", "--size", "100"])
    other.show(np.zeros((100, 100, 3), dtype=np.uint8), fps=0)
    assert other.is_open
    other.close()


def test_quits_on_escape(caplog, monkeypatch):
    caplog.set_level("INFO")
    events = iter([[], [press(pygame.K_r)], [press(pygame.K_ESCAPE)]])
    monkeypatch.setattr(pygame.event, "get", lambda *kinds: [] if kinds else next(events))
    play.main(["--fps", "0", "--size", "100", "--wall-orientation", "horizontal"])
    assert "2 episodes, 0 reached the goal" in caplog.text


def test_help(capsys):
    with pytest.raises(SystemExit) as exit_info:
        play.main(["--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert all(option in text for option in ("--collision", "--seed", "--max-steps", "--layout-set", "Arrow keys"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--collision", "slide"], "invalid choice: 'slide'"),
        (["--max-steps", "0"], "must be a positive integer, got 0"),
        (["--seed", "-1"], "must be a non-negative integer, got -1"),
        (["--size", "x"], "invalid _positive value: 'x'"),
    ],
)
def test_bad_arguments(argv, message, capsys):
    with pytest.raises(SystemExit):
        play.main(argv)
    assert message in capsys.readouterr().err


def test_keys_and_window_events(game):
    assert not game.quit
    game.handle([press(pygame.K_x)])
    assert (game.quit, game.num_episodes) == (False, 1)
    game.handle([press(pygame.K_r)])
    assert game.num_episodes == 2
    game.handle([press(pygame.K_ESCAPE)])
    assert game.quit
    for closing in (pygame.QUIT, pygame.WINDOWCLOSE):
        game.quit = False
        game.handle([pygame.event.Event(closing)])
        assert game.quit


def test_keys_make_full_steps():
    assert play.key_action([(1, 0)]).tolist() == pytest.approx([MAX_STEP, 0.0])
    assert np.linalg.norm(play.key_action([(1, 0), (0, -1)])) == pytest.approx(MAX_STEP)
    assert play.key_action([(1, 0), (-1, 0)]).tolist() == [0.0, 0.0]
    assert play.key_action([]).tolist() == [0.0, 0.0]


def test_mouse_pulls_the_agent(monkeypatch):
    window = Window(650, "test")
    monkeypatch.setattr(pygame.mouse, "get_pressed", lambda: (True, False, False))
    monkeypatch.setattr(pygame.mouse, "get_pos", lambda: (305, 105))
    assert play.pressed_direction(np.array([10.0, 10.0], dtype=np.float32), 650).tolist() == [20.0, 0.0]
    monkeypatch.setattr(pygame.mouse, "get_pressed", lambda: (False, False, False))
    assert play.pressed_direction(np.array([10.0, 10.0], dtype=np.float32), 650).tolist() == [0.0, 0.0]
    window.close()


def test_success_is_shown(game):
    goal = game._info["goal"]
    game._info = game._env.reset(options={"start": goal, "goal": goal, "layout": FIXED_LAYOUT})[1]
    before = game.caption()
    game.step(np.array([0.1, 0.0], dtype=np.float32))
    assert game.num_successes == 1
    assert "goal reached after 1 steps" in game.caption()
    assert "goal reached" not in before
    game.step(np.array([0.1, 0.0], dtype=np.float32))
    assert game.num_successes == 1
    game.step(np.zeros(2, dtype=np.float32))
    assert (game.total_steps, len(game._trail)) == (3, 3)


def test_scenes_show_what_they_should():
    size = 650
    picture = draw_scene(size, Layout(32, 18), (10.0, 30.0), (50.0, 30.0), np.array([[10.0, 50.0], [10.0, 30.0]]))
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8

    def at(point):
        column, row = to_canvas(point, size).astype(int)
        colors = {"agent": AGENT, "goal": GOAL, "wall": WALL, "floor": FLOOR, "outside": OUTSIDE}
        near = [n for n, color in colors.items() if np.abs(picture[row, column].astype(int) - color).max() <= 4]
        return near[0] if near else None

    assert at((10, 30)) == "agent"
    assert at((50, 30)) == "goal"
    assert at((32, 40)) == at((3.4, 30)) == "wall"
    assert at((32, 18)) == at((20, 10)) == "floor"
    assert at((1, 1)) == "outside"
    assert at((10, 40)) is None  # the trail
    empty = draw_scene(100, Layout(32, 18, True), None, None)
    assert np.array_equal(empty, draw_scene(100, Layout(32, 18), None, None).swapaxes(0, 1))


def test_reached_goals_look_different():
    far, near = (draw_scene(130, Layout(32, 18), p, (50.0, 30.0)) for p in ((10.0, 30.0), (47.0, 30.0)))
    row, column = to_canvas((53.0, 30.0), 130)[::-1].astype(int)
    assert not np.array_equal(far[row, column], near[row, column])


@pytest.mark.parametrize("size", [0, -3])
def test_bad_sizes(size):
    with pytest.raises(ValueError, match=f"size must be a positive integer, got {size}"):
        draw_scene(size, Layout(32, 18), None, None)
