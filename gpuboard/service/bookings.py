"""Use cases on bookings: reserve, change, cancel, list, and the timeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from msgspec.structs import replace

from gpuboard.engine.protocol import BookingEdit
from gpuboard.engine.refusal import insist_admitted, refusal_words
from gpuboard.engine.windows import booking_of, window_of
from gpuboard.errors import InvalidRequest, NotFound
from gpuboard.model.ids import DeviceUuid, ReservationId
from gpuboard.model.instants import iso, parse_instant
from gpuboard.model.job import Job
from gpuboard.model.person import Caller
from gpuboard.model.plan import Admission, ReservationRequest
from gpuboard.model.recurrence import occurrences, read_rule
from gpuboard.model.requests import ReservationUpdate, ReserveRequest
from gpuboard.model.reservation import Reservation
from gpuboard.model.text import plain
from gpuboard.model.views.bookings import (
    ReservationList,
    ReservationView,
    ReserveResult,
    WindowView,
)
from gpuboard.model.views.timeline import TimelineView
from gpuboard.service.bookingchange import planned_edits
from gpuboard.service.bookingrules import BookingRules
from gpuboard.service.charging import Charging
from gpuboard.service.clockwords import clock_words
from gpuboard.service.context import ServiceContext
from gpuboard.service.devices import DeviceNames
from gpuboard.service.maintenance import met_words
from gpuboard.service.names import MAX_NAME, given_name
from gpuboard.service.rights import Action, insist
from gpuboard.service.timeline import timeline
from gpuboard.service.validation import bounded

PAST_MS = 30 * 86_400_000
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000


class BookingService:
    """What people do with bookings."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._engine = context.engine
        self._rules = BookingRules(context)

    def reserve(self, caller: Caller, request: ReserveRequest) -> ReserveResult:
        """Book devices, or (dry run) say whether they could be booked. Raises Refused with windows."""
        insist(caller, Action.BOOK)
        now = self._context.clock.now_ms()
        names = self._names()
        from_at = (
            self._rules.instant(request.at, now, request.timezone, "at") if request.at else now
        )
        if request.count is not None and not request.repeat:
            raise InvalidRequest("--count is of a series", field="count", hint="--repeat weekly")
        until = "" if request.repeat else request.until
        uuids = names.resolve(request.gpu_ids, "gpu_ids")
        wanted = ReservationRequest(
            gpus=len(uuids) if uuids else request.gpus,
            from_at=from_at,
            until_at=self._rules.until(until, request.duration, from_at, now, request.timezone),
            gpu_uuids=uuids,
            gpu_type=bounded(request.gpu_type, MAX_NAME, "gpu_type").strip(),
            account=self._charging().account(caller.person, request.account),
        )
        self._rules.check_gpus(wanted.gpus, names, wanted.gpu_type)
        name = given_name(request.name)
        self._rules.check_window(wanted, now, is_past_start_fine=not request.at)
        self._rules.check_count(caller)
        if request.repeat:
            return self._reserve_series(caller, request, wanted, name, now)
        self._rules.check_hours(caller.person, caller.is_admin, [wanted], now)
        admission = self._engine.admit(caller.person, wanted)
        if request.dry_run and request.suggest and not admission.accepted:
            return self._suggestion(
                booking_of(caller.person, wanted, now, name=name), caller, admission, now
            )
        insist_admitted(admission, wanted, now)
        if request.dry_run:
            booking = booking_of(caller.person, wanted, now, name=name)
        else:
            booking = self._engine.reserve(caller.person, wanted, name)
        view = self._answer(caller, booking, admission)
        notices = [*self._met(wanted, now)]
        return ReserveResult(dry_run=request.dry_run, reservation=view, notices=notices)

    def _charging(self) -> Charging:
        return Charging(self._context.config, self._context.groups.gid_of)

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
        last_at = self._rules.instant(request.until, now, zone, "until") if request.until else None
        starts = occurrences(rule, first.from_at, zone, count=request.count, last_at=last_at)
        length_ms = first.until_at - first.from_at
        windows = [replace(first, from_at=at, until_at=at + length_ms) for at in starts]
        for before, after in pairwise(windows):
            if after.from_at < before.until_at:
                raise InvalidRequest("the bookings would overlap", field="duration")
        for window in windows:
            self._rules.check_window(window, now, is_past_start_fine=not request.at)
        self._rules.check_hours(caller.person, caller.is_admin, windows, now)
        if request.dry_run:
            self._engine.insist_all(caller.person, windows)
            made = [booking_of(caller.person, one, now, name=name, rule=rule) for one in windows]
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
        """Move, lengthen, shorten or rename a booking, or it and all later ones of its series, as one."""
        booking = self._own(caller, reservation_id)
        now = self._context.clock.now_ms()
        edits = planned_edits(self._engine, self._rules, booking, request, now)
        ids = [edit.reservation_id for edit in edits]
        windows = [edit.request for edit in edits]
        self._rules.check_hours(booking.owner, caller.is_admin, windows, now, ids)
        if request.dry_run:
            return self._trial(caller, booking, edits, now)
        changed = self._engine.change_reservations(edits, caller.person)
        names = self._names()
        return ReserveResult(
            reservation=self._answer(caller, changed[0], None),
            series=[self._view(caller, one, names) for one in changed] if request.series else [],
            notices=[*self._met(windows[0], now)],
        )

    def _trial(
        self, caller: Caller, booking: Reservation, edits: Sequence[BookingEdit], now: int
    ) -> ReserveResult:
        """Return what a change of a booking would come to; nothing is changed."""
        wanted = edits[0].request
        changed = replace(
            booking,
            gpus=wanted.gpus,
            from_at=wanted.from_at,
            until_at=wanted.until_at,
            gpu_uuids=wanted.gpu_uuids,
            name=edits[0].name,
        )
        admission = self._engine.admit(booking.owner, wanted, booking.id)
        if not admission.accepted:
            return self._suggestion(changed, caller, admission, now)
        if len(edits) > 1:
            ids = [edit.reservation_id for edit in edits]
            self._engine.insist_all(booking.owner, [edit.request for edit in edits], ids)
        view = self._view(caller, changed, self._names(), admission.devices)
        return ReserveResult(dry_run=True, reservation=view, notices=[*self._met(wanted, now)])

    def _met(self, wanted: ReservationRequest, now: int) -> Sequence[str]:
        """Return the announced maintenance that a window meets, in words."""
        return [*met_words(self._engine, wanted.from_at, wanted.until_at, now, wanted.gpu_uuids)]

    def _suggestion(
        self, wanted: Reservation, caller: Caller, admission: Admission, now: int
    ) -> ReserveResult:
        """Return why a window cannot be had, and the nearest that can."""
        asked = window_of(wanted)
        return ReserveResult(
            dry_run=True,
            reservation=self._view(caller, wanted, self._names()),
            refused=refusal_words(admission, asked, now),
            notices=[*self._met(asked, now)],
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

    def timeline(
        self, caller: Caller, *, since: str = "", until: str = ""
    ) -> Callable[[], TimelineView]:
        """Return what tells, on a worker, what ran, runs, is booked and is forecast between two instants.

        The default is from two hours ago to 24 hours ahead.
        """
        now = self._context.clock.now_ms()
        from_at = parse_instant(since, now_ms=now, field="since") if since else now - _DAY_MS // 12
        until_at = parse_instant(until, now_ms=now, field="until") if until else now + _DAY_MS
        if not from_at < until_at <= from_at + 400 * _DAY_MS:
            raise InvalidRequest("the window is empty or longer than 400 days", field="until")
        return timeline(self._engine, caller, now, from_at, until_at)

    def _own(self, caller: Caller, reservation_id: int) -> Reservation:
        words = f"you have no booking {reservation_id}"
        try:
            booking = self._engine.reservation(ReservationId(reservation_id))
        except NotFound:
            raise NotFound(words, hint="see yours with: gpuboard reservations --mine") from None
        which = f"booking {reservation_id}"
        insist(caller, Action.CHANGE_BOOKING, booking.owner.uid, which, words=words)
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
        shown = devices or booking.devices or booking.gpu_uuids
        return ReservationView(
            id=booking.id,
            user=booking.owner.name,
            uid=booking.owner.uid,
            mine=booking.owner.uid == caller.uid,
            name=booking.name,
            state=str(booking.state),
            gpus=booking.gpus,
            gpu_type=booking.gpu_type,
            devices=names.refs(shown),
            likely=not set(shown) <= {*booking.devices, *booking.gpu_uuids},
            from_at=iso(booking.from_at) or "",
            until_at=iso(booking.until_at) or "",
            on_them_now=[*on_them_now],
            series_id=booking.series_id,
            rule=booking.rule,
            account=booking.account,
        )

    def _answer(
        self, caller: Caller, booking: Reservation, admission: Admission | None
    ) -> ReservationView:
        """Return the view with the devices it would get and what is on them now."""
        names = self._names()
        likely = admission.devices if admission else booking.gpu_uuids
        others = (device for device in likely if device not in booking.devices)
        devices = (*booking.devices, *others)[: booking.gpus]
        on_them = self._on_them([d for d in devices if d not in booking.devices], names)
        return self._view(caller, booking, names, devices, on_them)

    def _on_them(self, devices: Sequence[DeviceUuid], names: DeviceNames) -> Sequence[str]:
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
