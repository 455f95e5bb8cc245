"""Drawing at once what a new second changed, straight onto the terminal.

Textual draws in its own time: each widget's queue tells the screen's, which wakes a timer, which
has every widget on those lines render anew and cuts the result up again. An app that is only
looked at did little else, and a machine that idles pays for each time it wakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.control import Control
from textual._compositor import CompositorUpdate
from textual.geometry import Region
from textual.strip import Strip

if TYPE_CHECKING:
    from rich.console import Console
    from textual.app import App
    from textual.widget import Widget

Piece = tuple[int, int, Strip]
"""A part of a line, and the column and the line of a widget at which it begins."""


class Patch(CompositorUpdate):
    """Pieces of the screen's lines."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces

    def render_segments(self, console: Console) -> str:
        """Return what the terminal is sent."""
        return "".join(
            Control.move_to(x, y).segment.text + strip.render(console)
            for x, y, strip in self.pieces
        )


class Canvas:
    """Collects pieces of widgets, and draws them together when it is closed.

    A widget that is hidden in part, or that something lies over, draws them in textual's own way;
    so do all while the canvas is closed, where lines go through filters, and with a textual whose
    inner parts, which this reaches for, are not those that it knows.
    """

    def __init__(self, app: App[Any]) -> None:
        self._app = app
        self._pieces: list[Piece] | None = None
        self._seen: Mapping[Widget, tuple[Region, Region]] = {}
        self._places: dict[Widget, Region] = {}

    def __enter__(self) -> None:
        """Begin to collect."""
        self._pieces = []

    def __exit__(self, *_error: object) -> None:
        """Draw."""
        pieces, self._pieces = self._pieces, None
        if pieces:
            # rich never prints it, which is all that the type would be for
            self._app._display(self._app.screen, Patch(pieces))  # type: ignore[arg-type]  # noqa: SLF001

    def draw(self, widget: Widget, pieces: Iterable[Piece]) -> None:
        """Draw pieces of a `Painted` widget; its `render_line` says the same by now."""
        place = None if self._pieces is None else self._place_of(widget)
        if place is None or self._pieces is None:
            regions = [Region(x, y, strip.cell_length, 1) for x, y, strip in pieces]
            if regions:
                widget.refresh(*regions)
            return
        self._pieces += [
            (place.x + x, place.y + y, strip) for x, y, strip in pieces if 0 <= y < place.height
        ]

    def _place_of(self, widget: Widget) -> Region | None:
        """Return where a widget is seen whole."""
        try:
            seen = self._app.screen._compositor.visible_widgets  # noqa: SLF001
            self._app._display  # noqa: B018, SLF001
        except AttributeError:
            return None  # another textual
        if seen is not self._seen:
            self._seen, self._places = seen, _uncovered(seen)
        if self._app.is_inline or self._app.get_line_filters():
            return None
        return self._places.get(widget)


def _uncovered(seen: Mapping[Widget, tuple[Region, Region]]) -> dict[Widget, Region]:
    """Return the places of the widgets that are seen whole; `seen` is from front to back."""
    places: dict[Widget, Region] = {}
    before: list[Region] = []
    for widget, (region, clip) in seen.items():
        if clip.contains_region(region) and not any(region.overlaps(one) for one in before):
            places[widget] = region
        before.append(region)
    return places
