"""Pictures of MuJoCo's scenes without a window, straight from above.

::

    import_extra   a package of the extra "mujoco", or one line that says how to get it
    find_backend   EGL, else OSMesa: which of them works here, found once and told to child processes
    keep_apart     Gymnasium's own viewers, where several are in one process
    TopView        a camera above a model, which draws its data

A process that has rendered must not be forked, which :class:`TopView` checks: "spawn" and "forkserver" start others.
"""

import atexit
import contextlib
import functools
import importlib
import io
import logging
import os
import subprocess
import sys
import weakref
from functools import reduce
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.inputs import check_choice

BACKENDS = {"egl": "libegl1", "osmesa": "libosmesa6"}
"""Ways to render without a window, in the order in which they are tried → Debian's package that each needs."""
VARIABLE = "MUJOCO_GL"
"""Environment variable that names the way to render, here as for MuJoCo itself."""

_MODULES = {"egl": "egl", "osmesa": "osmesa", "glfw": "glfw", "glx": "glfw", "wgl": "glfw", "cgl": "cgl"}
_NEEDS_NO_SEARCH = {"darwin": "cgl", "win32": "glfw"}  # systems on which MuJoCo has one way only
_PROBE = """
import importlib, mujoco, sys
context = importlib.import_module(f"mujoco.{sys.argv[1]}").GLContext(64, 64)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), 100).free()
context.free()
"""
_PROBE_SECONDS = 120
_MAX_GEOMS = 1000

_open: weakref.WeakSet[Any] = weakref.WeakSet()  # what has a context, and close()
_renders: set[int] = set()  # the process that has rendered; one that was forked from it finds another's number here


def import_extra(module: str, needed_by: str) -> ModuleType:
    """Imports a module of the packages that the extra "mujoco" installs.

    Args:
        module: Its name, such as "mujoco".
        needed_by: What needs it, such as "Reacher", for the message.

    Raises:
        gymnasium.error.DependencyNotInstalled: If it cannot be imported.
    """
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # Gymnasium-Robotics prints news of its other environments
            return importlib.import_module(module)
    except ImportError as error:
        raise gym.error.DependencyNotInstalled(
            f'{needed_by} needs MuJoCo: pip install "worldmodel[mujoco]" ({error})'
        ) from None


def find_backend() -> str:
    """The way to render: what ``MUJOCO_GL`` says, else the first of :data:`BACKENDS` that works here.

    Each is tried in a child process, for a failed attempt cannot be undone; the answer is kept in ``MUJOCO_GL``, where
    child processes find it.

    Raises:
        ValueError: If ``MUJOCO_GL`` names no way to render.
        gymnasium.error.DependencyNotInstalled: If none works, or MuJoCo is missing.
    """
    name = os.environ.get(VARIABLE, "").strip().lower() or _NEEDS_NO_SEARCH.get(sys.platform)
    if name:
        return check_choice(f"the environment variable {VARIABLE}", name, _MODULES)
    import_extra("mujoco", "Rendering")
    reasons = []
    for name in BACKENDS:
        reason = _why_not(name)
        if reason is None:
            os.environ[VARIABLE] = name
            return name
        reasons.append(f"{name}: {reason}")
    raise gym.error.DependencyNotInstalled(f"{_rule()}, got neither: {'; '.join(reasons)}")


def _rule() -> str:
    packages = " or ".join(f"{package} ({name})" for name, package in BACKENDS.items())
    return f"MuJoCo must be able to render without a window, for which Debian has {packages}"


def _why_not(name: str) -> str | None:
    """Why a way to render does not work here; None: it works."""
    command, variables = [sys.executable, "-P", "-c", _PROBE, name], os.environ | {VARIABLE: name}
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=_PROBE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    return done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}"


def keep_apart() -> None:
    """Lets each of Gymnasium's off-screen viewers draw, and clean up, in its own OpenGL context.

    As they are (Gymnasium 1.4), they draw in whichever context is current, and one that goes takes with it what has the
    same numbers in another's: pictures are black once another environment was closed.
    """
    viewer: Any = import_extra("gymnasium.envs.mujoco.mujoco_rendering", "Rendering").OffScreenViewer
    if hasattr(viewer.render, "__wrapped__"):
        return
    render, free = viewer.render, viewer.free

    @functools.wraps(render)
    def render_in_own_context(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.make_context_current()
        _close_in_time(self)
        return render(self, *args, **kwargs)

    @functools.wraps(free)
    def free_once(self: Any) -> None:
        drawing = self.__dict__.pop("con", None)
        if drawing is not None:
            self.make_context_current()
            drawing.free()
            free(self)

    viewer.render, viewer.free = render_in_own_context, free_once


class TopView:
    """A camera straight above the origin of a model, x to the right and y upwards, in parallel projection.

    Nothing is opened before the first picture. Shadows, reflections and the sky are not drawn.

    Args:
        model: MuJoCo's model; the settings of its pictures are changed, and nothing of its physics.
        side: Side of the square that is seen, in the model's unit.
        size: Side of the pictures in pixels.
        samples: How many times as large they are drawn, to be averaged: faster than MuJoCo's own multisampling.
    """

    def __init__(self, model: Any, side: float, size: int = 64, samples: int = 2) -> None:
        self.model, self.side, self.size, self.samples = model, side, size, samples
        self._gl: Any = None
        self._finalizer: Any = None

    def draw(self, data: Any) -> NDArray[np.uint8]:
        """A picture of MuJoCo's data as their ``qpos`` says, RGB ``(size, size, 3)``.

        It moves MuJoCo's bodies to where that puts them, and changes nothing of what the next step will do.

        Raises:
            gymnasium.error.DependencyNotInstalled: If nothing can be rendered here.
            RuntimeError: If this process was forked from one that had rendered: drawing would hang.
        """
        if not _renders <= {os.getpid()}:
            raise RuntimeError(
                "processes must be started by 'spawn' or 'forkserver' once MuJoCo has rendered (of vector "
                "environments: vector_kwargs={'context': 'spawn'}), got one that was forked"
            )
        if self._gl is None:
            self._start()
        mujoco, drawn = self._mujoco, self._drawn
        self._gl.make_current()  # another view may have been drawn in between, of the same model too
        self.model.vis.global_.orthographic, self.model.vis.global_.fovy = 1, self.side
        mujoco.mj_kinematics(self.model, data)  # mj_step leaves bodies where they were before the step
        mujoco.mjv_updateScene(
            self.model, data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(drawn, None, self._viewport, self._context)
        offsets = range(self.samples)
        rows = reduce(np.add, [drawn[first :: self.samples].astype(np.uint16) for first in offsets])
        total = reduce(np.add, [rows[:, first :: self.samples] for first in offsets])
        mean = (total + self.samples**2 // 2) // self.samples**2
        return np.ascontiguousarray(mean[::-1], np.uint8)  # OpenGL begins below

    def close(self) -> None:
        """Frees what drawing needs; the next picture opens it again."""
        if self._finalizer is not None:
            self._finalizer()
        self._gl = self._finalizer = None

    def _start(self) -> None:
        backend = find_backend()
        self._mujoco = mujoco = import_extra("mujoco", "Rendering")
        size = self.samples * self.size
        look = self.model.vis
        look.quality.offsamples = look.quality.shadowsize = 0
        look.global_.offwidth = look.global_.offheight = size
        logging.getLogger("OpenGL").setLevel(logging.WARNING)  # it reports what it is not accelerated by
        try:
            gl = importlib.import_module(f"mujoco.{_MODULES[backend]}").GLContext(size, size)
            gl.make_current()
            self._context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except Exception as error:  # each backend has errors of its own
            raise gym.error.DependencyNotInstalled(f"{_rule()}, got {VARIABLE}={backend}: {error}") from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(self.model, _MAX_GEOMS)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "HAZE", "FOG"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._options, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._camera.lookat[:], self._camera.distance = 0, 2 * self.side
        self._camera.azimuth, self._camera.elevation = 90, -90
        self._viewport = mujoco.MjrRect(0, 0, size, size)
        self._drawn = np.empty((size, size, 3), np.uint8)
        self._gl, self._finalizer = gl, weakref.finalize(self, _free, gl, self._context)
        self._finalizer.atexit = False
        _close_in_time(self)
        _renders.add(os.getpid())


def _free(gl: Any, context: Any) -> None:
    gl.make_current()
    context.free()
    gl.free()


def _close_in_time(view: Any) -> None:
    """Sees to it that what has just been opened is closed before MuJoCo's own clean-up, which EGL has registered."""
    if view not in _open:
        _open.add(view)
        atexit.unregister(_close_all)
        atexit.register(_close_all)


def _close_all() -> None:
    """Closes what is open at the end of the program: what lives on prints errors."""
    for view in list(_open):
        view.close()
