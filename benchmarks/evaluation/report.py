"""Evaluations as a table."""

from collections.abc import Sequence
from typing import Any

from benchmarks.records.store import Record
from benchmarks.records.tables import Table, number, percent


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
        summary, latency = record.facts["summary"], record.facts["latency"] or {}
        return {
            "policy": _policy(record),
            "manifest": str(record.config["manifest"]),
            "episodes": number(summary["num_episodes"], 0),
            "final success": percent(summary["final_success"], summary["final_success_interval"]),
            "ever success": percent(summary["ever_success"], summary["ever_success_interval"]),
            "SPL": number(summary["spl"], 3),
            "steps to goal": number(summary["mean_steps_to_goal"], 1),
            "final distance": number(summary["mean_final_distance"], 2),
            "ms a plan, p50 / p95": _pair(latency, "plan"),
            "ms a step, p50 / p95": _pair(latency, "step"),
        }
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise ValueError(f"a record must be of an evaluation: {type(error).__name__}: {error}") from error


def _policy(record: Record) -> str:
    """The policy, and how it plans, if it does."""
    planner = record.config.get("planner")
    return f"{record.facts['policy']}" + ("" if planner is None else f", {planner['planner']}")


def _pair(latency: dict[str, Any], kind: str) -> str:
    return " / ".join(number(latency.get(f"{kind}_p{quantile}_ms"), 1) for quantile in (50, 95))
