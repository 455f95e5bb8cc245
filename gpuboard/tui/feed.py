"""Where the app's data comes from: a `Source`, and the thread that turns its feed into snapshots.

The thread builds one immutable `Snapshot` an item and posts it; it reconnects by itself. Nothing
here touches a widget. It is a daemon thread with a stop event: a hung daemon cannot keep the app
from ending (a thread of an executor would).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from gpuboard.errors import GpuboardError
from gpuboard.model.requests import (
    BlackoutRequest,
    CancelRequest,
    DrainRequest,
    NoticeRequest,
    ReservationUpdate,
    ReserveRequest,
    SubmitRequest,
    UpdateRequest,
)
from gpuboard.model.views.admin import AdminResult, AdminState
from gpuboard.model.views.board import BoardView
from gpuboard.model.views.bookings import ReservationList, ReservationView, ReserveResult
from gpuboard.model.views.catalog import ImageList, TemplateList
from gpuboard.model.views.devices import DeviceHistory
from gpuboard.model.views.doctor import DoctorView
from gpuboard.model.views.events import EventList, EventView
from gpuboard.model.views.jobs import ActionResults, JobDetail, JobList, SubmitResult
from gpuboard.model.views.shares import UsageView
from gpuboard.model.views.timeline import TimelineView
from gpuboard.model.views.usage import UsageReport
from gpuboard.model.views.waits import DryRunView, WhyView
from gpuboard.tui.queuewindow import QueueWish

FeedItem = BoardView | JobList | ReservationList | EventView


class LogStream(Protocol):
    """A log as it comes; whoever iterates blocks."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield the log's bytes until the job ends."""
        ...

    def hang_up(self) -> None:
        """End the stream, from any thread."""
        ...


class Source(Protocol):
    """What the app asks for. Every call may block and may raise GpuboardError."""

    @property
    def is_here(self) -> bool:
        """Whether the box is this one: paths mean the same on both sides."""
        ...

    def feed(self, after: int | None) -> Iterator[FeedItem]:
        """Yield what changes, from now on; events after the id `after` first."""
        ...

    def queue_page(self, wish: QueueWish, offset: int, limit: int) -> JobList:
        """Return a part of the live jobs that are wished for, running first, then in serving order."""
        ...

    def history(self) -> DeviceHistory:
        """Return the last minutes of every device."""
        ...

    def job(self, selector: str) -> JobDetail:
        """Return one job in full."""
        ...

    def why(self, selector: str) -> WhyView:
        """Return why a job waits."""
        ...

    def log(self, selector: str, tail: int, attempt: int | None = None) -> LogStream:
        """Return the last `tail` lines of the log (of an attempt) and what follows."""
        ...

    def ended(self, user: str, limit: int) -> JobList:
        """Return ended jobs of a person, the latest first."""
        ...

    def dry_run(self, request: SubmitRequest) -> DryRunView:
        """Return what a submission would do."""
        ...

    def submit(self, request: SubmitRequest) -> SubmitResult:
        """Submit a job."""
        ...

    def cancel(self, request: CancelRequest) -> ActionResults:
        """Cancel jobs."""
        ...

    def update(self, request: UpdateRequest) -> ActionResults:
        """Change jobs that have not ended."""
        ...

    def hold(self, jobs: list[str], *, held: bool) -> ActionResults:
        """Hold jobs back, or release them."""
        ...

    def reserve(self, request: ReserveRequest) -> ReserveResult:
        """Book devices, or (`dry_run`) say what a booking would get."""
        ...

    def change_booking(self, reservation_id: int, request: ReservationUpdate) -> ReserveResult:
        """Give a booking another window, or (`dry_run`) say whether it could be had."""
        ...

    def unreserve(self, reservation_id: int, *, series: bool = False) -> ReservationView:
        """Cancel a booking, and with `series` the later ones like it."""
        ...

    def timeline(self, since: str, until: str) -> TimelineView:
        """Return bookings and runs between two ISO instants."""
        ...

    def usage(self) -> UsageView:
        """Return everybody's usage."""
        ...

    def usage_over(self, over: str) -> UsageReport:
        """Return the report on the last `day`, `week` or `month`."""
        ...

    def last_events(self, last: int) -> EventList:
        """Return the newest events, oldest first."""
        ...

    def templates(self) -> TemplateList:
        """Return the lab's templates."""
        ...

    def images(self) -> ImageList:
        """Return the local images."""
        ...

    def drain(self, request: DrainRequest) -> AdminResult:
        """Take devices out of service."""
        ...

    def resume(self, request: DrainRequest) -> AdminResult:
        """Put devices back into service."""
        ...

    def notice(self, request: NoticeRequest) -> AdminResult:
        """Publish a notice to everybody; empty words take all back."""
        ...

    def reload(self) -> AdminResult:
        """Read the daemon's configuration again."""
        ...

    def blackout(self, request: BlackoutRequest) -> AdminResult:
        """Announce a maintenance window, or take one back."""
        ...

    def backup(self, path: str) -> AdminResult:
        """Write a copy of the database."""
        ...

    def check_database(self) -> AdminResult:
        """Run the database's integrity check."""
        ...

    def admin_state(self) -> AdminState:
        """Return how the daemon itself is."""
        ...

    def doctor(self) -> DoctorView:
        """Return what is wrong with the box."""
        ...


class Snapshot(msgspec.Struct, frozen=True):
    """All that the feed has said so far; replaced as a whole, never changed."""

    board: BoardView | None = None
    queue: JobList | None = None
    reservations: ReservationList | None = None
    heard: float = 0.0
    """`time.monotonic()` of the last item."""
    fault: str = ""
    """Why there is no connection now; empty while there is one."""
    hint: str = ""


class FeedThread(threading.Thread):
    """Follows a source's feed and reports snapshots, events and histories until it is stopped."""

    def __init__(
        self,
        source: Source,
        on_snapshot: Callable[[Snapshot], object],
        on_event: Callable[[EventView], object],
        on_history: Callable[[DeviceHistory], object],
    ) -> None:
        super().__init__(name="gpuboard-feed", daemon=True)
        self._source = source
        self._on_snapshot = on_snapshot
        self._on_event = on_event
        self._on_history = on_history
        self._stop_event = threading.Event()
        self._snapshot = Snapshot()
        self._last_event: int | None = None
        self.retry_s = 0.5
        """First pause before a reconnection; doubles up to 5 s."""

    def stop(self) -> None:
        """Ask the thread to end; does not wait."""
        self._stop_event.set()

    def run(self) -> None:
        """Follow, and after every loss reconnect."""
        pause_s = self.retry_s
        while not self._stop_event.is_set():
            heard = self._snapshot.heard
            try:
                self._follow()
                fault, hint = "the daemon ended the feed", ""
            except GpuboardError as error:
                fault, hint = error.message, error.hint
            except (OSError, msgspec.MsgspecError) as error:
                fault, hint = f"the feed cannot be read: {error}", ""
            if self._stop_event.is_set():
                return
            pause_s = self.retry_s if self._snapshot.heard > heard else min(5.0, pause_s * 2)
            self._report(fault=fault, hint=hint)
            self._stop_event.wait(pause_s)

    def _follow(self) -> None:
        is_first = True
        for item in self._source.feed(self._last_event):
            if self._stop_event.is_set():
                return
            if is_first:
                is_first = False
                self._on_history(self._source.history())
            match item:
                case BoardView():
                    self._report(board=item, heard=time.monotonic(), fault="", hint="")
                case JobList():
                    self._report(queue=item, heard=time.monotonic(), fault="", hint="")
                case ReservationList():
                    self._report(reservations=item, heard=time.monotonic(), fault="", hint="")
                case EventView():
                    self._last_event = item.id
                    self._on_event(item)

    def _report(self, **changes: object) -> None:
        self._snapshot = msgspec.structs.replace(self._snapshot, **changes)
        self._on_snapshot(self._snapshot)
