"""``worldmodel models``: the checkpoints that ship with the package, and those of a hub that are in the cache."""

from collections.abc import Iterator
from pathlib import Path

from rich.markup import escape

from benchmarks.records.tables import Table, number
from benchmarks.sharing.about import KINDS, about
from benchmarks.sharing.card import headline_figure
from worldmodel.checkpoint import SHIPPED, read_format
from worldmodel.config import command, config
from worldmodel.storage import hub

LONGEST = 80
"""Characters that a cell may have."""


@config
class ModelsConfig:
    """Lists the checkpoints that ship with the package, and those of a hub that are in the cache."""

    progress: bool = True
    """Whether to show the table."""


def run(config: ModelsConfig) -> list[dict[str, str]]:
    """Lists checkpoints.

    Returns:
        A row for each: its name, kind, data, revision, the first figure of its model card, and its size.
    """
    places = [(path.name, "ships", path) for path in sorted(SHIPPED.iterdir())]
    for pinned, path in hub.cached():
        name, _, commit = pinned.partition("@")
        places.append((name, commit, path))
    rows = [row for name, revision, path in places for row in _rows(name, revision, path)]
    if config.progress:
        Table.of([{key: escape(text) for key, text in row.items()} for row in rows], num_words=5).show()
    return rows


main = command(ModelsConfig, run, "models")


def _rows(name: str, revision: str, path: Path) -> Iterator[dict[str, str]]:
    """The row of a folder; none if it holds no checkpoint, or half of one."""
    found = read_format(path)
    if found not in KINDS:
        return
    try:
        said = about(KINDS[found][1].read(path))
    except (OSError, ValueError):
        return
    row = {
        "name": name,
        "kind": said.kind,
        "trained on": said.trained_on or "–",
        "revision": revision[:12],
        "reaches": headline_figure(hub.read_card(path)) or "–",
        "MB": number(len(said.files.weights) / 1e6),
    }
    # What strangers wrote must not move the cursor.
    yield {key: "".join(c for c in str(text) if c.isprintable())[:LONGEST] for key, text in row.items()}
