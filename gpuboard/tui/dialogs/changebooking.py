"""The form for another window of a booking: move it, make it longer or shorter, rename it."""

from __future__ import annotations

from gpuboard.errors import InvalidRequest
from gpuboard.model.requests import ReservationUpdate
from gpuboard.model.views.bookings import ReservationView, ReserveResult
from gpuboard.tui.commandlines import change_line
from gpuboard.tui.dialogs.base import Line
from gpuboard.tui.dialogs.booking import WindowForm
from gpuboard.tui.dialogs.form import Field, whole_number
from gpuboard.tui.dialogs.windows import window_words
from gpuboard.tui.ink import clean
from gpuboard.tui.instants import clock_of, epoch_s, limit_words, local_words
from gpuboard.tui.localzone import zone_name


class ChangeBookingScreen(WindowForm[ReservationUpdate]):
    """What is there is filled in; only what differs is asked for."""

    FIELDS = (
        Field("gpus", "GPUs", "1"),
        Field("duration", "for", "1h30m, 90m, 1-00:00:00", ("until",)),
        Field("at", "from", "14:30, tomorrow 09:00, 2026-11-24 09:00", ("from_at", "begin")),
        Field("name", "name", ""),
    )
    SEND = "change"

    def __init__(self, booking: ReservationView, wanted: ReservationUpdate | None = None) -> None:
        self._booking = booking
        begin, end = epoch_s(booking.from_at), epoch_s(booking.until_at)
        self._old = {
            "gpus": str(booking.gpus),
            "duration": limit_words(end - begin),
            "at": local_words(begin),
            "name": clean(booking.name),
        }
        values = dict(self._old)
        for name in values if wanted is not None else ():
            value = getattr(wanted, name)
            values[name] = values[name] if value is None else str(value)
        super().__init__(f"Change booking {booking.id}", values)

    def request(self, values: dict[str, str]) -> ReservationUpdate:
        """Return what differs."""
        if not values["duration"]:
            raise InvalidRequest("say for how long", field="duration")
        changed = {name: values[name] for name in values if values[name] != self._old[name]}
        if not changed:
            raise InvalidRequest("nothing is different yet", field="duration")
        gpus = whole_number(values, "gpus", default=1, least=1) if "gpus" in changed else None
        # A new start alone keeps the length; a new length alone keeps the start.
        return ReservationUpdate(
            gpus=gpus,
            duration=changed.get("duration"),
            at=changed.get("at"),
            name=changed.get("name"),
            timezone=zone_name(),
        )

    def line_of(self, request: ReservationUpdate) -> str:
        """Return the command line."""
        return change_line(self._booking.id, request)

    def ask(self, request: ReservationUpdate) -> ReserveResult:
        """Ask whether it could be had."""
        import msgspec

        trial = msgspec.structs.replace(request, dry_run=True)
        return self.gpuboard.source.change_booking(self._booking.id, trial)

    def had_lines(self, answer: ReserveResult) -> list[Line]:
        """Say what was and what would be."""
        begin, end = (
            clock_of(at, self.now_s) for at in (self._booking.from_at, self._booking.until_at)
        )
        gpus = f"{self._booking.gpus} GPU{'s' * (self._booking.gpus != 1)}"
        return [
            [("was:    ", "dim"), (f"{gpus}, {begin} until {end}", "dim")],
            [("can be: ", "free!"), (window_words(answer.reservation, self.now_s), "text")],
        ]

    def send(self, request: ReservationUpdate) -> str:
        """Change it."""
        answer = self.gpuboard.source.change_booking(self._booking.id, request)
        return f"booking {self._booking.id}: {window_words(answer.reservation, self.now_s)}"
