"""What all modal screens share: a box with a title, and pages of plain lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.strip import Strip

from gpuboard.errors import GpuboardError
from gpuboard.tui.bindings import DIALOG, PAGE, Key, bindings
from gpuboard.tui.ink import Ink, Part, wrapped
from gpuboard.tui.keybar import dialog_items
from gpuboard.tui.widgets.painted import ActionBar, Item
from gpuboard.tui.widgets.rows import RowList

if TYPE_CHECKING:
    from gpuboard.tui.app import GpuboardApp

Result = TypeVar("Result")
Line = list[Part]


class Dialog(ModalScreen[Result]):
    """A box in the middle of the screen; esc closes it."""

    DEFAULT_CSS = """
    Dialog { align: center middle; background: $background 60%; }
    Dialog > .box {
        width: 100; max-width: 100%; height: auto; max-height: 100%;
        background: $background; border: round $accent; padding: 0 1;
        border-title-color: $accent; border-title-style: bold; border-subtitle-color: $foreground 60%;
    }
    """
    BINDINGS = bindings(DIALOG)

    def __init__(self, title: str) -> None:
        super().__init__()
        self.heading = title

    @property
    def gpuboard(self) -> GpuboardApp:
        """The app, by its type."""
        return cast("GpuboardApp", self.app)

    @property
    def is_open(self) -> bool:
        """Whether the dialog is still there: an answer may come after it was closed."""
        return self in self.app.screen_stack

    def compose(self) -> ComposeResult:
        """Return the box with its content."""
        with Vertical(classes="box"):
            yield from self.content()

    def on_mount(self) -> None:
        """Write the title as plain text: it may hold a person's words."""
        from textual.content import Content

        self.query_one(".box", Vertical).border_title = Content(f" {self.heading} ")

    def content(self) -> ComposeResult:
        """Return what is in the box."""
        raise NotImplementedError

    def key_items(self, *keys: Key, back: str = "back") -> list[Item]:
        """Return the keys that have a label, as the person has them, and the way back."""
        app = self.gpuboard
        is_ascii = app.ink.glyphs.is_ascii
        ways = (*keys, *(replace(key, short=back) for key in DIALOG))
        return dialog_items(ways, app.settings.keys, is_ascii=is_ascii)

    def action_close(self) -> None:
        """Close without a result."""
        self.dismiss(None)


class Lines(RowList[tuple[int, Line]]):
    """Plain lines that scroll; no cursor."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(_paint_line, lambda row: row[0], has_cursor=False, id=id)

    def set_lines(self, lines: list[Line]) -> None:
        """Show other lines."""
        self.set_rows(list(enumerate(lines)))


def _paint_line(ink: Ink, row: tuple[int, Line], width: int, ground: str) -> Strip:
    return ink.line(row[1], width, ground)


class Page(Dialog[None]):
    """A dialog of plain lines, wrapped anew for every width."""

    DEFAULT_CSS = """
    Page > .box { height: 100%; }
    """
    BINDINGS = bindings(PAGE)

    def content(self) -> ComposeResult:
        """Return the lines and the keys."""
        yield Lines()
        yield ActionBar(ground="base", id="page-keys")

    def on_mount(self) -> None:
        """Show the first lines."""
        super().on_mount()
        self.query_one(Lines).focus()
        self.show_items()
        self.call_after_refresh(self.rebuild)

    def show_items(self) -> None:
        """Show the keys as they are now."""
        self.query_one("#page-keys", ActionBar).show_items(self.items())

    def on_resize(self) -> None:
        """Wrap for the new width."""
        self.call_after_refresh(self.rebuild)

    def rebuild(self) -> None:
        """Show the lines as they are now."""
        if self.is_open:
            lines = self.query_one(Lines)
            lines.set_lines(self.lines(max(20, lines.size.width - 1)))

    def lines(self, width: int) -> list[Line]:
        """Return the lines for a width."""
        raise NotImplementedError

    def items(self) -> list[Item]:
        """Return the keys below the page."""
        return self.key_items()


def fault_lines(error: GpuboardError, width: int, told: Callable[[str], str]) -> list[Line]:
    """Return what went wrong, and the way out, in the words of `told`."""
    words: list[Part] = [(line, "bad") for line in wrapped(told(error.message), width)]
    if error.hint:
        words += [(line, "text") for line in wrapped(told(error.hint), width)]
    return [[part] for part in words]


def titled(words: str) -> Line:
    """Return a section's head."""
    return [(words, "accent!")]


def fact(name: str, words: str, role: str = "text") -> Line:
    """Return a name and a value in a column."""
    return [(f"  {name:<12} ", "dim"), (words, role)]
