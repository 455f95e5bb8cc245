"""Reservations (bookings), leases, blackouts, drains and notices."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gpuboard.model.ids import DeviceUuid, JobId, LeaseId, ReservationId
from gpuboard.model.person import Person


class ReservationState(StrEnum):
    """`booked -> active -> ended`, or `cancelled`."""

    BOOKED = "booked"
    ACTIVE = "active"
    ENDED = "ended"
    CANCELLED = "cancelled"


class Reservation(msgspec.Struct, frozen=True):
    """A window in which a person holds a number of devices; the devices are bound late."""

    id: ReservationId
    owner: Person
    gpus: int
    from_at: int
    until_at: int
    state: ReservationState = ReservationState.BOOKED
    gpu_uuids: tuple[DeviceUuid, ...] = ()
    gpu_type: str = ""
    name: str = ""
    devices: tuple[DeviceUuid, ...] = ()
    """Bound at `from_at` (or as they get free); kept after the end for the record."""
    created_at: int = 0
    ended_at: int | None = None
    series_id: ReservationId | None = None
    """The first booking of the series that it is one of."""
    rule: str = ""
    """How the series repeats (RFC 5545)."""
    account: str = ""
    """The group that it is charged to; empty: the person alone."""


class Share(msgspec.Struct, frozen=True):
    """A lease's part of a device that several jobs share by budgets of its memory."""

    memory_bytes: int
    """The budget."""
    capacity_bytes: int
    """What all budgets on the device may come to."""
    part: float = 1.0
    """Of the device, what is charged: the budget against all budgets there now."""


class Lease(msgspec.Struct, frozen=True):
    """Device x job (or reservation), from, until: what is charged and what is exclusive.

    A job on a booked device has both ids; when it ends inside the window its lease is closed and
    one of the reservation alone is opened. At most one lease of a device is live
    (`released_at is None`): a partial unique index says so too. Of a shared device each job has a
    lease with a `share`; whenever one comes or goes, the others' are closed and opened anew, since
    what they are charged for changes.
    """

    id: LeaseId
    device: DeviceUuid
    uid: int
    job_id: JobId | None
    reservation_id: ReservationId | None
    granted_at: int
    until_at: int
    """By the limit, grace included; for display and planning."""
    released_at: int | None = None
    attempt: int = 1
    share: Share | None = None
    """None: the whole device."""

    @property
    def devices_charged(self) -> float:
        """Return how much of a device its holder is charged for."""
        return 1.0 if self.share is None else self.share.part


class Blackout(msgspec.Struct, frozen=True):
    """A maintenance window: nothing runs in it. `devices` empty = all."""

    id: int
    from_at: int
    until_at: int
    note: str = ""
    devices: tuple[DeviceUuid, ...] = ()


class Drain(msgspec.Struct, frozen=True):
    """A device taken out of service: what runs goes on, nothing new starts."""

    device: DeviceUuid
    at: int
    by: str
    """An admin's name, or `gpuboard` when health did it."""
    note: str = ""


class Notice(msgspec.Struct, frozen=True):
    """An admin's words to everybody."""

    id: int
    at: int
    by: str
    text: str
    until_at: int | None = None
