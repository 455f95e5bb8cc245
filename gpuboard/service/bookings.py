"""Use cases on bookings: reserve, change, cancel, list, and the timeline."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

from msgspec.structs import replace

from gpuboard.engine.refusal import insist_admitted, refusal_words
from gpuboard.errors import InvalidRequest, NotFound, QuotaExceeded
from gpuboard.model.durations import format_duration, parse_duration
from gpuboard.model.ids import DeviceUuid, ReservationId
from gpuboard.model.instants import iso, parse_instant
from gpuboard.model.job import Job
from gpuboard.model.person import Caller, Person
from gpuboard.model.plan import Admission, ReservationRequest
from gpuboard.model.recurrence import occurrences, read_rule
from gpuboard.model.requests import ReservationUpdate, ReserveRequest
from gpuboard.model.reservation import Reservation, ReservationState
from gpuboard.model.text import plain
from gpuboard.model.views import (
    ReservationList,
    ReservationView,
    ReserveResult,
    TimelineView,
    WindowView,
)
from gpuboard.policy.words import clock_words
from gpuboard.service.context import ServiceContext
from gpuboard.service.devices import DeviceNames
from gpuboard.service.rights import Action, insist
from gpuboard.service.timeline import timeline
from gpuboard.service.validation import MAX_NAME, bounded

PAST_MS = 30 * 86_400_000
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000


class BookingService:
    """What people do with bookings."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._engine = context.engine

    def reserve(self, caller: Caller, request: ReserveRequest) -> ReserveResult:
        """Book devices, or (dry run) say whether they could be booked. Raises Refused with windows."""
        insist(caller, Action.BOOK)
        now = self._context.clock.now_ms()
        names = self._names()
        from_at = self._instant(request.at, now, request.timezone, "at") if request.at else now
        if request.count is not None and not request.repeat:
            raise InvalidRequest("--count is of a series", field="count", hint="--repeat weekly")
        until = "" if request.repeat else request.until
        wanted = ReservationRequest(
            gpus=self._gpus(request, names),
            from_at=from_at,
            until_at=self._until(until, request.duration, from_at, now, request.timezone),
            gpu_uuids=names.resolve(request.gpu_ids, "gpu_ids"),
            gpu_type=bounded(request.gpu_type, MAX_NAME, "gpu_type").strip(),
        )
        name = bounded(request.name, MAX_NAME, "name")
        self._check_window(wanted, now, is_past_start_fine=not request.at)
        self._check_count(caller)
        if request.repeat:
            return self._reserve_series(caller, request, wanted, name, now)
        self._check_far_ahead(caller.person, caller.is_admin, [wanted], now)
        admission = self._engine.admit(caller.person, wanted)
        if request.dry_run and request.suggest and not admission.accepted:
            return self._suggestion(_not_booked(caller, wanted, name, now), caller, admission, now)
        insist_admitted(admission, wanted, now)
        if request.dry_run:
            booking = _not_booked(caller, wanted, name, now)
        else:
            booking = self._engine.reserve(caller.person, wanted, name)
        view = self._answer(caller, booking, admission)
        return ReserveResult(dry_run=request.dry_run, reservation=view)

    def _reserve_series(
        self,
        caller: Caller,
        request: ReserveRequest,
        first: ReservationRequest,
        name: str,
        now: int,
    ) -> ReserveResult:
        """Book every window of a rule, or none."""
        rule = read_rule(request.repeat)
        zone = request.timezone
        last_at = self._instant(request.until, now, zone, "until") if request.until else None
        starts = occurrences(rule, first.from_at, zone, count=request.count, last_at=last_at)
        length_ms = first.until_at - first.from_at
        windows = [replace(first, from_at=at, until_at=at + length_ms) for at in starts]
        for before, after in pairwise(windows):
            if after.from_at < before.until_at:
                raise InvalidRequest("the bookings would overlap", field="duration")
        for window in windows:
            self._check_window(window, now, is_past_start_fine=not request.at)
        self._check_far_ahead(caller.person, caller.is_admin, windows, now)
        if request.dry_run:
            self._engine.insist_all(caller.person, windows)
            made = [replace(_not_booked(caller, one, name, now), rule=rule) for one in windows]
        else:
            made = [*self._engine.reserve_series(caller.person, windows, name, rule)]
        names = self._names()
        return ReserveResult(
            dry_run=request.dry_run,
            reservation=self._answer(caller, made[0], None),
            series=[self._view(caller, booking, names) for booking in made],
        )

    def change(
        self, caller: Caller, reservation_id: int, request: ReservationUpdate
    ) -> ReserveResult:
        """Move, lengthen, shorten or rename a booking that has not ended."""
        booking = self._own(caller, reservation_id)
        now = self._context.clock.now_ms()
        from_at, until_at = booking.from_at, booking.until_at
        if request.at is not None:
            from_at = self._instant(request.at, now, request.timezone, "at")
            until_at = from_at + (booking.until_at - booking.from_at)
        if request.until is not None or request.duration is not None:
            until_at = self._until(
                request.until or "", request.duration or "", from_at, now, request.timezone
            )
        wanted = ReservationRequest(
            gpus=request.gpus if request.gpus is not None else booking.gpus,
            from_at=from_at,
            until_at=until_at,
            gpu_uuids=booking.gpu_uuids,
            gpu_type=booking.gpu_type,
        )
        if request.gpus is not None and booking.gpu_uuids:
            raise InvalidRequest("the booking names its devices", field="gpus")
        self._check_gpus(wanted.gpus, self._names())
        is_moved = (from_at, until_at) != (booking.from_at, booking.until_at)
        if is_moved:
            has_begun = booking.state is ReservationState.ACTIVE and from_at == booking.from_at
            self._check_window(wanted, now, is_past_start_fine=has_begun)
        self._check_far_ahead(booking.owner, caller.is_admin, [wanted], now, [booking.id])
        name = booking.name if request.name is None else bounded(request.name, MAX_NAME, "name")
        if request.dry_run:
            return self._trial(caller, booking, wanted, name, now)
        changed = self._engine.change_reservation(booking.id, caller.person, wanted, name)
        return ReserveResult(reservation=self._answer(caller, changed, None))

    def _trial(
        self, caller: Caller, booking: Reservation, wanted: ReservationRequest, name: str, now: int
    ) -> ReserveResult:
        """Return what a change of a booking would come to; nothing is changed."""
        changed = replace(
            booking, gpus=wanted.gpus, from_at=wanted.from_at, until_at=wanted.until_at, name=name
        )
        admission = self._engine.admit(booking.owner, wanted, booking.id)
        if not admission.accepted:
            return self._suggestion(changed, caller, admission, now)
        view = self._view(caller, changed, self._names(), admission.devices)
        return ReserveResult(dry_run=True, reservation=view)

    def _suggestion(
        self, wanted: Reservation, caller: Caller, admission: Admission, now: int
    ) -> ReserveResult:
        """Return why a window cannot be had, and the nearest that can."""
        asked = ReservationRequest(wanted.gpus, wanted.from_at, wanted.until_at)
        return ReserveResult(
            dry_run=True,
            reservation=self._view(caller, wanted, self._names()),
            refused=refusal_words(admission, asked, now),
            windows=[
                WindowView(iso(window.from_at) or "", iso(window.until_at) or "")
                for window in admission.nearest
            ],
        )

    def cancel(
        self, caller: Caller, reservation_id: int, *, series: bool = False
    ) -> ReservationView:
        """Cancel a booking, or end an active one now; with `series` the later ones of its series too."""
        booking = self._own(caller, reservation_id)
        if series:
            ended, *_ = self._engine.unreserve_series(booking.id, caller.person)
            return self._view(caller, ended, self._names())
        return self._view(caller, self._engine.unreserve(booking.id, caller.person), self._names())

    def list(self, caller: Caller, *, mine: bool = False, past: bool = False) -> ReservationList:
        """Return bookings by start; `past` includes those that ended in the last 30 days."""
        now = self._context.clock.now_ms()
        bookings = (
            self._engine.reservations(now - PAST_MS, None) if past else self._engine.reservations()
        )
        names = self._names()
        return ReservationList(
            at=iso(now) or "",
            reservations=[
                self._view(caller, booking, names)
                for booking in bookings
                if not mine or booking.owner.uid == caller.uid
            ],
        )

    def timeline(self, caller: Caller, *, since: str = "", until: str = "") -> TimelineView:
        """Return what ran, runs, is booked and is forecast between two instants.

        The default is from two hours ago to 24 hours ahead.
        """
        now = self._context.clock.now_ms()
        from_at = parse_instant(since, now_ms=now, field="since") if since else now - _DAY_MS // 12
        until_at = parse_instant(until, now_ms=now, field="until") if until else now + _DAY_MS
        if not from_at < until_at <= from_at + 400 * _DAY_MS:
            raise InvalidRequest("the window is empty or longer than 400 days", field="until")
        return timeline(self._engine, caller, now, from_at, until_at)

    # reading requests

    def _instant(self, text: str, now: int, zone: str, field: str) -> int:
        at = parse_instant(text, now_ms=now, zone=zone, field=field)
        return now if now - 60_000 <= at < now else at

    def _until(self, until: str, duration: str | int, from_at: int, now: int, zone: str) -> int:
        if until and duration != "":
            raise InvalidRequest("either a duration or --until, not both", field="until")
        if until:
            return parse_instant(until, now_ms=max(now, from_at), zone=zone, field="until")
        if duration == "":
            raise InvalidRequest("for how long?", field="duration", hint="gpuboard reserve 2 1h30m")
        return from_at + parse_duration(duration, field="duration") * 1000

    def _gpus(self, request: ReserveRequest, names: DeviceNames) -> int:
        gpus = len(names.resolve(request.gpu_ids, "gpu_ids")) if request.gpu_ids else request.gpus
        self._check_gpus(gpus, names)
        return gpus

    def _check_gpus(self, gpus: int, names: DeviceNames) -> None:
        most = self._context.config.reservations.max_gpus
        if gpus < 1:
            raise InvalidRequest(f"{gpus} devices cannot be booked", field="gpus")
        if names.is_known and gpus > names.count(""):
            raise InvalidRequest(
                f"this box has {names.count('')} devices, not {gpus}", field="gpus"
            )
        if most is not None and gpus > most:
            raise InvalidRequest(f"at most {most} devices may be booked at once", field="gpus")

    def _check_window(
        self, wanted: ReservationRequest, now: int, *, is_past_start_fine: bool
    ) -> None:
        limits = self._context.config.reservations
        if wanted.from_at < now and not is_past_start_fine:
            raise InvalidRequest(f"{clock_words(wanted.from_at, now)} is past", field="at")
        if wanted.until_at <= max(now, wanted.from_at):
            raise InvalidRequest("the window is over before it begins", field="until")
        if (wanted.until_at - wanted.from_at) // 1000 > limits.max_duration_s:
            most = format_duration(limits.max_duration_s)
            raise InvalidRequest(f"at most {most} may be booked", field="duration")
        if (wanted.from_at - now) // 1000 > limits.max_ahead_s:
            most = format_duration(limits.max_ahead_s)
            raise InvalidRequest(f"at most {most} ahead", field="at")

    def _check_count(self, caller: Caller) -> None:
        most = self._context.config.reservations.max_per_user
        own = (r for r in self._engine.reservations() if r.owner.uid == caller.uid)
        count = len({r.series_id or r.id for r in own})
        if count >= most and not caller.is_admin:
            raise QuotaExceeded(
                f"you have {count} bookings; at most {most} at a time",
                hint="cancel one with: gpuboard unreserve ID",
            )

    def _check_far_ahead(
        self,
        owner: Person,
        is_admin: bool,
        wanted: Sequence[ReservationRequest],
        now: int,
        replacing: Collection[ReservationId] = (),
    ) -> None:
        """Raise QuotaExceeded when windows that begin a day ahead or later are too much in all."""
        most = self._context.config.reservations.far_ahead_gpu_hours
        new_ms = sum(_far_ahead_ms(window, now) for window in wanted)
        if most is None or not new_ms or is_admin:
            return
        known_ms = sum(
            _far_ahead_ms(booking, now)
            for booking in self._engine.reservations()
            if booking.owner.uid == owner.uid and booking.id not in replacing
        )
        if known_ms + new_ms > most * _HOUR_MS:
            hours, known = (round(ms / _HOUR_MS, 1) for ms in (new_ms, known_ms))
            raise QuotaExceeded(
                f"{hours:g} device-hours more than a day ahead, beside {known:g} booked so far:"
                f" at most {most} in all",
                hint="book less, or within the next 24 hours",
                field="at",
            )

    def _own(self, caller: Caller, reservation_id: int) -> Reservation:
        words = f"you have no booking {reservation_id}"
        try:
            booking = self._engine.reservation(ReservationId(reservation_id))
        except NotFound:
            raise NotFound(words, hint="see yours with: gpuboard reservations --mine") from None
        insist(caller, Action.CHANGE_BOOKING, booking.owner.uid, words)
        return booking

    # views

    def _names(self) -> DeviceNames:
        return DeviceNames(self._engine.snapshot())

    def _view(
        self,
        caller: Caller,
        booking: Reservation,
        names: DeviceNames,
        devices: tuple[DeviceUuid, ...] | None = None,
        on_them_now: Sequence[str] = (),
    ) -> ReservationView:
        return ReservationView(
            id=booking.id,
            user=booking.owner.name,
            uid=booking.owner.uid,
            mine=booking.owner.uid == caller.uid,
            name=booking.name,
            state=str(booking.state),
            gpus=booking.gpus,
            gpu_type=booking.gpu_type,
            devices=names.refs(devices or booking.devices or booking.gpu_uuids),
            from_at=iso(booking.from_at) or "",
            until_at=iso(booking.until_at) or "",
            on_them_now=[*on_them_now],
            series_id=booking.series_id,
            rule=booking.rule,
        )

    def _answer(
        self, caller: Caller, booking: Reservation, admission: Admission | None
    ) -> ReservationView:
        """Return the view with the devices it would get and what is on them now."""
        names = self._names()
        devices = booking.devices or (admission.devices if admission else booking.gpu_uuids)
        return self._view(caller, booking, names, devices, self._on_them(devices, names))

    def _on_them(self, devices: tuple[DeviceUuid, ...], names: DeviceNames) -> Sequence[str]:
        leases = self._engine.leases()
        running: dict[int, Job] = {job.id: job for job in self._engine.running_jobs()}
        words = []
        for ref in names.refs(devices):
            lease = leases.get(DeviceUuid(ref.uuid))
            if lease is None:
                continue
            job = running.get(lease.job_id) if lease.job_id is not None else None
            who = self._engine.person_of(lease.uid)
            what = (
                f"job {job.id} {plain(job.spec.name, 40)} of {who}" if job else f"booked by {who}"
            )
            until = clock_words(lease.until_at, self._context.clock.now_ms())
            words.append(f"GPU {ref.label}: {what}, until {until} at the latest")
        return words


def _far_ahead_ms(window: ReservationRequest | Reservation, now: int) -> int:
    """Return the device-time (ms) of a window that begins a day ahead or later; else 0."""
    is_far = window.from_at >= now + _DAY_MS
    return window.gpus * (window.until_at - window.from_at) if is_far else 0


def _not_booked(caller: Caller, wanted: ReservationRequest, name: str, now: int) -> Reservation:
    """Return the booking of a dry run: id 0."""
    return Reservation(
        id=ReservationId(0),
        owner=caller.person,
        gpus=wanted.gpus,
        from_at=wanted.from_at,
        until_at=wanted.until_at,
        gpu_uuids=wanted.gpu_uuids,
        gpu_type=wanted.gpu_type,
        name=name,
        created_at=now,
    )
