"""The grid of GPU cards: one Line-API widget for all of them, sized to the space there is.

A new second repaints the cards' lines in memory and sends only the part of each line that came out
different.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from gpuboard.model.views.board import BoardView
from gpuboard.model.views.devices import DeviceView
from gpuboard.tui.bindings import GRID, MOVING, bindings
from gpuboard.tui.boardlayout import Layout, Unit, arrange, next_cell
from gpuboard.tui.devicewords import left_s
from gpuboard.tui.histories import NO_CHARTS, Histories
from gpuboard.tui.ink import Sheet, changed_part
from gpuboard.tui.instants import epoch_s
from gpuboard.tui.paint import Piece
from gpuboard.tui.terminals import pointed_at
from gpuboard.tui.widgets.card import Card, card_rows, head_row
from gpuboard.tui.widgets.painted import Painted, canvas_of, ink_of

Key = int | Unit
"""A card, or the head of a group of cards."""


class BoardGrid(Painted, ScrollView, can_focus=True):
    """The devices as cards, with a cursor."""

    DEFAULT_CSS = "BoardGrid { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }"
    BINDINGS = bindings(GRID, MOVING)

    class Opened(Message):
        """Everything about a device is wanted."""

        def __init__(self, device: DeviceView) -> None:
            super().__init__()
            self.device = device

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._devices: Sequence[DeviceView] = ()
        self._histories = Histories()
        self._now_s = 0
        self._is_stale = False
        self._cursor = 0
        self._expanded: str | None = None
        self._layout = Layout({}, {}, 0)
        self._lines: dict[int, list[tuple[Key, Region]]] = {}
        """What lies on each line of the whole grid, from left to right."""
        self._cards: dict[Key, list[Strip]] = {}
        self._painted: dict[Key, tuple[object, ...]] = {}
        self._sheets: dict[Key, Sheet] = {}
        self._joined: dict[int, Strip] = {}
        """Lines of the whole grid as they were last put together."""
        self.empty = "no GPUs to show yet"
        """What is said when there are no cards."""

    @property
    def current(self) -> DeviceView | None:
        """The device under the cursor."""
        return self._devices[self._cursor] if self._cursor < len(self._devices) else None

    def show(
        self,
        board: BoardView,
        devices: Sequence[DeviceView],
        histories: Histories,
        *,
        is_stale: bool,
    ) -> None:
        """Show one second of these devices, in this order; the cursor stays on its device."""
        before = self.current
        uuids = [device.uuid for device in self._devices]
        self._histories, self._is_stale = histories, is_stale
        self._now_s = epoch_s(board.at)
        self._devices = devices
        places = {device.uuid: place for place, device in enumerate(devices)}
        at = places.get(before.uuid) if before is not None else None
        self._cursor = min(self._cursor, max(0, len(devices) - 1)) if at is None else at
        if self._expanded not in places:
            self._expanded = None
        if [device.uuid for device in devices] != uuids:
            self._arrange()
        else:
            self._repaint(self._cards)

    def repaint(self) -> None:
        """Paint all cards again (in another theme, too) and draw what came out different."""
        self._forget()
        self._repaint(self._cards)

    def render_line(self, y: int) -> Strip:
        """Return one seen line: what lies on it, with the ground between."""
        line = y + self.scroll_offset.y
        joined = self._joined.get(line)
        if joined is not None:
            return joined
        ink, width = ink_of(self), self.size.width
        strips: list[Strip] = []
        x = 0
        for key, box in self._lines.get(line, ()):
            if box.x > x:
                strips.append(ink.blank(box.x - x))
            strips.append(self._cards[key][line - box.y])
            x = box.right
        if not strips:
            words = f"  {self.empty}" if not self._devices and y == 1 else ""
            return ink.line([(words, "dim")], width)
        joined = Strip.join(strips).adjust_cell_length(width, ink.palette.style("text"))
        self._joined[line] = joined
        return joined

    def on_resize(self, _event: Resize) -> None:
        """Find the shape for the new space."""
        self._arrange()

    def on_focus(self) -> None:
        """Show the cursor bright."""
        self._repaint((self._cursor,))

    def on_blur(self) -> None:
        """Show the cursor faint."""
        self._repaint((self._cursor,))

    def on_click(self, event: Click) -> None:
        """Move the cursor; a second click expands the card, or shrinks it."""
        line = event.y + self.scroll_offset.y
        for key, box in self._lines.get(line, ()):
            if box.contains(event.x, line) and isinstance(key, int):
                self._move(key)
                if event.chain > 1:
                    self.action_choose()
                return

    def action_left(self) -> None:
        """One card left."""
        self._move(next_cell(self._layout.cells, self._cursor, -1, 0))

    def action_right(self) -> None:
        """One card right."""
        self._move(next_cell(self._layout.cells, self._cursor, 1, 0))

    def action_up(self) -> None:
        """One row up."""
        self._move(next_cell(self._layout.cells, self._cursor, 0, -1))

    def action_down(self) -> None:
        """One row down."""
        self._move(next_cell(self._layout.cells, self._cursor, 0, 1))

    def action_page_up(self) -> None:
        """To the first card."""
        self._move(0)

    def action_page_down(self) -> None:
        """To the last card."""
        self._move(len(self._devices) - 1)

    action_first = action_page_up
    action_last = action_page_down

    def action_choose(self) -> None:
        """Expand the card under the cursor in place, or shrink it again."""
        if self.current is None:
            return
        self._expanded = None if self._expanded == self.current.uuid else self.current.uuid
        self._arrange()
        self._bring_into_view()

    def action_open(self) -> None:
        """Show everything about the device under the cursor."""
        if self.current is not None:
            self.post_message(self.Opened(self.current))

    def _move(self, place: int) -> None:
        if place == self._cursor or not 0 <= place < len(self._devices):
            return
        before, self._cursor = self._cursor, place
        self._repaint((before, place))
        self._bring_into_view()

    def _bring_into_view(self) -> None:
        box = self._layout.cells.get(self._cursor)
        if box is None:
            return
        if box.y < self.scroll_offset.y:
            self.scroll_to(y=box.y, animate=False)
        elif box.bottom > self.scroll_offset.y + self.size.height:
            self.scroll_to(y=box.bottom - self.size.height, animate=False)

    def _arrange(self) -> None:
        width, height = self.size
        if not width:
            return
        expanded = next(
            (i for i, device in enumerate(self._devices) if device.uuid == self._expanded), None
        )
        self._layout = arrange(self._devices, width, height, expanded)
        self.virtual_size = Size(0, self._layout.height)
        boxes: dict[Key, Region] = {
            key: box
            for part in (self._layout.cells, self._layout.heads)
            for key, box in part.items()
        }
        self._lines = {}
        for key, box in sorted(boxes.items(), key=lambda item: item[1].x):
            for line in range(box.y, box.bottom):
                self._lines.setdefault(line, []).append((key, box))
        self._forget()
        self._cards = {key: self._paint(key) for key in boxes}
        self.refresh()

    def _forget(self) -> None:
        self._painted.clear()
        self._sheets.clear()
        self._joined.clear()

    def _box(self, key: Key) -> Region:
        return self._layout.cells[key] if isinstance(key, int) else self._layout.heads[key]

    def _paint(self, key: Key) -> list[Strip]:
        """Return a card's lines: the very same ones where nothing of it changed."""
        box = self._box(key)
        if not isinstance(key, int):
            group = [self._devices[place] for place in key]
            return self._sheet(key, box).draw(
                [head_row(ink_of(self), group, is_stale=self._is_stale)]
            )
        device = self._devices[key]
        ground = "bar"
        if key == self._cursor:
            ground = "selected" if self.has_focus else "selected-far"
        # A card tells its time to the minute, in the last two minutes to the second.
        left = left_s(device, self._now_s)
        now = self._now_s if left and left[0] < 120 else self._now_s // 60
        charts = self._histories.charts_of(device.uuid) if box.height > 4 else NO_CHARTS
        inputs = (device, charts, now, self._is_stale, ground)
        if self._painted.get(key) == inputs and key in self._cards:
            return self._cards[key]
        self._painted[key] = inputs
        card = Card(
            device,
            charts,
            self._now_s,
            self._is_stale,
            is_expanded=device.uuid == self._expanded,
        )
        ink = ink_of(self)
        rows = card_rows(ink, card, box.width, box.height, ground)
        lines = self._sheet(key, box).draw(rows)
        if ink.is_poor and key == self._cursor:
            lines[0] = pointed_at(lines[0], ink.palette.style("text", ground, bold=True))
        return lines

    def _sheet(self, key: Key, box: Region) -> Sheet:
        sheet = self._sheets.get(key)
        if sheet is None:
            sheet = self._sheets[key] = Sheet(ink_of(self), box.width)
        return sheet

    def _repaint(self, keys: Iterable[Key]) -> None:
        """Paint cards again, and draw of each line what changed."""
        pieces: list[Piece] = []
        top = self.scroll_offset.y
        for key in list(keys):
            if key not in self._cards:
                continue
            before, fresh = self._cards[key], self._paint(key)
            if fresh is before:
                continue
            self._cards[key] = fresh
            box = self._box(key)
            for line, (old, new) in enumerate(zip(before, fresh, strict=False), box.y):
                if old is new:
                    continue
                self._joined.pop(line, None)
                changed = changed_part(old, new)
                if changed is not None:
                    pieces.append((box.x + changed[0], line - top, changed[1]))
        canvas_of(self).draw(self, pieces)
