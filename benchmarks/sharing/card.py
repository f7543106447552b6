"""Model cards: metadata for machines and a page for people, made from a checkpoint and what was measured of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from benchmarks.records.pages import render
from benchmarks.records.tables import Table, number, percent
from benchmarks.sharing.about import About
from benchmarks.sharing.figures import Figure
from worldmodel.storage.hub import ABOUT

TEMPLATE = "model-card.md.jinja"
"""Where the page's words are."""
TASKS = {"video model": "object-detection", "image model": "image-classification"}
"""What kinds of checkpoints do, as hubs call it; others act."""
ACTS = "reinforcement-learning"
"""What hubs call what acts."""


def card(about: About, name: str, figures: Sequence[Figure], licence: str = "mit") -> str:
    """The text of a model card.

    Args:
        about: The checkpoint.
        name: What others load it by: ``hub:owner/name``, or the name of a shipped one.
        figures: What was measured of its weights.
        licence: The licence of its weights, as hubs call it.
    """
    title = name.rpartition("/")[2].removeprefix("hub:")
    metadata = yaml.safe_dump(_metadata(about, title, figures, licence), sort_keys=False, allow_unicode=True)
    return render(
        TEMPLATE,
        {
            "metadata": metadata,
            "title": title,
            "name": name,
            "about": about,
            "config": about.files.config,
            "licence": licence,
            "figures": _table(figures),
            "intervals": any(interval for one in figures for _, interval in one.shares.values()),
        },
    )


def headline_figure(metadata: Mapping[str, Any]) -> str:
    """The first figure in a card's metadata, in words; nothing where there is none, or none that can be read."""
    try:
        result = metadata["model-index"][0]["results"][0]
        metric = result["metrics"][0]
        ends = metric.get("args") or {}
        interval = (float(ends["low"]), float(ends["high"])) if ends else None
        words = " ".join(str(text) for text in (metric["name"], "on", result["dataset"]["name"]))
        return f"{percent(float(metric['value']), interval)} {words}"
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return ""


def _metadata(about: About, title: str, figures: Sequence[Figure], licence: str) -> dict[str, Any]:
    """What machines read of a card, in the form of model cards of Hugging Face."""
    task = TASKS.get(about.kind, ACTS)
    found: dict[str, Any] = {
        "license": licence,
        "library_name": "worldmodel",
        "tags": [about.kind.replace(" ", "-"), "jepa", *(["gymnasium"] if task == ACTS else [])],
        ABOUT: {"format": about.files.config["format"], "sha256": about.files.sha256},
    }
    if task == ACTS:
        found["pipeline_tag"] = ACTS
    results = [
        {
            "task": {"type": task, "name": f"planning with {one.planner}" if one.planner else task},
            "dataset": {"type": one.task.replace(", ", "-").replace(" ", "-"), "name": one.task},
            "metrics": [
                {
                    "type": name.replace(", ", "-").replace(" ", "-"),
                    "name": name,
                    "value": round(share, 4),
                    **({"args": {"low": round(ends[0], 4), "high": round(ends[1], 4)}} if ends else {}),
                }
                for name, (share, ends) in one.shares.items()
            ],
        }
        for one in figures
    ]
    return found | ({"model-index": [{"name": title, "results": results}]} if results else {})


def _table(figures: Sequence[Figure]) -> str:
    """All figures as a table in Markdown; nothing where there are none."""
    rows = [
        {
            "measured on": one.task,
            "planner": one.planner or "–",
            one.unit: number(one.count, 0),
            **{name: percent(share, ends) for name, (share, ends) in one.shares.items()},
        }
        for one in figures
    ]
    return Table.of(rows, num_words=2).markdown() if rows else ""
