"""Evaluations as a table."""

from collections.abc import Sequence

from benchmarks.records.store import Record
from benchmarks.records.tables import Table, number, percent, quantiles


def table(records: Sequence[Record]) -> Table:
    """A table with a row for each evaluation.

    Raises:
        ValueError: If there is none, or a record is of something else.
    """
    if not records:
        raise ValueError("a table must be made of at least one evaluation, got none")
    return Table.of([_cells(record) for record in records], num_words=2)


def _cells(record: Record) -> dict[str, str]:
    try:
        summary, latency = record.facts["summary"], record.facts["latency"]
        planner = record.config.get("planner")
        return {
            "policy": f"{record.facts['policy']}" + ("" if planner is None else f", {planner['planner']}"),
            "manifest": ", ".join(
                str(record.config[name]) for name in ("manifest", "appearance") if name in record.config
            ),
            "episodes": number(summary["num_episodes"], 0),
            "final success": percent(summary["final_success"], summary["final_success_interval"]),
            "ever success": percent(summary["ever_success"], summary["ever_success_interval"]),
            "SPL": number(summary["spl"], 3),
            "steps to goal": number(summary["mean_steps_to_goal"], 1),
            "final distance": number(summary["mean_final_distance"], 2),
            "ms a plan, p50 / p95": quantiles(latency, "plan"),
            "ms a step, p50 / p95": quantiles(latency, "step"),
        }
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise ValueError(f"a record must be of an evaluation: {type(error).__name__}: {error}") from error
