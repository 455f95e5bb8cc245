"""Bookings that come while a trace is played: asked for at random, kept once they are admitted."""

from __future__ import annotations

import random
from collections.abc import Iterable

import msgspec

from gpuboard.model.ids import ReservationId, Uid
from gpuboard.model.plan import Bind, ReservationRequest
from gpuboard.model.world import Booking, World
from gpuboard.policy.admission import admit
from gpuboard.policy.queue import WaitingQueue

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOBODY = Uid(0)
"""Owns the bookings; has no jobs."""


class BookingBook:
    """The bookings of a box, and when the next one is asked for.

    A quarter to half of the box, 1 to 24 hours ahead, for 1 to 4 hours; `a_day` of them until
    `until_at` (ms).
    """

    def __init__(self, gpus: int, a_day: float, until_at: int, seed: int) -> None:
        self._widths = (max(1, gpus // 4), max(1, gpus // 2))
        self._chance = random.Random(seed)  # noqa: S311 - a sample, not a secret
        self._a_day = a_day
        self._until_at = until_at
        self._bookings: dict[ReservationId, Booking] = {}
        self._late: set[ReservationId] = set()
        self._asked = 0
        self.next_at: int | None = None
        """When somebody asks for the next one (ms); None: never again."""
        self._set_next(0)

    @property
    def has_any(self) -> bool:
        """Whether any booking has not ended, as far as is known."""
        return bool(self._bookings)

    def ask(self, world: World, queue: WaitingQueue, now: int) -> None:
        """Ask for one booking; keep it if it is admitted."""
        from_at = now + self._chance.randrange(HOUR_MS, DAY_MS)
        until_at = from_at + self._chance.randrange(HOUR_MS, 4 * HOUR_MS)
        request = ReservationRequest(self._chance.randint(*self._widths), from_at, until_at)
        self._asked += 1
        if admit(world, queue, request, now).accepted:
            number = ReservationId(self._asked)
            self._bookings[number] = Booking(number, NOBODY, request.gpus, from_at, until_at)
        self._set_next(now)

    def current(self, now: int) -> tuple[Booking, ...]:
        """Return the bookings that have not ended."""
        if not self._bookings:
            return ()
        self._bookings = {
            number: booking for number, booking in self._bookings.items() if booking.until_at > now
        }
        return tuple(self._bookings.values())

    def bind(self, binds: Iterable[Bind], now: int) -> int:
        """Give bookings their devices; return how many have begun without all of them, each once."""
        for bind in binds:
            booking = self._bookings[bind.reservation_id]
            self._bookings[bind.reservation_id] = msgspec.structs.replace(
                booking, devices=(*booking.devices, *bind.devices)
            )
        late = {
            number
            for number, booking in self._bookings.items()
            if booking.from_at <= now and len(booking.devices) < booking.gpus
        } - self._late
        self._late |= late
        return len(late)

    def _set_next(self, now: int) -> None:
        if self._a_day <= 0:
            return
        at = now + max(1, round(self._chance.expovariate(self._a_day / DAY_MS)))
        self.next_at = at if at <= self._until_at else None
