from io import StringIO

import pytest
from rich.console import Console

from benchmarks.evaluation.success import EvaluateConfig, run
from benchmarks.records import results as report


@pytest.fixture
def files(tmp_path):
    paths = []
    for policy in ("random", "expert"):
        paths.append(tmp_path / f"{policy}.json")
        run(
            EvaluateConfig(
                policy=policy,
                manifest="validation",
                num_episodes=4,
                num_envs=4,
                latency_episodes=0,
                output=paths[-1],
                progress=False,
            )
        )
    return paths


def test_markdown_table(files):
    lines = report.markdown_table(files).splitlines()
    assert lines[0].startswith("| policy | manifest | episodes | final success | ever success | SPL |")
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 4
    assert lines[3].startswith("| expert | validation | 4 | 100.0% [51.0%, 100.0%] |")


def test_terminal_table(files):
    console = Console(record=True, width=100, file=StringIO())
    console.print(report.rich_table(report.read_result(files[1])))
    text = console.export_text()
    assert "expert on validation (4 episodes)" in text
    assert "100.0% [51.0%, 100.0%]" in text


def test_a_table_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one result file, got none"):
        report.markdown_table([])


def test_the_disk_keeps_what_was_written(files):
    content = report.read_result(files[0])
    again = files[0].with_name("again.json")
    report.write_result(again, content)
    assert report.read_result(again) == content
    assert again.read_bytes() == files[0].read_bytes()


def test_a_failed_write_leaves_the_old_file(files, monkeypatch):
    content, before = report.read_result(files[0]), files[0].read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worldmodel.storage.files.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        report.write_result(files[0], content | {"policy": "other"})
    assert files[0].read_bytes() == before
    assert len(list(files[0].parent.glob(".*tmp"))) == 0
