"""What people and admins do with time and devices: bookings, drains, blackouts, notices."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec

from gpuboard.engine.booking import Bookings
from gpuboard.engine.change import Change
from gpuboard.engine.core import Core
from gpuboard.engine.protocol import BookingEdit
from gpuboard.engine.refusal import insist_admitted
from gpuboard.engine.windows import booking_of, claim_of, window_of
from gpuboard.engine.world import build_world
from gpuboard.errors import Conflict, NotFound
from gpuboard.model.ids import DeviceUuid, ReservationId
from gpuboard.model.person import Person
from gpuboard.model.plan import Admission, ReservationRequest
from gpuboard.model.reservation import (
    Blackout,
    Drain,
    Notice,
    Reservation,
    ReservationState,
)
from gpuboard.policy.admission import admit
from gpuboard.policy.plan import plan_round
from gpuboard.store.database import Store

TRIAL_ID = 1 << 60
"""Bookings that are only tried have numbers from here on."""


class BookingDesk:
    """Changes that people and admins ask for."""

    def __init__(
        self, core: Core, store: Store, bookings: Bookings, begin_now: Callable[[], None]
    ) -> None:
        """`begin_now` begins bookings whose window begins now, as far as that works."""
        self._core = core
        self._store = store
        self._bookings = bookings
        self._begin_now = begin_now

    def find(self, reservation_id: ReservationId) -> Reservation:
        """Return a booking, past ones too. Raises NotFound."""
        booking = self._core.ledger.reservations.get(reservation_id)
        booking = booking or self._store.get_reservation(reservation_id)
        if booking is None:
            raise NotFound(f"there is no booking {reservation_id}")
        return booking

    def admit(
        self, owner: Person, request: ReservationRequest, replacing: ReservationId | None = None
    ) -> Admission:
        """Say whether a window could be promised, and on which devices as things stand."""
        core = self._core
        now = core.clock.now_ms()
        world = build_world(core, now)
        gone = () if replacing is None else (replacing,)
        admission = admit(world, core.ledger.queue, request, now, replacing=gone)
        if not admission.accepted or request.from_at > now or gone:
            return admission
        tried = claim_of(booking_of(owner, request, now, number=TRIAL_ID))
        world = msgspec.structs.replace(world, bookings=(*world.bookings, tried))
        binds = plan_round(world, core.ledger.queue, now).binds
        bound = [bind.devices for bind in binds if bind.reservation_id == TRIAL_ID]
        return msgspec.structs.replace(admission, devices=bound[0]) if bound else admission

    def reserve(self, owner: Person, request: ReservationRequest, name: str) -> Reservation:
        """Book. Raises Refused with the causes and the nearest windows as hint."""
        return self.reserve_series(owner, [request], name, "")[0]

    def reserve_series(
        self, owner: Person, requests: Sequence[ReservationRequest], name: str, rule: str
    ) -> list[Reservation]:
        """Book all windows, or none. Raises Refused as `reserve` does, for the first that does not fit."""
        now = self._core.clock.now_ms()
        self.insist_all(owner, requests)
        bookings = [booking_of(owner, request, now, name=name, rule=rule) for request in requests]
        self._core.plan_soon()
        return self._begun(self._core.journal.book_series(bookings))

    def insist_all(
        self,
        owner: Person,
        requests: Sequence[ReservationRequest],
        replacing: Collection[ReservationId] = (),
    ) -> None:
        """Raise Refused unless all windows together can be promised, had the bookings `replacing` gone."""
        core = self._core
        now = core.clock.now_ms()
        world = build_world(core, now)
        for number, request in enumerate(requests):
            admission = admit(world, core.ledger.queue, request, now, replacing=replacing)
            insist_admitted(admission, request, now)
            tried = claim_of(booking_of(owner, request, now, number=TRIAL_ID + number))
            world = msgspec.structs.replace(world, bookings=(*world.bookings, tried))

    def change(
        self, reservation_id: ReservationId, by: Person, request: ReservationRequest, name: str
    ) -> Reservation:
        """Replace the window of a booking that has not ended, as one edit, or change nothing."""
        edit = BookingEdit(reservation_id, request, name, self._live(reservation_id).rule)
        return self.change_series([edit], by)[0]

    def change_series(self, edits: Sequence[BookingEdit], by: Person) -> list[Reservation]:
        """Replace the windows of bookings that have not ended, all as one edit, or change nothing."""
        bookings = [self._live(edit.reservation_id) for edit in edits]
        for booking, edit in zip(bookings, edits, strict=True):
            has_begun = booking.state is ReservationState.ACTIVE
            if has_begun and edit.request.from_at != booking.from_at:
                raise Conflict(f"booking {booking.id} has begun: its start cannot be moved")
        if any(window_of(b) != edit.request for b, edit in zip(bookings, edits, strict=True)):
            gone = [booking.id for booking in bookings]
            self.insist_all(bookings[0].owner, [edit.request for edit in edits], gone)
        change = Change("booking.change")
        for booking, edit in zip(bookings, edits, strict=True):
            self._change_one(change, booking, edit, by)
        self._core.journal.commit(change)
        self._core.plan_soon()
        return self._begun([change.reservations[booking.id] for booking in bookings])

    def _begun(self, bookings: Sequence[Reservation]) -> list[Reservation]:
        """Have those begun whose window begins now: the answer is to name the devices bound."""
        now = self._core.clock.now_ms()
        if any(one.from_at <= now and len(one.devices) < one.gpus for one in bookings):
            self._begin_now()
        return [self._core.ledger.reservations.get(one.id, one) for one in bookings]

    def _change_one(
        self, change: Change, booking: Reservation, edit: BookingEdit, by: Person
    ) -> None:
        request = edit.request
        changed = change.reservations[booking.id] = msgspec.structs.replace(
            booking,
            gpus=request.gpus,
            from_at=request.from_at,
            until_at=request.until_at,
            gpu_uuids=request.gpu_uuids,
            gpu_type=request.gpu_type,
            account=request.account,
            name=edit.name,
            rule=edit.rule,
        )
        for lease in self._core.ledger.leases.values():
            if lease.reservation_id == booking.id and lease.job_id is None:
                change.extended[lease.device] = request.until_at
        self._give_back(change, changed)
        change.event(
            "reservation.changed",
            reservation_id=booking.id,
            uid=by.uid,
            gpus=request.gpus,
            from_at=request.from_at,
            until_at=request.until_at,
        )

    def _give_back(self, change: Change, booking: Reservation) -> None:
        """Close leases of a booking that asks for fewer devices than it has, idle ones."""
        bound = [x for x in self._core.ledger.leases.values() if x.reservation_id == booking.id]
        idle = sorted(lease.device for lease in bound if lease.job_id is None)
        surplus = max(0, len(bound) - booking.gpus)
        for device in idle[len(idle) - min(surplus, len(idle)) :]:
            change.closed.append(device)
            change.extended.pop(device, None)

    def cancel(self, reservation_id: ReservationId, by: Person) -> Reservation:
        """Cancel a booking, or end an active one now."""
        return self._end(self._live(reservation_id), by, self._core.clock.now_ms())

    def _end(
        self, booking: Reservation, by: Person, now: int, also: Change | None = None
    ) -> Reservation:
        is_active = booking.state is ReservationState.ACTIVE
        state = ReservationState.ENDED if is_active else ReservationState.CANCELLED
        return self._bookings.end(booking, state, now, by.uid, also=also)

    def cancel_series(self, reservation_id: ReservationId, by: Person) -> list[Reservation]:
        """Cancel this booking and all later ones of its series, as one."""
        booking = self._live(reservation_id)
        live = self._core.ledger.reservations.values()
        later = [
            other
            for other in live
            if booking.series_id is not None
            and other.series_id == booking.series_id
            and other.from_at > booking.from_at
            and other.state is ReservationState.BOOKED
        ]
        change, now = Change("booking.cancel_series"), self._core.clock.now_ms()
        for other in later:
            change.reservations[other.id] = msgspec.structs.replace(
                other, state=ReservationState.CANCELLED, ended_at=now
            )
            change.event("reservation.cancelled", reservation_id=other.id, uid=by.uid)
        cancelled = [*change.reservations.values()]
        return [self._end(booking, by, now, also=change), *cancelled]

    def _live(self, reservation_id: ReservationId) -> Reservation:
        booking = self.find(reservation_id)
        if booking.ended_at is not None:
            raise Conflict(f"booking {reservation_id} is over: {booking.state}")
        return booking

    def drain(self, devices: Sequence[DeviceUuid], by: str, note: str) -> None:
        """Take devices out of service; what runs on them goes on."""
        change = Change("device.drain")
        for device in devices:
            change.drained.append(Drain(device, self._core.clock.now_ms(), by, note))
            change.event("device.drained", device=device, note=note, by=by)
        self._core.journal.commit(change)
        self._core.plan_soon()

    def resume(self, devices: Sequence[DeviceUuid], by: str) -> None:
        """Put devices back into service."""
        change = Change("device.resume")
        change.resumed.extend(d for d in devices if d in self._core.ledger.drains)
        for device in change.resumed:
            change.event("device.resumed", device=device, by=by)
        self._core.journal.commit(change)
        self._core.plan_soon()

    def black_out(self, blackout: Blackout, by: str) -> Blackout:
        """Announce a maintenance window."""
        self._core.plan_soon()
        return self._core.journal.announce(blackout, by)

    def call_off(self, blackout_id: int, by: str) -> None:
        """Take a maintenance window back. Raises NotFound."""
        if not self._core.journal.call_off(blackout_id, by):
            raise NotFound(f"there is no blackout {blackout_id}")
        self._core.plan_soon()

    def notices(self) -> list[Notice]:
        """Return the notices in force."""
        now = self._core.clock.now_ms()
        known = self._core.ledger.notices
        return [n for _, n in sorted(known.items()) if n.until_at is None or n.until_at > now]
