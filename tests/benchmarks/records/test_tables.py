"""One table for Markdown and the terminal."""

from io import StringIO

from rich.console import Console

from benchmarks.records.tables import Table, gain, number, percent


def test_rows_name_their_columns():
    table = Table.of([{"policy": "a", "x": "1"}, {"policy": "b", "y": "2\n3"}])
    assert table.markdown() == "| policy | x | y |\n|---|--:|--:|\n| a | 1 | – |\n| b | – | 2<br>3 |\n"
    assert table.turned().markdown() == "| policy | a | b |\n|---|--:|--:|\n| x | 1 | – |\n| y | – | 2<br>3 |\n"


def test_the_terminal_shows_the_same():
    console = Console(record=True, width=100, file=StringIO())
    console.print(Table.of([{"policy": "a", "x": "100.0%"}], title="on validation").terminal())
    text = console.export_text()
    assert "on validation" in text
    assert "100.0%" in text


def test_numbers_as_text():
    assert (percent(0.5), percent(None), percent(1.0, (0.9, 1.0))) == ("50.0%", "–", "100.0% [90.0%, 100.0%]")
    assert (number(1234.5), number(0.1234, 3), number(None)) == ("1,234.5", "0.123", "–")
    assert gain({"difference": 0.1, "low": -0.05, "high": 0.25}) == "+10.0% [-5.0%, +25.0%]"
    assert gain(None) == "–"
