"""Records: what is written is what is read; and when a measurement is the same as one that is there."""

import json
from dataclasses import replace

import pytest

from benchmarks.records.store import Record, Store, find, name_of, read_record, write_record

KEY = {"table": "t", "seed": 0}
CONFIG = {"weights": "abc", "options": {"rate": 0.1, "sizes": [1, 2]}}
RECORD = Record(
    key=KEY,
    config=CONFIG,
    provenance={"commit": None},
    rows=({"index": 0, "success": True}, {"index": 1, "success": False}),
    facts={"curve": [{"loss": 1.0}, {"loss": 0.5}], "nothing": {}},
)


@pytest.mark.parametrize("rows", [RECORD.rows, (), ({"a": 1}, {"b": 2})], ids=["table", "none", "of other columns"])
def test_what_is_written_is_read(tmp_path, rows):
    record = replace(RECORD, rows=rows)
    write_record(tmp_path / "a.json", record)
    assert read_record(tmp_path / "a.json") == record
    assert len((tmp_path / "a.json").read_text().splitlines()) < 40  # a row a line, a list a line


def test_the_same_measurement_is_found(tmp_path):
    store = Store(tmp_path)
    assert store.find(KEY, CONFIG) is None
    assert store.save(RECORD).name == "t-seed0.json"
    assert store.find(KEY, CONFIG) == RECORD
    assert store.find(KEY, CONFIG | {"options": {"rate": 0.1, "sizes": (1, 2)}}) == RECORD
    assert list(store.records(seed=0)) == [RECORD]
    assert not list(store.records(seed=1))
    assert RECORD.fingerprint == replace(RECORD, facts={}).fingerprint
    assert RECORD.fingerprint != replace(RECORD, key={"seed": 1}).fingerprint


def test_other_weights_are_measured_anew_and_missing_ones_are_those_that_were(tmp_path):
    store = Store(tmp_path)
    store.save(RECORD)
    assert store.find(KEY, CONFIG | {"weights": "other"}) is None
    assert store.find(KEY, CONFIG | {"weights": None}) == RECORD


def test_other_settings_are_in_the_way(tmp_path):
    path = Store(tmp_path).save(RECORD)
    with pytest.raises(
        ValueError, match=r"holds the result of other settings \(config.options.rate \(was 0.1, now 1\)"
    ):
        find(path, KEY, CONFIG | {"options": {"rate": 1, "sizes": [1, 2]}})
    with pytest.raises(ValueError, match=r"key.table \(was t, now other\)"):
        find(path, KEY | {"table": "other"}, CONFIG)


def test_many_other_settings_are_told_in_short(tmp_path):
    """Sorted, a few of them, and none at length."""
    path = Store(tmp_path).save(RECORD)
    other = {"options": list(range(1000)), **{f"option{i}": i for i in range(9, 0, -1)}}
    with pytest.raises(ValueError, match=r"settings \(config.option1 \(was None, now 1\); config.option2 ") as caught:
        find(path, KEY, CONFIG | other)
    assert "; and 4 more); write to another place" in str(caught.value)
    assert len(str(caught.value)) < 600 + len(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"a.json must be a record, an object with key, config, "),
        ({"facts": 5}, r"facts of .*a.json must be of type dict, got '5'"),
        ({"rows": [5]}, r"rows are objects"),
        ({"columns": ["a"], "rows": [[1, 2]]}, r"rows have the columns \['a'\]"),
    ],
)
def test_something_else_is_refused(tmp_path, content, message):
    path = tmp_path / "a.json"
    write_record(path, RECORD)
    stored = json.loads(path.read_text())
    stored.pop("columns")
    path.write_text(json.dumps(stored | {"rows": []} | content if content else content))
    with pytest.raises(ValueError, match=message):
        read_record(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = Store(tmp_path).save(RECORD)
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worldmodel.storage.files.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_record(path, replace(RECORD, rows=()))
    assert path.read_bytes() == before
    assert len(list(tmp_path.glob(".*tmp"))) == 0


def test_names_are_short_and_safe_anywhere():
    assert name_of({"a": "x/y z", "minutes": 7.5, "none": None}) == "x-y-z-minutes7.5"
    first, second = (name_of({"a": "x" * 300 + end}) for end in "ab")
    assert first != second
    assert len(first) < 140


def test_settings_that_there_were_not_yet_had_their_default(tmp_path):
    path = tmp_path / "a.json"
    write_record(path, RECORD)
    newer = CONFIG | {"context": 1, "options": CONFIG["options"] | {"image": ""}}
    defaults = {"context": 1, "options": {"image": "", "rate": 7.0}, "unused": 3}
    assert find(path, KEY, newer, defaults) == RECORD
    for changes in ({"context": 2}, {"options": newer["options"] | {"image": "camera"}}, {"options": {"rate": 7.0}}):
        with pytest.raises(ValueError, match="holds the result of other settings"):
            find(path, KEY, newer | changes, defaults)
    with pytest.raises(ValueError, match=r"config\.context \(was None, now 1\)"):
        find(path, KEY, newer)
