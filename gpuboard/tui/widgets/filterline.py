"""The line below a list in which one types what to show."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input

from gpuboard.tui.bindings import FILTER_LINE, bindings
from gpuboard.tui.widgets.painted import Bar


class FilterLine(Horizontal):
    """Hidden until opened; enter keeps the words, esc drops them."""

    DEFAULT_CSS = """
    FilterLine { height: 1; display: none; background: $surface; }
    FilterLine.-open { display: block; }
    FilterLine Bar { width: 10; }
    FilterLine Input { width: 1fr; background: $surface; }
    FilterLine .note { width: 16; display: none; }
    FilterLine .note.-open { display: block; }
    """
    BINDINGS = bindings(FILTER_LINE)

    class Changed(Message):
        """Other words."""

        def __init__(self, words: str) -> None:
            super().__init__()
            self.words = words

    class Left(Message):
        """The person is done typing."""

    def __init__(self, label: str = " filter ") -> None:
        super().__init__()
        self._label = label

    def compose(self) -> ComposeResult:
        """Return label and input."""
        yield Bar([(self._label, "key")], ground="panel")
        yield Input(compact=True, select_on_focus=False)
        yield Bar(ground="panel", classes="note")

    def open(self) -> None:
        """Show the line and put the keyboard there."""
        self.add_class("-open")
        self.query_one(Input).focus()

    def tell(self, words: str, role: str = "dim") -> None:
        """Say at the right what was found; empty words say nothing."""
        note = self.query_one(".note", Bar)
        note.show([], [(f"{words} ", role)] if words else [])
        note.set_class(bool(words), "-open")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Report the words while they are typed."""
        event.stop()
        self.post_message(self.Changed(event.value.strip()))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the words."""
        event.stop()
        if not event.value.strip():
            self.remove_class("-open")
        self.post_message(self.Left())

    def action_drop(self) -> None:
        """Drop the words."""
        self.query_one(Input).value = ""
        self.remove_class("-open")
        self.post_message(self.Left())
