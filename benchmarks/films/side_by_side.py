"""Frames of films in which several policies play the same episode side by side."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.films.drawing import Scene, drawn_scene
from benchmarks.records.plots import GREEN, INK, MUTED, PAPER

PANEL = 280
"""Side of a scene in pixels."""
HEAD = 52
"""Height of the text above a scene."""
GAP = 16
"""Space around scenes."""
MAX_COLUMNS = 4
"""Most scenes in a row."""


class SideBySide:
    """Draws policies in the same episode, each in a panel of its own; who has come to an end stands still.

    Args:
        titles: What stands above each panel.
        episodes: Scenes of each policy.
    """

    def __init__(self, titles: Sequence[str], episodes: Sequence[Sequence[Scene]]) -> None:
        self.titles = titles
        self.episodes = episodes
        self.columns = min(MAX_COLUMNS, len(episodes))
        rows = -(-len(episodes) // self.columns)
        width, height = (GAP + count * (size + GAP) for count, size in ((self.columns, PANEL), (rows, PANEL + HEAD)))
        self.size = (width + width % 2, height + height % 2)  # MP4 wants even numbers
        family = font_manager.FontProperties(family="DejaVu Sans")
        bold = font_manager.FontProperties(family="DejaVu Sans", weight="bold")
        self.title_font = ImageFont.truetype(font_manager.findfont(bold), 14)
        self.font = ImageFont.truetype(font_manager.findfont(family), 12)

    @property
    def num_steps(self) -> int:
        """Steps of the longest episode."""
        return max(len(scenes) for scenes in self.episodes) - 1

    def frames(self, frames_per_step: int, num_held: int) -> Iterator[NDArray[np.uint8]]:
        """Draws all frames, the last one ``num_held`` times: :meth:`count` of them, uint8 ``(height, width, 3)``."""
        for step in range(self.num_steps):
            for part in range(frames_per_step):
                yield self.frame(step, part / frames_per_step)
        last = self.frame(self.num_steps)
        for _ in range(num_held):
            yield last

    def count(self, frames_per_step: int, num_held: int) -> int:
        """Number of frames."""
        return self.num_steps * frames_per_step + num_held

    def frame(self, step: int, fraction: float = 0.0) -> NDArray[np.uint8]:
        """Draws a moment between step ``step`` and the next."""
        page = Image.new("RGB", self.size, PAPER)
        pen = ImageDraw.Draw(page)
        for place, (title, scenes) in enumerate(zip(self.titles, self.episodes, strict=True)):
            left = GAP + place % self.columns * (PANEL + GAP)
            top = GAP + place // self.columns * (PANEL + HEAD + GAP)
            pen.text((left, top), title, INK, self.title_font)
            scene = scenes[min(step, len(scenes) - 1)]
            pen.text((left, top + 22), _status(scenes, scene), GREEN if scene.success else MUTED, self.font)
            page.paste(Image.fromarray(_picture(scenes, step, fraction)), (left, top + HEAD - 6))
        return np.asarray(page)


def _status(scenes: Sequence[Scene], scene: Scene) -> str:
    if scene.success:
        first = next(other.step for other in scenes if other.success)
        return f"goal reached after {first} steps"
    text = f"step {scene.step}"
    return (
        text
        if scene.distance is None
        else f"{text}  ·  {scene.distance:.1f} {scene.domain.unit}".rstrip() + " to the goal"
    )


def _picture(scenes: Sequence[Scene], step: int, fraction: float) -> NDArray[np.uint8]:
    """The scene between two steps, uint8 ``(PANEL, PANEL, 3)``."""
    index = min(step, len(scenes) - 1)
    drawn = drawn_scene(scenes, index, fraction if index == step else 0.0, PANEL)
    if drawn is not None:
        return drawn
    picture = scenes[index].picture
    picture = np.zeros((PANEL, PANEL, 3), np.uint8) if picture is None else picture
    return np.asarray(Image.fromarray(picture).resize((PANEL, PANEL)))
