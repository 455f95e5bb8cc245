"""Changes of bookings: one of them, or it and all later ones of its series, as one edit.

What is past stays as it was: a booking that is over cannot be changed, one that has begun keeps its
start and its devices, and of a series only what is still to come is moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from msgspec.structs import replace

from gpuboard.engine.protocol import BookingEdit, Engine
from gpuboard.errors import Conflict, InvalidRequest
from gpuboard.model.ids import DeviceUuid
from gpuboard.model.instants import local_time, parse_instant
from gpuboard.model.plan import ReservationRequest
from gpuboard.model.requests import ReservationUpdate
from gpuboard.model.reservation import Reservation, ReservationState
from gpuboard.service.bookingrules import BookingRules
from gpuboard.service.devices import DeviceNames
from gpuboard.service.names import given_name


def planned_edits(
    engine: Engine,
    rules: BookingRules,
    booking: Reservation,
    request: ReservationUpdate,
    now: int,
) -> list[BookingEdit]:
    """Return what the booking, and with `series` all later ones of its series, are to become.

    Raises InvalidRequest for a window that may not be, Conflict for what is past or begun.
    """
    if booking.ended_at is not None:
        raise Conflict(f"booking {booking.id} is over: {booking.state}")
    changed = [booking, *(_later_of_series(engine, booking) if request.series else ())]
    names = DeviceNames(engine.snapshot())
    uuids = None if request.gpu_ids is None else names.resolve(request.gpu_ids, "gpu_ids")
    first = _first_window(rules, booking, request, uuids, now)
    rules.check_gpus(first.gpus, names)
    shift = local_time(first.from_at, request.timezone) - local_time(
        booking.from_at, request.timezone
    )
    windows = [first]
    for later in changed[1:]:
        from_at = _shifted(later.from_at, shift, request.timezone, now)
        windows.append(
            replace(first, from_at=from_at, until_at=from_at + first.until_at - first.from_at)
        )
    _check_windows(rules, changed, windows, now)
    is_named = request.name is not None
    name = given_name(request.name or "")
    rule = "" if shift.days and "BY" in booking.rule else booking.rule
    return [
        BookingEdit(
            one.id, window, name if is_named else one.name, rule if request.series else one.rule
        )
        for one, window in zip(changed, windows, strict=True)
    ]


def _later_of_series(engine: Engine, booking: Reservation) -> list[Reservation]:
    if booking.series_id is None:
        raise InvalidRequest(
            f"booking {booking.id} is not one of a series",
            field="series",
            hint="leave out --series",
        )
    return [
        other
        for other in engine.reservations()
        if other.series_id == booking.series_id
        and other.from_at > booking.from_at
        and other.state is ReservationState.BOOKED
    ]


def _first_window(
    rules: BookingRules,
    booking: Reservation,
    request: ReservationUpdate,
    uuids: tuple[DeviceUuid, ...] | None,
    now: int,
) -> ReservationRequest:
    from_at, until_at = booking.from_at, booking.until_at
    if request.at is not None:
        from_at = rules.instant(request.at, now, request.timezone, "at")
        until_at = from_at + (booking.until_at - booking.from_at)
    if request.until is not None or request.duration is not None:
        until_at = rules.until(
            request.until or "", request.duration or "", from_at, now, request.timezone
        )
    gpus = booking.gpus if request.gpus is None else request.gpus
    if uuids is None:
        uuids = booking.gpu_uuids
        if uuids and gpus != len(uuids):
            raise InvalidRequest(
                "the booking names its devices", field="gpus", hint="name others with --gpu-ids"
            )
    else:
        if request.gpus is not None and uuids and gpus != len(uuids):
            raise InvalidRequest(
                f"{gpus} GPUs and --gpu-ids with {len(uuids)} do not agree", field="gpus"
            )
        gpus = len(uuids) or gpus
    if booking.state is ReservationState.ACTIVE and uuids != booking.gpu_uuids:
        raise Conflict(f"booking {booking.id} has begun: it keeps its devices")
    return ReservationRequest(
        gpus=gpus,
        from_at=from_at,
        until_at=until_at,
        gpu_uuids=uuids,
        gpu_type=booking.gpu_type,
        account=booking.account,
    )


def _shifted(at: int, shift: timedelta, zone: str, now: int) -> int:
    """Return an instant moved by so much on the wall clock, which a change of the clocks leaves."""
    if not shift:
        return at
    moved = local_time(at, zone) + shift
    return parse_instant(f"{moved:%Y-%m-%dT%H:%M:%S}", now_ms=now, zone=zone, field="at")


def _check_windows(
    rules: BookingRules,
    bookings: Sequence[Reservation],
    windows: Sequence[ReservationRequest],
    now: int,
) -> None:
    for booking, window in zip(bookings, windows, strict=True):
        if (window.from_at, window.until_at) != (booking.from_at, booking.until_at):
            is_active = booking.state is ReservationState.ACTIVE
            has_begun = is_active and window.from_at == booking.from_at
            rules.check_window(window, now, is_past_start_fine=has_begun)
    for before, after in pairwise(windows):
        if after.from_at < before.until_at:
            raise InvalidRequest("the bookings would overlap", field="duration")
