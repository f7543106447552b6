"""Frames of films in which several policies play the same episode side by side."""

from collections.abc import Sequence

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
        self.num_steps = max(len(scenes) for scenes in episodes) - 1
        self.columns = min(MAX_COLUMNS, len(episodes))
        rows = -(-len(episodes) // self.columns)
        width, height = (GAP + count * (size + GAP) for count, size in ((self.columns, PANEL), (rows, PANEL + HEAD)))
        self.size = (width + width % 2, height + height % 2)  # MP4 wants even numbers
        self.title_font = ImageFont.truetype(font_manager.findfont("DejaVu Sans:bold"), 14)
        self.font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 12)

    def frame(self, step: int, fraction: float = 0.0) -> NDArray[np.uint8]:
        """Draws a moment between step ``step`` and the next, uint8 ``(height, width, 3)``."""
        page = Image.new("RGB", self.size, PAPER)
        pen = ImageDraw.Draw(page)
        for place, (title, scenes) in enumerate(zip(self.titles, self.episodes, strict=True)):
            left = GAP + place % self.columns * (PANEL + GAP)
            top = GAP + place // self.columns * (PANEL + HEAD + GAP)
            pen.text((left, top), title, INK, self.title_font)
            scene = scenes[min(step, len(scenes) - 1)]
            if scene.success:
                status = f"goal reached after {next(one.step for one in scenes if one.success)} steps"
            else:
                status = "  ·  ".join(filter(None, (f"step {scene.step}", scene.distance_in_words)))
            pen.text((left, top + 22), status, GREEN if scene.success else MUTED, self.font)
            page.paste(Image.fromarray(_picture(scenes, step, fraction)), (left, top + HEAD - 6))
        return np.asarray(page)


def _picture(scenes: Sequence[Scene], step: int, fraction: float) -> NDArray[np.uint8]:
    """The scene between two steps, uint8 ``(PANEL, PANEL, 3)``."""
    index = min(step, len(scenes) - 1)
    drawn = drawn_scene(scenes, index, fraction if index == step else 0.0, PANEL)
    if drawn is not None:
        return drawn
    picture = scenes[index].picture
    picture = np.zeros((PANEL, PANEL, 3), np.uint8) if picture is None else picture
    return np.asarray(Image.fromarray(picture).resize((PANEL, PANEL)))
