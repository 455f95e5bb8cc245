"""Tables for a terminal: columns fitted to its width, text from people made harmless, colour on request.

In a pipe nothing is cut, so that `gpuboard ps | grep` sees what is there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from gpuboard.model.text import cell_width, plain

_CODES = {"good": "32", "busy": "33", "bad": "31", "dim": "2", "strong": "1"}
_LONGEST_CELL = 400
_GAP = "  "


class Cell(NamedTuple):
    """A cell with a colour's meaning: `good`, `busy`, `bad`, `dim`, `strong`."""

    text: str
    style: str = ""


Row: TypeAlias = "Sequence[str] | Sequence[str | Cell]"


class Column(NamedTuple):
    """How one column behaves."""

    title: str
    right: bool = False
    least: int = 0
    """May be cut down to so many cells when the terminal is narrow; 0 = never cut."""


def print_table(columns: Sequence[Column], rows: Sequence[Row], *, header: bool = True) -> None:
    """Print the rows on stdout, columns that are empty throughout left out."""
    for line in layout(columns, rows, width=output_width(), colour=has_colour(), header=header):
        print(line)


def layout(
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    width: int | None,
    colour: bool = False,
    header: bool = True,
) -> list[str]:
    """Return the lines of a table of at most `width` cells (None: as wide as it needs)."""
    cells = [[_safe(cell) for cell in row] for row in rows]
    shown = [n for n in range(len(columns)) if not rows or any(row[n].text for row in cells)]
    titles = [columns[n] for n in shown]
    cells = [[row[n] for n in shown] for row in cells]
    widths = [
        max([cell_width(title.title) if header else 0, *(cell_width(row[n].text) for row in cells)])
        for n, title in enumerate(titles)
    ]
    if width is not None:
        _shrink(widths, titles, width)
    lines = (
        [_line([Cell(title.title, "strong") for title in titles], titles, widths, colour)]
        if header
        else []
    )
    return lines + [_line(row, titles, widths, colour) for row in cells]


def painted(text: str, style: str, *, colour: bool | None = None) -> str:
    """Return the text in a style's colour where stdout shows colours."""
    on = has_colour() if colour is None else colour
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if on and style else text


def output_width() -> int | None:
    """Return the terminal's width in cells; None in a pipe, unless $COLUMNS says one."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return int(columns)
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return 80


def has_colour() -> bool:
    """Whether stdout is a terminal that wants colours (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def _safe(cell: str | Cell) -> Cell:
    text, style = (cell, "") if isinstance(cell, str) else cell
    return Cell(plain(text[: _LONGEST_CELL * 10], _LONGEST_CELL), style)


def _shrink(widths: list[int], columns: Sequence[Column], width: int) -> None:
    """Take the missing cells from the widest columns that may be cut."""
    over = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    while over > 0:
        candidates = [n for n, column in enumerate(columns) if 0 < column.least < widths[n]]
        if not candidates:
            return
        widest = max(candidates, key=lambda n: widths[n])
        widths[widest] -= 1
        over -= 1


def _line(
    row: Sequence[Cell], columns: Sequence[Column], widths: Sequence[int], colour: bool
) -> str:
    parts = []
    for n, (cell, column, width) in enumerate(zip(row, columns, widths, strict=True)):
        text = plain(cell.text, width)
        padding = " " * (width - cell_width(text))
        if n == len(row) - 1 and not column.right:
            padding = ""
        shown = painted(text, cell.style, colour=colour) if text else text
        parts.append(padding + shown if column.right else shown + padding)
    return _GAP.join(parts).rstrip()
