"""Pick a person: those who hold, wait or booked, found by typing."""

from __future__ import annotations

from collections.abc import Iterable

from textual.strip import Strip
from textual.widgets import Input

from gpuboard.tui.dialogs.finder import Finder
from gpuboard.tui.ink import Ink, clean

EVERYBODY = ""


class PickPersonScreen(Finder[str, str]):
    """Gives a user name, or an empty one for everybody; esc gives nothing."""

    DEFAULT_CSS = "PickPersonScreen > .box { width: 40; height: 16; }"

    def __init__(self, names: Iterable[str], own: str) -> None:
        super().__init__("Whose?", asks="a name", empty="nobody is called so", does="show")
        self._own = own
        others = sorted({name for name in names if name and name != own})
        self._names = [EVERYBODY, own, *others]

    def on_mount(self) -> None:
        """Show everybody."""
        super().on_mount()
        self.show_found(self._names)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show whose name has these letters."""
        words = event.value.strip().lower()
        self.show_found([name for name in self._names if words in (name or "everybody").lower()])

    def key_of(self, row: str) -> str:
        """Return the name."""
        return row

    def take(self, row: str) -> None:
        """Give the name."""
        self.dismiss(row)

    def paint(self, ink: Ink, row: str, width: int, ground: str) -> Strip:
        """Return the name, and whether it is one's own."""
        words = clean(row) if row else "everybody"
        note = "  you" if row == self._own else ""
        return ink.line([(f" {words}", "text"), (note, "mine")], width, ground)
