"""A window asked for, the booking that it becomes, and that booking as the policy sees it."""

from __future__ import annotations

from gpuboard.model.ids import DeviceUuid, ReservationId
from gpuboard.model.person import Person
from gpuboard.model.plan import ReservationRequest
from gpuboard.model.reservation import Reservation
from gpuboard.model.world import Booking


def booking_of(
    owner: Person,
    window: ReservationRequest,
    now: int,
    *,
    name: str = "",
    rule: str = "",
    number: int = 0,
) -> Reservation:
    """Return the booking that a window becomes; the store gives it its number."""
    return Reservation(
        id=ReservationId(number),
        owner=owner,
        gpus=window.gpus,
        from_at=window.from_at,
        until_at=window.until_at,
        gpu_uuids=window.gpu_uuids,
        gpu_type=window.gpu_type,
        name=name,
        created_at=now,
        rule=rule,
        account=window.account,
    )


def window_of(booking: Reservation) -> ReservationRequest:
    """Return the window that a booking has, as a request."""
    return ReservationRequest(
        gpus=booking.gpus,
        from_at=booking.from_at,
        until_at=booking.until_at,
        gpu_uuids=booking.gpu_uuids,
        gpu_type=booking.gpu_type,
        account=booking.account,
    )


def claim_of(booking: Reservation, bound: tuple[DeviceUuid, ...] = ()) -> Booking:
    """Return a booking as the policy sees it; `bound`: the devices that it has so far."""
    return Booking(
        reservation_id=booking.id,
        uid=booking.owner.uid,
        user=booking.owner.name,
        gpus=booking.gpus,
        from_at=booking.from_at,
        until_at=booking.until_at,
        gpu_uuids=booking.gpu_uuids,
        gpu_type=booking.gpu_type,
        devices=bound,
    )
