"""Lines of styled plain text, cut and padded to a width: what every widget draws with.

No markup is ever read: a part is a text and a role of the theme. Text from people is made plain
here once more (a decoded view is not trusted to be clean), so no control code reaches a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from gpuboard.model.text import plain
from gpuboard.tui.terminals import in_ascii
from gpuboard.tui.theme import Glyphs, Palette

Part = tuple[str, str | Style]
"""A text and its role (or a ready style). A role may end in `!` for bold."""
Row = tuple[list[Part], list[Part], str]
"""A line before it is drawn: what is at its left, what at its right, and the ground."""

MAX_TEXT = 400


@lru_cache(maxsize=8192)
def clean(text: str) -> str:
    """Return a person's text as one line that is safe on a terminal."""
    return plain(text[: 4 * MAX_TEXT], MAX_TEXT)


def width_of(text: str) -> int:
    """Return how many columns a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Return a text of exactly `width` columns: padded, or cut with an ellipsis."""
    if width <= 0:
        return ""
    length = width_of(text)
    if length > width:
        if text.isascii():
            return text[: width - 1] + "…" if width > 1 else text[:width]
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - length) + text if right else text + " " * (width - length)


def cut(text: str, width: int) -> str:
    """Return a text of at most `width` columns."""
    return text if width_of(text) <= width else fit(text, width)


def wrapped(text: str, width: int) -> list[str]:
    """Return a clean text as lines of at most `width` columns."""
    import textwrap

    return textwrap.wrap(clean(text), max(8, width)) or [""]


def changed_part(before: Strip, after: Strip) -> tuple[int, Strip] | None:
    """Return what of a line came out different, and the column at which it begins; None where nothing did."""
    if before == after:
        return None
    was, part = list(before), list(after)
    ends = min(len(was), len(part))
    if before.cell_length != after.cell_length or not ends:
        return 0, after
    lead = next((n for n in range(ends) if was[n] != part[n]), ends)
    ends -= lead
    tail = next((n for n in range(ends) if was[-1 - n] != part[-1 - n]), ends)
    column = sum(segment.cell_length for segment in part[:lead])
    width = after.cell_length - column - sum(one.cell_length for one in part[len(part) - tail :])
    was, part = was[lead : len(was) - tail], part[lead : len(part) - tail]
    if was and part and (same := _alike(was[0], part[0])):
        was[0], part[0] = (Segment(one[0].text[same:], one[0].style) for one in (was, part))
        column, width = column + same, width - same
    if was and part and (same := _alike(was[-1], part[-1], from_end=True)):
        part[-1] = Segment(part[-1].text[:-same], part[-1].style)
        width -= same
    return (column, Strip(part, width)) if part and width > 0 else (0, after)


def _alike(one: Segment, other: Segment, *, from_end: bool = False) -> int:
    """Return over how many columns two pieces of plain letters begin (or end) alike."""
    if one.style != other.style or not (one.text.isascii() and other.text.isascii()):
        return 0
    pair = (one.text[::-1], other.text[::-1]) if from_end else (one.text, other.text)
    letters = enumerate(zip(*pair, strict=False))
    return next((n for n, (a, b) in letters if a != b), min(map(len, pair)))


class Ink:
    """A palette and glyphs, and the making of lines with them."""

    def __init__(self, palette: Palette, glyphs: Glyphs) -> None:
        self.palette = palette
        self.glyphs = glyphs
        self._styles: dict[tuple[str, str], Style] = {}
        self._blanks: dict[int, Strip] = {}

    @property
    def is_poor(self) -> bool:
        """Whether the terminal's colours do not tell the cursor: it gets a mark of its own."""
        return self.palette.depth != "many"

    def line(self, parts: Iterable[Part], width: int, ground: str = "base") -> Strip:
        """Return one line of exactly `width` columns."""
        segments: list[Segment] = []
        room = width
        for text, role in parts:
            if not text or room <= 0:
                continue
            length = width_of(text)
            if length > room:
                text, length = fit(text, room), room  # noqa: PLW2901
            if self.glyphs.is_ascii:
                text = in_ascii(text)  # noqa: PLW2901
            segments.append(Segment(text, self._style(role, ground)))
            room -= length
        if room > 0:
            segments.append(Segment(" " * room, self.palette.style("text", ground)))
        return Strip(segments, width)

    def blank(self, width: int) -> Strip:
        """Return so many columns of bare ground, each time the same object."""
        found = self._blanks.get(width)
        if found is None:
            found = self._blanks[width] = self.line([], width)
        return found

    def spread(
        self, left: list[Part], right: list[Part], width: int, ground: str = "base"
    ) -> Strip:
        """Return a line with `left` at its left and `right` at its right; the right one stays whole."""
        tail = sum(width_of(text) for text, _ in right)
        room = max(0, width - tail)
        parts: list[Part] = []
        for text, role in left:
            length = width_of(text)
            if length > room:
                parts.append((fit(text, room), role))
                room = 0
                break
            parts.append((text, role))
            room -= length
        parts.append((" " * room, "text"))
        return self.line([*parts, *right], width, ground)

    def _style(self, role: str | Style, ground: str) -> Style:
        if isinstance(role, Style):
            return role
        found = self._styles.get((role, ground))
        if found is None:
            found = self.palette.style(role.removesuffix("!"), ground, bold=role.endswith("!"))
            self._styles[role, ground] = found
        return found


class Sheet:
    """Rows that are drawn again and again: one that is as it was is the very same strip."""

    def __init__(self, ink: Ink, width: int) -> None:
        self._ink = ink
        self._width = width
        self._drawn: list[tuple[Row, Strip]] = []

    def draw(self, rows: Sequence[Row]) -> list[Strip]:
        """Return the rows' lines."""
        before = self._drawn
        self._drawn = [
            before[place] if place < len(before) and before[place][0] == row else self._made(row)
            for place, row in enumerate(rows)
        ]
        return [strip for _row, strip in self._drawn]

    def _made(self, row: Row) -> tuple[Row, Strip]:
        left, right, ground = row
        if right:
            return row, self._ink.spread(left, right, self._width, ground)
        return row, self._ink.line(left, self._width, ground)
