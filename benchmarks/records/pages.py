"""Pages made from a template, which holds the words, and from values, which hold the figures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from benchmarks.records import tables

TEMPLATES = Path(__file__).parents[1] / "templates"
"""Where the words lie."""


def render(template: str, values: Mapping[str, Any], **filters: Callable[..., Any]) -> str:
    """The text of a page.

    Args:
        template: Name of its template.
        values: All that it shows; a value that is missing is an error.
        filters: What the template may apply to values, beside ``percent`` and ``number``.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": tables.percent, "number": tables.number, **filters}
    return environment.get_template(template).render(values)
