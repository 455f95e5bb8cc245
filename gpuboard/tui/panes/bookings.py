"""Tab 5: all bookings, and what everybody used."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.strip import Strip

from gpuboard.model.views import ReservationView, UsageRow, UsageView
from gpuboard.tui.bindings import BOOKINGS, bindings
from gpuboard.tui.feed import Snapshot
from gpuboard.tui.graphs import bar
from gpuboard.tui.ink import Ink, Part, clean, fit
from gpuboard.tui.instants import brief, clock_of, epoch_s, span
from gpuboard.tui.panes.base import Pane
from gpuboard.tui.widgets.painted import Bar
from gpuboard.tui.widgets.rows import RowList


class BookingsPane(Pane):
    """Bookings above, people below."""

    DEFAULT_CSS = """
    BookingsPane #bookings { height: 3fr; }
    BookingsPane #people { height: 2fr; }
    """
    BINDINGS = bindings(BOOKINGS)

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._bookings: list[ReservationView] = []
        self._now_s = 0
        self._only_mine = False
        self._usage_asked: object = None

    def compose(self) -> ComposeResult:
        """Return both lists with their heads."""
        heads = (
            f"  {'STATE':<9} {'ID':>4}  {'WHO':<10} {'GPUS':<10} {'FROM':<12} {'UNTIL':<12} NAME"
        )
        yield Bar([(heads, "dim")], ground="panel")
        yield RowList[ReservationView](
            self._paint_booking,
            lambda booking: booking.id,
            empty="no bookings: b books GPUs",
            id="bookings",
        )
        yield Bar(id="share")
        people = f"  {'PERSON':<10} {'NOW':<8} {'LAST 7 DAYS':>14}   {'SHARE OF RECENT USE':<30}"
        yield Bar([(people, "dim")], ground="panel")
        yield RowList[UsageRow](self._paint_person, lambda row: row.uid, id="people")

    def take(self, snapshot: Snapshot, *, is_stale: bool) -> None:  # noqa: ARG002
        """Show the bookings of a snapshot; ask for the usage when the queue changed."""
        now_s = epoch_s(snapshot.board.at) // 60 * 60 if snapshot.board else self._now_s
        found = snapshot.reservations.reservations if snapshot.reservations else []
        if found is not self._bookings or now_s != self._now_s:
            self._bookings, self._now_s = found, now_s
            self._show()
        if self._usage_asked != (snapshot.queue, now_s):
            self._usage_asked = (snapshot.queue, now_s)
            self.gpuboard.errands.run(
                self.gpuboard.source.usage, self._take_usage, self.gpuboard.say_error
            )

    def repaint(self) -> None:
        """Draw again in another theme."""
        for rows in self.query(RowList):
            rows.repaint()

    def focus_first(self) -> None:
        """Put the keyboard on the bookings."""
        self.query_one("#bookings").focus()

    def action_mine(self) -> None:
        """Show only mine, or everybody's."""
        self._only_mine = not self._only_mine
        self._show()

    def action_stop(self) -> None:
        """Cancel the booking under the cursor, after a dialog."""
        booking: ReservationView | None = self.query_one("#bookings", RowList).current
        if booking is None:
            self.gpuboard.say("there is no booking under the cursor")
        else:
            self.gpuboard.bookings.ask_cancel(booking)

    def _show(self) -> None:
        rows = [row for row in self._bookings if row.mine or not self._only_mine]
        empty = "you have no bookings" if self._only_mine else "no bookings: b books GPUs"
        self.query_one("#bookings", RowList).set_rows(rows, empty)

    def _take_usage(self, view: UsageView) -> None:
        if self.is_mounted:
            people = sorted(view.people, key=lambda row: -row.device_seconds)
            self.query_one("#people", RowList).set_rows(people, "nobody used anything yet")
            self.query_one("#share", Bar).show([(" " + fair_share_words(view), "text")])

    def _paint_booking(self, ink: Ink, row: ReservationView, width: int, ground: str) -> Strip:
        is_active = row.state == "active"
        devices = ",".join(clean(device.label) for device in row.devices)
        gpus = f"{row.gpus} ({devices})" if devices else str(row.gpus)
        owner = "mine!" if row.mine else "text"
        parts: list[Part] = [
            (f"{ink.glyphs.booked if is_active else ink.glyphs.free} ", "booked"),
            (fit(clean(row.state), 9) + " ", "booked" if is_active else "dim"),
            (f"{row.id:>4}  ", owner),
            (fit("you" if row.mine else clean(row.user), 10) + " ", owner),
            (fit(gpus, 10) + " ", "text"),
            (fit(clock_of(row.from_at, self._now_s), 12) + " ", "text"),
            (fit(clock_of(row.until_at, self._now_s), 12) + " ", "text"),
            (clean(row.name), "dim"),
        ]
        return ink.line(parts, width, ground)

    def _paint_person(self, ink: Ink, row: UsageRow, width: int, ground: str) -> Strip:
        owner = "mine!" if row.mine else "text"
        filled, empty = bar(row.share, 24, ink.glyphs)
        now = f"{row.running_gpus} GPU" if row.running_gpus else "-"
        parts: list[Part] = [
            ("  " + fit("you" if row.mine else clean(row.user), 10) + " ", owner),
            (fit(now, 8) + " ", "text"),
            (f"{span(row.device_seconds_7d):>10} GPU   ", "text"),
            (filled, "mine" if row.mine else "accent"),
            (empty, "track"),
            (f" {row.share:>4.0%}", "text"),
            (f"   {row.queued_jobs} waiting" if row.queued_jobs else "", "dim"),
        ]
        return ink.line(parts, width, ground)


def fair_share_words(view: UsageView) -> str:
    """Return one's own fair share in a sentence: what was used, when it is forgotten, one's place."""
    mine = next((row for row in view.people if row.mine), None)
    if mine is None or not mine.device_seconds:
        return "you used nothing lately: your jobs come before those of people who did"
    half = f", half forgotten in {brief(view.half_life_s)}" if view.half_life_s else ""
    ahead = sum(row.factor > mine.factor for row in view.people)
    people = len(view.people) - 1
    place = f"{ahead} of {people} people come first" if ahead else "nobody comes before you"
    return f"you used {mine.device_seconds_7d / 3600:.0f} GPU-hours in 7d{half}; {place}"
