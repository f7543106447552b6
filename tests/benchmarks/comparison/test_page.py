"""``worldmodel report``: one file that holds all it shows, and nothing it fetches."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from benchmarks.comparison.page import ReportConfig, data_url, run

MEASURES = {
    "success": [0.5, 0.75], "final": [0.5, 0.75], "ever": [0.6, 0.8], "spl": [0.4, 0.5], "steps_to_goal": [30.0, None],
    "ms": [1.5], "interval": [0.55, 0.7],
}  # fmt: skip


def row(name: str, title: str, **changes):
    return {
        "contender": name, "title": title, "sees": "pixels", "rewarded": False, "pretrained": False, "extends": None,
        "budgets": 1, "minutes": [7.0, 8.0], "env_steps": [1_000_000, 3_000_000], "difference": None,
        "manifests": {"random-wall": MEASURES, "held-out": None, "bounce": MEASURES},
    } | changes  # fmt: skip


@pytest.fixture
def comparison(tmp_path):
    provenance = {
        "command": "worldmodel compare", "commit": None, "versions": {"python": "3"},
        "machine": {"num_cpus": 2, "processor": "A <fast> one"},
    }  # fmt: skip
    worse = {"difference": -0.25, "low": -0.3, "high": -0.2}
    rows = [row("random", "random <actions>", difference=worse), row("jepa-mppi", "JEPA + MPPI")]
    shown = {"random-wall": "final", "held-out": "final", "bounce": "ever"}
    path = tmp_path / "compare.json"
    content = {
        "environment": "two-rooms",
        "base": "jepa-mppi",
        "measures": shown,
        "rows": rows,
        "provenance": provenance,
    }
    path.write_text(json.dumps(content))
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "compare-costs.png")
    return path


class Page(HTMLParser):
    """Collects tags, their sources, and the cells of the table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for key, value in attributes if key in ("src", "href")]
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data):
        if self.cells and "td" in self.tags[-1:]:
            self.cells[-1] += data.strip()


def test_one_file_holds_everything(comparison, tmp_path):
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    output = run(ReportConfig(comparison=comparison, videos=(film,), output=tmp_path / "new" / "report.html"))
    text = output.read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("img") == 1  # the plot that is there, and not the one that is not
    assert page.tags.count("video") == 1
    assert page.sources == [data_url(comparison.with_name("compare-costs.png")), data_url(film)]
    assert not re.search(r"https?://", text)
    assert "Two Rooms: plan with a world model" in text
    columns = page.tags.count("th")
    assert len(page.cells) == 2 * columns == 26
    assert page.cells[0] == "random <actions>"  # escaped in the file
    assert "<actions>" not in text
    assert page.cells[3] == "50.0%\n75.0%\n[55.0%, 70.0%]"
    assert page.cells[7] == "–"
    assert page.cells[9] == "2.00 M"
    assert page.cells[12] == "-25.0%\n[-30.0%, -20.0%]"
    assert page.cells[25] == "–"
    assert text.count('class="base"') == 1


def test_something_else_is_refused(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json must be written by worldmodel compare; it lacks 'environment'"):
        run(ReportConfig(comparison=path, output=tmp_path / "report.html"))
    with pytest.raises(FileNotFoundError):
        run(ReportConfig(comparison=tmp_path / "missing.json"))
