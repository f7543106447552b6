"""For MkDocs: pages may link to files of the project outside of docs/; the site gets a copy of each, in ``files/``.

So the same links work on GitHub and on the site, and pictures of results lie in one place. Notebooks that have run show
what their cells gave.
"""

import json
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "files"
"""Folder of the copies on the site."""
LINK = re.compile(r"(?<=\]\()\.\.[^)#\s]+(?=[)#])")
"""Targets of links that go up."""
NOTEBOOKS = ROOT / "build" / "notebooks"
"""Where ``make notebooks`` leaves those that have run."""
CELL = re.compile(r"^```python\n(.*?)\n```$", re.M | re.S)
"""A cell of a notebook's page."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files outside of docs/ that pages link to."""
    for page in list(files.documentation_pages()):
        for link in LINK.findall(page.content_string):
            if (place := _outside(page.src_uri, link)) and files.get_file_from_path(f"{FOLDER}/{place}") is None:
                files.append(File.generated(config, f"{FOLDER}/{place}", abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to such files into links to their copies, and puts outputs below the cells of notebooks."""
    here = posixpath.dirname(page.file.src_uri)

    def turned(match: re.Match[str]) -> str:
        place = _outside(page.file.src_uri, match[0])
        return posixpath.relpath(f"{FOLDER}/{place}", here or ".") if place else match[0]

    markdown = LINK.sub(turned, markdown)
    ran = NOTEBOOKS / f"{posixpath.basename(page.file.src_uri)[:-3]}.ipynb"
    return with_outputs(markdown, ran) if here == "notebooks" and ran.is_file() else markdown


def with_outputs(markdown: str, ran: Path) -> str:
    """A notebook's page with the outputs of its cells; without, if they are no longer those that ran."""
    cells = [cell for cell in json.loads(ran.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    if ["".join(cell["source"]) for cell in cells] != CELL.findall(markdown):
        return markdown
    outputs = iter([_in_markdown(cell["outputs"]) for cell in cells])
    return CELL.sub(lambda cell: cell[0] + next(outputs), markdown)


def _in_markdown(outputs: Sequence[dict[str, Any]]) -> str:
    """What a cell printed, then its pictures and films; warnings and logs are left out."""
    printed = "".join(text for output in outputs if output.get("name") == "stdout" for text in output["text"])
    parts = [f"```text\n{printed.rstrip()}\n```"] if printed else []
    for data in (output.get("data", {}) for output in outputs):
        if "image/png" in data:
            address = "data:image/png;base64," + "".join(data["image/png"]).strip()
            parts.append(f'<p><img alt="What the code above draws" src="{address}"></p>')
        elif "text/html" in data:
            parts.append("".join(data["text/html"]).strip())
    return "".join(f"\n\n{part}" for part in parts)


def _outside(page: str, link: str) -> str | None:
    """The path in the project of a file outside of docs/ that a page links to; None: it is in docs/, or is no file."""
    place = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return place if not place.startswith(("docs/", "..")) and (ROOT / place).is_file() else None
