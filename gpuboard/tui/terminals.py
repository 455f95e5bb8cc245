"""What poor terminals get: no colours (`NO_COLOR`), sixteen of them, or symbols of ASCII only.

The filters are the last thing between a widget and the terminal, so nothing gets past them: no
colour of textual's own widgets, no border, no letter of a person's that an ASCII terminal lacks.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from rich.cells import get_character_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color
from textual.filter import LineFilter
from textual.strip import Strip

Depth = Literal["none", "few", "many"]
"""How many colours a terminal has: none (or none are wanted), 16, or at least 256."""
_ALIKE = str.maketrans(
    dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼", "+")
    | dict.fromkeys("─━╌┄", "-")
    | dict.fromkeys("│┃┊▏▌▐▎▊", "|")
    | dict.fromkeys("▁▂▃▄▅▆▇█▔", "#")
    | {"…": "~", "°": "", "·": ".", "→": ">", "←": "<", "↑": "^", "↓": "v"}
)


def depth_of(app: App[None]) -> Depth:
    """Return how many colours the app may use."""
    system = app.console.color_system
    if app.no_color or system is None:
        return "none"
    return "few" if system in ("standard", "windows") else "many"


@lru_cache(maxsize=8192)
def in_ascii(text: str) -> str:
    """Return a text of the same width in ASCII: what looks alike where there is such, else `?`."""
    if text.isascii():
        return text
    text = text.translate(_ALIKE)
    return "".join(c if c.isascii() else "?" * get_character_cell_size(c) for c in text)


class NoColours(LineFilter):
    """Bold and reverse stay, colours go: textual's own filter leaves greys in 24 bits."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002
        """Return the segments without colours."""
        return [
            Segment(text, None if style is None else _colourless(style), control)
            for text, style, control in segments
        ]


class AsciiOnly(LineFilter):
    """Whatever is drawn is ASCII."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002
        """Return the segments in ASCII."""
        return [Segment(in_ascii(text), style, control) for text, style, control in segments]


def filters_for(depth: Depth, *, is_ascii: bool) -> list[LineFilter]:
    """Return what every line goes through. The theme has no colours by number for textual to translate."""
    filters: list[LineFilter] = [NoColours()] if depth == "none" else []
    return [*filters, AsciiOnly()] if is_ascii else filters


def pointed_at(strip: Strip, style: Style) -> Strip:
    """Return a row with the cursor's mark in its first column, or beside what is there."""
    place = int(strip.text[:1] != " " and strip.text[1:2] == " ")
    mark = Strip([Segment(">", style)], 1)
    return Strip.join([strip.crop(0, place), mark, strip.crop(place + 1)])


@lru_cache(maxsize=1024)
def _colourless(style: Style) -> Style:
    return style.without_color
