"""The log of evaluations: a line for each look at published episodes, so that repeated looks show."""

import logging
import os
from datetime import UTC, datetime

from benchmarks.records.provenance import RESULTS, ROOT
from benchmarks.records.store import Record
from worldmodel.storage.files import read_rows
from worldmodel.storage.locks import append_row

logger = logging.getLogger(__name__)

LOG = RESULTS / "evaluations.jsonl"
"""All evaluations on manifests that are not for tuning."""


def append(record: Record) -> None:
    """Appends an evaluation to :data:`LOG`, if this is a checkout that can be written to; never fails.

    An evaluation that was stopped after its line was written gets no second one: it is known by its ``id``.
    """
    if not (ROOT / ".git").exists():
        return
    config, facts, provenance = record.config, record.facts, record.provenance
    entry = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "id": facts["id"],
        "commit": provenance["commit"],
        "command": provenance["command"],
        "policy": facts["policy"],
        **{name: config[name] for name in ("manifest", "manifest_hash", "seed")},
        "config": config,
        "summary": facts["summary"],
        "checkpoint_hash": provenance["checkpoint_hash"],
    }
    try:
        if all(row.get("id") != entry["id"] for row in read_rows(LOG)):
            append_row(LOG, entry)
    except (OSError, ValueError) as error:
        logger.warning("the evaluation was not added to %s: %s", os.path.relpath(LOG, ROOT), error)
