"""Bookings that come while a trace is played: asked for at random, kept once they are admitted."""

from __future__ import annotations

import heapq
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


class PastBooking(msgspec.Struct, frozen=True):
    """A booking that was made on a real box; instants in seconds after the trace's begin."""

    gpus: int
    made_s: int
    from_s: int
    until_s: int


class Closure(msgspec.Struct, frozen=True):
    """A device out of service; instants in seconds after the trace's begin."""

    device: int
    """By number."""
    from_s: int
    until_s: int


class BookingBook:
    """The bookings of a box, and when the next one is asked for.

    Those of the past are asked for when they were, and devices are closed as they were. Others are
    asked for at random: a quarter to half of the box, 1 to 24 hours ahead, for 1 to 4 hours; `a_day`
    of them until `until_at` (ms).
    """

    def __init__(
        self,
        gpus: int,
        a_day: float,
        until_at: int,
        seed: int,
        *,
        no_show: float = 0.0,
        no_show_after_s: int | None = None,
        bookings: Iterable[PastBooking] = (),
        closures: Iterable[Closure] = (),
    ) -> None:
        """Nobody comes to the part `no_show` of them; those end so long after their begin."""
        self._widths = (max(1, gpus // 4), max(1, gpus // 2))
        self._chance = random.Random(seed)  # noqa: S311 - a sample, not a secret
        self._a_day = a_day
        self._until_at = until_at
        self._bookings: dict[ReservationId, Booking] = {}
        self._late: set[ReservationId] = set()
        self._past = sorted(bookings, key=lambda one: -one.made_s)
        self._closures = sorted(closures, key=lambda one: -one.from_s)
        """Both to be taken from the end."""
        self._closed = 0
        self._asked = 0
        self._ask_at: int | None = None
        """When somebody asks for the next one (ms); None: never again."""
        self._no_show = no_show
        self._no_show_after_s = no_show_after_s
        self._coming = random.Random(seed + 1)  # noqa: S311 - a sample, not a secret
        self._releases: list[tuple[int, ReservationId]] = []
        """When bookings to which nobody comes are released; a heap."""
        self._set_next(0)
        self.next_at = self._next_at()
        """When something happens by itself (ms); None: never again."""

    @property
    def has_any(self) -> bool:
        """Whether any booking has not ended, as far as is known."""
        return bool(self._bookings)

    def _next_at(self) -> int | None:
        instants = [self._ask_at, self._releases[0][0] if self._releases else None]
        instants += [one.made_s * 1000 for one in self._past[-1:]]
        instants += [one.from_s * 1000 for one in self._closures[-1:]]
        return min((at for at in instants if at is not None), default=None)

    def go_on(self, world: World, queue: WaitingQueue, now: int) -> bool:
        """Let happen what is due; whether a device was closed, which no plan could foresee."""
        closed = self._closed
        while self._closures and self._closures[-1].from_s * 1000 <= now:
            self._close(self._closures.pop(), world)
        while self._past and self._past[-1].made_s * 1000 <= now:
            past = self._past.pop()
            self._book(
                world,
                queue,
                now,
                ReservationRequest(past.gpus, max(now, past.from_s * 1000), past.until_s * 1000),
            )
        while self._releases and self._releases[0][0] <= now:
            self._bookings.pop(heapq.heappop(self._releases)[1], None)
        if self._ask_at is not None and self._ask_at <= now:
            self._ask(world, queue, now)
        self.next_at = self._next_at()
        return self._closed > closed

    def _close(self, closure: Closure, world: World) -> None:
        self._closed += 1
        number = ReservationId(-self._closed)
        self._bookings[number] = Booking(
            number,
            NOBODY,
            1,
            closure.from_s * 1000,
            closure.until_s * 1000,
            gpu_uuids=(world.devices[closure.device].uuid,),
            is_blackout=True,
        )

    def _ask(self, world: World, queue: WaitingQueue, now: int) -> None:
        """Ask for one booking at random."""
        from_at = now + self._chance.randrange(HOUR_MS, DAY_MS)
        until_at = from_at + self._chance.randrange(HOUR_MS, 4 * HOUR_MS)
        request = ReservationRequest(self._chance.randint(*self._widths), from_at, until_at)
        number = self._book(world, queue, now, request)
        if number is not None:
            is_absent = self._no_show > 0 and self._coming.random() < self._no_show
            if is_absent and self._no_show_after_s is not None:
                heapq.heappush(self._releases, (from_at + self._no_show_after_s * 1000, number))
        self._set_next(now)

    def _book(
        self, world: World, queue: WaitingQueue, now: int, request: ReservationRequest
    ) -> ReservationId | None:
        """Keep a booking if it is admitted."""
        self._asked += 1
        known = msgspec.structs.replace(world, bookings=self.current(now))
        if request.until_at <= now or not admit(known, queue, request, now).accepted:
            return None
        number = ReservationId(self._asked)
        self._bookings[number] = Booking(
            number, NOBODY, request.gpus, request.from_at, request.until_at
        )
        return number

    def current(self, now: int) -> tuple[Booking, ...]:
        """Return the bookings that have not ended."""
        if not self._bookings:
            return ()
        self._bookings = {
            number: booking for number, booking in self._bookings.items() if booking.until_at > now
        }
        return tuple(self._bookings.values())

    def bind(self, binds: Iterable[Bind], now: int, *, is_final: bool = True) -> int:
        """Give bookings their devices; return how many have begun without all of them, each once.

        Nothing is counted where more is to come at this instant.
        """
        for bind in binds:
            booking = self._bookings[bind.reservation_id]
            self._bookings[bind.reservation_id] = msgspec.structs.replace(
                booking, devices=(*booking.devices, *bind.devices)
            )
        if not is_final:
            return 0
        late = {
            number
            for number, booking in self._bookings.items()
            if booking.from_at <= now
            and len(booking.devices) < booking.gpus
            and not booking.is_blackout
        } - self._late
        self._late |= late
        return len(late)

    def _set_next(self, now: int) -> None:
        if self._a_day <= 0:
            return
        at = now + max(1, round(self._chance.expovariate(self._a_day / DAY_MS)))
        self._ask_at = at if at <= self._until_at else None
