"""For mkdocstrings: what docstrings have of reStructuredText becomes Markdown; it would be shown as it stands."""

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`~?(?:[\w.]+\.(?=\w+`))?([\w.]+)`")
"""A name with its role, such as ``:class:`~envs.goal_image.GoalImage```; the last part of the name is kept."""
LITERAL = re.compile(r"^ *::$|(?<=\S):(?=:$)", re.M)
"""What announces an indented block, beyond a colon."""
TABLE = re.compile(r"^(=+(?: +=+)+)\n(?P<head>.*)\n\1\n(?P<rows>(?:.*\n)+?)\1$", re.M)
"""A simple table."""


class Markdown(Extension):
    """Changes docstrings before they are parsed."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Changes the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = in_markdown(obj.docstring.value)


def in_markdown(text: str) -> str:
    """A docstring's text in Markdown."""
    return TABLE.sub(_in_markdown, LITERAL.sub("", ROLE.sub(r"`\1`", text)))


def _in_markdown(table: re.Match[str]) -> str:
    """A table in Markdown."""
    columns = [slice(*column.span()) for column in re.finditer("=+ *", table[1])]
    columns[-1] = slice(columns[-1].start, None)
    rows = [table["head"], *table["rows"].splitlines()]
    lines = [f"| {' | '.join(row[column].strip() for column in columns)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]])
