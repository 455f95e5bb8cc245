"""No-shows: a booking that nobody came to is released to the queue, and its owner told.

Released only where all agree that nobody came: its devices have been bound for so long, no job of
its owner has run in the window or runs, and the driver names no process of theirs on the box. What
cannot be read is not an absence.
"""

from __future__ import annotations

from gpuboard.engine.booking import Bookings
from gpuboard.engine.core import Core
from gpuboard.model.reservation import Reservation, ReservationState
from gpuboard.store.database import Store


class NoShows:
    """Ends active bookings to which nobody came."""

    def __init__(self, core: Core, store: Store, bookings: Bookings) -> None:
        self._core = core
        self._store = store
        self._bookings = bookings
        self._came: set[int] = set()
        """Bookings whose owner has been seen: never looked at again."""
        self._complete_at: dict[int, int] = {}
        """When (ms) bookings were seen with all their devices first."""

    def run(self) -> None:
        """Release the bookings that are due for it."""
        now = self._core.clock.now_ms()
        for booking in list(self._core.ledger.reservations.values()):
            due_at = self._due_at(booking)
            if due_at is None or now < due_at:
                continue
            if self._is_here(booking):
                self._came.add(booking.id)
            elif self._may_be_there(booking):
                continue  # the record is not read again and again meanwhile
            elif self._store.has_run_since(booking.owner.uid, booking.from_at):
                self._came.add(booking.id)
            else:
                self._bookings.end(
                    booking, ReservationState.ENDED, now, booking.owner.uid, event="no_show"
                )
        live = self._core.ledger.reservations.keys()
        self._came &= live
        self._complete_at = {one: at for one, at in self._complete_at.items() if one in live}

    def next_at(self) -> int | None:
        """Return when (ms) the next booking may be released; the sweeps ask again after that."""
        now = self._core.clock.now_ms()
        due = (self._due_at(booking) for booking in self._core.ledger.reservations.values())
        return min((at for at in due if at is not None and at > now), default=None)

    def _due_at(self, booking: Reservation) -> int | None:
        """Return when the owner of a booking that has all its devices is late; None if never."""
        after_s = self._core.config.reservations.no_show_after_s
        if after_s is None or booking.state is not ReservationState.ACTIVE:
            return None
        if booking.id in self._came:
            return None
        leases = [
            lease
            for lease in self._core.ledger.leases.values()
            if lease.reservation_id == booking.id
        ]
        if len(leases) < booking.gpus:
            return None
        # A device that is lent meanwhile gets a new lease each time: the first time counts.
        granted_at = max(lease.granted_at for lease in leases)
        return self._complete_at.setdefault(booking.id, granted_at) + after_s * 1000

    def _is_here(self, booking: Reservation) -> bool:
        """Whether a job of the owner runs."""
        uid = booking.owner.uid
        return any(job.owner.uid == uid for job in self._core.ledger.holding.values())

    def _may_be_there(self, booking: Reservation) -> bool:
        """Whether a process of the owner is on one of the devices, or that cannot be told."""
        if self._core.snapshot.fault:
            return True
        bound = set(booking.devices)
        for reading in self._core.snapshot.readings:
            if reading.device.uuid not in bound:
                continue
            if reading.processes is None:
                return True
            if any(process.uid in (None, booking.owner.uid) for process in reading.processes):
                return True
        return False
