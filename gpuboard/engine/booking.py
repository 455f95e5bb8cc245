"""Bookings through time: begin, get devices as they come free, end on the second."""

from __future__ import annotations

import msgspec

from gpuboard.engine.change import Change, NewLease
from gpuboard.engine.core import Core
from gpuboard.model.plan import Bind
from gpuboard.model.reservation import Reservation, ReservationState


class Bookings:
    """Moves bookings from booked to active to ended."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def keep_time(self) -> None:
        """Begin the bookings whose window has begun, end those whose window is over."""
        now = self._core.clock.now_ms()
        for booking in list(self._core.ledger.reservations.values()):
            if now >= booking.until_at:
                self.end(booking, ReservationState.ENDED, now)
            elif booking.state is ReservationState.BOOKED and now >= booking.from_at:
                self._begin(booking)
        for blackout in list(self._core.ledger.blackouts.values()):
            if now >= blackout.until_at:
                del self._core.ledger.blackouts[blackout.id]
                self._core.plan_soon()

    def _begin(self, booking: Reservation) -> None:
        change = Change("booking.begin")
        active = msgspec.structs.replace(booking, state=ReservationState.ACTIVE)
        change.reservations[booking.id] = active
        change.event(
            "reservation.started",
            reservation_id=booking.id,
            uid=booking.owner.uid,
            gpus=booking.gpus,
        )
        self._core.journal.commit(change)
        self._core.plan_soon()

    def bind(self, bind: Bind) -> None:
        """Give free devices to a booking whose window has begun."""
        core = self._core
        booking = core.ledger.reservations[bind.reservation_id]
        change = Change("booking.bind")
        devices = (*booking.devices, *(d for d in bind.devices if d not in booking.devices))
        change.reservations[booking.id] = msgspec.structs.replace(
            booking, state=ReservationState.ACTIVE, devices=devices
        )
        for device in bind.devices:
            change.opened.append(
                NewLease(device, booking.owner.uid, None, booking.id, booking.until_at)
            )
        change.event(
            "reservation.bound",
            reservation_id=booking.id,
            uid=booking.owner.uid,
            devices=",".join(bind.devices),
        )
        core.journal.commit(change)

    def end(
        self,
        booking: Reservation,
        state: ReservationState,
        now: int,
        uid: int | None = None,
        *,
        event: str = "",
        also: Change | None = None,
    ) -> Reservation:
        """End a booking; a job of its owner that still runs keeps its devices until it ends.

        `event` says how, where the state alone does not; `also` is made true in the same transaction.
        """
        core = self._core
        change = also or Change("booking.end")
        ended = msgspec.structs.replace(booking, state=state, ended_at=now)
        change.reservations[booking.id] = ended
        change.closed.extend(
            lease.device
            for lease in core.ledger.leases.values()
            if lease.reservation_id == booking.id and lease.job_id is None
        )
        freed = list(change.closed)
        self._hand_over(change, booking)
        change.event(f"reservation.{event or state}", reservation_id=booking.id, uid=uid)
        core.journal.commit(change)
        for device in freed:
            core.settling[device] = now
        core.plan_soon()
        return ended

    def _hand_over(self, change: Change, booking: Reservation) -> None:
        """Charge devices that were lent to the owners of the jobs on them from the booking's end on."""
        for lease in self._core.ledger.leases.values():
            if lease.reservation_id != booking.id or lease.job_id is None:
                continue
            job = self._core.ledger.holding[lease.job_id]
            if job.reservation_id == booking.id:
                continue
            change.closed.append(lease.device)
            change.opened.append(
                NewLease(lease.device, job.owner.uid, job.id, None, lease.until_at, lease.attempt)
            )

    def next_at(self) -> int | None:
        """Return when (ms) the next booking begins or ends."""
        ledger = self._core.ledger
        due = [
            r.from_at if r.state is ReservationState.BOOKED else r.until_at
            for r in ledger.reservations.values()
        ]
        due += [b.until_at for b in ledger.blackouts.values()]
        return min(due, default=None)
