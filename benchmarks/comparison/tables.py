"""Comparisons as tables: all that is known of one, and many side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.comparison.contenders import CONTENDERS
from benchmarks.records.tables import Table, gain, number, percent
from envs.domain import find_domain


def table(content: Mapping[str, Any], *, short: bool = False) -> Table:
    """The comparison as a table; every seed is shown, and more time is a column.

    Args:
        content: The comparison, as :func:`benchmarks.comparison.compare.run` returns it.
        short: Whether to leave out what only few readers ask for.
    """
    rows = content["rows"]
    main = next(iter(rows[0]["manifests"]))
    longer = {row["extends"]: row for row in rows if row["extends"] and row["manifests"][main]}
    heads = [_head(manifest, content["measures"]) for manifest in rows[0]["manifests"]]
    base = next((row["title"] for row in rows if row["contender"] == content["base"]), "")
    shown = [
        _cells(row, longer, base, content["measures"]) for row in rows if not row["extends"] and row["manifests"][main]
    ]
    if short:
        details = {"ever", "SPL", "steps to goal", *heads[2:], f"difference to {base}"}
        shown = [{head: cell for head, cell in cells.items() if head not in details} for cells in shown]
    return Table.of(shown, num_words=3)


def overview(contents: Sequence[Mapping[str, Any]], contenders: Sequence[str] = (), *, intervals: bool = True) -> Table:
    """Several environments in one table: a row for each manifest, a column for each contender, in the project's order.

    Args:
        contents: Their comparisons.
        contenders: Names of those to show; by default all.
        intervals: Whether to show intervals.
    """
    order = list(dict.fromkeys(name for known in CONTENDERS.values() for name in known))
    seen = {row["contender"]: row["title"] for content in contents for row in content["rows"]}
    titles = [seen[name] for name in order if name in seen and (not contenders or name in contenders)]
    cell = _with_interval if intervals else _success
    shown = []
    for content in contents:
        rows, title = {row["title"]: row for row in content["rows"]}, find_domain(content["environment"]).title
        for manifest in content["measures"]:
            found = {name: row["manifests"][manifest] for name, row in rows.items()}
            cells = {name: cell(found[name]) if found.get(name) else "–" for name in titles}
            shown.append({"task": f"{title}, {_head(manifest, content['measures'])}", **cells})
    return Table.of(shown, num_words=1)


def _head(manifest: str, measures: Mapping[str, str]) -> str:
    """Head of a manifest's column: success after the last step, unless it says otherwise."""
    return manifest if measures[manifest] == "final" else f"{manifest}, {measures[manifest]}"


def _cells(
    row: dict[str, Any], longer: Mapping[str, dict[str, Any]], base: str, shown: Mapping[str, str]
) -> dict[str, str]:
    main, *others = row["manifests"]
    measures = row["manifests"][main]
    cells = {
        "policy": row["title"],
        "sees": row["sees"],
        "reward": "yes" if row["rewarded"] else "no",
        "final success": _with_interval(measures),
    }
    if longer:
        more = next(iter(longer.values()))["budgets"]
        found = longer.get(row["contender"])
        cells[f"with {more}× time"] = _with_interval(found["manifests"][main]) if found else "–"
    cells |= {
        "ever": _rates(measures["ever"]),
        "SPL": _mean(measures["spl"], 3),
        "steps to goal": _mean(measures["steps_to_goal"]),
    }
    for manifest in others:
        found = row["manifests"][manifest]
        cells[_head(manifest, shown)] = _rates(found["success"]) if found else "–"
    millions = float(np.mean(row["env_steps"])) / 1e6
    cells |= {
        "env steps": f"{millions:.2f} M" if millions else "–",
        "minutes": _mean(row["minutes"]) + (" + world model" if row["pretrained"] else ""),
        "ms an action": _mean(measures["ms"], 2),
    }
    return cells | ({f"difference to {base}": gain(row["difference"])} if base else {})


def _with_interval(measures: Mapping[str, Any]) -> str:
    """Success, every seed's, and the interval of all."""
    low, high = measures["interval"]
    return f"{_rates(measures['success'])} [{percent(low)}, {percent(high)}]"


def _success(measures: Mapping[str, Any]) -> str:
    return _rates(measures["success"])


def _rates(values: Sequence[float]) -> str:
    """Every seed's rate, or the one where there is one."""
    return "; ".join(map(percent, values))


def _mean(values: Sequence[float | None], digits: int = 1) -> str:
    known = [value for value in values if value is not None]
    return number(float(np.mean(known)) if known else None, digits)
