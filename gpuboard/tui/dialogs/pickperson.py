"""Pick a person: those who hold, wait or booked, found by typing."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.strip import Strip
from textual.widgets import Input

from gpuboard.tui.bindings import SEARCHING, bindings
from gpuboard.tui.dialogs.base import Dialog
from gpuboard.tui.ink import Ink, clean
from gpuboard.tui.widgets.painted import ActionBar, enter_item
from gpuboard.tui.widgets.rows import RowList

EVERYBODY = ""


class PickPersonScreen(Dialog[str]):
    """Gives a user name, or an empty one for everybody; esc gives nothing."""

    DEFAULT_CSS = """
    PickPersonScreen > .box { width: 40; height: 16; }
    PickPersonScreen Input { background: $panel; margin-bottom: 1; }
    """
    BINDINGS = bindings(SEARCHING)

    def __init__(self, names: Iterable[str], own: str) -> None:
        super().__init__("Whose?")
        self._own = own
        others = sorted({name for name in names if name and name != own})
        self._names = [EVERYBODY, own, *others]

    def content(self) -> ComposeResult:
        """Return the input and the names."""
        yield Input(compact=True, placeholder="a name")
        yield RowList[str](self._paint, lambda name: name, empty="nobody is called so")
        yield ActionBar(ground="base", id="pick-keys")

    def on_mount(self) -> None:
        """Show everybody."""
        super().on_mount()
        items = [enter_item("show"), *self.key_items()]
        self.query_one("#pick-keys", ActionBar).show_items(items)
        rows = self.query_one(RowList)
        rows.can_focus = False
        rows.set_rows(self._names)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show whose name has these letters."""
        words = event.value.strip().lower()
        found = [name for name in self._names if words in (name or "everybody").lower()]
        rows = self.query_one(RowList)
        rows.set_rows(found)
        rows.move_to(0)

    def on_input_submitted(self) -> None:
        """Take the chosen one."""
        name: str | None = self.query_one(RowList).current
        if name is not None:
            self.dismiss(name)

    def on_row_list_chosen(self, message: RowList.Chosen[str]) -> None:
        """Take the one that was clicked."""
        self.dismiss(message.row)

    async def action_choose(self) -> None:
        """Take the chosen one (a click on the key line)."""
        await self.query_one(Input).action_submit()

    def action_step(self, by: int) -> None:
        """Move the choice."""
        rows = self.query_one(RowList)
        rows.move_to(rows.cursor + by)

    def _paint(self, ink: Ink, name: str, width: int, ground: str) -> Strip:
        # The input has the keyboard, so the chosen row is shown as if it had.
        ground = "selected" if ground != "base" else ground
        words = clean(name) if name else "everybody"
        note = "  you" if name == self._own else ""
        return ink.line([(f" {words}", "text"), (note, "mine")], width, ground)
