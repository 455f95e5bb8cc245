"""Tab 4: who has what when, and booking by widening the cursor; the same bookings as a list."""

from __future__ import annotations

from textual.app import ComposeResult

from gpuboard.errors import GpuboardError
from gpuboard.model.requests import ReservationUpdate, ReserveRequest
from gpuboard.model.views.bookings import ReservationView
from gpuboard.model.views.timeline import TimelineView
from gpuboard.tui.bindings import BOOKINGS, bindings
from gpuboard.tui.bookingwords import HEADS, booking_strip, rule_words
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.ink import Part, clean
from gpuboard.tui.instants import clock, clock_of, epoch_s, iso, limit_words, local_words, span
from gpuboard.tui.jobactions import JobTarget
from gpuboard.tui.panes.base import Pane
from gpuboard.tui.widgets.painted import Bar
from gpuboard.tui.widgets.rows import RowList
from gpuboard.tui.widgets.timeline import Choice, Grabbed, TimelineGrid

DEFAULT_BOOKING_S = 3600


class TimelinePane(Pane):
    """The timeline, or the list of bookings, and a line about what is under the cursor."""

    DEFAULT_CSS = """
    TimelinePane #booking-heads, TimelinePane #bookings { display: none; }
    TimelinePane.-list #booking-heads, TimelinePane.-list #bookings { display: block; }
    TimelinePane.-list TimelineGrid { display: none; }
    """
    BINDINGS = bindings(BOOKINGS)

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._now_s = 0
        self._seen: tuple[object, object] = (None, None)
        self._bookings: list[ReservationView] = []
        self._person = ""
        self._is_asking = False
        self._is_asked_again = False

    def compose(self) -> ComposeResult:
        """Return the grid, the list and the line below."""
        yield TimelineGrid()
        yield Bar([(HEADS, "dim")], ground="panel", id="booking-heads")
        yield RowList[ReservationView](
            lambda ink, row, width, ground: booking_strip(ink, row, self._now_s, width, ground),
            lambda booking: booking.id,
            empty=self._empty_words,
            id="bookings",
        )
        yield Bar(id="under-cursor", ground="panel")

    @property
    def grid(self) -> TimelineGrid:
        """The timeline."""
        return self.query_one(TimelineGrid)

    @property
    def is_list(self) -> bool:
        """Whether the list is shown."""
        return self.has_class("-list")

    @property
    def key_group(self) -> str:
        """Return whose keys the key bar shows."""
        return "bookings" if self.is_list else "timeline"

    def take(self, snapshot: Snapshot, *, is_stale: bool) -> None:  # noqa: ARG002
        """Move the now line, and ask anew when the queue or the bookings changed."""
        if snapshot.board is None:
            return
        found = snapshot.reservations.reservations if snapshot.reservations else []
        now_s = epoch_s(snapshot.board.at) // 60 * 60
        is_later = now_s != self._now_s
        if is_later:
            self._now_s = now_s
            self.grid.set_now(now_s)
        if is_later or found is not self._bookings:
            self._bookings = found
            self._show_list()
            self._tell()
        seen = (snapshot.queue, snapshot.reservations)
        if seen != self._seen:
            self._seen = seen
            self._ask()

    def repaint(self) -> None:
        """Draw again in another theme."""
        self.grid.repaint()
        self.query_one(RowList).repaint()

    def focus_first(self) -> None:
        """Put the keyboard on what is shown."""
        (self.query_one(RowList) if self.is_list else self.grid).focus()

    def target(self) -> JobTarget | None:
        """Return the job under the cursor."""
        choice = None if self.is_list else self.grid.choice
        entry = choice.entry if choice else None
        if entry is None or entry.job_id is None:
            return None
        state = {"forecast": "queued", "running": "running"}.get(entry.kind, "succeeded")
        return JobTarget(entry.job_id, clean(entry.name), entry.mine, state, user=clean(entry.user))

    def booking_like(self) -> ReserveRequest | None:
        """Return the window under the cursor as a booking."""
        choice = None if self.is_list else self.grid.choice
        return self._request(choice) if choice else None

    def booking(self) -> ReservationView | None:
        """Return the booking under the cursor."""
        if self.is_list:
            row: ReservationView | None = self.query_one(RowList).current
            return row
        choice = self.grid.choice
        entry = choice.entry if choice else None
        if entry is None or entry.reservation_id is None:
            return None
        return self.gpuboard.bookings.find(entry.reservation_id)

    def action_stop(self) -> None:
        """Cancel the booking or the job under the cursor, after a dialog."""
        booking = None if self.target() else self.booking()
        if booking is not None:
            self.gpuboard.bookings.ask_cancel(booking)
        elif self.is_list:
            self.gpuboard.say("there is no booking under the cursor")
        elif self._is_booking_over():
            self.gpuboard.say("this booking is over")
        else:
            super().action_stop()

    def action_grab(self) -> None:
        """Move or lengthen my booking under the cursor: on the grid by arrows, in the list by a form."""
        booking = self.booking()
        if booking is None:
            self.gpuboard.say("there is no booking under the cursor")
        elif self.is_list:
            self.gpuboard.bookings.open_change(booking)
        elif self.gpuboard.bookings.may_touch(booking):
            self.grid.grab(
                Grabbed(
                    booking.id,
                    epoch_s(booking.from_at),
                    epoch_s(booking.until_at),
                    booking.gpus,
                    has_begun=booking.state == "active",
                )
            )

    def action_view(self) -> None:
        """Show the bookings as a list, or the timeline again."""
        self.toggle_class("-list")
        self.focus_first()
        self.gpuboard.show_keys()
        self._tell()

    def action_mine(self) -> None:
        """Show only mine, or everybody's."""
        board = self.gpuboard.snapshot.board
        own = board.user if board else ""
        self._show_person("" if self._person == own else own)

    def action_person(self) -> None:
        """Pick whose are shown."""
        from gpuboard.tui.dialogs.pickperson import PickPersonScreen

        board = self.gpuboard.snapshot.board
        names = self.grid.people | {row.user for row in self._bookings}
        self.app.push_screen(
            PickPersonScreen(names, board.user if board else ""),
            lambda name: self._show_person(name) if name is not None else None,
        )

    def action_export(self) -> None:
        """Write the bookings to a calendar file."""
        self.gpuboard.bookings.open_export(is_mine=True)

    def action_zoom(self, by: int) -> None:
        """Zoom the grid (a click on the key bar)."""
        self.grid.action_zoom(by)

    def action_choose(self) -> None:
        """Choose on the grid, or in the list (a click on the key bar)."""
        (self.query_one(RowList) if self.is_list else self.grid).action_choose()

    def on_row_list_chosen(self, message: RowList.Chosen[ReservationView]) -> None:
        """Open a booking of the list."""
        if message.row.mine or self.gpuboard.is_admin:
            self.gpuboard.bookings.open_change(message.row)
        else:
            self.gpuboard.say(f"booking {message.row.id} is {clean(message.row.user)}'s")

    def on_row_list_moved(self) -> None:
        """Say what is under the cursor."""
        self._tell()

    def on_timeline_grid_wanted(self) -> None:
        """Ask for the span that is shown."""
        self._ask()

    def on_timeline_grid_moved(self) -> None:
        """Say what is under the cursor."""
        self._tell()

    def on_timeline_grid_placed(self, message: TimelineGrid.Placed) -> None:
        """Ask for the grabbed booking's new window."""
        grabbed = message.grabbed
        booking = self.gpuboard.bookings.find(grabbed.reservation_id)
        self.grid.grab(None)
        if booking is None:
            self.gpuboard.say("this booking is over")
            return
        is_moved = grabbed.from_s != epoch_s(booking.from_at)
        length = grabbed.until_s - grabbed.from_s
        self.gpuboard.bookings.open_change(
            booking,
            ReservationUpdate(
                at=local_words(grabbed.from_s) if is_moved else None,
                duration=limit_words(length),
                gpus=grabbed.gpus,
            ),
        )

    def on_timeline_grid_chosen(self, message: TimelineGrid.Chosen) -> None:
        """Open what is there, or book the window."""
        entry = message.choice.entry
        if entry is not None and entry.job_id is not None and not message.choice.is_widened:
            target = self.target()
            if target:
                self.gpuboard.jobs.open_detail(target)
            return
        from gpuboard.tui.dialogs.booking import BookingScreen

        form = BookingScreen(self._request(message.choice))
        self.app.push_screen(form, lambda _: self.grid.action_drop() if form.is_sent else None)

    @property
    def _empty_words(self) -> str:
        return f"no bookings: {self.gpuboard.key('app.book')} books GPUs"

    def _is_booking_over(self) -> bool:
        choice = self.grid.choice
        entry = choice.entry if choice else None
        return entry is not None and entry.job_id is None and entry.reservation_id is not None

    def _show_person(self, name: str) -> None:
        self._person = name
        self.grid.set_person(name)
        self._show_list()
        self._tell()

    def _show_list(self) -> None:
        rows = [row for row in self._bookings if self._person in ("", row.user)]
        empty = "no bookings of this person" if self._person else self._empty_words
        self.query_one(RowList).set_rows(rows, empty)

    def _request(self, choice: Choice) -> ReserveRequest:
        length = choice.until_s - choice.from_s if choice.is_widened else DEFAULT_BOOKING_S
        at = local_words(choice.from_s) if choice.from_s > self._now_s else ""
        return ReserveRequest(gpus=choice.gpus, duration=limit_words(length), at=at)

    def _tell(self) -> None:
        left, key = self._list_words() if self.is_list else self._grid_words(), self.gpuboard.key
        hint = f"  {key('list.open')} changes mine "
        if not self.is_list:
            hint = f"  {key('timeline.longer')} {key('timeline.more')} widen "
        if self.grid.grabbed is not None and not self.is_list:
            hint = f"  {key('timeline.choose')} asks, {key('timeline.drop')} leaves it "
        who: Part = (f"  only {clean(self._person)}'s" if self._person else "", "warn")
        self.query_one("#under-cursor", Bar).show(left, [who, (hint, "dim")])

    def _list_words(self) -> list[Part]:
        booking = self.booking()
        if booking is None:
            return [(" nothing here", "dim")]
        length = epoch_s(booking.until_at) - epoch_s(booking.from_at)
        repeats = f", repeats {rule_words(booking.rule)}" if booking.rule else ""
        words = f" booking {booking.id}: {span(length)}{repeats} "
        return [(words, "accent!"), (clean(booking.name), "text")]

    def _grid_words(self) -> list[Part]:
        grid = self.grid
        if grid.grabbed is not None:
            return [(self._grabbed_words(grid.grabbed), "accent!")]
        choice = grid.choice
        if choice is None:
            return []
        window = f" {clock(choice.from_s, self._now_s)}"
        if choice.is_widened:
            length = span(choice.until_s - choice.from_s)
            until = clock(choice.until_s, self._now_s)
            gpus = f"{choice.gpus} GPU{'s' if choice.gpus > 1 else ''}"
            return [(f"{window} until {until}, {length}, {gpus}", "accent!")]
        if choice.entry is None:
            return [(window, "accent!"), ("  nothing planned here", "dim")]
        return [(window + "  ", "accent!"), (self._entry_words(choice), "text")]

    def _grabbed_words(self, grabbed: Grabbed) -> str:
        length = span(grabbed.until_s - grabbed.from_s)
        until = clock(grabbed.until_s, self._now_s)
        begun = " (it has begun: only its end moves)" if grabbed.has_begun else ""
        return (
            f" move {grabbed.reservation_id}: {clock(grabbed.from_s, self._now_s)} until"
            f" {until}, {length}, {grabbed.gpus} GPU{'s' * (grabbed.gpus > 1)}{begun}"
        )

    def _entry_words(self, choice: Choice) -> str:
        entry = choice.entry
        if entry is None:
            return ""
        who = "you" if entry.mine else clean(entry.user)
        what = f"job {entry.job_id}" if entry.job_id else f"booking {entry.reservation_id or ''}"
        what = "no jobs" if entry.kind == "blackout" else what
        begin = clock_of(entry.from_at, self._now_s)
        if entry.kind == "forecast":
            latest = clock_of(entry.latest_from_at, self._now_s)
            by = f", no later than {latest}" if latest and latest != begin else ""
            return f"forecast: {who} {what} {clean(entry.name)}, about {begin}{by}".replace(
                "  ", " "
            )
        until = clock_of(entry.until_at, self._now_s)
        again = f", {rule_words(entry.rule)}" if entry.rule else ""
        kind = "" if entry.kind == "booking" else f"{entry.kind}: "
        words = f"{kind}{who} {what} {clean(entry.name)}".replace("  ", " ").rstrip()
        return f"{words}, {begin} until {until}{again}"

    def _ask(self) -> None:
        scale = self.grid.scale
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
        self.grid.show(view)
        self._tell()
        if self._is_asked_again:
            self._ask()

    def _failed(self, error: GpuboardError) -> None:
        self._is_asking = False
        self.gpuboard.say_error(error)
