"""For MkDocs: pages may link to files of the project outside of docs/; the site gets a copy of each, in ``files/``.

So the same links work on GitHub and on the site, and pictures of results lie in one place.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "files"
"""Folder of the copies on the site."""
LINK = re.compile(r"(?<=\]\()\.\.[^)#\s]+(?=[)#])")
"""Targets of links that go up."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files outside of docs/ that pages link to."""
    for page in list(files.documentation_pages()):
        for link in LINK.findall(page.content_string):
            if (place := _outside(page.src_uri, link)) and files.get_file_from_path(f"{FOLDER}/{place}") is None:
                files.append(File.generated(config, f"{FOLDER}/{place}", abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to such files into links to their copies."""
    here = posixpath.dirname(page.file.src_uri)

    def turned(match: re.Match[str]) -> str:
        place = _outside(page.file.src_uri, match[0])
        return posixpath.relpath(f"{FOLDER}/{place}", here or ".") if place else match[0]

    return LINK.sub(turned, markdown)


def _outside(page: str, link: str) -> str | None:
    """The path in the project of a file outside of docs/ that a page links to; None: it is in docs/, or is no file."""
    place = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return place if not place.startswith(("docs/", "..")) and (ROOT / place).is_file() else None
