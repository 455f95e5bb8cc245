"""What a person can do to a booking from any screen: cancel it, after a dialog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuboard.model.views import ReservationView
from gpuboard.tui.ink import clean
from gpuboard.tui.instants import clock_of, epoch_s

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

    def ask_cancel(self, booking: ReservationView) -> None:
        """Cancel a booking, after a dialog."""
        from gpuboard.tui.dialogs.confirm import ConfirmScreen

        if not booking.mine and not self._app.is_admin:
            self._app.say(f"booking {booking.id} is {clean(booking.user)}'s, not yours")
            return
        now_s = epoch_s(self._app.now_iso) if self._app.now_iso else 0
        now = "; what runs on them goes on" if booking.state == "active" else ""
        effect = (
            f"Booking {booking.id} of {booking.gpus} GPU(s), "
            f"{clock_of(booking.from_at, now_s)} until "
            f"{clock_of(booking.until_at, now_s)}, is given back to everybody{now}."
        )
        self._app.push_screen(
            ConfirmScreen(
                "Cancel this booking?",
                effect,
                f"gpuboard unreserve {booking.id}",
                yes="cancel the booking",
                no="keep it",
            ),
            lambda is_sure: self._cancel(booking.id) if is_sure else None,
        )

    def _cancel(self, number: int) -> None:
        self._app.errands.run(
            lambda: self._app.source.unreserve(number),
            lambda view: self._app.say(f"booking {view.id} is cancelled"),
            self._app.say_error,
        )
