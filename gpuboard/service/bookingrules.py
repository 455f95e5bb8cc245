"""What may be booked: windows as people write them, and the limits of `[reservations]`."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise

from gpuboard.errors import InvalidRequest, QuotaExceeded
from gpuboard.model.durations import format_duration, parse_duration
from gpuboard.model.ids import ReservationId
from gpuboard.model.instants import parse_instant
from gpuboard.model.person import Caller, Person
from gpuboard.model.plan import ReservationRequest
from gpuboard.model.reservation import Reservation
from gpuboard.model.text import plain
from gpuboard.policy.fairtree import lineage
from gpuboard.policy.quota import GPU_HOURS, quotas_of
from gpuboard.policy.week import WEEK_MS
from gpuboard.service.clockwords import clock_words
from gpuboard.service.context import ServiceContext
from gpuboard.service.devices import DeviceNames

_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
SHORTEST_MS = 10_000
"""A shorter window is a slip of the pen (`1s` for `1h`)."""


class BookingRules:
    """Reads windows and holds them to the limits. Every method raises what the request deserves."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._engine = context.engine

    def instant(self, text: str, now: int, zone: str, field: str) -> int:
        """Return an instant (ms); one of the last minute is now."""
        at = parse_instant(text, now_ms=now, zone=zone, field=field)
        return now if now - 60_000 <= at < now else at

    def until(self, until: str, duration: str | int, from_at: int, now: int, zone: str) -> int:
        """Return the end (ms) of a window, by its end or its length."""
        if until and duration != "":
            raise InvalidRequest("either a duration or --until, not both", field="until")
        if until:
            return parse_instant(until, now_ms=now, after_ms=from_at, zone=zone, field="until")
        if duration == "":
            raise InvalidRequest("for how long?", field="duration", hint="gpuboard reserve 2 1h30m")
        return from_at + parse_duration(duration, field="duration") * 1000

    def check_gpus(self, gpus: int, names: DeviceNames, gpu_type: str = "") -> None:
        """Refuse more devices (of a type) than there are, or may be booked at once."""
        most = self._context.config.reservations.max_gpus
        if gpus < 1:
            raise InvalidRequest(f"{gpus} devices cannot be booked", field="gpus")
        if names.is_known and gpus > names.count(""):
            raise InvalidRequest(
                f"this box has {names.count('')} devices, not {gpus}", field="gpus"
            )
        if names.is_known and gpus > names.count(gpu_type):
            raise InvalidRequest(
                f"this box has {names.count(gpu_type)} devices of type {plain(gpu_type, 40)}, not {gpus}",
                field="gpu_type",
                hint=names.types_hint(),
            )
        if most is not None and gpus > most:
            raise InvalidRequest(
                f"{gpus} devices are too many: at most {most} may be booked at once", field="gpus"
            )

    def check_window(
        self, wanted: ReservationRequest, now: int, *, is_past_start_fine: bool
    ) -> None:
        """Refuse a window that is past, too long, or too far ahead."""
        limits = self._context.config.reservations
        if wanted.from_at < now and not is_past_start_fine:
            raise InvalidRequest(
                f"{clock_words(wanted.from_at, now)} is past",
                field="at",
                hint="leave the start out to book from now on",
            )
        if wanted.until_at <= max(now, wanted.from_at):
            raise InvalidRequest("the window is over before it begins", field="until")
        if wanted.until_at - wanted.from_at < SHORTEST_MS:
            span = format_duration((wanted.until_at - wanted.from_at) // 1000)
            raise InvalidRequest(
                f"{span} is no span to book: at least {format_duration(SHORTEST_MS // 1000)}",
                field="duration",
                hint="for example 90m or 1h30m",
            )
        if (wanted.until_at - wanted.from_at) // 1000 > limits.max_duration_s:
            span = format_duration((wanted.until_at - wanted.from_at) // 1000)
            most = format_duration(limits.max_duration_s)
            raise InvalidRequest(
                f"{span} is too long: at most {most} may be booked",
                field="duration",
                hint="book less, or from when you need it",
            )
        if (wanted.from_at - now) // 1000 > limits.max_ahead_s:
            most = format_duration(limits.max_ahead_s)
            raise InvalidRequest(
                f"{clock_words(wanted.from_at, now)} is too far ahead: at most {most}",
                field="at",
                hint="try again when it is nearer",
            )

    def check_count(self, caller: Caller) -> None:
        """Refuse more bookings than a person may have; a series counts as one."""
        most = self._context.config.reservations.max_per_user
        own = (r for r in self._engine.reservations() if r.owner.uid == caller.uid)
        count = len({r.series_id or r.id for r in own})
        if count >= most and not caller.is_admin:
            raise QuotaExceeded(
                f"you have {count} bookings; at most {most} at a time",
                hint="cancel one with: gpuboard unreserve ID",
            )

    def check_hours(
        self,
        owner: Person,
        is_admin: bool,
        wanted: Sequence[ReservationRequest],
        now: int,
        replacing: Collection[ReservationId] = (),
    ) -> None:
        """Refuse windows that are too many device-hours for the person, or for a group charged.

        In a week by a hard quota, and of those that begin a day ahead or later in all.
        """
        if is_admin or not wanted:
            return
        self._check_week(owner, wanted, now, replacing)
        limits, groups = self._context.config.reservations, self._context.config.groups
        parents = {name: group.parent for name, group in groups.items()}
        most = limits.far_ahead_gpu_hours
        if most is not None:
            self._refuse_beyond(
                most, "", wanted, now, lambda b: b.owner.uid == owner.uid and b.id not in replacing
            )
        most = limits.far_ahead_group_gpu_hours
        for group in lineage(parents, wanted[0].account) if most is not None else ():

            def is_of_group(booking: Reservation, group: str = group) -> bool:
                of = lineage(parents, booking.account)
                return group in of and booking.id not in replacing

            self._refuse_beyond(most or 0, f" of group {group}", wanted, now, is_of_group)

    def _check_week(
        self,
        owner: Person,
        wanted: Sequence[ReservationRequest],
        now: int,
        replacing: Collection[ReservationId],
    ) -> None:
        """Refuse bookings that would take more than a hard weekly quota in some seven days."""
        settings = self._engine.policy_settings()
        live = [b for b in self._engine.reservations() if b.id not in replacing]
        parents = {group.name: group.parent for group in settings.groups}
        for unit, quota in quotas_of(settings, owner.uid, wanted[0].account):
            most = quota.gpu_hours_per_week
            if most is None or GPU_HOURS in quota.soft:
                continue
            own = [b for b in live if b.owner.uid == unit or unit in lineage(parents, b.account)]
            for from_at, taken_ms in _fullest_weeks([*own, *wanted], wanted):
                if taken_ms > most * _HOUR_MS:
                    whose = f" of group {unit}" if isinstance(unit, str) else ""
                    raise QuotaExceeded(
                        f"{taken_ms / _HOUR_MS:.10g} device-hours would be booked in the seven days from"
                        f" {clock_words(from_at, now)}: the quota{whose} allows {most} a week",
                        hint="book less, or spread it over more weeks",
                        field="duration",
                    )

    def _refuse_beyond(
        self,
        most_hours: int,
        whose: str,
        wanted: Sequence[ReservationRequest],
        now: int,
        counts: Callable[[Reservation], bool],
    ) -> None:
        new_ms = sum(_far_ahead_ms(window, now) for window in wanted)
        live = (booking for booking in self._engine.reservations() if counts(booking))
        known_ms = sum(_far_ahead_ms(booking, now) for booking in live)
        if new_ms and known_ms + new_ms > most_hours * _HOUR_MS:
            hours, known = (round(ms / _HOUR_MS, 1) for ms in (new_ms, known_ms))
            raise QuotaExceeded(
                f"{hours:g} device-hours more than a day ahead, beside {known:g} booked so far{whose}:"
                f" at most {most_hours} in all",
                hint="book less, or within the next 24 hours",
                field="at",
            )


def _fullest_weeks(
    every: Sequence[ReservationRequest | Reservation], wanted: Sequence[ReservationRequest]
) -> Iterator[tuple[int, int]]:
    """Yield the start (ms) of each seven days that may hold most, and the device-time (ms) booked in it.

    Of those that meet a wanted window. A week that is moved on holds most where it begins with a
    window, or ends with one.
    """
    rates: Counter[int] = Counter()
    for window in every:
        rates[window.from_at] += window.gpus
        rates[window.until_at] -= window.gpus
    instants, sums, rate, total = sorted(rates), [], 0, 0
    for before, at in pairwise([0, *instants]):
        total += rate * (at - before)
        rate += rates[at]
        sums.append((total, rate))

    def booked_until(at: int) -> int:
        index = bisect_right(instants, at) - 1
        if index < 0:
            return 0
        total, rate = sums[index]
        return total + rate * (at - instants[index])

    begins = {w.from_at for w in every} | {w.until_at - WEEK_MS for w in every}
    for from_at in sorted(begins):
        until_at = from_at + WEEK_MS
        if any(w.from_at < until_at and from_at < w.until_at for w in wanted):
            yield from_at, booked_until(until_at) - booked_until(from_at)


def _far_ahead_ms(window: ReservationRequest | Reservation, now: int) -> int:
    """Return the device-time (ms) of a window that begins a day ahead or later; else 0."""
    is_far = window.from_at >= now + _DAY_MS
    return window.gpus * (window.until_at - window.from_at) if is_far else 0
