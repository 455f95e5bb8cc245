"""Devices as rows, time as columns: what ran, runs, is booked and is forecast, and a window to book.

What a bar is shows in its shape too: a run is solid, a booking begins with its diamond, a forecast
is hatched, a blackout crossed, and what is over has no ground of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual.events import Click, Resize
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from gpuboard.model.views import TimelineEntry, TimelineView
from gpuboard.tui.bindings import TIMELINE, bindings
from gpuboard.tui.ink import Ink, clean, cut, width_of
from gpuboard.tui.instants import epoch_s
from gpuboard.tui.timescale import CELLS_S, Scale, scale_at
from gpuboard.tui.widgets.painted import ink_of

LABEL = 9
LEAST_WORDS = 6
"""In a shorter bar an ellipsis would say less than the first letters do."""
_ORDER = ("ran", "forecast", "running", "booking", "blackout")
DEFAULT_ZOOM = CELLS_S.index(600)


@dataclass(frozen=True)
class Lane:
    """One row: a device, or bookings that have no device yet."""

    label: str
    uuid: str | None
    entries: tuple[TimelineEntry, ...]


@dataclass(frozen=True)
class Choice:
    """The window under the cursor."""

    from_s: int
    until_s: int
    gpus: int
    entry: TimelineEntry | None
    is_widened: bool


class TimelineGrid(Widget, can_focus=True):
    """The timeline with its cursor."""

    DEFAULT_CSS = "TimelineGrid { height: 1fr; width: 1fr; }"
    BINDINGS = bindings(TIMELINE)

    class Moved(Message):
        """The cursor, or the window around it, is elsewhere."""

    class Wanted(Message):
        """Another span of time is to be shown: its data is wanted."""

    class Chosen(Message):
        """Enter."""

        def __init__(self, choice: Choice) -> None:
            super().__init__()
            self.choice = choice

    def __init__(self) -> None:
        super().__init__()
        self._lanes: list[Lane] = []
        self._now_s = 0
        self._zoom = DEFAULT_ZOOM
        self._scale: Scale | None = None
        self._cell, self._lane = 0, 0
        self._length, self._gpus = 1, 1
        self._top = 0
        self._lines: dict[int, Strip] = {}

    @property
    def scale(self) -> Scale | None:
        """What is shown; None before the first layout."""
        return self._scale

    @property
    def choice(self) -> Choice | None:
        """The window under the cursor."""
        scale = self._scale
        if scale is None:
            return None
        start = scale.instant_of(self._cell)
        end = scale.instant_of(self._cell + self._length)
        is_widened = self._length > 1 or self._gpus > 1
        return Choice(start, end, self._gpus, self._entry_at(start, end), is_widened)

    def set_now(self, now_s: int) -> None:
        """Move the now line; the first time, put the window around it."""
        if now_s == self._now_s:
            return
        self._now_s = now_s
        if self._scale is None and self.size.width:
            self._rescale()
        self.repaint()

    def show(self, view: TimelineView) -> None:
        """Show other data."""
        by_device: dict[str, list[TimelineEntry]] = {}
        unbound: list[TimelineEntry] = []
        for entry in view.entries:
            if entry.uuid is None:
                unbound.append(entry)
            else:
                by_device.setdefault(entry.uuid, []).append(entry)
        self._lanes = [
            Lane(f"GPU {clean(ref.label)}", ref.uuid, tuple(by_device.get(ref.uuid, ())))
            for ref in view.devices
        ]
        self._lanes += _unbound_lanes(unbound)
        self.repaint()

    def repaint(self) -> None:
        """Paint again, and draw if anything came out different."""
        before = dict(self._lines)
        self._lines.clear()
        if not before or any(self.render_line(y) != strip for y, strip in before.items()):
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return one line."""
        found = self._lines.get(y)
        if found is None:
            found = self._lines[y] = self._paint(ink_of(self), y)
        return found

    def on_resize(self, _event: Resize) -> None:
        """Keep the window's start, for another width."""
        self._lines.clear()
        if self._now_s:
            self._rescale(keep_start=self._scale is not None)

    def on_click(self, event: Click) -> None:
        """Put the cursor under the mouse; a second click chooses."""
        lane = self._top + (event.y - 1) // self._lane_height
        if event.x < LABEL or event.y < 1 or lane >= len(self._lanes):
            return
        self._cell, self._lane = event.x - LABEL, lane
        self._length = self._gpus = 1
        self._after_move()
        if event.chain > 1:
            self.action_choose()

    def action_move(self, cells: int) -> None:
        """Move the cursor in time; at an edge the window moves along."""
        scale = self._scale
        if scale is None:
            return
        self._cell += cells
        if not 0 <= self._cell <= scale.cells - self._length:
            shift = (scale.cells // 4) * (1 if cells > 0 else -1)
            self._scale = scale.moved(shift)
            self._cell -= shift
            self.post_message(self.Wanted())
        self._after_move()

    def action_lane(self, by: int) -> None:
        """Move the cursor to another device."""
        self._lane = max(0, min(self._lane + by, len(self._lanes) - self._gpus))
        self._after_move()

    def action_widen(self, cells: int) -> None:
        """Choose a longer or a shorter window."""
        limit = self._scale.cells - self._cell if self._scale else 1
        self._length = max(1, min(self._length + cells, limit))
        self._after_move()

    def action_more(self, by: int) -> None:
        """Choose more or fewer devices."""
        bound = sum(lane.uuid is not None for lane in self._lanes)
        self._gpus = max(1, min(self._gpus + by, bound - self._lane))
        self._after_move()

    def action_zoom(self, by: int) -> None:
        """Show more or less time; the cursor stays on its instant."""
        scale = self._scale
        zoom = max(0, min(self._zoom + by, len(CELLS_S) - 1))
        if scale is None or zoom == self._zoom:
            return
        at_s = scale.instant_of(self._cell)
        self._zoom = zoom
        cell_s = CELLS_S[zoom]
        self._scale = Scale(at_s // cell_s * cell_s - self._cell * cell_s, cell_s, scale.cells)
        self._length = 1
        self.post_message(self.Wanted())
        self._after_move()

    def action_now(self) -> None:
        """Back to now."""
        self._length = self._gpus = 1
        self._rescale()
        self._after_move()

    def action_choose(self) -> None:
        """Choose what is under the cursor."""
        if self.choice:
            self.post_message(self.Chosen(self.choice))

    @property
    def _lane_height(self) -> int:
        room = max(1, self.size.height - 1)
        return max(1, min(3, room // max(1, len(self._lanes))))

    def _after_move(self) -> None:
        seen = max(1, (self.size.height - 1) // self._lane_height)
        self._top = max(min(self._top, self._lane), self._lane + self._gpus - seen, 0)
        self.repaint()
        self.post_message(self.Moved())

    def _rescale(self, *, keep_start: bool = False) -> None:
        cells = max(10, self.size.width - LABEL)
        cell_s = CELLS_S[self._zoom]
        if keep_start and self._scale is not None:
            self._scale = Scale(self._scale.start_s, cell_s, cells)
            self._cell = min(self._cell, cells - self._length)
        else:
            self._scale = scale_at(self._now_s, cell_s, cells)
            self._cell = self._scale.cell_of(self._now_s)
        self.post_message(self.Wanted())

    def _entry_at(self, start: int, end: int) -> TimelineEntry | None:
        if self._lane >= len(self._lanes):
            return None
        over = [
            entry
            for entry in self._lanes[self._lane].entries
            if epoch_s(entry.from_at) < end and epoch_s(entry.until_at) > start
        ]
        return max(over, key=lambda entry: _ORDER.index(entry.kind), default=None)

    def _paint(self, ink: Ink, y: int) -> Strip:
        width, scale = self.size.width, self._scale
        if scale is None:
            return ink.line([], width)
        if y == 0:
            return self._axis(ink, scale)
        lane_height = self._lane_height
        row, line = divmod(y - 1, lane_height)
        lane = self._top + row
        if lane >= len(self._lanes):
            return ink.line([], width)
        is_bar = lane_height == 1 or line < lane_height - 1
        return self._lane_line(ink, scale, lane, is_bar=is_bar, is_first=line == 0)

    def _axis(self, ink: Ink, scale: Scale) -> Strip:
        cells = [" "] * scale.cells
        now = scale.cell_of(self._now_s)
        for cell, words in scale.ticks():
            label = f"{ink.glyphs.now}{words}"
            is_under_now = cell < now + 5 and cell + len(label) > now - 1
            if cell + len(label) <= scale.cells and not is_under_now:
                cells[cell : cell + len(label)] = list(label)
        base = ink.palette.style("dim", "panel")
        styles = [base] * scale.cells
        if 0 <= now < scale.cells - 4:
            cells[now : now + 4] = list(f"{ink.glyphs.down}now")
            styles[now : now + 4] = [ink.palette.style("accent", "panel", bold=True)] * 4
        head = [Segment(" " * LABEL, base)]
        return Strip([*head, *_segments(cells, styles)], LABEL + scale.cells)

    def _lane_line(
        self, ink: Ink, scale: Scale, place: int, *, is_bar: bool, is_first: bool
    ) -> Strip:
        lane = self._lanes[place]
        base = ink.palette.style("faint")
        cells, styles = [" "] * scale.cells, [base] * scale.cells
        for cell, _words in scale.ticks():
            cells[cell], styles[cell] = (
                "." if ink.glyphs.is_ascii else "┊",
                ink.palette.style("track"),
            )
        now = scale.cell_of(self._now_s)
        if 0 <= now < scale.cells:
            cells[now], styles[now] = ink.glyphs.now, ink.palette.style("accent")
        if is_bar:
            for entry in sorted(lane.entries, key=lambda item: _ORDER.index(item.kind)):
                _draw(ink, scale, entry, cells, styles, with_words=is_first)
        is_chosen = self._lane <= place < self._lane + self._gpus
        if is_chosen and is_bar:
            self._mark(ink, scale, styles)
        role = "accent!" if is_chosen and self.has_focus else "text"
        label = ink.line([(f" {lane.label}" if is_first else "", role)], LABEL)
        return Strip([*label, *_segments(cells, styles)], LABEL + scale.cells)

    def _mark(self, ink: Ink, scale: Scale, styles: list[Style]) -> None:
        ground = Style(
            bgcolor=ink.palette.colours.roles["accent"],
            color=ink.palette.colours.grounds["base"],
            bold=True,
        )
        for cell in range(self._cell, min(scale.cells, self._cell + self._length)):
            styles[cell] = ground


def _draw(
    ink: Ink,
    scale: Scale,
    entry: TimelineEntry,
    cells: list[str],
    styles: list[Style],
    *,
    with_words: bool,
) -> None:
    first = scale.cell_of(epoch_s(entry.from_at))
    last = scale.cell_of(epoch_s(entry.until_at) - 1)
    start, end = max(0, first), min(scale.cells - 1, last)
    if start > end:
        return
    fill, style = _look(ink, entry)
    room = end - start + 1
    words = entry_words(ink, entry) if with_words else ""
    words = cut(words, room - 1) if room >= LEAST_WORDS else words[: room - 1]
    # A wide character takes two cells: it may not be split over this list.
    if width_of(words) != len(words):
        words = words.encode("ascii", "replace").decode()
    text = (words + (" " if words and fill != " " else "")).ljust(room, fill)[:room]
    cells[start : end + 1] = list(text)
    styles[start : end + 1] = [style] * room
    if first >= 0 and text[0] == " " and not ink.glyphs.is_ascii:
        cells[start] = "▏"


def _look(ink: Ink, entry: TimelineEntry) -> tuple[str, Style]:
    person = ink.palette.person(entry.user, mine=entry.mine)
    match entry.kind:
        case "ran":
            return ("-" if ink.glyphs.is_ascii else "╌"), ink.palette.style("dim", "panel")
        case "forecast":
            role = "mine" if entry.mine else "dim"
            return (":" if ink.glyphs.is_ascii else "░"), ink.palette.style(role)
        case "blackout":
            return ("x" if ink.glyphs.is_ascii else "\u2573"), ink.palette.style("bad", "panel")
    return (" " if not ink.glyphs.is_ascii else "="), person


def entry_words(ink: Ink, entry: TimelineEntry) -> str:
    """Return what is written into a bar."""
    who = "you" if entry.mine else clean(entry.user)
    name = clean(entry.name)
    match entry.kind:
        case "booking":
            count = f" {entry.gpus} GPUs" if entry.uuid is None else ""
            return f" {ink.glyphs.booked} {who}{count} {name}".rstrip()
        case "blackout":
            return f" no jobs {name}"
        case "forecast":
            hatch = ":" if ink.glyphs.is_ascii else "░"
            return f"{hatch} {who}? {entry.job_id or ''} {name}"
    return f" {who} {entry.job_id or ''} {name}"


def _unbound_lanes(entries: list[TimelineEntry]) -> list[Lane]:
    """Return lanes for bookings without devices: as few as hold them side by side."""
    lanes: list[list[TimelineEntry]] = []
    for entry in sorted(entries, key=lambda item: item.from_at):
        free = next((lane for lane in lanes if lane[-1].until_at <= entry.from_at), None)
        if free is None:
            lanes.append([entry])
        else:
            free.append(entry)
    return [Lane("any", None, tuple(lane)) for lane in lanes]


def _segments(cells: list[str], styles: list[Style]) -> list[Segment]:
    segments: list[Segment] = []
    start = 0
    for place in range(1, len(cells) + 1):
        if place == len(cells) or styles[place] is not styles[start]:
            segments.append(Segment("".join(cells[start:place]), styles[start]))
            start = place
    return segments
