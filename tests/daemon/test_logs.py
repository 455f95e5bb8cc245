"""The daemon's own log: one line a message, whatever a message holds."""

from __future__ import annotations

import logging

from gpuboard.daemon.logs import LineFormatter


def record(message: str, level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    return logging.LogRecord("gpuboard.x", level, "x.py", 1, message, (), None, **fields)  # type: ignore[arg-type]


def test_a_message_cannot_forge_a_second_line():
    text = LineFormatter(for_journal=False).format(record("a\n2026 INFO forged\rx \x1b[31m"))
    assert "\n" not in text
    assert text.endswith("INFO gpuboard.x: a 2026 INFO forged x ")


def test_the_journal_gets_priorities_and_no_time():
    formatter = LineFormatter(for_journal=True)
    assert formatter.format(record("x", logging.ERROR)) == "<3>ERROR gpuboard.x: x"
    assert formatter.format(record("x", logging.WARNING)).startswith("<4>")
    assert formatter.format(record("x")).startswith("<6>")
    assert formatter.format(record("x", logging.DEBUG)).startswith("<7>")


def test_a_traceback_stays_with_its_message():
    try:
        raise ValueError("why")
    except ValueError as error:
        found = record("it failed", logging.ERROR)
        found.exc_info = (ValueError, error, error.__traceback__)
    lines = LineFormatter(for_journal=True).format(found).split("\n")
    assert len(lines) > 2
    assert all(line.startswith("<3>") for line in lines)
    assert all(line.startswith("<3>    ") for line in lines[1:])
