"""A virtual list: only the rows that are seen are painted, and only those that changed are sent.

A stock DataTable takes 200 ms for 1,000 rows x 10 cells; this takes what one screen takes,
whatever the length.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from gpuboard.tui.bindings import MOVING, bindings
from gpuboard.tui.ink import Ink
from gpuboard.tui.terminals import pointed_at
from gpuboard.tui.widgets.painted import ink_of

Row = TypeVar("Row")
ChosenRow = TypeVar("ChosenRow")


class RowList(ScrollView, Generic[Row], can_focus=True):
    """Rows of fixed height 1 with a cursor; rows are told apart by `key`."""

    DEFAULT_CSS = """
    RowList { height: 1fr; width: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }
    """
    BINDINGS = bindings(MOVING)

    class Chosen(Message, Generic[ChosenRow]):
        """Enter, or a second click, on a row."""

        def __init__(self, rows: RowList[ChosenRow], row: ChosenRow) -> None:
            super().__init__()
            self.rows = rows
            self.row = row

        @property
        def control(self) -> RowList[ChosenRow]:
            """The list."""
            return self.rows

    class Moved(Message):
        """The cursor is on another row."""

    def __init__(
        self,
        paint: Callable[[Ink, Row, int, str], Strip],
        key: Callable[[Row], Hashable],
        *,
        empty: str = "",
        has_cursor: bool = True,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._paint = paint
        self._key = key
        self._rows: Sequence[Row] = ()
        self._cursor = 0
        self._shown: dict[int, Strip] = {}
        self._has_cursor = has_cursor
        self.empty = empty
        """What is said when there are no rows."""

    @property
    def rows(self) -> Sequence[Row]:
        """All rows."""
        return self._rows

    @property
    def cursor(self) -> int:
        """Index of the row under the cursor."""
        return self._cursor

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        return self._rows[self._cursor] if 0 <= self._cursor < len(self._rows) else None

    def set_rows(self, rows: Sequence[Row], empty: str | None = None) -> None:
        """Show other rows; the cursor stays on its row, and only changed lines are drawn."""
        before = self.current
        if empty is not None:
            self.empty = empty
        self._rows = rows
        if before is not None:
            self._cursor = self._place_of(self._key(before))
        self._cursor = max(0, min(self._cursor, len(rows) - 1))
        if self.virtual_size.height != len(rows):
            self.virtual_size = Size(0, len(rows))
            self._shown.clear()
            self.refresh()
            return
        self.repaint()

    def repaint(self) -> None:
        """Paint again what is seen, and draw the lines that came out different."""
        self._repaint_lines(*self._shown)

    def render_line(self, y: int) -> Strip:
        """Return one seen line."""
        line = y + self.scroll_offset.y
        found = self._shown.get(line)
        if found is None:
            if len(self._shown) > 400:
                top = self.scroll_offset.y
                seen = range(top, top + self.size.height)
                self._shown = {at: strip for at, strip in self._shown.items() if at in seen}
            found = self._shown[line] = self._line(ink_of(self), line)
        return found

    def move_to(self, place: int) -> None:
        """Put the cursor on a row and bring it into view."""
        place = max(0, min(place, len(self._rows) - 1))
        if place == self._cursor:
            return
        left, self._cursor = self._cursor, place
        self._repaint_lines(left, place)
        self._bring_into_view()
        self.post_message(self.Moved())

    def on_resize(self, _event: Resize) -> None:
        """Paint for the new width.

        What is on the screen may have been painted before this event came: it is drawn anew, or
        later changes would be held against nothing and never be drawn.
        """
        self._shown.clear()
        self.refresh()

    def on_focus(self) -> None:
        """Show the cursor bright."""
        self.repaint()

    def on_blur(self) -> None:
        """Show the cursor faint."""
        self.repaint()

    def on_click(self, event: Click) -> None:
        """Move the cursor; a click on the row under it opens it."""
        place = event.y + self.scroll_offset.y
        if place >= len(self._rows):
            return
        if place == self._cursor and event.chain > 1:
            self.action_choose()
        self.move_to(place)

    def action_down(self) -> None:
        """One down."""
        self._step(1)

    def action_up(self) -> None:
        """One up."""
        self._step(-1)

    def action_page_down(self) -> None:
        """A page down."""
        self._step(max(1, self.size.height - 1))

    def action_page_up(self) -> None:
        """A page up."""
        self._step(-max(1, self.size.height - 1))

    def action_first(self) -> None:
        """To the first row."""
        self._step(-len(self._rows))

    def action_last(self) -> None:
        """To the last row."""
        self._step(len(self._rows))

    def action_choose(self) -> None:
        """Open the row under the cursor."""
        row = self.current
        if row is not None and self._has_cursor:
            self.post_message(self.Chosen(self, row))

    def _repaint_lines(self, *lines: int) -> None:
        ink = ink_of(self)
        for line in lines:
            strip = self._shown.get(line)
            fresh = self._line(ink, line) if strip is not None else None
            if fresh is not None and fresh != strip:
                self._shown[line] = fresh
                self.refresh_line(line)

    def _step(self, by: int) -> None:
        if self._has_cursor:
            self.move_to(self._cursor + by)
        else:
            self.scroll_to(y=self.scroll_offset.y + by, animate=False)

    def _bring_into_view(self) -> None:
        top, height = self.scroll_offset.y, self.size.height
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, force=True)
        elif self._cursor >= top + height:
            self.scroll_to(y=self._cursor - height + 1, animate=False, force=True)

    def _place_of(self, key: Hashable) -> int:
        if self._cursor < len(self._rows) and self._key(self._rows[self._cursor]) == key:
            return self._cursor
        for place, row in enumerate(self._rows):
            if self._key(row) == key:
                return place
        return self._cursor

    def _line(self, ink: Ink, line: int) -> Strip:
        width = self.size.width
        if line >= len(self._rows):
            if line == 1 and not self._rows:
                return ink.line([("  " + self.empty, "dim")], width)
            return ink.line([], width)
        ground = "base"
        if line == self._cursor and self._has_cursor:
            ground = "selected" if self.has_focus else "selected-far"
        strip = self._paint(ink, self._rows[line], width, ground)
        if ink.is_poor and ground != "base":
            return pointed_at(strip, ink.palette.style("text", ground, bold=True))
        return strip
