"""README's figures come from the JSON files, and stand there as they do in them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.readme import BEGIN, END, RESULTS, ReadmeConfig, details, figures, run


def test_both_pages_hold_the_figures_of_the_results() -> None:
    run(ReadmeConfig(check=True))
    assert "random-wall" in figures()
    assert "What each piece of planning is worth" in details()


@pytest.mark.parametrize(("page", "folder"), [(figures, RESULTS.parent.parent), (details, RESULTS)])
def test_what_a_page_links_to_exists(page: Callable[[], str], folder: Path) -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", page())]
    assert links
    for link in links:
        assert (folder / link).exists()


def test_writes_between_the_markers_only(tmp_path: Path) -> None:
    readme, second = tmp_path / "README.md", tmp_path / "details.md"
    readme.write_text(f"before\n{BEGIN}\nstale\n{END}\nafter\n")
    with pytest.raises(ValueError, match="must hold the figures"):
        run(ReadmeConfig(readme=readme, details=second, check=True))
    assert not second.exists()
    run(ReadmeConfig(readme=readme, details=second))
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale" not in text
    run(ReadmeConfig(readme=readme, details=second, check=True))
    second.write_text("stale")
    with pytest.raises(ValueError, match=r"details\.md must hold the figures"):
        run(ReadmeConfig(readme=readme, details=second, check=True))


def test_needs_the_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing here")
    with pytest.raises(ValueError, match="must contain"):
        run(ReadmeConfig(readme=readme))
