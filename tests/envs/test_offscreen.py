import os
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

from envs import offscreen
from envs.goal_image.arguments import make
from envs.offscreen import BACKENDS, VARIABLE, TopView, find_backend, import_extra
from mujoco_rendering import require_mujoco

SCENE = """<mujoco><worldbody>
  <geom type="plane" size="9 9 1" rgba="1 1 1 1"/>
  <geom type="box" size="1 1 0.1" pos="2 1 0.2" rgba="1 0 0 1"/>
</worldbody></mujoco>"""


@pytest.fixture
def no_choice(monkeypatch):
    """A system where nobody has chosen a way to render, and MuJoCo is there."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(offscreen, "import_extra", lambda *names: None)


def test_a_missing_package_gets_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    message = r'^Reacher needs MuJoCo: pip install "worldmodel\[mujoco\]" \(.*mujoco.*\)$'
    with pytest.raises(gym.error.DependencyNotInstalled, match=message):
        import_extra("mujoco", "Reacher")


def test_importing_the_environments_imports_no_mujoco():
    code = (
        "import sys, envs, envs.point_maze.domain, envs.reacher.domain; "
        "found = {'mujoco', 'gymnasium_robotics', 'OpenGL', 'torch'} & set(sys.modules); "
        "sys.exit(f'{found}' if found else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("no_choice")
def test_the_first_that_works_is_taken_and_remembered(monkeypatch):
    tried = []

    def why_not(name):
        tried.append(name)
        return "no driver" if name == "egl" else None

    monkeypatch.setattr(offscreen, "_why_not", why_not)
    assert find_backend() == find_backend() == os.environ[VARIABLE] == "osmesa"
    assert tried == ["egl", "osmesa"]  # once


@pytest.mark.usefixtures("no_choice")
def test_where_none_works_the_error_names_packages(monkeypatch):
    monkeypatch.setattr(offscreen, "_why_not", lambda name: f"no {name}")
    message = r"libegl1 \(egl\) or libosmesa6 \(osmesa\), got neither: egl: no egl; osmesa: no osmesa"
    with pytest.raises(gym.error.DependencyNotInstalled, match=message):
        find_backend()
    assert not os.environ[VARIABLE]


def test_a_choice_is_respected_and_checked(monkeypatch):
    monkeypatch.setattr(offscreen, "_why_not", lambda name: pytest.fail("looked for another"))
    monkeypatch.setenv(VARIABLE, " OSMesa ")
    assert find_backend() == "osmesa"
    monkeypatch.setenv(VARIABLE, "off")
    with pytest.raises(ValueError, match=r"MUJOCO_GL must be one of 'egl', 'osmesa', .*, got 'off'"):
        find_backend()


@pytest.mark.usefixtures("no_choice")
def test_a_child_process_finds_out():
    require_mujoco()
    assert find_backend() in BACKENDS
    assert offscreen._why_not("no_such_way") is not None


def test_a_way_that_does_not_work_is_named(monkeypatch):
    mujoco = require_mujoco()
    monkeypatch.setenv(VARIABLE, "cgl")
    monkeypatch.setitem(sys.modules, "mujoco.cgl", None)
    model = mujoco.MjModel.from_xml_string(SCENE)
    with pytest.raises(gym.error.DependencyNotInstalled, match=r"libegl1 .*, got MUJOCO_GL=cgl: "):
        TopView(model, 8.0).draw(mujoco.MjData(model))


@pytest.mark.parametrize("samples", [1, 2, 4])
def test_pictures_from_above(samples):
    mujoco = require_mujoco()
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    view = TopView(model, 8.0, 32, samples)  # 4 pixels for a unit; x to the right and y upwards
    image = view.draw(data)
    red = image[..., 0] - image[..., 1].astype(int) > 60
    expected = np.zeros((32, 32), bool)
    expected[8:16, 20:28] = True
    assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
    assert np.array_equal(red, expected)
    other = TopView(model, 4.0, 32, samples)
    assert not np.array_equal(other.draw(data), image)
    assert np.array_equal(view.draw(data), image)
    view.close()
    assert np.array_equal(view.draw(data), image)
    view.close()
    view.close()
    other.close()


def test_a_forked_process_says_that_it_cannot_draw(monkeypatch):
    mujoco = require_mujoco()
    monkeypatch.setattr(offscreen, "_renders", {os.getpid() + 1})
    model = mujoco.MjModel.from_xml_string(SCENE)
    with pytest.raises(RuntimeError, match="must be started by 'spawn' or 'forkserver' once MuJoCo has rendered"):
        TopView(model, 8.0).draw(mujoco.MjData(model))


def test_environments_of_others_draw_side_by_side_and_after_one_another():
    """Gymnasium's own viewers would leave black pictures once one is closed, and take another's for their own."""
    require_mujoco()
    first, second, third = (
        make("Reacher-v5", goal_image={"size": 16}, width=width, height=width) for width in (32, 48, 32)
    )
    alone = first.reset(seed=3)[0]["observation"]
    assert alone.std() > 10
    second.reset(seed=4)
    assert np.array_equal(first.reset(seed=3)[0]["observation"], alone)
    second.close()
    assert np.array_equal(first.reset(seed=3)[0]["observation"], alone)
    first.close()
    first.close()
    assert np.array_equal(third.reset(seed=3)[0]["observation"], alone)
    third.close()


def test_programs_end_quietly_where_environments_of_others_were_drawn():
    require_mujoco()
    code = (
        "import envs\n"
        "from envs.goal_image.arguments import make\n"
        "made = [make('Reacher-v5', goal_image={'size': 16}) for _ in range(3)]\n"
        "for env in made: env.reset(seed=0)\n"
        "made.pop(0); made[0].close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_programs_end_quietly():
    require_mujoco()
    code = (
        "import mujoco\n"
        "from envs.offscreen import TopView\n"
        f"model = mujoco.MjModel.from_xml_string('''{SCENE}''')\n"
        "views = [TopView(model, 8.0), TopView(model, 8.0), TopView(model, 8.0)]\n"
        "for view in views: view.draw(mujoco.MjData(model))\n"
        "views.pop(0); views[0].close(); views[0].draw(mujoco.MjData(model))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
