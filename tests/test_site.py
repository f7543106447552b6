"""The built site: links lead somewhere, nothing comes from elsewhere, images are described, pages fit their width."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import agents
import browser
import envs
import pretrain
import worldmodel

ROOT = Path(__file__).resolve().parents[1]
LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "link": "href",
    "object": "data",
}
"""Attributes whose addresses a browser loads unasked, by element."""


class Elements(HTMLParser):
    """All elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attributes}))


class Site:
    """A built site, and the elements of its pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = [path for path in folder.rglob("*.html") if folder / "files" not in path.parents]
        self.pages = {path: Elements(path.read_text("utf-8")).found for path in sorted(paths)}
        self.names = [path.relative_to(folder).as_posix() for path in self.pages]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return Site(folder)


def is_elsewhere(address: str) -> bool:
    return re.match(r"(\w+:)?//", address) is not None


def broken(site: Site) -> list[tuple[str, str]]:
    """Links of pages to files or places that there are not."""
    ids = {path: {a["id"] for _, a in found if "id" in a} | {""} for path, found in site.pages.items()}
    wrong = []
    for page, found in site.pages.items():
        for _, attributes in found:
            for address in (attributes.get("href"), attributes.get("src")):
                if not address or is_elsewhere(address) or address.startswith(("data:", "mailto:")):
                    continue
                path, _, anchor = unquote(address).partition("#")
                target = Path(os.path.normpath(page.parent / path.partition("?")[0])) if path else page
                if not target.is_file() or anchor not in ids.get(target, {anchor}):
                    wrong.append((page.relative_to(site.folder).as_posix(), address))
    return wrong


def test_every_link_leads_to_a_file_and_a_place(site: Site) -> None:
    assert len(site.pages) > 20
    links = [attributes for found in site.pages.values() for tag, attributes in found if tag == "a"]
    assert len(links) > 500
    # The page of what is not found is served from anywhere, so its links begin at the root.
    assert [one for one in broken(site) if one[0] != "404.html"] == []


def test_a_browser_loads_nothing_from_elsewhere(site: Site) -> None:
    loaded = [
        (page.name, attributes[LOADED[tag]])
        for page, found in site.pages.items()
        for tag, attributes in found
        if tag in LOADED and LOADED[tag] in attributes
    ]
    assert len(loaded) > 100
    assert [one for one in loaded if is_elsewhere(one[1])] == []
    styles = "".join(path.read_text("utf-8") for path in site.folder.rglob("*.css"))
    styles += "".join(path.read_text("utf-8") for path in site.pages)
    assert [
        address for address in re.findall(r"(?:@import|url\()\s*[\"']?([^\"')\s;]+)", styles) if is_elsewhere(address)
    ] == []


def test_every_image_says_what_it_shows(site: Site) -> None:
    images = [
        (page.name, attributes) for page, found in site.pages.items() for tag, attributes in found if tag == "img"
    ]
    assert len(images) > 20
    assert [(page, one.get("src")) for page, one in images if len(one.get("alt", "").split()) < 3] == []


@pytest.mark.parametrize("package", [envs, worldmodel, agents, pretrain], ids=lambda package: package.__name__)
def test_the_api_has_every_public_name(site: Site, package: Any) -> None:
    page = site.folder / "api" / f"{package.__name__}.html"
    shown = {attributes.get("id") for _, attributes in site.pages[page]}
    assert {f"{package.__name__}.{name}" for name in public(package)} <= shown
    text = page.read_text("utf-8")
    assert not re.findall(r":(?:class|func|meth|mod|attr):|<p>=+ |::<", text), "markup that nobody has rendered"


def public(package: Any) -> set[str]:
    """The names at the top of a package that are imported when they are used."""
    source = Path(package.__file__).read_text("utf-8")
    imported = re.findall(rf"^    from {package.__name__}\.[\w.]+ import (.+)$", source, re.M)
    return {name for names in imported for name in names.split(", ")} | set(getattr(package, "__all__", ()))


def load(name: str) -> Any:
    """A module that MkDocs loads from docs/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_markup_of_docstrings_becomes_markdown() -> None:
    module = load("docstrings")
    assert module.in_markdown("As :class:`~a.b.Name` says::\n\n    x\n") == "As `Name` says:\n\n    x\n"
    assert module.in_markdown("Drawn:\n\n::\n\n    y\n") == "Drawn:\n\n\n\n    y\n"
    table = "====  ====\nkey   what\n====  ====\na     b c\n====  ====\n"
    assert module.in_markdown(table) == "| key | what |\n|---|---|\n| a | b c |\n"


def test_a_notebooks_page_shows_what_its_cells_gave_unless_they_changed(tmp_path: Path) -> None:
    module = load("hooks")
    page = '# Two cells\n\n```python\nprint(1)\n```\n\nThen\n\n```python\ndraw("\\d")\n```\n'
    stream, log = ({"output_type": "stream", "name": name, "text": ["1\n"]} for name in ("stdout", "stderr"))
    drawn = {"output_type": "display_data", "data": {"image/png": "QUJD\n", "text/plain": "<Figure>"}}
    film = {"output_type": "execute_result", "data": {"text/html": ["<video>\n", "</video>"], "text/plain": "<Video>"}}
    cells = [
        {"cell_type": "markdown", "source": ["# Two cells"]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": [stream, log]},
        {"cell_type": "code", "source": ['draw("\\d")'], "outputs": [drawn, film]},
    ]
    ran = tmp_path / "two.ipynb"
    ran.write_text(json.dumps({"cells": cells}), "utf-8")
    shown = module.with_outputs(page, ran)
    assert "print(1)\n```\n\n```text\n1\n```\n\nThen" in shown
    assert re.search(r'draw\("\\d"\)\n```\n\n<p><img alt="[^"]+" src="data:image/png;base64,QUJD"></p>', shown)
    assert shown.endswith("\n\n<video>\n</video>\n")
    assert module.with_outputs(changed := page.replace("print(1)", "print(2)"), ran) == changed


# --- in a browser --------------------------------------------------------------------------------------------------

needs_browser = pytest.mark.skipif(
    browser.find() is None, reason="no Chromium is installed (Debian's package chromium)"
)


@needs_browser
def test_no_page_scrolls_sideways_and_all_images_are_shown(site: Site) -> None:
    assert browser.problems(site.folder, site.names) == {}


@needs_browser
def test_a_wide_page_and_a_missing_image_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "wide.html").write_text("<p style='width: 900px'>wide</p><img src='missing.png' alt=''>")
    found = browser.problems(tmp_path, ["wide.html"])
    assert [what.split("/")[-1] for what in found] == ["missing.png", "wide.html at 400 px"]


@needs_browser
def test_search_works_from_a_folder(site: Site) -> None:
    shown = browser.dump((site.folder / "index.html").as_uri() + "?q=elites")
    assert "concepts/planning.html" in "".join(re.findall(r'<a href="[^"]+" class="md-search-result__link', shown))
