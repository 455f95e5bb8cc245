"""The feed: one look at the engine for all who watch, and none while nobody does.

Each watcher pulls the newest frame when it is ready for one, so a slow reader skips frames rather
than queueing them, and its memory is bounded by one frame. Events are never skipped: each watcher
has its own cursor into the event table.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from gpuboard.api.dispatch import Dispatch
from gpuboard.errors import GpuboardError
from gpuboard.model.person import Caller
from gpuboard.model.views.bookings import ReservationList
from gpuboard.model.views.events import EventView
from gpuboard.service.services import Services

_LOG = logging.getLogger(__name__)

POLL_S = 0.5
"""How often it is asked, while somebody watches, whether something changed."""
_SHARE = 0.1
"""Of the engine's time, at most, goes into looking: with many watchers and a long queue less often."""
BOARD_EVERY = 2
"""Each so many polls the engine is looked at, changed or not, for a board: 1 Hz."""
HEARTBEAT_S = 15.0
OWN_LIMIT = 200
"""Jobs of the `queue` event at most: the watcher's own. Pages of everybody's are asked for."""
_PAGE = 500
_HEARTBEAT = b": still here\n\n"

Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Marks:
    """How far the engine is."""

    revision: int
    event_id: int


@dataclass
class _Frame:
    """The newest messages for one caller; a number is raised when its message changes."""

    caller: Caller
    watchers: int = 0
    revision: int = -1
    messages: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    bookings: ReservationList | None = None

    def put(self, event: str, message: bytes) -> None:
        number = self.messages[event][0] + 1 if event in self.messages else 1
        self.messages[event] = (number, message)


@dataclass
class _Look:
    """What one look on the engine's thread brought back, in JSON by frame.

    Views are encoded where they are made: the loop's thread would have to fetch every one of a busy
    box's processes into another core's cache, to encode it and to let it go.
    """

    marks: Marks
    boards: dict[int, bytes]
    queues: dict[int, bytes]
    bookings: dict[int, ReservationList]
    took_s: float = 0.0


class Feed:
    """Polls while there are watchers, and wakes them."""

    def __init__(
        self,
        services: Services,
        dispatch: Dispatch,
        marks: Callable[[], Marks],
        revision: Callable[[], int],
    ) -> None:
        """`marks` runs on the engine's thread; `revision`, a number that changes raise, on any."""
        self._services = services
        self._dispatch = dispatch
        self._marks_of = marks
        self._revision = revision
        self._frames: dict[tuple[int, bool], _Frame] = {}
        self._marks = Marks(-1, -1)
        self._wake = asyncio.Event()
        self._poll_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def watchers(self) -> int:
        """Return how many watch."""
        return sum(frame.watchers for frame in self._frames.values())

    async def watch(self, caller: Caller, after_id: int | None, send: Send) -> None:
        """Send the feed until `send` raises or the task is cancelled.

        `after_id`: the last event that the watcher has; None = only events from now on.
        """
        frame = self._join(caller)
        try:
            newest = (await self._dispatch(self._marks_of)).event_id
            # an id that is yet to come is another database's: never wait for it
            cursor = newest if after_id is None else min(after_id, newest)
            seen: dict[str, int] = {}
            sent_at = time.monotonic()
            while True:
                wake = self._wake
                content = _news(frame, seen)
                if self._marks.event_id > cursor:
                    page, cursor = await self._events(caller, cursor)
                    content += page
                if not content and time.monotonic() - sent_at >= HEARTBEAT_S:
                    content = _HEARTBEAT
                if content:
                    await send(content)
                    sent_at = time.monotonic()
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_S):
                        await wake.wait()
        finally:
            self._leave(frame)

    def _join(self, caller: Caller) -> _Frame:
        key = (caller.uid, caller.is_admin)
        frame = self._frames.setdefault(key, _Frame(caller))
        frame.watchers += 1
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._poll())
        self._poll_now.set()
        return frame

    def _leave(self, frame: _Frame) -> None:
        frame.watchers -= 1
        if frame.watchers == 0:
            self._frames.pop((frame.caller.uid, frame.caller.is_admin), None)

    async def _events(self, caller: Caller, after_id: int) -> tuple[bytes, int]:
        """Return the next page of events as messages, and the id up to which they go."""
        upto = self._marks.event_id
        page = await self._dispatch(lambda: self._services.board.events(caller, after_id, _PAGE))
        if not page.events:
            return b"", upto
        return b"".join(_message("event", one) for one in page.events), page.events[-1].id

    async def _poll(self) -> None:
        """Look once a second while somebody watches, and when something changed; if it fails, again."""
        tick, took_s = 0, 0.0
        while self._frames:
            is_due = self._poll_now.is_set() or tick % BOARD_EVERY == 0
            self._poll_now.clear()
            if is_due or self._revision() != self._marks.revision:
                try:
                    took_s = await self._look(with_board=is_due)
                except GpuboardError as error:
                    _LOG.debug("the feed waits: %s", error)
                except Exception:  # noqa: BLE001 - a border: watchers outlive a fault in a service
                    _LOG.exception("the feed's look failed")
                wake, self._wake = self._wake, asyncio.Event()
                wake.set()
            tick += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(POLL_S, took_s / _SHARE)):
                    await self._poll_now.wait()

    async def _look(self, *, with_board: bool) -> float:
        """Renew the frames and return how long (s) that kept the engine's thread."""
        frames = list(self._frames.values())
        look = await self._dispatch(lambda: self._gather(frames, with_board=with_board))
        for number, frame in enumerate(frames):
            if number in look.boards:
                frame.put("board", look.boards[number])
            if number in look.queues:
                frame.put("queue", look.queues[number])
                frame.revision = look.marks.revision
                _put_bookings(frame, look.bookings[number])
        self._marks = look.marks
        return look.took_s

    def _gather(self, frames: list[_Frame], *, with_board: bool) -> _Look:
        """Collect, on the engine's thread, what changed for each frame."""
        began = time.monotonic()
        look = _Look(self._marks_of(), {}, {}, {})
        for number, frame in enumerate(frames):
            if with_board or not frame.messages:
                look.boards[number] = _message("board", self._services.board.board(frame.caller))
            if frame.revision != look.marks.revision:
                own = self._services.queue.own(frame.caller, OWN_LIMIT)
                look.queues[number] = _message("queue", own)
                look.bookings[number] = self._services.bookings.list(frame.caller)
        look.took_s = time.monotonic() - began
        return look


def _put_bookings(frame: _Frame, bookings: ReservationList) -> None:
    """Most changes are jobs': send bookings only when they differ."""
    if frame.bookings is None or frame.bookings.reservations != bookings.reservations:
        frame.put("reservations", _message("reservations", bookings))
    frame.bookings = bookings


def _news(frame: _Frame, seen: dict[str, int]) -> bytes:
    """Return the messages that this watcher has not had, the newest of each kind."""
    news = b""
    for event, (number, message) in frame.messages.items():
        if seen.get(event) != number:
            seen[event] = number
            news += message
    return news


def _message(event: str, content: object) -> bytes:
    """Return one server-sent event; JSON has no newlines, so one data line does."""
    number = f"id: {content.id}\n".encode() if isinstance(content, EventView) else b""
    return b"event: %b\n%bdata: %b\n\n" % (event.encode(), number, msgspec.json.encode(content))
