"""The timeline: devices as rows, time as columns, and a window to book, to move or to look at.

The cursor is a cell; shift+arrows, or dragging with the mouse, make a window of it. A booking that
was grabbed is moved and lengthened in the same way, until enter or esc.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from textual.events import (
    Click,
    MouseDown,
    MouseEvent,
    MouseMove,
    MouseScrollDown,
    MouseScrollUp,
    MouseUp,
    Resize,
)
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from gpuboard.model.views.timeline import TimelineEntry, TimelineView
from gpuboard.tui.bindings import TIMELINE, bindings
from gpuboard.tui.ink import Ink
from gpuboard.tui.instants import epoch_s
from gpuboard.tui.timelinepaint import (
    LABEL,
    ORDER,
    Lane,
    axis,
    draw_entries,
    empty_cells,
    lanes_of,
    mark,
)
from gpuboard.tui.timelinewords import legend_parts
from gpuboard.tui.timescale import CELLS_S, Scale, scale_at
from gpuboard.tui.widgets.painted import ink_of

DEFAULT_ZOOM = CELLS_S.index(600)


@dataclass(frozen=True)
class Choice:
    """The window under the cursor."""

    from_s: int
    until_s: int
    gpus: int
    entry: TimelineEntry | None
    is_widened: bool


@dataclass(frozen=True)
class Grabbed:
    """A booking that is being moved, and where it would be."""

    reservation_id: int
    from_s: int
    until_s: int
    gpus: int
    has_begun: bool = False
    """Then only its end can change."""


class TimelineGrid(Widget, can_focus=True):
    """The timeline with its cursor."""

    DEFAULT_CSS = "TimelineGrid { height: 1fr; width: 1fr; }"
    BINDINGS = bindings(TIMELINE)

    class Moved(Message):
        """The cursor, or the window around it, is elsewhere."""

    class Wanted(Message):
        """Another span of time is to be shown: its data is wanted."""

    class Chosen(Message):
        """Enter, or the end of a drag."""

        def __init__(self, choice: Choice) -> None:
            super().__init__()
            self.choice = choice

    class Placed(Message):
        """Enter while a booking is grabbed: it is to be there."""

        def __init__(self, grabbed: Grabbed) -> None:
            super().__init__()
            self.grabbed = grabbed

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
        self._person = ""
        self._grabbed: Grabbed | None = None
        self._anchor: tuple[int, int] | None = None
        """Cell and lane at which the mouse was pressed; None while it is not."""
        self._is_dragged = False

    @property
    def scale(self) -> Scale | None:
        """What is shown; None before the first layout."""
        return self._scale

    @property
    def grabbed(self) -> Grabbed | None:
        """The booking that is being moved."""
        return self._grabbed

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

    @property
    def people(self) -> set[str]:
        """Whose bars are shown."""
        return {entry.user for lane in self._lanes for entry in lane.entries if entry.user}

    def set_now(self, now_s: int) -> None:
        """Move the now line; the first time, put the window around it."""
        if now_s == self._now_s:
            return
        self._now_s = now_s
        if self._scale is None and self.size.width:
            self._rescale()
        self.repaint()

    def set_person(self, person: str) -> None:
        """Show everybody else's bars faint; empty: nobody's."""
        self._person = person
        self.repaint()

    def show(self, view: TimelineView) -> None:
        """Show other data."""
        self._lanes = lanes_of(view)
        self.repaint()

    def grab(self, grabbed: Grabbed | None) -> None:
        """Let a booking be moved, or (None) leave it where it was."""
        self._grabbed = grabbed
        self._after_move()

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

    def on_mouse_down(self, event: MouseDown) -> None:
        """Begin a window under the mouse."""
        place = self._place_of(event.x, event.y)
        self._is_dragged = False
        if place is None or self._grabbed is not None:
            return
        self._anchor = place
        self.capture_mouse()
        self._choose_between(place, place)

    def on_mouse_move(self, event: MouseMove) -> None:
        """Widen the window to the mouse."""
        if self._anchor is None or self._scale is None:
            return
        cell = max(0, min(event.x - LABEL, self._scale.cells - 1))
        lane = self._top + max(0, event.y - 1) // self._lane_height
        place = (cell, max(0, min(lane, len(self._lanes) - 1)))
        if place != self._anchor or self._is_dragged:
            self._is_dragged = True
            self._choose_between(self._anchor, place)

    def on_mouse_up(self, _event: MouseUp) -> None:
        """End of a drag: the window is chosen."""
        if self._anchor is None:
            return
        self._anchor = None
        self.release_mouse()
        if self._is_dragged:
            self.action_choose()

    def on_click(self, event: Click) -> None:
        """A second click chooses what is under the mouse; a drag has chosen already."""
        if not self._is_dragged and event.chain > 1 and self._place_of(event.x, event.y):
            self.action_choose()

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Move up, with ctrl zoom in."""
        self._turn(event, -1)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """Move down, with ctrl zoom out."""
        self._turn(event, 1)

    def action_move(self, cells: int) -> None:
        """Move the cursor, or the grabbed booking, in time; at an edge the window moves along."""
        scale = self._scale
        if scale is None:
            return
        if self._grabbed is not None:
            self._shift_grabbed(cells * scale.cell_s)
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
        """Choose a longer or a shorter window, or give the grabbed booking one."""
        scale = self._scale
        if scale is not None and self._grabbed is not None:
            end = max(self._grabbed.until_s + cells * scale.cell_s, self._grabbed.from_s + 60)
            self._grabbed = replace(self._grabbed, until_s=max(end, self._now_s + 60))
        else:
            limit = scale.cells - self._cell if scale else 1
            self._length = max(1, min(self._length + cells, limit))
        self._after_move()

    def action_more(self, by: int) -> None:
        """Choose more or fewer devices."""
        bound = sum(lane.uuid is not None for lane in self._lanes)
        if self._grabbed is not None:
            self._grabbed = replace(self._grabbed, gpus=max(1, min(self._grabbed.gpus + by, bound)))
        else:
            self._gpus = max(1, min(self._gpus + by, bound - self._lane))
        self._after_move()

    def action_zoom(self, by: int) -> None:
        """Show more or less time; the cursor stays on its instant. A grabbed booking gets longer."""
        if self._grabbed is not None:
            self.action_widen(-by)
            return
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
        """Choose what is under the cursor, or where the grabbed booking is to be."""
        if self._grabbed is not None:
            self.post_message(self.Placed(self._grabbed))
        elif self.choice:
            self.post_message(self.Chosen(self.choice))

    def action_drop(self) -> None:
        """Leave the grabbed booking where it was; without one, make the window a cell again."""
        self._length = self._gpus = 1
        self.grab(None)

    @property
    def _lane_height(self) -> int:
        room = max(1, self.size.height - 1)
        return max(1, min(3, room // max(1, len(self._lanes))))

    def _place_of(self, x: int, y: int) -> tuple[int, int] | None:
        """Return cell and lane under the mouse; None beside the bars."""
        lane = self._top + (y - 1) // self._lane_height
        cells = self._scale.cells if self._scale else 0
        is_inside = LABEL <= x < LABEL + cells and y >= 1 and 0 <= lane < len(self._lanes)
        return (x - LABEL, lane) if is_inside else None

    def _turn(self, event: MouseEvent, by: int) -> None:
        """Follow the wheel: between devices, with shift through time, with ctrl the zoom."""
        event.stop()
        if event.ctrl:
            self.action_zoom(by)
        elif event.shift:
            self.action_move(by)
        else:
            self.action_lane(by)

    def _choose_between(self, one: tuple[int, int], other: tuple[int, int]) -> None:
        bound = sum(lane.uuid is not None for lane in self._lanes)
        self._cell, self._length = min(one[0], other[0]), abs(one[0] - other[0]) + 1
        self._lane = min(one[1], other[1])
        self._gpus = max(1, min(abs(one[1] - other[1]) + 1, bound - self._lane))
        self._after_move()

    def _shift_grabbed(self, by_s: int) -> None:
        grabbed, scale = self._grabbed, self._scale
        if grabbed is None or scale is None or grabbed.has_begun:
            return
        by_s = max(by_s, self._now_s - grabbed.from_s)
        self._grabbed = replace(
            grabbed, from_s=grabbed.from_s + by_s, until_s=grabbed.until_s + by_s
        )
        cell = scale.cell_of(self._grabbed.from_s)
        if not 0 <= cell < scale.cells:
            self._scale = scale.moved((scale.cells // 4) * (1 if by_s > 0 else -1))
            self.post_message(self.Wanted())
        self._after_move()

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
        return max(over, key=lambda entry: ORDER.index(entry.kind), default=None)

    def _paint(self, ink: Ink, y: int) -> Strip:
        width, scale = self.size.width, self._scale
        if scale is None:
            return ink.line([], width)
        if y == 0:
            return axis(ink, scale, self._now_s)
        lane_height = self._lane_height
        row, line = divmod(y - 1, lane_height)
        lane = self._top + row
        if lane >= len(self._lanes):
            is_last = y == self.size.height - 1
            return ink.line(legend_parts(ink, width) if is_last and self._lanes else [], width)
        is_bar = lane_height == 1 or line < lane_height - 1
        return self._lane_line(ink, scale, lane, is_bar=is_bar, is_first=line == 0)

    def _lane_line(
        self, ink: Ink, scale: Scale, place: int, *, is_bar: bool, is_first: bool
    ) -> Strip:
        lane = self._lanes[place]
        cells = empty_cells(ink, scale, self._now_s)
        if is_bar:
            draw_entries(ink, scale, lane, cells, with_words=is_first, person=self._person)
        first, last, gpus = self._cell, self._cell + self._length, self._gpus
        if self._grabbed is not None:
            first = scale.cell_of(self._grabbed.from_s)
            last, gpus = scale.cell_of(self._grabbed.until_s - 1) + 1, self._grabbed.gpus
        is_chosen = self._lane <= place < self._lane + gpus
        if is_chosen and is_bar:
            mark(ink, cells, first, last)
        role = "accent!" if is_chosen and self.has_focus else "text"
        label = ink.line([(f" {lane.label}" if is_first else "", role)], LABEL)
        return cells.strip([*label])
