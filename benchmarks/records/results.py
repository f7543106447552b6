"""Results of evaluations on disk and on screen: JSON files, the log of evaluations, tables."""

import json
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from agents.evaluation.results import EvalResult
from benchmarks.records.provenance import ROOT
from worldmodel.storage.files import read_json, read_rows, write_text
from worldmodel.storage.locks import append_row

logger = logging.getLogger(__name__)

LOG = ROOT / "benchmarks" / "results" / "evaluations.jsonl"
"""Log of all evaluations on manifests that are not for tuning: repeated looks show."""
KEYS = ("policy", "manifest", "manifest_hash", "fingerprint", "config", "finished", "provenance", "summary", "result")
"""What the JSON of an evaluation holds at least."""


def file_name(text: str) -> str:
    """A text as the name of a file or folder: letters, digits, and what is safe anywhere."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)


def write_result(path: Path, content: dict[str, Any]) -> None:
    """Writes an evaluation as JSON, one episode a line below the names of its columns.

    The file appears whole or not at all.
    """
    head = {key: value for key, value in content.items() if key != "result"}
    result = dict(content["result"])
    episodes = result.pop("rows")
    columns = list(episodes[0]) if episodes else []
    rows = ",\n".join("   " + json.dumps([row[key] for key in columns]) for row in episodes)
    text = json.dumps(head, indent=1).removesuffix("\n}")
    result["columns"] = columns
    text += ',\n "result": ' + json.dumps(result).removesuffix("}") + ', "rows": [\n' + rows + "\n ]}\n}\n"
    write_text(path, text)


def read_result(path: Path) -> dict[str, Any]:
    """Reads an evaluation.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no evaluation.
    """
    content = read_json(path, "the JSON of an evaluation")
    lacking = [key for key in KEYS if key not in content]
    if lacking:
        raise ValueError(f"{path} must be the JSON of an evaluation, got one without {', '.join(map(repr, lacking))}")
    try:
        result = content["result"]
        columns = result.pop("columns")
        result["rows"] = [dict(zip(columns, row, strict=True)) for row in result["rows"]]
        EvalResult.from_dict(result)
        content["config"].get("planner")
        content["provenance"].get("checkpoint_hash")
        _check_numbers(content["summary"], content.get("latency"))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} must be the JSON of an evaluation: {type(error).__name__}: {error}") from error
    return content


def _check_numbers(summary: dict[str, Any], latency: dict[str, Any] | None) -> None:
    """Raises a KeyError or TypeError where tables and plots would find no numbers."""
    for key in ("num_episodes", "final_success", "ever_success", "spl", "mean_steps_to_goal", "mean_final_distance"):
        if not isinstance(summary[key], int | float | None):
            raise TypeError(f"{key} must be a number or null, got {summary[key]!r}")
    for key in ("final_success_interval", "ever_success_interval"):
        low, high = summary[key] or (0.0, 0.0)
        if not (isinstance(low, int | float) and isinstance(high, int | float)):
            raise TypeError(f"{key} must be two numbers or null, got {summary[key]!r}")
    for key, value in (latency or {}).items():
        if key.endswith("_ms") and not isinstance(value, int | float | None):
            raise TypeError(f"{key} of latency must be a number or null, got {value!r}")


def append_to_log(content: dict[str, Any]) -> None:
    """Appends an evaluation to :data:`LOG`, if this is a checkout that can be written to; never fails.

    An evaluation that was stopped after its line was written gets no second one: it is known by its ``id``.
    """
    if not (ROOT / ".git").exists():
        return
    provenance = content["provenance"]
    entry = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "id": content["id"],
        "commit": provenance["commit"],
        "command": provenance["command"],
        **{key: content[key] for key in ("policy", "manifest", "manifest_hash", "seed", "config", "summary")},
        "checkpoint_hash": provenance["checkpoint_hash"],
    }
    try:
        if all(row.get("id") != content["id"] for row in read_rows(LOG)):
            append_row(LOG, entry)
    except (OSError, ValueError) as error:
        logger.warning("the evaluation was not added to %s: %s", os.path.relpath(LOG, ROOT), error)


def rich_table(content: dict[str, Any]) -> Table:
    """One evaluation as a table for the terminal."""
    table = Table(title=f"{content['policy']} on {content['manifest']} ({content['summary']['num_episodes']} episodes)")
    table.add_column("measure")
    table.add_column("value", justify="right")
    for name, value in _cells(content).items():
        table.add_row(name, value)
    return table


def markdown_table(paths: Sequence[Path]) -> str:
    """A Markdown table with one row for each result file.

    Raises:
        ValueError: If no file is given, or one is no evaluation.
    """
    contents = [read_result(Path(path)) for path in paths]
    if not contents:
        raise ValueError("a table must be made of at least one result file, got none")
    cells = [_cells(content) for content in contents]
    names = list(cells[0])
    lines = [
        "| policy | manifest | episodes | " + " | ".join(names) + " |",
        "|---|---|--:|" + "--:|" * len(names),
    ]
    for content, row in zip(contents, cells, strict=True):
        first = [_policy_name(content), content["manifest"], str(content["summary"]["num_episodes"])]
        lines.append("| " + " | ".join(first + [row[name] for name in names]) + " |")
    return "\n".join(lines) + "\n"


def _policy_name(content: dict[str, Any]) -> str:
    """The policy, and how it plans, if it does."""
    planner = content["config"].get("planner")
    return content["policy"] if planner is None else f"{content['policy']}, {planner['planner']}"


def _cells(content: dict[str, Any]) -> dict[str, str]:
    summary, latency = content["summary"], content.get("latency") or {}

    def rate(kind: str) -> str:
        value, interval = summary[f"{kind}_success"], summary[f"{kind}_success_interval"]
        return "–" if value is None else f"{value:.1%} [{interval[0]:.1%}, {interval[1]:.1%}]"

    def number(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    def pair(kind: str) -> str:
        return " / ".join(number(latency.get(f"{kind}_p{quantile}_ms"), 1) for quantile in (50, 95))

    return {
        "final success": rate("final"),
        "ever success": rate("ever"),
        "SPL": number(summary["spl"], 3),
        "steps to goal": number(summary["mean_steps_to_goal"], 1),
        "final distance": number(summary["mean_final_distance"], 2),
        "ms a plan, p50 / p95": pair("plan"),
        "ms a step, p50 / p95": pair("step"),
    }
