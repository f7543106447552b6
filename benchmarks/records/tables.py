"""Tables of results: the same rows for Markdown, the terminal and HTML."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import table as rich_table
from rich.console import Console

logger = logging.getLogger(__name__)


@dataclass
class Table:
    """A table of text.

    Attributes:
        columns: Names of the columns; the first few may hold words, the others hold numbers.
        rows: A text for each column.
        title: For the terminal.
        num_words: How many columns hold words, which stand to the left.
    """

    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    title: str = ""
    num_words: int = 1

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, str]], title: str = "", num_words: int = 1) -> "Table":
        """A table of rows that name their columns; what a row lacks is a dash."""
        columns = list(dict.fromkeys(name for row in rows for name in row))
        return cls(columns, [[row.get(name, "–") for name in columns] for row in rows], title, num_words)

    def turned(self) -> "Table":
        """The same with columns for rows, which suits few rows and many columns."""
        first, *others = self.columns
        rows: list[Sequence[str]] = [[name, *(row[place] for row in self.rows)] for place, name in enumerate(others, 1)]
        return Table([first, *(row[0] for row in self.rows)], rows, self.title)

    def markdown(self) -> str:
        """The table in Markdown; lines of a cell are joined by ``<br>``."""
        rule = ["---"] * self.num_words + ["--:"] * (len(self.columns) - self.num_words)
        lines = [" | ".join(cell.replace("\n", "<br>") for cell in row) for row in (self.columns, *self.rows)]
        return "\n".join([f"| {lines[0]} |", f"|{'|'.join(rule)}|", *(f"| {line} |" for line in lines[1:])]) + "\n"

    def terminal(self) -> rich_table.Table:
        """The table for the terminal."""
        table = rich_table.Table(title=self.title)
        for place, name in enumerate(self.columns):
            table.add_column(name, justify="left" if place < self.num_words else "right")
        for row in self.rows:
            table.add_row(*row)
        return table

    def show(self, written: Path | None = None) -> None:
        """Prints the table, and says where its figures were written."""
        Console().print(self.terminal())
        if written is not None:
            logger.info("written to %s", written)


def percent(value: float | None, interval: Sequence[float] | None = None, digits: int = 1) -> str:
    """A rate in percent, with its interval; a dash where there is none."""
    if value is None:
        return "–"
    rate, *ends = (f"{one:.{digits}%}" for one in (value, *(interval or ())))
    return f"{rate} [{', '.join(ends)}]" if ends else rate


def number(value: float | None, digits: int = 1) -> str:
    """A number with so many decimals; a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def quantiles(latency: Mapping[str, Any] | None, kind: str) -> str:
    """Percentiles 50 and 95 of the latency of a "plan" or a "step", in milliseconds."""
    return " / ".join(number((latency or {}).get(f"{kind}_p{quantile}_ms")) for quantile in (50, 95))


def gain(difference: Mapping[str, Any] | None) -> str:
    """A difference of rates with its interval."""
    if difference is None:
        return "–"
    low, high = difference["low"], difference["high"]
    return f"{difference['difference']:+.1%} [{low:+.1%}, {high:+.1%}]"
