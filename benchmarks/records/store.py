"""One store for all results: a folder with a JSON file for each record.

::

    key          which cell of which table: names and plain values, such as {"manifest": "bounce", "seed": 0}
    config       all that decides the rows, so that the same config gives the same rows
    rows         what was measured, such as an episode each
    facts        what follows from the rows or was measured beside them: rates, latency, the cost of training
    provenance   versions, commit, command, machine

There is one rule for resuming (:meth:`Store.find`). What a thing is stands in its key: names of files are made from
keys, and never read.
"""

import hashlib
import json
import logging
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.records import provenance
from worldmodel.config import differences
from worldmodel.storage.files import read_json, write_json

logger = logging.getLogger(__name__)

WEIGHTS = "weights"
"""Field of a config that holds the hash of the weights that were measured."""
PARTS = ("key", "config", "provenance", "facts", "finished", "rows")
"""What the JSON of a record holds."""

LONGEST_NAME = 120
"""Characters of a file's name that are made from a key."""
LONGEST_CHANGE, MOST_CHANGES = 100, 6
"""Characters that tell of a setting that differs, and how many such settings are told."""

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Record:
    """Something that was measured.

    Attributes:
        key: Which cell of which table it is.
        config: All that decides the rows.
        provenance: What produced it.
        rows: What was measured.
        facts: What follows from the rows, or was measured beside them.
        finished: Whether all rows are there.
    """

    key: Mapping[str, Any]
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    rows: tuple[Row, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    finished: bool = True

    @property
    def fingerprint(self) -> str:
        """Hash of key and config."""
        return fingerprint(self.key, self.config)

    def matches(self, **key: Any) -> bool:
        """Whether its key has these values."""
        return all(self.key.get(name) == value for name, value in key.items())


class Store:
    """A folder of records.

    Args:
        folder: The folder; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: Mapping[str, Any]) -> Path:
        """Where the record of a key lies."""
        return self.folder / f"{name_of(key)}.json"

    def find(self, key: Mapping[str, Any], config: Mapping[str, Any]) -> Record | None:
        """What is there already of a measurement: finished, or to go on with. The one rule for resuming.

        A record of the same key and config is what measuring would give. One of other weights, or of weights that are
        gone from this machine (None), is outdated, or taken as it is. One of other settings is in the way.

        Raises:
            ValueError: If there is a record of this key and other settings, or a file that is no record.
        """
        return find(self.path(key), key, config)

    def save(self, record: Record) -> Path:
        """Writes a record, in the place of an outdated one; returns its path."""
        path = self.path(record.key)
        write_record(path, record)
        return path

    def records(self, **key: Any) -> Iterator[Record]:
        """All records whose keys have these values, in the order of their files' names."""
        for path in sorted(self.folder.glob("*.json")):
            record = read_record(path)
            if record.matches(**key):
                yield record


def new_record(
    key: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    rows: Sequence[Row] = (),
    facts: Mapping[str, Any] | None = None,
    finished: bool = True,
) -> Record:
    """A record of what this process measures, in JSON types, with its provenance."""
    return Record(
        key=plain(key),
        config=plain(config),
        provenance=provenance.collect(config.get(WEIGHTS)),
        rows=tuple(plain(rows)),
        facts=plain(facts or {}),
        finished=finished,
    )


def find(
    path: Path, key: Mapping[str, Any], config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> Record | None:
    """The same for a record in a file of its own; see :meth:`Store.find`.

    Args:
        path: The file.
        key: The record's key.
        config: All that decides its rows.
        defaults: Defaults of the config's settings: a setting that the record was made without had this value.
    """
    if not path.exists():
        return None
    record = read_record(path)
    wanted, stored = (plain({"key": k, "config": c}) for k, c in ((key, config), (record.key, record.config)))
    _complete(stored["config"], wanted["config"], plain(defaults or {}))
    here, measured = (one["config"].pop(WEIGHTS, None) for one in (wanted, stored))
    if changes := sorted(differences(stored, wanted)):
        told = [textwrap.shorten(change, LONGEST_CHANGE, placeholder="…)") for change in changes[:MOST_CHANGES]]
        if len(changes) > MOST_CHANGES:
            told.append(f"and {len(changes) - MOST_CHANGES} more")
        raise ValueError(
            f"{path} holds the result of other settings ({'; '.join(told)}); write to another place, or overwrite it"
        )
    if here not in (None, measured):
        logger.info("%s is of other weights, and is measured anew", path)
        return None
    return record


def _complete(stored: dict[str, Any], wanted: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Gives stored settings those that there were not yet, where they are wanted as they are by default."""
    for name, default in defaults.items():
        if name not in stored and wanted.get(name) == default:
            stored[name] = default
        elif all(isinstance(one.get(name), dict) for one in (stored, wanted, defaults)):
            _complete(stored[name], wanted[name], default)


def fingerprint(key: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Hash of all that decides a record: two that share it are the same."""
    return hashlib.sha256(json.dumps([plain(key), plain(config)], sort_keys=True).encode()).hexdigest()


def plain(values: Any) -> Any:
    """Values as JSON gives them back."""
    return json.loads(json.dumps(values))


def name_of(key: Mapping[str, Any]) -> str:
    """A key as the name of a file; numbers stand behind what they are.

    Example:
        >>> name_of({"contender": "sac-state", "minutes": 15.0, "planner": None, "seed": 0})
        'sac-state-minutes15-seed0'
    """
    shown = [f"{n}{v:g}" if isinstance(v, int | float) else str(v) for n, v in key.items() if v is not None]
    name = file_name("-".join(shown))
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{fingerprint(key, {})[:8]}"


def file_name(text: str) -> str:
    """A text as the name of a file or folder: letters, digits, and what is safe anywhere."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)


def write_record(path: Path, record: Record) -> None:
    """Writes a record as JSON, whole or not at all; rows that share their columns stand below the columns' names."""
    content = {name: getattr(record, name) for name in PARTS}
    columns = list(record.rows[0]) if record.rows else []
    if all(list(row) == columns for row in record.rows):
        content |= {"columns": columns, "rows": [list(row.values()) for row in record.rows]}
    write_json(path, content)


def read_record(path: Path) -> Record:
    """Reads a record.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no record.
    """
    content = read_json(path, "a record")
    columns = content.pop("columns", None)
    if set(content) != set(PARTS):
        raise ValueError(f"{path} must be a record, an object with {', '.join(PARTS)}, got {', '.join(content)[:200]}")
    for name, kind in dict.fromkeys(PARTS[:4], dict).items() | {"finished": bool, "rows": list}.items():
        if not isinstance(content[name], kind):
            raise ValueError(f"{name} of {path} must be of type {kind.__name__}, got {str(content[name])[:100]!r}")
    try:
        if columns is not None:
            content["rows"] = [dict(zip(columns, row, strict=True)) for row in content["rows"]]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} must be a record whose rows have the columns {columns}: {error}") from error
    if not all(isinstance(row, dict) for row in content["rows"]):
        raise ValueError(f"{path} must be a record whose rows are objects")
    return Record(**content | {"rows": tuple(content["rows"])})
