"""``worldmodel report``: the comparison as one HTML file, with table, plots and films in it, that opens offline."""

import base64
import logging
import mimetypes
from pathlib import Path
from typing import Any

import jinja2

from benchmarks.comparison import plots
from benchmarks.comparison.contest import Contest, contest_of
from benchmarks.comparison.tables import table
from benchmarks.records.provenance import RESULTS
from benchmarks.records.tables import Table
from worldmodel.config import command, config
from worldmodel.storage.files import read_bytes, read_json, write_text

logger = logging.getLogger(__name__)

TEMPLATE = Path(__file__).parent / "page.html"
"""The page."""
PICTURES = {
    "costs": ("What success costs", "Success against data, training time and latency."),
    "curves": ("How they learn", "Success or loss on validation episodes while training, a line a seed."),
    "difficulty": ("Who fails where", "Success by the length of the shortest path and by how much of a detour it is."),
}
"""Title and caption of each plot."""


@config
class ReportConfig:
    """Writes the comparison as one HTML file that opens offline."""

    comparison: Path = RESULTS / "compare.json"
    """JSON file that worldmodel compare wrote; its plots are found beside it."""
    videos: tuple[Path, ...] = ()
    """Films to show: MP4 or GIF files."""
    output: Path = Path("outputs/report.html")
    """File to write."""


def run(config: ReportConfig) -> Path:
    """Writes the report.

    Returns:
        The file.

    Raises:
        ValueError: If the comparison is none.
        FileNotFoundError: If a file is missing.
    """
    contest, content, results = _read(config.comparison)
    figures = []
    for kind, path in plots.paths(config.comparison).items():
        if path.exists():
            title, caption = PICTURES[kind]
            figures.append({"title": title, "caption": caption, "source": data_url(path), "video": False})
    for path in config.videos:
        video = path.suffix == ".mp4"
        figures.append({"title": "Films", "caption": path.stem, "source": data_url(path), "video": video})
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        environment=contest.title,
        manifest=next(iter(contest.manifests.values())),
        table=results,
        base=next((row["title"] for row in content["rows"] if row["contender"] == content["base"]), None),
        figures=figures,
        provenance=content["provenance"],
    )
    write_text(config.output, page)
    logger.info("written to %s (%.1f MB)", config.output, config.output.stat().st_size / 1e6)
    return config.output


main = command(ReportConfig, run, "report")


def data_url(path: Path) -> str:
    """A file as a URL that holds all of it."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(read_bytes(path)).decode()}"


def _read(path: Path) -> tuple[Contest, dict[str, Any], Table]:
    """Who was compared and on what, the comparison, and its table.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no comparison.
    """
    content = read_json(path, "a comparison")
    try:
        contest, results = contest_of(content), table(content)
        provenance = content["provenance"]
        machine = provenance["machine"]
        provenance["command"], provenance["commit"], machine["num_cpus"], machine["processor"]
        dict(provenance["versions"])
    except KeyError as error:
        raise ValueError(f"{path} must be written by worldmodel compare; it lacks {error}") from error
    except (TypeError, IndexError, AttributeError, ValueError) as error:
        kind = type(error).__name__
        raise ValueError(f"{path} must be written by worldmodel compare, got {kind}: {error}") from error
    return contest, content, results
