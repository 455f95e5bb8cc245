"""Why a job waits: each cause counted and in words, its place, and what would start it now.

The causes are read from the state in which a round of planning ends, so they are the plan's own
reasons; a change that is said to start the job has been planned first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_

from msgspec.structs import replace

from gpuboard.errors import Conflict
from gpuboard.model.ids import JobId
from gpuboard.model.plan import Cause, Explanation, Plan, StartForecast, WaitCause
from gpuboard.model.sizes import format_size
from gpuboard.model.world import Booking, Holder, Waiting, World
from gpuboard.policy.arrangement import Claim
from gpuboard.policy.lanes import LaneClass, lane_class, lane_key, span_of
from gpuboard.policy.plan import Round, plan_round
from gpuboard.policy.profile import FOREVER
from gpuboard.policy.queue import ServingOrder, WaitingQueue
from gpuboard.policy.quota import GPU_HOURS, Shortfall, allowed_words
from gpuboard.policy.words import (
    UtcOffset,
    being_cleared,
    clock_words,
    count_words,
    devices_words,
)

LIMITS_TO_TRY = tuple(
    (minutes * 60, f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m")
    for minutes in (2880, 1440, 720, 480, 360, 240, 180, 120, 90, 60, 45, 30, 20, 15, 10, 5)
)
"""Limits (s) that `would_start_now` may propose, longest first, as people write them."""


def explain_wait(  # noqa: PLR0917 (all six are needed, and named by the callers)
    world: World,
    queue: WaitingQueue,
    plan: Plan,
    job_id: JobId,
    now: int,
    forecast: Mapping[JobId, StartForecast] | None = None,
) -> Explanation:
    """Say why a waiting job waits at `now` (ms), given the plan made last.

    Raises Conflict when the job does not wait.
    """
    waiting = queue.get(job_id)
    if waiting is None:
        raise Conflict(f"job {job_id} is not waiting", hint="see it with: gpuboard show")
    if any(start.job_id == job_id for start in plan.starts):
        return _with_forecast(Explanation(job_id, (), place=0), forecast)
    causes = _own_causes(waiting, now, world.utc_offsets)
    if causes:
        return _with_forecast(Explanation(job_id, tuple(causes)), forecast)
    round_ = Round(world, queue, now)
    round_.run()
    if job_id in round_.starts:  # it came after the plan made last
        return _with_forecast(Explanation(job_id, (), place=0), forecast)
    reason = _Reasons(round_, waiting)
    place, ahead_gpus = reason.place()
    rank = round_.order.share.rank(waiting.uid, waiting.account)
    explanation = Explanation(
        job_id,
        tuple(reason.causes(place, ahead_gpus)),
        place=place,
        ahead_gpus=ahead_gpus,
        would_start_now=_would_start_now(round_, waiting),
        promised_start_at=_promised_start(round_, waiting),
        rank=rank.place if rank is not None else None,
        ranked=rank.of if rank is not None else 0,
    )
    return _with_forecast(explanation, forecast)


def _with_forecast(
    explanation: Explanation, forecast: Mapping[JobId, StartForecast] | None
) -> Explanation:
    known = (forecast or {}).get(explanation.job_id)
    if known is None:
        return explanation
    return replace(
        explanation,
        expected_start_at=known.expected_start_at,
        latest_start_at=known.latest_start_at,
        p90_start_at=known.p90_start_at,
    )


def _own_causes(waiting: Waiting, now: int, utc_offsets: Sequence[UtcOffset]) -> list[Cause]:
    """Return what keeps the job from being eligible at all."""
    causes: list[Cause] = []
    if waiting.is_held:
        by = {"user": "its owner", "admin": "an admin"}.get(waiting.held_by, waiting.held_by)
        words = f"held by {by}; release it to let it go on" if by else "held"
        causes.append(Cause(WaitCause.HELD, words))
    if waiting.is_dependency_broken:
        causes.append(
            Cause(
                WaitCause.DEPENDENCY_BROKEN, "a job it depends on ended so that it can never start"
            )
        )
    elif waiting.depends_on:
        names = ", ".join(str(needed) for needed in waiting.depends_on[:5])
        more = len(waiting.depends_on) - 5
        words = f"waits for job {names}" + (f" and {more} more" if more > 0 else "") + " to end"
        count = len(waiting.depends_on)
        causes.append(Cause(WaitCause.DEPENDENCY, words, count=count, job_ids=waiting.depends_on))
    if waiting.begin_at is not None and waiting.begin_at > now:
        words = f"asked to begin not before {clock_words(waiting.begin_at, now, utc_offsets)}"
        causes.append(Cause(WaitCause.BEGIN_TIME, words, until_at=waiting.begin_at))
    return causes


class _Reasons:
    """The reasons of one eligible job at the end of a round."""

    def __init__(self, round_: Round, waiting: Waiting) -> None:
        self._round = round_
        self._capacity = round_.capacity
        self._waiting = waiting
        self._now = round_.now
        reserve_bytes = round_.world.settings.sharing_reserve_bytes
        self._options = self._capacity.box.options(waiting, reserve_bytes)
        self._named = reduce(or_, self._options, 0)
        self._until_at = self._now + span_of(waiting)

    def _clock(self, at: int) -> str:
        return clock_words(at, self._now, self._round.world.utc_offsets)

    def place(self) -> tuple[int, int]:
        """Return how many jobs are served before this one, and for how many devices they ask."""
        waiting, round_ = self._waiting, self._round
        head = round_.head
        if head is not None and head.job_id == waiting.job_id:
            return 0, 0
        queue, now = round_.queue, self._now
        own = lane_class(lane_key(waiting))
        before = round_.order.count_before(queue.lanes(now, own), waiting)
        if own is LaneClass.PREEMPTIBLE:
            ordinary = queue.lanes(now, LaneClass.ORDINARY)
            before |= {lane.key: len(lane) for lane in ordinary}
        jobs = sum(before.values())
        gpus = sum(key.gpus * count for key, count in before.items())
        order = round_.order
        for started in round_.starts:
            other = round_.queue.get(started)
            if other is not None and self._is_before(order, other):
                jobs, gpus = jobs - 1, gpus - other.gpus
        if head is not None and waiting.gpus and not self._is_before(order, head):
            jobs, gpus = jobs + 1, gpus + head.gpus
        return max(0, jobs), max(0, gpus)

    def _is_before(self, order: ServingOrder, other: Waiting) -> bool:
        mine = self._waiting
        own, others = lane_class(lane_key(mine)), lane_class(lane_key(other))
        if own is not others:
            return own is LaneClass.PREEMPTIBLE and others is LaneClass.ORDINARY
        return order.key(other) < order.key(mine)

    def causes(self, place: int, ahead_gpus: int) -> list[Cause]:
        """Return all causes, the most telling first."""
        waiting = self._waiting
        causes = [*self._limits()]
        if not waiting.gpus:
            return causes + ([] if causes else [self._blackout_of_box()])
        if all(each.bit_count() < waiting.gpus for each in self._options):
            return [self._no_such_device(), *causes]
        if not causes:
            causes += self._promises()
        if place and not any(cause.cause is WaitCause.WOULD_DELAY_HEAD for cause in causes):
            jobs, gpus = count_words(place, "job", "jobs"), count_words(ahead_gpus, "GPU", "GPUs")
            words = f"{jobs} ({gpus}) ahead{self._unpromised_words()}"
            causes.append(Cause(WaitCause.AHEAD, words, count=place))
        return [
            *causes,
            *self._holders(),
            *self._bound(),
            *self._dark(),
            *self._unavailable(),
        ]

    def _unpromised_words(self) -> str:
        """Return why a job whose class is promised starts has no such promise yet; empty if it has."""
        promises, waiting = self._round.promises, self._waiting
        if waiting.job_id in promises or not promises.is_promised_class(waiting):
            return ""
        if waiting is self._round.head or promises.has_room():
            return ""
        return (
            f"; {promises.most} jobs are promised a start at once, and it is promised one "
            "when enough of those have begun"
        )

    def _limits(self) -> Iterator[Cause]:
        waiting, allowance = self._waiting, self._round.allowance
        short = allowance.shortfall(waiting)
        if short is not None:
            yield Cause(
                WaitCause.QUOTA,
                _shortfall_words(short, self._clock),
                user=waiting.user,
                until_at=short.frees_at,
            )
        if not allowance.has_array_room(waiting) and waiting.array_id is not None:
            running = allowance.running_in_array(waiting.array_id)
            words = f"{running} of array {waiting.array_id} run, and it allows {waiting.array_limit} at once"
            yield Cause(WaitCause.ARRAY_LIMIT, words, count=running)

    def _no_such_device(self) -> Cause:
        waiting, box = self._waiting, self._capacity.box
        kind = f" of type {waiting.gpu_type}" if waiting.gpu_type else ""
        total = box.most_of(waiting)
        if total >= waiting.gpus and waiting.gpu_memory_bytes:
            kind += f" with {format_size(waiting.gpu_memory_bytes)} to share"
            total = self._named.bit_count()
        elif total >= waiting.gpus and waiting.nvlink:
            kind += " linked by NVLink"
            total = box.most_linked(waiting.gpu_uuids, waiting.gpu_type)
        words = f"{count_words(waiting.gpus, 'GPU', 'GPUs')}{kind} wanted, this box has {total}"
        return Cause(WaitCause.NO_SUCH_DEVICE, words)

    def _unavailable(self) -> Iterator[Cause]:
        for fact in self._capacity.box.facts_of(self._named & ~self._capacity.box.available):
            words = f"{devices_words([fact])} is {fact.unavailable_reason or 'out of service'}"
            yield Cause(WaitCause.DEVICE_UNAVAILABLE, words, devices=(fact.uuid,))

    def _holders(self) -> Iterator[Cause]:
        box = self._capacity.box
        named = self._named & box.available
        by_end: dict[tuple[int, str], list[Holder]] = {}
        for holder in self._round.world.holders:
            if box.mask_of(holder.devices) & named:
                user = "" if holder.is_stand_in else holder.user or f"uid {holder.uid}"
                by_end.setdefault((holder.ends_at, user), []).append(holder)
        for (ends_at, user), holders in sorted(by_end.items(), key=lambda item: item[0]):
            mask = 0
            for holder in holders:
                mask |= box.mask_of(holder.devices) & named
            facts = box.facts_of(mask)
            if holders[0].is_stand_in:
                yield being_cleared(facts, ends_at)
                continue
            verb = "is" if len(facts) == 1 else "are"
            end = f"until {self._clock(ends_at)}" if ends_at > self._now else "past its limit"
            how = self._sharing_words(mask & -mask) or f"{verb} held"
            yield Cause(
                WaitCause.DEVICES_BUSY,
                f"{devices_words(facts)} {how} by {user} {end}",
                count=len(facts),
                devices=box.uuids_of(mask),
                job_ids=tuple(sorted(holder.job_id for holder in holders)),
                user=user,
                until_at=ends_at,
            )

    def _sharing_words(self, device: int) -> str:
        """Return how much of a shared device is given; empty when it is not shared."""
        shared = self._capacity.shared.of(device)
        if shared is None:
            return ""
        given = format_size(shared.given_bytes)
        return f"is shared ({given} of {format_size(self._capacity.shared.capacity_bytes(device))})"

    def _bound(self) -> Iterator[Cause]:
        for booking in self._capacity.bookings:
            mask = self._capacity.bound_to(booking) & self._named & ~self._capacity.held
            if mask:
                facts = self._capacity.box.facts_of(mask)
                verb = "is" if len(facts) == 1 else "are"
                words = f"{devices_words(facts)} {verb} booked by {_booker(booking)} until "
                words += self._clock(booking.until_at)
                yield self._booked(booking, words, mask, booking.until_at)

    def _dark(self) -> Iterator[Cause]:
        for mask, blackout in self._capacity.blackouts:
            if mask & self._named and blackout.from_at < self._until_at:
                yield self._blackout(blackout, mask & self._named)

    def _blackout(self, blackout: Booking, mask: int) -> Cause:
        begin, end = (self._clock(at) for at in (blackout.from_at, blackout.until_at))
        words = f"maintenance from {begin} until {end}"
        if blackout.from_at > self._now:
            words += ", and it could still run then"
        return Cause(
            WaitCause.BLACKOUT,
            words,
            count=mask.bit_count(),
            devices=self._capacity.box.uuids_of(mask),
            until_at=blackout.until_at,
        )

    def _blackout_of_box(self) -> Cause:
        for mask, blackout in self._capacity.blackouts:
            if blackout.from_at < self._until_at:
                return self._blackout(blackout, mask)
        return Cause(WaitCause.HOST, "it starts as soon as the box can start it")

    def _promises(self) -> Iterator[Cause]:
        """Yield the promises that free devices are kept for."""
        waiting, round_ = self._waiting, self._round
        idle = self._capacity.idle & self._named
        if not idle:
            yield from self._later_bookings()
            return
        kept = idle & ~self._capacity.arrangement.profile.free_throughout(self._now, self._until_at)
        head = round_.head
        is_enough = idle.bit_count() >= waiting.gpus
        for claim, mask, from_at in self._capacity.arrangement.given:
            if claim.from_at >= self._until_at or not (mask & kept or is_enough):
                continue
            if claim.reservation_id is None:
                other = head if claim.job_id is None else round_.queue.get(claim.job_id)
                if other is not None and other.job_id != waiting.job_id and is_enough:
                    yield self._delays(other)
                continue
            yield self._booked_ahead(claim, mask & kept, from_at)

    def _later_bookings(self) -> Iterator[Cause]:
        """Yield the bookings that begin before the job could end, started when enough GPUs are free."""
        gpus, base = self._waiting.gpus, self._capacity.base
        instants = zip(base.times, base.masks, strict=True)
        enough = (pair for pair in instants if (pair[1] & self._named).bit_count() >= gpus)
        at, free = next(enough, (FOREVER, 0))
        until_at = at + span_of(self._waiting)
        ahead = [
            (claim, mask, from_at)
            for claim, mask, from_at in self._capacity.arrangement.given
            if claim.reservation_id is not None and claim.from_at < until_at and at < claim.until_at
        ]
        taken = reduce(or_, (mask for _, mask, _ in ahead), 0)
        if (free & self._named & ~taken).bit_count() >= gpus:
            return
        for claim, mask, from_at in ahead:
            if mask & self._named:
                yield self._booked_ahead(claim, mask & self._named, from_at)

    def _booked_ahead(self, claim: Claim, mask: int, from_at: int) -> Cause:
        """Return the cause that a booking to come keeps devices."""
        booking = next(
            b for b in self._capacity.bookings if b.reservation_id == claim.reservation_id
        )
        words = (
            f"{count_words(claim.gpus, 'GPU is', 'GPUs are')} booked by {_booker(booking)} from "
        )
        words += self._clock(max(booking.from_at, from_at))
        words += ", and it could still run then"
        return self._booked(booking, words, mask, booking.until_at, claim.gpus)

    def _delays(self, other: Waiting) -> Cause:
        start_at = _promised_start(self._round, other)
        is_next = "next and " if other is self._round.head else ""
        words = (
            f"it would delay job {other.job_id}, which is {is_next}promised "
            f"{count_words(other.gpus, 'GPU', 'GPUs')} by "
            f"{self._clock(start_at or self._now)}"
        )
        return Cause(
            WaitCause.WOULD_DELAY_HEAD,
            words,
            job_ids=(other.job_id,),
            user=other.user,
            until_at=start_at,
        )

    def _booked(
        self, booking: Booking, words: str, mask: int, until_at: int, count: int | None = None
    ) -> Cause:
        return Cause(
            WaitCause.BOOKED,
            words,
            count=mask.bit_count() if count is None else count,
            devices=self._capacity.box.uuids_of(mask),
            reservation_id=booking.reservation_id,
            user=booking.user,
            until_at=until_at,
        )


def _shortfall_words(short: Shortfall, clock: Callable[[int], str]) -> str:
    """Return in words which quota leaves no room, with its numbers, and when it does again."""
    used, wanted = (f"{number:.1f}".removesuffix(".0") for number in (short.used, short.wanted))
    verb = "used" if short.name == GPU_HOURS else "in use"
    words = f"{allowed_words(short)}, {used} are {verb}, {wanted} wanted"
    if short.frees_at is not None:
        words += f"; frees {clock(short.frees_at)}"
    return words


def _promised_start(round_: Round, waiting: Waiting) -> int | None:
    """Return when (ms) a job is promised to start, as head or by its class; None when it is not."""
    if round_.head is not None and round_.head.job_id == waiting.job_id:
        return round_.head_start_at
    return round_.promises.start_at(waiting.job_id)


def _booker(booking: Booking) -> str:
    return booking.user or f"uid {booking.uid}"


def _would_start_now(round_: Round, waiting: Waiting) -> str:
    """Return the smallest changes that start the job now, each planned: `--time 1h or --gpus 1`."""
    if not waiting.gpus or not (round_.capacity.idle or round_.capacity.can_join()):
        return ""
    trial = round_.queue.snapshot()
    families = (_shorter(waiting), _any_type(waiting), _fewer(waiting))
    found = [words for family in families if (words := _first_that_starts(round_, trial, family))]
    return " or ".join(found) or _first_that_starts(round_, trial, _two_changes(waiting))


def _first_that_starts(
    round_: Round, trial: WaitingQueue, variants: Iterator[tuple[str, Waiting]]
) -> str:
    for words, variant in variants:
        if _may_start(round_, variant) and _starts(round_, trial, variant):
            return words
    return ""


def _shorter(waiting: Waiting) -> Iterator[tuple[str, Waiting]]:
    for limit_s, words in LIMITS_TO_TRY:
        if limit_s < waiting.limit_s:
            yield f"--time {words}", replace(waiting, limit_s=limit_s)


def _any_type(waiting: Waiting) -> Iterator[tuple[str, Waiting]]:
    if waiting.gpu_uuids:
        yield "without --gpu-ids", replace(waiting, gpu_uuids=())
    if waiting.gpu_type:
        yield "without --gpu-type", replace(waiting, gpu_type="", gpu_uuids=())
    if waiting.nvlink:
        yield "without --nvlink", replace(waiting, nvlink=False)


def _fewer(waiting: Waiting) -> Iterator[tuple[str, Waiting]]:
    if not waiting.gpu_uuids:
        for gpus in range(waiting.gpus - 1, 0, -1):
            yield f"--gpus {gpus}", replace(waiting, gpus=gpus)


def _two_changes(waiting: Waiting) -> Iterator[tuple[str, Waiting]]:
    """Yield two changes at once: on any device and shorter, or fewer; then fewer and shorter."""
    for first, second in ((_any_type, _shorter), (_any_type, _fewer), (_fewer, _shorter)):
        for first_words, changed in first(waiting):
            for second_words, variant in second(changed):
                yield f"{first_words} {second_words}", variant


def _may_start(round_: Round, variant: Waiting) -> bool:
    """Whether it is worth planning: cheap, and never false where the plan would say yes."""
    idle = round_.capacity.idle
    options = round_.capacity.options(variant)
    is_enough = any((idle & each).bit_count() >= variant.gpus for each in options)
    if not is_enough and not variant.gpu_memory_bytes:
        return False
    is_head = round_.head is not None and round_.head.job_id == variant.job_id
    has_own_promise = is_head or variant.job_id in round_.promises
    return has_own_promise or (round_.has_room(variant) and bool(round_.devices_for(variant)))


def _starts(round_: Round, trial: WaitingQueue, variant: Waiting) -> bool:
    """Whether the plan starts the changed job now."""
    trial.add(variant)
    plan = plan_round(round_.world, trial, round_.now)
    return any(start.job_id == variant.job_id for start in plan.starts)
