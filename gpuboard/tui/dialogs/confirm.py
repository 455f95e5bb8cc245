"""The question before anything that cannot be taken back: its exact effect, and the same as a command."""

from __future__ import annotations

from textual.app import ComposeResult

from gpuboard.tui.bindings import ASKED, bindings
from gpuboard.tui.dialogs.base import Dialog
from gpuboard.tui.ink import wrapped
from gpuboard.tui.widgets.painted import ActionBar, Bar


class ConfirmScreen(Dialog[bool]):
    """Answers True only for an explicit `y`, or a click on it; enter alone does nothing."""

    DEFAULT_CSS = "ConfirmScreen > .box { width: 68; }"
    BINDINGS = bindings(ASKED)

    def __init__(
        self, title: str, effect: str, command: str, *, yes: str, no: str = "back"
    ) -> None:
        super().__init__(title)
        self._effect = effect
        self._command = command
        self._yes, self._no = yes, no

    def content(self) -> ComposeResult:
        """Return effect, command line and answers."""
        yield Bar()
        for line in wrapped(self._effect, min(62, self.app.size.width - 6)):
            yield Bar([(line, "text")])
        yield Bar()
        yield Bar([("same as  ", "dim"), (self._command, "accent")])
        yield Bar()
        yield ActionBar(ground="base", id="answers")

    def on_mount(self) -> None:
        """Show the answers."""
        super().on_mount()
        yes, no = (self.gpuboard.key(key.id) for key in ASKED)
        self.query_one("#answers", ActionBar).show_items(
            [
                ([(f" {yes}", "bad!"), (f" {self._yes}   ", "text")], "screen.answer(True)"),
                ([(f" {no}", "key!"), (f" {self._no} ", "text")], "screen.answer(False)"),
            ]
        )

    def action_answer(self, is_sure: bool) -> None:
        """Close with the answer."""
        self.dismiss(is_sure)
