"""The grid of GPU cards: one Line-API widget for all of them, sized to the space there is.

A new second repaints the cards' lines in memory and sends only those that came out different.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from gpuboard.model.views import BoardView, DeviceHistory, DeviceView
from gpuboard.tui.bindings import GRID, MOVING, bindings
from gpuboard.tui.devicewords import left_s
from gpuboard.tui.instants import epoch_s
from gpuboard.tui.widgets.card import Card, memory_percent, paint_card
from gpuboard.tui.widgets.painted import ink_of

KEPT = 320
"""Samples kept a device: two a column of the widest card."""
MIN_WIDTH, GAP = 38, 1


class Histories:
    """The last samples of every device, one a second."""

    def __init__(self) -> None:
        self._utilization: dict[str, deque[int | None]] = {}
        self._memory: dict[str, deque[int | None]] = {}
        self._last_at = ""

    def begin(self, view: DeviceHistory) -> None:
        """Start over with what the daemon remembers."""
        for kept, given in (
            (self._utilization, view.utilization),
            (self._memory, view.memory),
        ):
            kept.clear()
            for uuid, samples in given.items():
                kept[uuid] = deque(samples[-KEPT:], maxlen=KEPT)
        self._last_at = view.at

    def add(self, board: BoardView) -> None:
        """Add one second, once."""
        if board.at <= self._last_at:
            return
        self._last_at = board.at
        for device in board.devices:
            uses = self._utilization.setdefault(device.uuid, deque(maxlen=KEPT))
            uses.append(device.utilization)
            sizes = self._memory.setdefault(device.uuid, deque(maxlen=KEPT))
            sizes.append(memory_percent(device))

    def of(self, uuid: str) -> tuple[list[int | None], list[int | None]]:
        """Return utilisation and memory of a device, oldest first, in percent."""
        return list(self._utilization.get(uuid, ())), list(self._memory.get(uuid, ()))


def shape(count: int, width: int, height: int) -> tuple[int, int]:
    """Return (columns, lines a card) that shows `count` cards best in a space.

    All at once before tall, tall (up to 10 lines) before wide, and no half-empty last row; a card
    has at least one line, and then the grid scrolls.
    """
    best, best_score = (1, 1), -1.0
    for columns in range(1, max(1, (width + GAP) // (MIN_WIDTH + GAP)) + 1):
        rows = -(-count // columns)
        lines = height // max(1, rows)
        if columns > 1 and (columns - 1) * rows >= count:
            continue
        card_width = (width + GAP) // columns - GAP
        score = min(lines, 10) * 10 + min(card_width, 90) / 10 - (rows * columns - count)
        if lines >= 1 and score > best_score:
            best, best_score = (columns, min(lines, 16)), score
    return best


class BoardGrid(ScrollView, can_focus=True):
    """All devices as cards, with a cursor."""

    DEFAULT_CSS = "BoardGrid { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }"
    BINDINGS = bindings(GRID, MOVING)

    class Chosen(Message):
        """Enter, or a second click, on a card."""

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
        self._columns, self._card_height, self._card_width = 1, 1, 80
        self._cards: list[list[Strip]] = []
        self._painted: dict[int, tuple[object, ...]] = {}

    @property
    def current(self) -> DeviceView | None:
        """The device under the cursor."""
        return self._devices[self._cursor] if self._cursor < len(self._devices) else None

    def show(self, board: BoardView, histories: Histories, *, is_stale: bool) -> None:
        """Show one second."""
        self._histories = histories
        self._now_s = epoch_s(board.at)
        self._is_stale = is_stale
        is_regrouped = len(board.devices) != len(self._devices)
        self._devices = board.devices
        self._cursor = min(self._cursor, max(0, len(self._devices) - 1))
        if is_regrouped:
            self._arrange()
        else:
            self._repaint_cards(range(len(self._devices)))

    def repaint(self) -> None:
        """Paint all cards again (in another theme, too) and draw what came out different."""
        self._painted.clear()
        self._repaint_cards(range(len(self._devices)))

    def render_line(self, y: int) -> Strip:
        """Return one seen line: the same line of all cards beside each other."""
        ink = ink_of(self)
        width = self.size.width
        row, line = divmod(y + self.scroll_offset.y, self._card_height)
        cards = self._cards[row * self._columns : (row + 1) * self._columns]
        if not cards:
            if not self._devices and y == 1:
                return ink.line([("  no GPUs to show yet", "dim")], width)
            return ink.line([], width)
        gap = ink.line([], GAP)
        strips: list[Strip] = []
        for card in cards:
            strips += [card[line], gap]
        return Strip.join(strips[:-1]).adjust_cell_length(width, ink.palette.style("text"))

    def on_resize(self, _event: Resize) -> None:
        """Find the shape for the new space."""
        self._arrange()

    def on_focus(self) -> None:
        """Show the cursor bright."""
        self._repaint_cards((self._cursor,))

    def on_blur(self) -> None:
        """Show the cursor faint."""
        self._repaint_cards((self._cursor,))

    def on_click(self, event: Click) -> None:
        """Move the cursor; a second click opens the card."""
        column = event.x // (self._card_width + GAP)
        row = (event.y + self.scroll_offset.y) // self._card_height
        place = row * self._columns + column
        if column < self._columns and place < len(self._devices):
            self._move(place)
            if event.chain > 1:
                self.action_choose()

    def action_left(self) -> None:
        """One card left."""
        self._move(self._cursor - 1)

    def action_right(self) -> None:
        """One card right."""
        self._move(self._cursor + 1)

    def action_up(self) -> None:
        """One row up."""
        self._move(self._cursor - self._columns)

    def action_down(self) -> None:
        """One row down."""
        self._move(self._cursor + self._columns)

    def action_page_up(self) -> None:
        """To the first card."""
        self._move(0)

    def action_page_down(self) -> None:
        """To the last card."""
        self._move(len(self._devices) - 1)

    action_first = action_page_up
    action_last = action_page_down

    def action_choose(self) -> None:
        """Open the device under the cursor."""
        if self.current is not None:
            self.post_message(self.Chosen(self.current))

    def _move(self, place: int) -> None:
        if place == self._cursor or not 0 <= place < len(self._devices):
            return
        before, self._cursor = self._cursor, place
        self._repaint_cards((before, place))
        top = place // self._columns * self._card_height
        if top < self.scroll_offset.y:
            self.scroll_to(y=top, animate=False)
        elif top + self._card_height > self.scroll_offset.y + self.size.height:
            self.scroll_to(y=top + self._card_height - self.size.height, animate=False)

    def _arrange(self) -> None:
        width, height = self.size
        if not width:
            return
        self._columns, self._card_height = shape(len(self._devices), width, height)
        self._card_width = (width + GAP) // self._columns - GAP
        rows = -(-len(self._devices) // self._columns)
        self.virtual_size = Size(0, rows * self._card_height)
        self._painted.clear()
        self._cards = [self._paint(place) for place in range(len(self._devices))]
        self.refresh()

    def _paint(self, place: int) -> list[Strip]:
        device = self._devices[place]
        ground = "bar"
        if place == self._cursor:
            ground = "selected" if self.has_focus else "selected-far"
        uses, sizes = self._histories.of(device.uuid)
        # A card tells its time to the minute, in the last two minutes to the second.
        left = left_s(device, self._now_s)
        now = self._now_s if left and left[0] < 120 else self._now_s // 60
        inputs = (device, uses, sizes, now, self._is_stale, ground)
        if self._painted.get(place) == inputs and place < len(self._cards):
            return self._cards[place]
        self._painted[place] = inputs
        card = Card(device, uses, sizes, self._now_s, self._is_stale)
        return paint_card(ink_of(self), card, self._card_width, self._card_height, ground)

    def _repaint_cards(self, places: Iterable[int]) -> None:
        """Paint cards again; of each line of the screen one region is sent, over what changed."""
        changed: dict[int, tuple[int, int]] = {}
        for place in places:
            if place >= len(self._cards):
                continue
            before, fresh = self._cards[place], self._paint(place)
            if fresh is before:
                continue
            self._cards[place] = fresh
            row, column = divmod(place, self._columns)
            left = column * (self._card_width + GAP)
            right = left + self._card_width
            for line, strip in enumerate(fresh, row * self._card_height):
                if strip != before[line - row * self._card_height]:
                    first, last = changed.get(line, (left, right))
                    changed[line] = (min(first, left), max(last, right))
        for line, (first, last) in changed.items():
            self.refresh(Region(first, line - self.scroll_offset.y, last - first, 1))
