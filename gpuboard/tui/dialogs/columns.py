"""Which columns a table has, and in which order: a list in which they are chosen and moved."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.strip import Strip

from gpuboard.tui.bindings import CHOOSING, bindings
from gpuboard.tui.columns import TABLES
from gpuboard.tui.dialogs.base import Dialog
from gpuboard.tui.ink import Ink, fit
from gpuboard.tui.widgets.painted import ActionBar, enter_item
from gpuboard.tui.widgets.rows import RowList


@dataclass(frozen=True)
class Row:
    """One column, and whether it is shown."""

    name: str
    words: str
    is_shown: bool


class ColumnsScreen(Dialog[tuple[str, ...]]):
    """Gives the names of the columns that are shown, in order; nothing where all went."""

    DEFAULT_CSS = "ColumnsScreen > .box { width: 66; height: 18; }"
    BINDINGS = bindings(CHOOSING)

    def __init__(self, table: str, chosen: tuple[str, ...]) -> None:
        super().__init__(f"Columns of {table}")
        rest = [name for name in TABLES[table] if name not in chosen]
        self._table = table
        self._order = [*chosen, *rest]
        self._shown = set(chosen)

    def content(self) -> ComposeResult:
        """Return the list and the keys."""
        yield RowList[Row](_paint, lambda row: row.name)
        yield ActionBar(ground="base", id="columns-keys")

    def on_mount(self) -> None:
        """Show the columns as they are."""
        super().on_mount()
        self.query_one("#columns-keys", ActionBar).show_items(
            [enter_item("keep"), *self.key_items(*CHOOSING)]
        )
        self.query_one(RowList).focus()
        self._show()

    def on_row_list_chosen(self) -> None:
        """Take the columns as they are now."""
        self.action_keep()

    def action_choose(self) -> None:
        """Take the columns as they are now (a click on the key line)."""
        self.action_keep()

    def action_keep(self) -> None:
        """Take the columns as they are now."""
        self.dismiss(tuple(name for name in self._order if name in self._shown))

    def action_show_or_not(self) -> None:
        """Show the column under the cursor, or leave it out."""
        row: Row | None = self.query_one(RowList).current
        if row is not None:
            self._shown ^= {row.name}
            self._show()

    def action_shift(self, by: int) -> None:
        """Move the column under the cursor up or down."""
        rows = self.query_one(RowList)
        place, other = rows.cursor, rows.cursor + by
        if 0 <= other < len(self._order):
            order = self._order
            order[place], order[other] = order[other], order[place]
            self._show()

    def _show(self) -> None:
        known = TABLES[self._table]
        self.query_one(RowList).set_rows(
            [Row(name, known[name].words, name in self._shown) for name in self._order]
        )


def _paint(ink: Ink, row: Row, width: int, ground: str) -> Strip:
    mark = ink.glyphs.tag if row.is_shown else " "
    role = "text" if row.is_shown else "dim"
    return ink.line(
        [(f"  {mark} ", "accent!"), (fit(row.name, 12), role), (row.words, "dim")], width, ground
    )
