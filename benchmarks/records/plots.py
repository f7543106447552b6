"""One style for all plots and films."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from worldmodel.storage.files import replacing

INK, MUTED, GRID = "#2b303b", "#7b818c", "#e3e2dd"
PAPER, PANEL = "#fbfaf7", "#ffffff"
BLUE, GREEN, RED, VIOLET, AMBER = "#3a76d6", "#269e6c", "#de5238", "#6b3fb5", "#e8961e"
STYLE: Any = {"font.family": "DejaVu Sans", "font.size": 9.0, "text.color": INK, "axes.labelcolor": MUTED}
"""For :func:`matplotlib.rc_context`."""


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure to draw on, written as PNG at the end, whole or not at all; sizes are in inches."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=150, facecolor=PAPER)
        FigureCanvasAgg(figure)
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", facecolor=PAPER)


def tidy(axes: Axes, grid: str = "both") -> None:
    """A light grid behind the data, and no frame above and to the right."""
    axes.grid(axis=grid, color=GRID)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def percent_bars(rates: Sequence[float], intervals: Sequence[Sequence[float]]) -> tuple[list[float], list[list[float]]]:
    """Rates in percent, and how far their intervals reach below and above, for ``axes.errorbar``."""
    percents = [100 * rate for rate in rates]
    below = [max(0.0, value - 100 * low) for value, (low, _) in zip(percents, intervals, strict=True)]
    above = [max(0.0, 100 * high - value) for value, (_, high) in zip(percents, intervals, strict=True)]
    return percents, [below, above]


def rgb(image: Any) -> NDArray[np.uint8] | None:
    """An observation as an RGB picture, if it is an image: CHW or HWC with at most 4 channels."""
    array = np.asarray(image)
    if array.ndim != 3 or array.dtype != np.uint8:
        return None
    if array.shape[-1] > 4:
        array = np.moveaxis(array, 0, -1)
    if array.shape[-1] == 1:
        array = np.repeat(array, 3, -1)
    return np.pad(array[..., :3], ((0, 0), (0, 0), (0, max(0, 3 - array.shape[-1]))))
