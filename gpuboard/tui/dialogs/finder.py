"""Found by typing: a line to type into, what it finds, and a choice that moves while one types."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from textual.app import ComposeResult
from textual.strip import Strip
from textual.widgets import Input

from gpuboard.tui.bindings import SEARCHING, bindings
from gpuboard.tui.dialogs.base import Dialog, Result
from gpuboard.tui.ink import Ink
from gpuboard.tui.widgets.painted import ActionBar, enter_item
from gpuboard.tui.widgets.rows import RowList

Row = TypeVar("Row")


class Finder(Dialog[Result], Generic[Row, Result]):
    """`asks` stands in the empty line, `empty` where nothing is found; `does` is what enter does."""

    DEFAULT_CSS = "Finder Input { background: $panel; margin-bottom: 1; }"
    BINDINGS = bindings(SEARCHING)

    def __init__(self, title: str, *, asks: str, empty: str, does: str) -> None:
        super().__init__(title)
        self._asks = asks
        self._empty = empty
        self._does = does

    def content(self) -> ComposeResult:
        """Return the input, what it finds, and the keys."""
        yield Input(compact=True, placeholder=self._asks)
        yield RowList[Row](self._paint, self.key_of, empty=self._empty)
        yield ActionBar(ground="base", id="finder-keys")

    def on_mount(self) -> None:
        """Leave the keyboard to the input."""
        super().on_mount()
        items = [enter_item(self._does), *self.key_items()]
        self.query_one("#finder-keys", ActionBar).show_items(items)
        self.query_one(RowList).can_focus = False

    def key_of(self, row: Row) -> Hashable:
        """Return by what a row is told from others."""
        raise NotImplementedError

    def paint(self, ink: Ink, row: Row, width: int, ground: str) -> Strip:
        """Return a row as it looks."""
        raise NotImplementedError

    def take(self, row: Row) -> None:
        """Do what choosing a row does."""
        raise NotImplementedError

    def show_found(self, found: list[Row], *, is_kept: bool = False) -> None:
        """Show what was found, the first of it chosen; `is_kept`: the choice stays."""
        rows = self.query_one(RowList)
        rows.set_rows(found)
        if not is_kept:
            rows.move_to(0)

    def on_input_submitted(self) -> None:
        """Take the chosen one."""
        row: Row | None = self.query_one(RowList).current
        if row is not None:
            self.take(row)

    def on_row_list_chosen(self, message: RowList.Chosen[Row]) -> None:
        """Take the one that was clicked."""
        self.take(message.row)

    async def action_choose(self) -> None:
        """Take the chosen one (a click on the key line)."""
        await self.query_one(Input).action_submit()

    def action_step(self, by: int) -> None:
        """Move the choice."""
        rows = self.query_one(RowList)
        rows.move_to(rows.cursor + by)

    def _paint(self, ink: Ink, row: Row, width: int, ground: str) -> Strip:
        # The input has the keyboard, so the chosen row is shown as if it had.
        return self.paint(ink, row, width, "selected" if ground != "base" else ground)
