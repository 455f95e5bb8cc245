"""The box in a few lines under the prompt: `gpuboard top --inline`.

One line for the box and a cell for every device, drawn in place by textual's inline mode; the last
picture stays in the terminal's history.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.filter import LineFilter
from textual.strip import Strip
from textual.widget import Widget

from gpuboard.model.views.board import BoardView
from gpuboard.model.views.devices import DeviceView
from gpuboard.tui import header
from gpuboard.tui.devicewords import holder_words, left_s, status_of
from gpuboard.tui.errands import deliver
from gpuboard.tui.feed import FeedThread, Snapshot, Source
from gpuboard.tui.graphs import bar
from gpuboard.tui.histories import memory_percent
from gpuboard.tui.ink import Ink, Part, clean, fit
from gpuboard.tui.instants import epoch_s, span
from gpuboard.tui.settings import Settings
from gpuboard.tui.terminals import depth_of, filters_for
from gpuboard.tui.theme import ASCII, DARK, THEMES, Palette, glyphs_for
from gpuboard.tui.widgets.painted import ink_of

LINES = 5
STALE_S = 4.0
LEAST_CELL = 14
"""Below so many columns a cell says too little: then the rest is counted instead."""


class Lines(Widget):
    """A line about the box, and cells below it, column by column."""

    DEFAULT_CSS = "Lines { width: 1fr; height: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self._snapshot = Snapshot()
        self._is_stale = False

    def show(self, snapshot: Snapshot, *, is_stale: bool) -> None:
        """Show another snapshot; an equal one draws nothing."""
        same = snapshot.board == self._snapshot.board and snapshot.fault == self._snapshot.fault
        self._snapshot = snapshot
        if not same or is_stale != self._is_stale or is_stale:
            self._is_stale = is_stale
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return one line."""
        ink, width = ink_of(self), self.size.width
        board = self._snapshot.board
        if board is None:
            words = clean(self._snapshot.fault) or "connecting to the daemon..."
            return ink.line([(f" {words}", "dim")] if y == 0 else [], width)
        if y == 0:
            return self._box_line(ink, board, width)
        cells = cells_of(board, width, self.size.height - 1)
        parts: list[Part] = []
        for device, cell in cells[y - 1] if y <= len(cells) else ():
            now_s = epoch_s(board.at)
            parts += cell_parts(ink, device, cell, now_s, is_stale=self._is_stale)
        if y == self.size.height - 1:
            hidden = len(board.devices) - sum(len(row) for row in cells)
            parts += [(f" +{hidden} more", "dim")] if hidden else []
        return ink.line(parts, width)

    def _box_line(self, ink: Ink, board: BoardView, width: int) -> Strip:
        left, right = header.host_parts(board, ink.glyphs, width, is_stale=self._is_stale)
        if self._is_stale:
            age = span(round(time.monotonic() - self._snapshot.heard))
            left = [(f" {ink.glyphs.foreign} no answer for {age} ", "bad!")]
        return ink.spread(left, right, width)


def cells_of(board: BoardView, width: int, rows: int) -> list[list[tuple[DeviceView, int]]]:
    """Return the devices of each row with the width of their cells; down first, as in `ls`."""
    devices = board.devices
    if rows < 1 or not devices:
        return []
    columns = min(-(-len(devices) // rows), max(1, width // LEAST_CELL))
    cell = width // columns
    # of more than fit the last place says how many are not shown
    fit_all = len(devices) <= columns * rows
    shown = devices if fit_all else devices[: columns * rows - 1]
    down = -(-len(shown) // columns)
    return [[(device, cell) for device in shown[row::down]] for row in range(down)]


def cell_parts(
    ink: Ink, device: DeviceView, width: int, now_s: int, *, is_stale: bool
) -> list[Part]:
    """Return one device in `width` columns: its number, how it stands, use, and whose it is."""
    status = status_of(device, ink.glyphs)
    role = "faint" if is_stale else status.role
    dim = "faint" if is_stale else "dim"
    use = " n/a" if device.utilization is None else f"{device.utilization:3d}%"
    parts: list[Part] = [(f"{device.label:>2}", dim), (f" {status.glyph} ", role + "!")]
    room = width - 10
    meters = (device.utilization, memory_percent(device))[: 2 if width >= 50 else int(width >= 30)]
    for percent in meters:
        filled, empty = bar(None if percent is None else percent / 100, 5, ink.glyphs)
        parts += [(filled, "faint" if is_stale else "accent"), (empty, "track"), (" ", dim)]
        room -= 6
    parts.append((use, "faint" if is_stale else "text"))
    words = _held(device, ink, now_s) if device.user else status.word
    parts.append((" " + fit(words, room), role))
    return parts


def _held(device: DeviceView, ink: Ink, now_s: int) -> str:
    left = left_s(device, now_s)
    ends = f"{span(left[0])} left {ink.glyphs.dot} " if left else ""
    who = "you" if device.mine else clean(device.user)
    return f"{who} {ends}{holder_words(device, ink.glyphs).partition(ink.glyphs.dot)[2].strip()}"


class TopApp(App[None]):
    """The lines, live, until a key ends them."""

    ENABLE_COMMAND_PALETTE = False
    INLINE_PADDING = 0
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        ("escape", "quit", "Quit"),
        ("ctrl+c", "quit", "Quit"),
    ]

    def __init__(self, source: Source, settings: Settings, lines: int = LINES) -> None:
        super().__init__()
        for colours in THEMES:
            self.register_theme(colours.textual())
        colours = next((one for one in THEMES if one.name == settings.theme_name), DARK)
        self.theme = colours.name
        depth, glyphs = depth_of(self), ASCII if settings.is_ascii else glyphs_for()
        self.ink = Ink(Palette(colours, depth), glyphs)
        self._line_filters = filters_for(depth, is_ascii=glyphs.is_ascii)
        self._lines = lines
        self._snapshot = Snapshot()
        self._feed = FeedThread(
            source,
            lambda snapshot: deliver(self, partial(self._take, snapshot)),
            lambda _event: None,
            lambda _history: None,
        )

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return what every line goes through on its way to the terminal."""
        return self._line_filters

    def compose(self) -> ComposeResult:
        """Return the lines."""
        yield Lines()

    def on_mount(self) -> None:
        """Take as many lines as asked, and begin to listen."""
        self.screen.styles.height = self._lines
        self.screen.styles.border = ("none", "transparent")
        self._feed.start()
        self.set_interval(1.0, self._watch)

    def on_unmount(self) -> None:
        """Stop listening."""
        self._feed.stop()

    @property
    def _is_stale(self) -> bool:
        heard = self._snapshot.heard
        return bool(heard) and time.monotonic() - heard > STALE_S

    def _take(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.query_one(Lines).show(snapshot, is_stale=self._is_stale)

    def _watch(self) -> None:
        self.query_one(Lines).show(self._snapshot, is_stale=self._is_stale)


def run_top(address: str, lines: int = LINES) -> int:
    """Show `lines` lines under the prompt until `q` or ctrl+c."""
    from gpuboard.api.client import Client
    from gpuboard.tui.settings import load_settings
    from gpuboard.tui.source import ClientSource

    app = TopApp(ClientSource(Client(address)), load_settings(), lines)
    app.run(inline=True, inline_no_clear=True, mouse=False)
    return app.return_code or 0
