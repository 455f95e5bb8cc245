"""Tab 4: who has what when, and booking by widening the cursor."""

from __future__ import annotations

from textual.app import ComposeResult

from gpuboard.errors import GpuboardError
from gpuboard.model.requests import ReserveRequest
from gpuboard.model.views import TimelineView
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.ink import Part, clean
from gpuboard.tui.instants import clock, clock_of, epoch_s, iso, limit_words, local_words, span
from gpuboard.tui.jobactions import JobTarget
from gpuboard.tui.panes.base import Pane
from gpuboard.tui.widgets.painted import Bar
from gpuboard.tui.widgets.timeline import Choice, TimelineGrid

DEFAULT_BOOKING_S = 3600


class TimelinePane(Pane):
    """The timeline and a line about what is under its cursor."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._now_s = 0
        self._seen: tuple[object, object] = (None, None)
        self._is_asking = False
        self._is_asked_again = False

    def compose(self) -> ComposeResult:
        """Return the grid and the line below."""
        yield TimelineGrid()
        yield Bar(id="under-cursor", ground="panel")

    def take(self, snapshot: Snapshot, *, is_stale: bool) -> None:  # noqa: ARG002
        """Move the now line, and ask anew when the queue or the bookings changed."""
        if snapshot.board is None:
            return
        now_s = epoch_s(snapshot.board.at) // 60 * 60
        if now_s != self._now_s:
            self._now_s = now_s
            self.query_one(TimelineGrid).set_now(now_s)
            self._tell()
        seen = (snapshot.queue, snapshot.reservations)
        if seen != self._seen:
            self._seen = seen
            self._ask()

    def repaint(self) -> None:
        """Draw again in another theme."""
        self.query_one(TimelineGrid).repaint()

    def focus_first(self) -> None:
        """Put the keyboard on the grid."""
        self.query_one(TimelineGrid).focus()

    def target(self) -> JobTarget | None:
        """Return the job under the cursor."""
        choice = self.query_one(TimelineGrid).choice
        entry = choice.entry if choice else None
        if entry is None or entry.job_id is None:
            return None
        state = {"forecast": "queued", "running": "running"}.get(entry.kind, "succeeded")
        return JobTarget(entry.job_id, clean(entry.name), entry.mine, state, user=clean(entry.user))

    def booking_like(self) -> ReserveRequest | None:
        """Return the window under the cursor as a booking."""
        choice = self.query_one(TimelineGrid).choice
        return self._request(choice) if choice else None

    def action_stop(self) -> None:
        """Cancel the booking or the job under the cursor, after a dialog."""
        choice = self.query_one(TimelineGrid).choice
        entry = choice.entry if choice else None
        if entry is None or entry.job_id is not None or entry.reservation_id is None:
            super().action_stop()
            return
        booking = self.gpuboard.bookings.find(entry.reservation_id)
        if booking is not None:
            self.gpuboard.bookings.ask_cancel(booking)
        else:
            self.gpuboard.say("this booking is over")

    def on_timeline_grid_wanted(self) -> None:
        """Ask for the span that is shown."""
        self._ask()

    def on_timeline_grid_moved(self) -> None:
        """Say what is under the cursor."""
        self._tell()

    def on_timeline_grid_chosen(self, message: TimelineGrid.Chosen) -> None:
        """Open what is there, or book the window."""
        entry = message.choice.entry
        if entry is not None and entry.job_id is not None and not message.choice.is_widened:
            target = self.target()
            if target:
                self.gpuboard.jobs.open_detail(target)
            return
        from gpuboard.tui.dialogs.booking import BookingScreen

        self.app.push_screen(BookingScreen(self._request(message.choice)))

    def _request(self, choice: Choice) -> ReserveRequest:
        length = choice.until_s - choice.from_s if choice.is_widened else DEFAULT_BOOKING_S
        at = local_words(choice.from_s) if choice.from_s > self._now_s else ""
        return ReserveRequest(gpus=choice.gpus, duration=limit_words(length), at=at)

    def _tell(self) -> None:
        choice = self.query_one(TimelineGrid).choice
        if choice is None:
            return
        left: list[Part]
        window = f" {clock(choice.from_s, self._now_s)}"
        if choice.is_widened:
            length = span(choice.until_s - choice.from_s)
            until = clock(choice.until_s, self._now_s)
            gpus = f"{choice.gpus} GPU{'s' if choice.gpus > 1 else ''}"
            left = [(f"{window} until {until}, {length}, {gpus}", "accent!")]
        elif choice.entry is not None:
            entry = choice.entry
            who = "you" if entry.mine else clean(entry.user)
            what = f"job {entry.job_id}" if entry.job_id else "booking"
            what = "no jobs" if entry.kind == "blackout" else what
            until = clock_of(entry.until_at, self._now_s)
            words = f"{entry.kind}: {who} {what} {clean(entry.name)}".replace("  ", " ")
            left = [
                (window + "  ", "accent!"),
                (f"{words}, {clock_of(entry.from_at, self._now_s)} until {until}", "text"),
            ]
        else:
            left = [(window, "accent!"), ("  nothing planned here", "dim")]
        self.query_one("#under-cursor", Bar).show(left, [("  shift+arrows widen ", "dim")])

    def _ask(self) -> None:
        scale = self.query_one(TimelineGrid).scale
        if scale is None:
            return
        if self._is_asking:
            self._is_asked_again = True
            return
        self._is_asking, self._is_asked_again = True, False
        since, until = iso(scale.start_s), iso(scale.end_s)
        self.gpuboard.errands.run(
            lambda: self.gpuboard.source.timeline(since, until), self._take_view, self._failed
        )

    def _take_view(self, view: TimelineView) -> None:
        self._is_asking = False
        if not self.is_mounted:
            return
        self.query_one(TimelineGrid).show(view)
        self._tell()
        if self._is_asked_again:
            self._ask()

    def _failed(self, error: GpuboardError) -> None:
        self._is_asking = False
        self.gpuboard.say_error(error)
