"""What a person can do to a booking from any screen: change it, cancel it, take bookings along."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuboard.model.requests import ReservationUpdate
from gpuboard.model.views.bookings import ReservationView
from gpuboard.tui.ink import clean
from gpuboard.tui.instants import epoch_s

if TYPE_CHECKING:
    from gpuboard.tui.app import GpuboardApp


class BookingActions:
    """The actions; each asks the daemon off the screen's thread."""

    def __init__(self, app: GpuboardApp) -> None:
        self._app = app

    def find(self, number: int) -> ReservationView | None:
        """Return a booking as the feed tells it."""
        known = self._app.snapshot.reservations
        rows = known.reservations if known else []
        return next((row for row in rows if row.id == number), None)

    def may_touch(self, booking: ReservationView) -> bool:
        """Whether the person may change a booking; when not, say so."""
        if booking.mine or self._app.is_admin:
            return True
        self._app.say(f"booking {booking.id} is {clean(booking.user)}'s, not yours")
        return False

    def ask_cancel(self, booking: ReservationView) -> None:
        """Cancel a booking, or its series, after a dialog."""
        from gpuboard.tui.dialogs.cancelbooking import CancelBookingScreen

        if not self.may_touch(booking):
            return
        self._app.push_screen(
            CancelBookingScreen(booking, self._now_s),
            lambda answer: (
                self._cancel(booking.id, is_series=answer == "series") if answer else None
            ),
        )

    def open_change(
        self, booking: ReservationView, wanted: ReservationUpdate | None = None
    ) -> None:
        """Open the form for another window of a booking, filled in with what is wanted."""
        from gpuboard.tui.dialogs.changebooking import ChangeBookingScreen

        if self.may_touch(booking):
            self._app.push_screen(ChangeBookingScreen(booking, wanted))

    def open_export(self, *, is_mine: bool) -> None:
        """Open the form for a calendar file."""
        from gpuboard.tui.dialogs.export import ExportScreen

        self._app.push_screen(ExportScreen(is_mine=is_mine))

    @property
    def _now_s(self) -> int:
        return epoch_s(self._app.now_iso) if self._app.now_iso else 0

    def _cancel(self, number: int, *, is_series: bool) -> None:
        self._app.errands.run(
            lambda: self._app.source.unreserve(number, series=is_series),
            lambda view: self._app.say(
                f"booking {view.id} is cancelled" + (", and the later ones" if is_series else "")
            ),
            self._app.say_error,
        )
