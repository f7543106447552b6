"""What must be said of a malformed input, and how."""

import re
from typing import Any

from worldmodel.__main__ import main

MENDED = None
"""In place of words: what is damaged is left out or made again."""


def check_line(line: str, words: str) -> None:
    """One line of a length that can be read, with the words in it."""
    assert "\n" not in line.strip()
    assert len(line) < 900
    assert re.search(words, line), line


def check_command(capsys: Any, arguments: list[str], words: str | None) -> None:
    """A command ends with status 1 and one line, or with 2 and tyro's words about its arguments; or it mends things."""
    try:
        status = main(arguments)
    except SystemExit as error:
        status = error.code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    if words is MENDED:
        assert status == 0, captured.err
        return
    assert status in (1, 2), captured.out + captured.err
    if status == 2:
        check_words = " ".join(re.sub("[│╭╮╰╯─]", " ", captured.err).split())
        assert re.search(words, check_words), check_words
        return
    ours = [line for line in captured.err.splitlines() if line.startswith(f"worldmodel {arguments[0]}: ")]
    assert len(ours) == 1
    assert captured.err.endswith(f"{ours[0]}\n")
    check_line(ours[0], words)
