"""Admission of bookings: accepted only if for its whole window everything promised still fits.

Leases by limit, other bookings, blackouts, the head's promise and the new window are laid out
together; what cannot be laid out is refused, with what is in the way and the nearest windows of
the same length that would be accepted. Preemptible jobs are in nobody's way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from msgspec.structs import replace

from gpuboard.model.ids import ReservationId
from gpuboard.model.plan import Admission, Cause, ReservationRequest, WaitCause, Window
from gpuboard.model.world import Booking, World
from gpuboard.policy.arrangement import Arrangement, Claim, arrange
from gpuboard.policy.capacity import STOP_MARGIN_MS, Capacity
from gpuboard.policy.lanes import span_of
from gpuboard.policy.plan import Round
from gpuboard.policy.profile import FOREVER
from gpuboard.policy.queue import WaitingQueue
from gpuboard.policy.words import being_cleared, clock_words, count_words, devices_words

WINDOWS_TO_TRY = 200
"""At most so many starts are tried on each side for the nearest windows."""


def admit(
    world: World,
    queue: WaitingQueue,
    request: ReservationRequest,
    now: int,
    *,
    replacing: Collection[ReservationId] = (),
) -> Admission:
    """Say whether the window could be promised; `replacing` names the bookings that would go for it."""
    desk = _Desk(world, queue, request, now, replacing)
    devices = desk.devices_at(request.from_at)
    if devices is not None:
        likely = desk.best_linked_at(request.from_at) or devices
        return Admission(accepted=True, devices=desk.capacity.box.uuids_of(likely))
    return Admission(accepted=False, causes=tuple(desk.causes()), nearest=tuple(desk.nearest()))


class _Desk:
    """One request before what is already promised."""

    def __init__(
        self,
        world: World,
        queue: WaitingQueue,
        request: ReservationRequest,
        now: int,
        replacing: Collection[ReservationId],
    ) -> None:
        self._request = request
        self._now = now
        self._utc_offsets = world.utc_offsets
        self._length_ms = request.until_at - request.from_at
        round_ = Round(world, queue, now)
        round_.run()
        if not replacing:
            self.capacity = round_.capacity
        else:
            self.capacity = _without(world, replacing, now, round_)
        self._soonest_at = now + self._patience_ms(world)
        self._head = round_.head
        self._queue = queue
        box = self.capacity.box
        self._named = box.candidates(request.gpu_uuids, request.gpu_type)
        self._candidates = self._named & box.available
        self._preference = (self.capacity.idle, box.everything & ~self.capacity.idle)
        self._before = self._lay_out(())

    def _clock(self, at: int) -> str:
        return clock_words(at, self._now, self._utc_offsets)

    def devices_at(self, from_at: int) -> int | None:
        """Return the devices of the window if it began at `from_at`, or None when it does not fit.

        A booking that begins now waits at most for the grace of preemptible jobs.
        """
        claim = Claim(
            max(from_at, self._now),
            from_at + self._length_ms,
            self._request.gpus,
            self._candidates,
            ReservationId(-1),
        )
        if claim.candidates.bit_count() < claim.gpus or claim.until_at <= claim.from_at:
            return None
        for begin_at in sorted({claim.from_at, max(claim.from_at, self._soonest_at)}):
            some = claim._replace(from_at=begin_at)
            if begin_at >= claim.until_at or self._lacks_count(some):
                continue
            trial = self._lay_out((some,))
            if trial.shortage <= self._before.shortage:
                given = (mask for laid, mask, _ in trial.given if laid is some or laid == some)
                return sum(given)
        return None

    def best_linked_at(self, from_at: int) -> int:
        """Return the devices that a window beginning later would be bound to as things stand, or 0.

        All others leave them free, and they are chosen as `Capacity.bind` will choose.
        """
        request, box, rest = self._request, self.capacity.box, self._before.profile
        if from_at <= self._now or request.gpus < 2 or box.topology is None:
            return 0
        usable = rest.free_throughout(from_at, from_at + self._length_ms) & self._candidates
        if usable.bit_count() < request.gpus:
            return 0
        free = rest.free_throughout(from_at, from_at + 1) & box.available
        quiet = rest.free_throughout(from_at, FOREVER)
        return box.choose(usable, request.gpus, quiet, free)

    def nearest(self) -> Iterator[Window]:
        """Yield the nearest windows of the same length that would be accepted, before and after."""
        if self._candidates.bit_count() < self._request.gpus:
            return
        instants = self._before.profile.times
        asked_at = max(self._request.from_at, self._now)
        earlier = {at - self._length_ms for at in instants} | {self._now, *instants}
        before = sorted((at for at in earlier if self._now <= at < asked_at), reverse=True)
        after = sorted(at for at in instants if at > asked_at)
        for starts in (before, after):
            for at in starts[:WINDOWS_TO_TRY]:
                if self.devices_at(at) is not None:
                    yield Window(at, at + self._length_ms)
                    break

    def causes(self) -> Iterator[Cause]:
        """Yield what is in the way of the window."""
        request, box = self._request, self.capacity.box
        total = self._named.bit_count()
        if total < request.gpus:
            kind = f" of type {request.gpu_type}" if request.gpu_type else ""
            wanted = count_words(request.gpus, "GPU", "GPUs")
            words = f"{wanted}{kind} wanted, this box has {total}"
            yield Cause(WaitCause.NO_SUCH_DEVICE, words)
            return
        if request.until_at <= max(request.from_at, self._now):
            yield Cause(WaitCause.BEGIN_TIME, "the window is over before it begins")
            return
        for fact in box.facts_of(self._named & ~box.available):
            words = f"{devices_words([fact])} is {fact.unavailable_reason or 'out of service'}"
            yield Cause(WaitCause.DEVICE_UNAVAILABLE, words, devices=(fact.uuid,))
        yield from self._holders()
        yield from self._bookings()
        yield from self._promises()

    def _holders(self) -> Iterator[Cause]:
        box = self.capacity.box
        for holder in self.capacity.holders:
            mask = box.mask_of(holder.devices) & self._candidates
            if not mask or holder.preemptible or holder.ends_at <= self._request.from_at:
                continue
            user = holder.user or f"uid {holder.uid}"
            facts = box.facts_of(mask)
            if holder.is_stand_in:
                yield being_cleared(facts, holder.ends_at)
                continue
            verb = "is" if len(facts) == 1 else "are"
            words = f"{devices_words(facts)} {verb} held by {user} until "
            words += self._clock(holder.ends_at)
            yield Cause(
                WaitCause.DEVICES_BUSY,
                words,
                count=len(facts),
                devices=box.uuids_of(mask),
                job_ids=(holder.job_id,),
                user=user,
                until_at=holder.ends_at,
            )

    def _bookings(self) -> Iterator[Cause]:
        for booking in self.capacity.bookings:
            named = self.capacity.candidates(booking.gpu_uuids, booking.gpu_type)
            if named & self._candidates and self._overlaps(booking):
                user = booking.user or f"uid {booking.uid}"
                words = f"{count_words(booking.gpus, 'GPU is', 'GPUs are')} booked by {user} "
                words += self._span_words(booking)
                yield Cause(
                    WaitCause.BOOKED,
                    words,
                    count=booking.gpus,
                    devices=booking.devices,
                    reservation_id=booking.reservation_id,
                    user=user,
                    until_at=booking.until_at,
                )
        for mask, blackout in self.capacity.blackouts:
            if mask & self._candidates and self._overlaps(blackout):
                words = f"maintenance {self._span_words(blackout)}"
                count = (mask & self._candidates).bit_count()
                yield Cause(WaitCause.BLACKOUT, words, count=count, until_at=blackout.until_at)

    def _promises(self) -> Iterator[Cause]:
        """Yield the promises to waiting jobs: to the head, and to those of promised classes."""
        for claim in self.capacity.claims:
            if claim.reservation_id is not None or not claim.candidates & self._candidates:
                continue
            job = self._head if claim.job_id is None else self._queue.get(claim.job_id)
            is_between = (
                claim.from_at < self._request.until_at and self._request.from_at < claim.until_at
            )
            if job is None or not is_between:
                continue
            next_words = "next and " if claim.is_of_head else ""
            words = (
                f"job {job.job_id} is {next_words}promised "
                f"{count_words(job.gpus, 'GPU', 'GPUs')} by {self._clock(claim.from_at)}"
            )
            yield Cause(
                WaitCause.WOULD_DELAY_HEAD,
                words,
                count=job.gpus,
                job_ids=(job.job_id,),
                user=job.user,
                until_at=claim.until_at,
            )

    def _overlaps(self, booking: Booking) -> bool:
        return booking.from_at < self._request.until_at and self._request.from_at < booking.until_at

    def _span_words(self, booking: Booking) -> str:
        begin, end = (self._clock(at) for at in (booking.from_at, booking.until_at))
        return f"from {begin} until {end}"

    def _lacks_count(self, claim: Claim) -> bool:
        """Whether counting devices alone says that the window does not fit."""
        if self._before.shortage:
            return False
        return self._before.profile.least_free(claim.from_at, claim.until_at) < claim.gpus

    def _lay_out(self, more: tuple[Claim, ...]) -> Arrangement:
        return arrange(self.capacity.base, [*self.capacity.claims, *more], self._preference)

    def _patience_ms(self, world: World) -> int:
        graces = (holder.grace_s for holder in world.holders if holder.preemptible)
        longest_s = max(graces, default=0)
        return longest_s * 1000 + STOP_MARGIN_MS if longest_s else 0


def _without(
    world: World, replacing: Collection[ReservationId], now: int, round_: Round
) -> Capacity:
    """Return the capacity as `round_` left it, had the bookings `replacing` never been."""
    others = tuple(
        booking
        for booking in world.bookings
        if booking.is_blackout or booking.reservation_id not in replacing
    )
    capacity = Capacity(replace(world, bookings=others), now)
    for start in round_.starts.values():
        waiting = round_.queue.get(start.job_id)
        if waiting is not None and not waiting.preemptible:
            capacity.take(capacity.box.mask_of(start.devices), now + span_of(waiting))
    for claim in round_.capacity.claims:
        if claim.reservation_id is None:
            capacity.claims.append(claim)
    return capacity
