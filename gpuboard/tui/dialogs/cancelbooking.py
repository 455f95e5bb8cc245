"""The question before a booking is given back: this one, or the later ones of its series too."""

from __future__ import annotations

from textual.app import ComposeResult

from gpuboard.model.views.bookings import ReservationView
from gpuboard.tui.bindings import SERIES, bindings
from gpuboard.tui.bookingwords import rule_words
from gpuboard.tui.dialogs.base import Dialog
from gpuboard.tui.ink import clean, wrapped
from gpuboard.tui.instants import clock_of
from gpuboard.tui.widgets.painted import ActionBar, Bar, Item


class CancelBookingScreen(Dialog[str]):
    """Answers `one`, `series`, or nothing; enter alone does nothing."""

    DEFAULT_CSS = "CancelBookingScreen > .box { width: 68; }"
    BINDINGS = bindings(SERIES)

    def __init__(self, booking: ReservationView, now_s: int) -> None:
        super().__init__("Cancel this booking?")
        self._booking = booking
        self._now_s = now_s

    def content(self) -> ComposeResult:
        """Return effect, command lines and answers."""
        booking = self._booking
        now = "; what runs on them goes on" if booking.state == "active" else ""
        whose = "" if booking.mine else f" It is {clean(booking.user)}'s."
        effect = (
            f"Booking {booking.id} of {booking.gpus} GPU{'s' * (booking.gpus != 1)}, "
            f"{clock_of(booking.from_at, self._now_s)} until "
            f"{clock_of(booking.until_at, self._now_s)}, is given back to everybody{now}.{whose}"
        )
        yield Bar()
        for line in wrapped(effect, min(62, self.app.size.width - 6)):
            yield Bar([(line, "text")])
        if self._has_series:
            words = f"It is one of a series ({rule_words(booking.rule)})."
            yield Bar([(words, "text")])
        yield Bar()
        yield Bar([("same as  ", "dim"), (f"gpuboard unreserve {booking.id}", "accent")])
        if self._has_series:
            series = f"gpuboard unreserve --series {booking.id}"
            yield Bar([(f"{self.gpuboard.key('series.all'):>7}  ", "dim"), (series, "accent")])
        yield Bar()
        yield ActionBar(ground="base", id="answers")

    def on_mount(self) -> None:
        """Show the answers."""
        super().on_mount()
        one, later, none = (self.gpuboard.key(key.id) for key in SERIES)
        items: list[Item] = [
            ([(f" {one}", "bad!"), (" cancel the booking   ", "text")], "screen.answer('one')")
        ]
        if self._has_series:
            items.append(
                (
                    [(f" {later}", "bad!"), (" and all later ones   ", "text")],
                    "screen.answer('series')",
                )
            )
        items.append(([(f" {none}", "key!"), (" keep it ", "text")], "screen.close"))
        self.query_one("#answers", ActionBar).show_items(items)

    def action_answer(self, answer: str) -> None:
        """Close with the answer."""
        if answer == "one" or self._has_series:
            self.dismiss(answer)

    @property
    def _has_series(self) -> bool:
        return self._booking.series_id is not None
