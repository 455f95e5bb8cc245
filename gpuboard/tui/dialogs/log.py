"""A job's log, followed live, with search and wrap, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, cast

import msgspec
from textual.app import ComposeResult
from textual.screen import ModalScreen
from textual.strip import Strip

from gpuboard.errors import GpuboardError
from gpuboard.tui.bindings import LOG, bindings
from gpuboard.tui.feed import LogStream, Source
from gpuboard.tui.ink import Ink, Part, clean, width_of
from gpuboard.tui.jobactions import JobTarget
from gpuboard.tui.keybar import dialog_items
from gpuboard.tui.logtext import LogText
from gpuboard.tui.widgets.filterline import FilterLine
from gpuboard.tui.widgets.painted import ActionBar, Bar
from gpuboard.tui.widgets.rows import RowList

if TYPE_CHECKING:
    from gpuboard.tui.app import GpuboardApp

TAIL = 5_000
"""Lines asked for at the beginning."""
_AHEAD_BYTES = 1_000_000
"""The reader waits when so much is not yet shown: a flood costs no memory."""

Row = tuple[int, str]


class LogReader(threading.Thread):
    """Reads a log on a thread of its own until its end, or until it is stopped."""

    def __init__(self, source: Source, job_id: int, attempt: int | None = None) -> None:
        super().__init__(name=f"gpuboard-log-{job_id}", daemon=True)
        self._source = source
        self._job_id = job_id
        self._attempt = attempt
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._lock = threading.Condition()
        self._is_stopped = False
        self._stream: LogStream | None = None
        self.fault: GpuboardError | None = None
        self.is_ended = False

    def run(self) -> None:
        """Read."""
        try:
            self._stream = self._source.log(str(self._job_id), TAIL, self._attempt)
            for chunk in self._stream:
                with self._lock:
                    while self._waiting > _AHEAD_BYTES and not self._is_stopped:
                        self._lock.wait()
                    if self._is_stopped:
                        return
                    self._chunks.append(chunk)
                    self._waiting += len(chunk)
        except GpuboardError as error:
            self.fault = error
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            self.fault = GpuboardError(f"the log cannot be read: {error}")
        finally:
            self.is_ended = True

    def take(self) -> bytes:
        """Return what came since the last call."""
        with self._lock:
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._waiting = 0
            self._lock.notify_all()
        return data

    def stop(self) -> None:
        """Hang up; does not wait."""
        with self._lock:
            self._is_stopped = True
            self._lock.notify_all()
        if self._stream is not None:
            self._stream.hang_up()


class LogScreen(ModalScreen[None]):
    """The log on the whole screen."""

    DEFAULT_CSS = "LogScreen { background: $background; }"
    BINDINGS = bindings(LOG)

    def __init__(self, target: JobTarget) -> None:
        super().__init__()
        self._target = target
        self._attempt = target.attempt
        self._text = LogText()
        self._reader: LogReader | None = None
        self._is_following = True
        self._is_wrapped = False
        self._words = ""
        self._was_ended = False

    @property
    def gpuboard(self) -> GpuboardApp:
        """The app, by its type."""
        return cast("GpuboardApp", self.app)

    def compose(self) -> ComposeResult:
        """Return head, lines, search and keys."""
        yield Bar(id="log-head", ground="bar")
        yield RowList[Row](self._paint, lambda row: row, empty="nothing written yet")
        yield FilterLine(" search ")
        yield ActionBar(id="log-keys")

    def on_mount(self) -> None:
        """Begin to read."""
        self.query_one(RowList).focus()
        self._read(None)
        self.set_interval(0.1, self._drain)
        self._show_frame()

    def _read(self, attempt: int | None) -> None:
        """Begin to read the log (of an earlier attempt)."""
        if self._reader is not None:
            self._reader.stop()
        self._text, self._was_ended, self._is_following = LogText(), False, True
        self._reader = LogReader(self.gpuboard.source, self._target.job_id, attempt)
        self._reader.start()

    def on_unmount(self) -> None:
        """Hang up."""
        if self._reader is not None:
            self._reader.stop()

    def on_resize(self) -> None:
        """Wrap for the new width."""
        if self._is_wrapped:
            self.call_after_refresh(self._show)

    def on_row_list_moved(self) -> None:
        """Stay where the person looks; at the end, follow again."""
        rows = self.query_one(RowList)
        self._is_following = rows.cursor >= len(rows.rows) - 1
        self._show_frame()

    def on_filter_line_changed(self, message: FilterLine.Changed) -> None:
        """Mark and find these words."""
        self._words = message.words.lower()
        self.query_one(RowList).repaint()
        self._find(0, forward=False)

    def on_filter_line_left(self) -> None:
        """Give the keyboard back to the lines."""
        self.query_one(RowList).focus()

    def action_find(self) -> None:
        """Type what to search."""
        self.query_one(FilterLine).open()

    def action_next(self, by: int) -> None:
        """Go to another match."""
        self._find(by, forward=by > 0)

    def action_wrap(self) -> None:
        """Wrap long lines, or not."""
        self._is_wrapped = not self._is_wrapped
        self._show()

    def action_follow(self) -> None:
        """Stay at the end, or stop there."""
        self._is_following = not self._is_following
        self._show()

    def action_attempt(self) -> None:
        """Show the log of the attempt before this one; before the first comes the last."""
        if self._target.attempt < 2:
            self.gpuboard.say(f"{self._target.words} was started once")
            return
        self._attempt = self._attempt - 1 or self._target.attempt
        self._read(self._attempt)
        self._show()

    def action_dismiss_log(self) -> None:
        """Close; with a search open, drop that first."""
        self.dismiss(None)

    def _drain(self) -> None:
        reader = self._reader
        if reader is None or self.gpuboard.is_paused:
            return
        is_ended = reader.is_ended
        data = reader.take()
        if data:
            self._text.feed(data)
            self._show()
        if is_ended and not self._was_ended:
            self._was_ended = True
            self._show_frame()

    def _show(self) -> None:
        rows: RowList[Row] = self.query_one(RowList)
        lines: list[Row] = self._text.lines
        if self._is_wrapped:
            width = max(10, rows.size.width - 2)
            lines = [(serial, part) for serial, line in lines for part in _parts(line, width)]
        rows.set_rows(list(lines))
        if self._is_following:
            rows.move_to(len(lines) - 1)
            rows.scroll_to(y=max(0, len(lines) - rows.size.height), animate=False, force=True)
        self._show_frame()

    def _show_frame(self) -> None:
        reader = self._reader
        state: Part = ("following", "ok") if self._is_following else ("stopped, f follows", "warn")
        if reader is not None and reader.fault is not None:
            state = (clean(reader.fault.message), "bad")
        elif reader is not None and reader.is_ended:
            state = ("ended", "dim")
        which = f"attempt {self._attempt} of " if self._target.attempt > 1 else ""
        dropped = f", first {self._text.dropped} not kept" if self._text.dropped else ""
        self.query_one("#log-head", Bar).show(
            [(f" Log of {which}{self._target.words}  ", "strong!"), state],
            [(f"{len(self._text.lines)} lines{dropped} ", "dim")],
        )
        keys = [key for key in LOG if key.id != "log.attempt" or self._target.attempt > 1]
        is_ascii = self.gpuboard.ink.glyphs.is_ascii
        self.query_one("#log-keys", ActionBar).show_items(
            dialog_items(keys, self.gpuboard.settings.keys, is_ascii=is_ascii)
        )

    def _find(self, by: int, *, forward: bool) -> None:
        rows: RowList[Row] = self.query_one(RowList)
        line = self.query_one(FilterLine)
        found = [at for at, row in enumerate(rows.rows) if self._words in row[1].lower()]
        if not self._words:
            line.tell("")
            return
        if not found:
            line.tell("no match", "warn")
            return
        wanted = rows.cursor + by
        if forward:
            place = next((at for at in found if at >= wanted), found[0])
        else:
            place = next((at for at in reversed(found) if at <= wanted), found[-1])
        self._is_following = False
        rows.move_to(place)
        line.tell(f"{found.index(place) + 1} of {len(found)}")
        self._show_frame()

    def _paint(self, ink: Ink, row: Row, width: int, ground: str) -> Strip:
        text = row[1]
        place = text.lower().find(self._words) if self._words else -1
        ground = "panel" if ground != "base" else ground
        if place < 0:
            return ink.line([(" " + text, "text")], width, ground)
        end = place + len(self._words)
        parts: list[Part] = [
            (" " + text[:place], "text"),
            (text[place:end], "warn!"),
            (text[end:], "text"),
        ]
        return ink.line(parts, width, ground)


def _parts(line: str, width: int) -> list[str]:
    """Return a line cut into pieces that fit; the pieces of a wide script stay whole characters."""
    if width_of(line) <= width:
        return [line]
    if line.isascii():
        return [line[start : start + width] for start in range(0, len(line), width)]
    half = max(1, width // 2)
    return [line[start : start + half] for start in range(0, len(line), half)]
