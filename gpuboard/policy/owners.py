"""Owners: bookings that have begun get their devices, and their owners' jobs start on them.

An owner's job comes before everybody's: what runs on lent devices is stopped for it, quotas do not
count, and only its own end has to lie within the booking.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from gpuboard.model.plan import Bind, Stop
from gpuboard.model.world import Booking, Waiting
from gpuboard.policy.lanes import LaneClass, span_of

if TYPE_CHECKING:
    from gpuboard.policy.plan import Round


class Owners:
    """Serves bookings and their owners in one round of planning."""

    def __init__(self, round_: Round) -> None:
        self._round = round_
        self._now = round_.now
        self._capacity = round_.capacity

    def serve(self) -> None:
        """Bind devices to the bookings that have begun, then serve their owners, the earliest first."""
        for booking in self._capacity.bookings:
            if booking.from_at > self._now:
                continue
            devices = self._capacity.bind(booking)
            if devices:
                uuids = self._capacity.box.uuids_of(devices)
                self._round.binds.append(Bind(booking.reservation_id, uuids))
        for booking in self._capacity.bookings:
            if booking.from_at <= self._now:
                self._serve_owner(booking)

    def _serve_owner(self, booking: Booking) -> None:
        """Start the owner's jobs that fit their booking and end within it, ahead of the queue.

        Preemptible jobs of others that run on its devices are stopped for them.
        """
        capacity = self._capacity
        dark = capacity.dark_between(self._now, self._now + 1)
        usable = capacity.bound_to(booking) & capacity.box.available & ~dark
        unused, lent = usable & ~capacity.held, self._lent(usable)
        if not unused | lent:
            return
        for waiting in self._owners_jobs(booking, (unused | lent).bit_count()):
            if not unused | lent:
                break
            lit = ~capacity.dark_between(self._now, self._now + span_of(waiting))
            devices = self._choose_of(waiting, unused & lit)
            if devices:
                capacity.held |= devices
                unused &= ~devices
                self._round.allowance.take(waiting, in_booking=True)
                self._round.start(waiting, devices, booking.reservation_id)
                continue
            devices = self._choose_of(waiting, unused & lit, lent & lit)
            if devices:
                self._round.wanted_bookings.add(booking.reservation_id)
                self._call_back(booking, devices & lent)
                unused, lent = unused & ~devices, lent & ~devices

    def _owners_jobs(self, booking: Booking, most: int) -> Iterator[Waiting]:
        """Yield the owner's waiting jobs of `most` devices or fewer that end within the booking."""
        left_ms = booking.until_at - self._now
        own = [
            lane
            for kind in (LaneClass.ORDINARY, LaneClass.PREEMPTIBLE)
            for lane in self._round.queue.lanes(self._now, kind)
            if lane.uid == booking.uid and lane.key.gpus <= most and lane.shortest_ms <= left_ms
        ]
        scan = self._round.world.settings.backfill_scan
        for job_id, span_ms, _ in islice(self._round.order.jobs(own), scan):
            waiting = self._round.unstarted(job_id)
            if waiting is None or span_ms > left_ms:
                continue
            if self._round.allowance.has_array_room(waiting):
                yield waiting

    def _choose_of(self, waiting: Waiting, unused: int, lent: int = 0) -> int:
        """Return devices of a booking for its owner's job, lent ones last, or 0."""
        box, pool = self._capacity.box, unused | lent
        options = [option & pool for option in self._capacity.options(waiting)]
        options = [option for option in options if option.bit_count() >= waiting.gpus]
        chosen = [box.choose(option, waiting.gpus, option & unused, pool) for option in options]
        return box.best_of(chosen, pool) if chosen else 0

    def _lent(self, devices: int) -> int:
        """Return those of a booking's devices on which preemptible jobs of others run."""
        lent = 0
        for holder in self._round.world.holders if devices & self._capacity.held else ():
            if holder.preemptible and holder.reservation_id is None:
                lent |= self._capacity.box.held_by(holder)
        return lent & devices

    def _call_back(self, booking: Booking, devices: int) -> None:
        """Stop the preemptible jobs of others on these devices of a booking."""
        for holder in sorted(self._round.world.holders, key=lambda holder: holder.job_id):
            if holder.stopping or not self._capacity.box.held_by(holder) & devices:
                continue
            if holder.preemptible and holder.reservation_id is None:
                user = booking.user or f"uid {booking.uid}"
                words = f"{user} wants the devices of booking {booking.reservation_id}"
                self._round.stops[holder.job_id] = Stop(holder.job_id, words)
