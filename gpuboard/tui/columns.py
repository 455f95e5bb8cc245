"""Which columns the tables of the app have, which of them a person chose, and how wide each is.

A table's columns give way by rank where there is no room for all: what is least important goes
first. What room is left over widens them again, up to `most`. Names are those of `app.toml`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gpuboard.tui.ink import Part, fit

REST = 10_000
"""The `most` of a column that takes all the room that is left."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    head: str
    words: str
    """What it says, for the settings."""
    least: int
    """Columns of the terminal below which it is left out."""
    most: int = 0
    """Columns of the terminal that it takes at most; 0: as its least."""
    rank: int = 5
    """Of the highest rank goes first where there is no room; it is widened last."""
    is_usual: bool = True
    """Whether it is shown to a person who chose nothing."""
    is_right: bool = False


def _some(*columns: Column) -> Mapping[str, Column]:
    return {column.name: column for column in columns}


TABLES: Mapping[str, Mapping[str, Column]] = {
    "queue": _some(
        Column("job", "JOB", "its number", 6, rank=0, is_right=True),
        Column("who", "WHO", "whose it is", 8, 12, rank=3),
        Column("name", "NAME", "its name or command", 12, 32, rank=2),
        Column("gpus", "GPUS", "how many GPUs, and which", 7, 12, rank=2),
        Column("limit", "LIMIT", "its time limit", 5, rank=4),
        Column("start", "START", "when it starts, or its limit stops it", 21, 31, rank=1),
        Column("why", "WHY", "why it waits", 14, REST, rank=9),
        Column("submitted", "SUBMITTED", "when it was submitted", 12, rank=6, is_usual=False),
        Column("group", "GROUP", "the group that it is charged to", 8, 12, rank=6, is_usual=False),
        Column("class", "CLASS", "its class", 8, rank=7, is_usual=False),
        Column("type", "TYPE", "the type of GPU that it asks for", 8, 12, rank=7, is_usual=False),
        Column("image", "IMAGE", "its image, of mine", 12, 32, rank=8, is_usual=False),
    ),
    "jobs": _some(
        Column("state", "STATE", "its state", 12, rank=1),
        Column("job", "JOB", "its number", 5, rank=0, is_right=True),
        Column("who", "WHO", "whose it is, where not only mine are shown", 10, rank=3),
        Column("name", "NAME", "its name or command", 14, 30, rank=2),
        Column("gpus", "GPUS", "how many GPUs, and which", 8, 12, rank=3),
        Column("time", "TIME / LIMIT", "how long it ran, of how long at most", 13, rank=2),
        Column("when", "WHEN", "when it starts, its limit stops it, or it ended", 13, 16, rank=4),
        Column("how", "HOW", "how it ended, or why it waits", 10, REST, rank=9),
        Column("submitted", "SUBMITTED", "when it was submitted", 12, rank=6, is_usual=False),
        Column("group", "GROUP", "the group that it is charged to", 8, 12, rank=6, is_usual=False),
        Column("exit", "EXIT", "its exit code", 4, rank=6, is_usual=False, is_right=True),
        Column("image", "IMAGE", "its image, of mine", 12, 32, rank=8, is_usual=False),
    ),
    "people": _some(
        Column("name", "", "who", 10, 12, rank=0),
        Column("held", "HELD", "GPU-hours held", 7, rank=1, is_right=True),
        Column("used", "USED", "what part of that was used", 5, rank=1, is_right=True),
        Column("bar", "", "the same as a bar", 8, rank=6),
        Column("idle", "IDLE", "GPU-hours held and idle", 6, rank=3, is_right=True),
        Column("wait", "WAIT", "the wait of the median job", 6, rank=4, is_right=True),
        Column("long", "9 OF 10", "the wait of nine of ten jobs", 7, rank=5, is_right=True),
        Column("share", "SHARE", "the part of all recent use", 6, rank=2, is_right=True),
        Column("jobs", "JOBS", "how many jobs began", 5, rank=7, is_usual=False, is_right=True),
        Column("now", "NOW", "what they hold and wait for now", 6, REST, rank=8),
    ),
}


def usual(table: str) -> tuple[str, ...]:
    """Return the columns of a table that a person who chose nothing sees."""
    return tuple(name for name, column in TABLES[table].items() if column.is_usual)


@lru_cache(maxsize=256)
def laid_out(table: str, names: Sequence[str], width: int) -> tuple[tuple[Column, int], ...]:
    """Return the columns that fit into `width` with the width of each; one blank lies between."""
    shown = [TABLES[table][name] for name in names]
    while len(shown) > 1 and sum(each.least + 1 for each in shown) - 1 > width:
        shown.remove(max(shown, key=lambda each: each.rank))
    widths = {each.name: each.least for each in shown}
    room = width - sum(widths.values()) - len(shown) + 1
    for each in sorted(shown, key=lambda each: each.rank):
        more = max(0, min(room, (each.most or each.least) - each.least))
        widths[each.name] += more
        room -= more
    return tuple((each, widths[each.name]) for each in shown)


def heads(layout: Sequence[tuple[Column, int]], **others: str) -> str:
    """Return the line above a table; `others` are heads by a column's name."""
    return " ".join(
        fit(others.get(each.name, each.head), width, right=each.is_right) for each, width in layout
    )


def cells(layout: Sequence[tuple[Column, int]], parts: Mapping[str, Part]) -> list[Part]:
    """Return a row: the part of each column, cut and padded to its width."""
    row: list[Part] = []
    for each, width in layout:
        text, role = parts[each.name]
        if row:
            row.append((" ", "text"))
        row.append((fit(text, width, right=each.is_right), role))
    return row
