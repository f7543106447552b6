"""README's figures come from the JSON files, and stand there as they do in them."""

from pathlib import Path

import pytest

from benchmarks.readme import BEGIN, END, ReadmeConfig, figures, run


def test_readme_holds_the_figures_of_the_results() -> None:
    run(ReadmeConfig(check=True))
    assert "random-wall" in figures()


def test_writes_between_the_markers_only(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nstale\n{END}\nafter\n")
    with pytest.raises(ValueError, match="must hold the figures"):
        run(ReadmeConfig(readme=readme, check=True))
    run(ReadmeConfig(readme=readme))
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale" not in text
    run(ReadmeConfig(readme=readme, check=True))


def test_needs_the_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing here")
    with pytest.raises(ValueError, match="must contain"):
        run(ReadmeConfig(readme=readme))
