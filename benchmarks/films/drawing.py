"""Frames of planning videos: the scene with what the agent imagines on the left, cost and distance on the right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmarks.records.plots import AMBER, BLUE, GREEN, GRID, INK, MUTED, PANEL, PAPER, RED, STYLE, VIOLET
from envs.domain import Domain

WIDTH, HEIGHT = 960, 540
"""Size of a frame in pixels."""
SCENE_SIZE = 480
"""Side of the scene in pixels."""


@dataclass(frozen=True)
class PlanView:
    """A plan as it is drawn.

    Attributes:
        step: Environment step at which it was made.
        duration: Environment steps that it serves.
        best: Lowest cost of each iteration, ``(I,)``.
        elite: Mean cost of the elites of each iteration, ``(I,)``.
        path: Imagined positions of the plan, ``(H + 1, 2)``, or None where no probe decodes positions.
        candidates: The same of some candidates of each iteration, best first, ``(N, H + 1, 2)`` each.
        num_elites: How many of the first candidates are elites.
    """

    step: int
    duration: int
    best: NDArray[Any]
    elite: NDArray[Any]
    path: NDArray[Any] | None = None
    candidates: tuple[NDArray[Any], ...] = ()
    num_elites: int = 0


@dataclass(frozen=True)
class Scene:
    """What is to be seen before a step, and the plan in force.

    Attributes:
        step: Number of steps made.
        domain: What is known of the environment; it may draw scenes.
        picture: Image of the environment, uint8 ``(h, w, 3)``, where its domain draws none.
        goal_picture: Image of the goal, shown in a corner of ``picture``; or None.
        info: The environment's info, from which its domain draws.
        position: Where the agent is, where its domain draws.
        distance: Distance to the goal, if the environment reports it.
        success: Whether the goal is reached.
        plan: The plan in force, if the policy plans.
    """

    step: int
    domain: Domain
    picture: NDArray[np.uint8] | None = None
    goal_picture: NDArray[np.uint8] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    position: NDArray[Any] | None = None
    distance: float | None = None
    success: bool = False
    plan: PlanView | None = None

    @property
    def distance_in_words(self) -> str:
        """The distance to the goal with its unit; empty where it is not known."""
        return "" if self.distance is None else f"{self.distance:.1f} {self.domain.unit}".rstrip() + " to the goal"


class EpisodeFigure:
    """Draws the frames of one episode.

    Args:
        scenes: The episode, one entry a step and one before the first.
        title: Headline.
        subtitle: Line below it.
    """

    def __init__(self, scenes: list[Scene], title: str, subtitle: str) -> None:
        self.scenes = scenes
        self.num_steps = len(scenes) - 1
        self.domain = scenes[0].domain
        self.plans = list({id(s.plan): s.plan for s in scenes if s.plan is not None}.values())
        with mpl.rc_context(STYLE):
            self.figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100, facecolor=PAPER)
            self.canvas = FigureCanvasAgg(self.figure)
            self._make_scene()
            self.figure.text(0.545, 0.93, title, fontsize=15, fontweight="bold", va="center")
            self.figure.text(0.545, 0.882, subtitle, fontsize=9.5, color=MUTED, va="center")
            self.status = self.figure.text(0.545, 0.822, "", fontsize=11, va="center")
            self._make_charts()
            self._make_legend()
            # What stays the same is drawn once, what moves is drawn over it in each frame.
            for artist in self._moving():
                artist.set_animated(True)
            self.canvas.draw()
            self.background = self.canvas.copy_from_bbox(self.figure.bbox)

    def frame(self, index: int, fraction: float = 0.0) -> NDArray[np.uint8]:
        """Draws a moment between step ``index`` and the next.

        Args:
            index: Which scene.
            fraction: How far towards the next one, in [0, 1).

        Returns:
            uint8 ``(HEIGHT, WIDTH, 3)``, RGB.
        """
        with mpl.rc_context(STYLE):
            self._update_scene(index, fraction)
            self._update_charts(index)
            scene = self.scenes[index]
            told = (f"step {scene.step}", scene.distance_in_words, "goal reached" if scene.success else "")
            self.status.set_text("   ·   ".join(filter(None, told)))
            self.status.set_color(GREEN if scene.success else INK)
            self.canvas.restore_region(self.background)
            for artist in self._moving():
                artist.draw(self.canvas.get_renderer())
            return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()

    def _moving(self) -> list[Any]:
        """What changes from frame to frame, from back to front."""
        scene = [self.image, self.fan, self.elites, self.path, self.status]
        return scene + [artist for artist in (self.distance_line, self.distance_dot, *self.cost_artists) if artist]

    def _make_scene(self) -> None:
        margin = (HEIGHT - SCENE_SIZE) // 2
        box = (margin / WIDTH, margin / HEIGHT, SCENE_SIZE / WIDTH, SCENE_SIZE / HEIGHT)
        axes = self.figure.add_axes(box)
        axes.set_axis_off()
        blank = np.full((SCENE_SIZE, SCENE_SIZE, 3), 255, dtype=np.uint8)
        self.image = self.figure.figimage(blank, margin, margin, origin="upper")  # no resampling
        axes.set(xlim=(0, SCENE_SIZE), ylim=(SCENE_SIZE, 0))
        self.fan, self.elites = LineCollection([], linewidths=0.9), LineCollection([], linewidths=1.3)
        axes.add_collection(self.fan)
        axes.add_collection(self.elites)
        (self.path,) = axes.plot(
            [], [], color=VIOLET, lw=2.4, marker="o", ms=3.6, mec=PANEL, mew=0.7, solid_capstyle="round"
        )

    def _make_charts(self) -> None:
        last = max(self.scenes[-1].step, 1)
        charts = ["distance"] * any(s.distance is not None for s in self.scenes) + ["cost"] * bool(self.plans)
        boxes = {1: [(0.585, 0.2, 0.385, 0.5)], 2: [(0.585, 0.515, 0.385, 0.235), (0.585, 0.175, 0.385, 0.235)]}
        self.distance_line = self.distance_dot = None
        self.cost_artists: list[Any] = []
        for name, box in zip(charts, boxes.get(len(charts), []), strict=True):
            axes = self.figure.add_axes(box, facecolor=PANEL)
            axes.grid(color=GRID, lw=0.8)
            axes.tick_params(colors=MUTED, length=0, labelsize=8)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.spines[["left", "bottom"]].set_color(GRID)
            axes.set_xlim(0, last)
            if name == "distance":
                self._make_distance(axes)
            else:
                self._make_cost(axes)
        if charts:
            axes.set_xlabel("environment step", fontsize=8.5)

    def _make_distance(self, axes: Any) -> None:
        known = [s.distance for s in self.scenes if s.distance is not None]
        unit = f" ({self.domain.unit})" if self.domain.unit else ""
        axes.set_title(f"Distance to the goal{unit}", fontsize=10, loc="left", color=INK)
        axes.set_ylim(0, max(1e-6, 1.08 * max(known)))
        if self.domain.goal_radius is not None:
            axes.axhspan(0, self.domain.goal_radius, color=GREEN, alpha=0.16, lw=0)
        (self.distance_line,) = axes.plot([], [], color=BLUE, lw=2.0)
        (self.distance_dot,) = axes.plot([], [], color=RED, marker="o", ms=6, mec=PANEL, mew=1.0, ls="", clip_on=False)

    def _make_cost(self, axes: Any) -> None:
        axes.set_title("Cost of the plan, iteration by iteration", fontsize=10, loc="left", color=INK)
        values = np.concatenate([np.concatenate([plan.best, plan.elite]) for plan in self.plans])
        values = values[np.isfinite(values)]
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        pad = 0.08 * max(high - low, 1e-9)
        axes.set_ylim(low - pad, high + pad)
        elites = LineCollection([], colors=AMBER, linewidths=1.2, alpha=0.9)
        best = LineCollection([], colors=VIOLET, linewidths=1.8)
        axes.add_collection(elites)
        axes.add_collection(best)
        (ends,) = axes.plot([], [], color=VIOLET, marker="o", ms=3.4, ls="")
        self.cost_artists = [elites, best, ends]

    def _make_legend(self) -> None:
        entries = (
            (BLUE, "path taken", self.domain.draw_scene),
            (VIOLET, "plan, as imagined", any(plan.path is not None for plan in self.plans)),
            (AMBER, "elites", self.plans),
            ("#c9b8e6", "candidates", any(plan.candidates for plan in self.plans)),
        )
        handles = [Line2D([], [], color=color, lw=3, label=text) for color, text, shown in entries if shown]
        if not handles:
            return
        self.figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.54, 0.02),
            ncol=len(handles),
            frameon=False,
            fontsize=8.5,
            labelcolor=MUTED,
            handlelength=1.4,
            handletextpad=0.6,
            columnspacing=1.5,
        )

    def _update_scene(self, index: int, fraction: float) -> None:
        scene = self.scenes[index]
        drawn = drawn_scene(self.scenes, index, fraction, SCENE_SIZE)
        self.image.set_data(_framed(scene.picture, scene.goal_picture) if drawn is None else drawn)
        path, others, elites = np.zeros((0, 2)), np.zeros((0, 2, 2)), np.zeros((0, 2, 2))
        to_canvas = self.domain.to_canvas
        if to_canvas is not None and scene.plan is not None and scene.plan.path is not None:
            path = to_canvas(scene.plan.path, SCENE_SIZE)
            if scene.plan.candidates:
                # The search is shown in the first half of the time that its plan is in force.
                now = (scene.step - scene.plan.step + fraction) / scene.plan.duration
                count = len(scene.plan.candidates)
                shown = to_canvas(scene.plan.candidates[min(int(2 * now * count), count - 1)], SCENE_SIZE)
                elites, others = shown[: scene.plan.num_elites], shown[scene.plan.num_elites :]
        _draw_fan(self.fan, others, VIOLET, 0.3)
        _draw_fan(self.elites, elites, AMBER, 0.85)
        self.path.set_data(path[:, 0], path[:, 1])

    def _update_charts(self, index: int) -> None:
        seen = [(s.step, s.distance) for s in self.scenes[: index + 1] if s.distance is not None]
        if self.distance_line is not None and self.distance_dot is not None and seen:
            steps, distances = zip(*seen, strict=True)
            self.distance_line.set_data(steps, distances)
            self.distance_dot.set_data(steps[-1:], distances[-1:])
        if self.cost_artists:
            elites, best, ends = self.cost_artists
            past = [plan for plan in self.plans if plan.step <= self.scenes[index].step]
            best.set_segments([_curve(plan, plan.best) for plan in past])
            elites.set_segments([_curve(plan, plan.elite) for plan in past])
            last = np.array([_curve(plan, plan.best)[-1] for plan in past]).reshape(-1, 2)
            ends.set_data(last[:, 0], last[:, 1])


def drawn_scene(scenes: Sequence[Scene], index: int, fraction: float, size: int) -> NDArray[np.uint8] | None:
    """What the environment's domain draws between a scene and the next, uint8 ``(size, size, 3)``; None: it does not.

    Args:
        scenes: The scenes of an episode.
        index: Which of them.
        fraction: How far towards the next one, in [0, 1).
        size: Side of the picture in pixels.
    """
    scene, draw = scenes[index], scenes[index].domain.draw_scene
    if draw is None or scene.position is None:
        return None
    trail = [s.position for s in scenes[: index + 1] if s.position is not None]
    following = scenes[min(index + 1, len(scenes) - 1)].position
    position = scene.position if following is None else (1 - fraction) * scene.position + fraction * following
    return draw(size, scene.info, position, np.stack([*trail, position]))


def _draw_fan(lines: LineCollection, paths: NDArray[Any], color: str, opacity: float) -> None:
    """Draws paths ``(N, H + 1, 2)`` that fade with time: what is far ahead is uncertain and crowds the picture."""
    pieces = np.stack([paths[:, :-1], paths[:, 1:]], 2)  # (N, H, 2, 2)
    faded = mpl.colors.to_rgba_array(color, alpha=opacity * np.linspace(1.0, 0.2, pieces.shape[1]))
    lines.set_segments(list(pieces.reshape(-1, 2, 2)))
    lines.set_color([tuple(colour) for colour in faded] * len(paths))


def _curve(plan: PlanView, costs: NDArray[Any]) -> NDArray[Any]:
    """Costs of the iterations of a plan, spread over most of the steps that it serves, ``(I, 2)``."""
    spread = 0.8 * plan.duration * np.arange(len(costs)) / max(len(costs) - 1, 1)
    return np.stack([plan.step + spread, costs], -1)


def _framed(picture: NDArray[np.uint8] | None, goal: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """A picture fitted into the square of the scene, with the goal in its upper right corner."""
    canvas = Image.new("RGB", (SCENE_SIZE, SCENE_SIZE), PANEL)
    if picture is not None:
        image = _fitted(picture, SCENE_SIZE)
        canvas.paste(image, ((SCENE_SIZE - image.width) // 2, (SCENE_SIZE - image.height) // 2))
    if goal is not None:
        image = ImageOps.expand(_fitted(goal, SCENE_SIZE // 4), 3, GREEN)
        canvas.paste(image, (SCENE_SIZE - image.width - 7, 7))
    return np.asarray(canvas)


def _fitted(picture: NDArray[np.uint8], side: int) -> Image.Image:
    """A picture as large as it fits into a square."""
    method = Image.Resampling.NEAREST if side > 2 * max(picture.shape[:2]) else Image.Resampling.LANCZOS
    return ImageOps.contain(Image.fromarray(picture), (side, side), method)
