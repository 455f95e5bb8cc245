"""What leaves the daemon about bookings."""

from __future__ import annotations

import msgspec

from gpuboard.model.views import SCHEMA
from gpuboard.model.views.devices import DeviceRef


class ReservationView(msgspec.Struct, frozen=True, kw_only=True):
    """A booking."""

    id: int
    user: str
    uid: int
    mine: bool
    name: str = ""
    state: str
    gpus: int
    gpu_type: str = ""
    devices: list[DeviceRef] = []
    """Bound devices; before its start those it would get as things stand."""
    likely: bool = False
    """Whether not all of these are bound yet: other devices may take the place of some."""
    from_at: str
    until_at: str
    on_them_now: list[str] = []
    """In the answer to `reserve`: what is on these devices now, in words."""
    series_id: int | None = None
    """The first booking of the series that it is one of."""
    rule: str = ""
    """How that series repeats (RFC 5545)."""
    account: str = ""
    """The group that it is charged to."""


class ReservationList(msgspec.Struct, frozen=True, kw_only=True):
    """Bookings, by start."""

    schema: int = SCHEMA
    at: str
    reservations: list[ReservationView] = []


class WindowView(msgspec.Struct, frozen=True):
    """A window that could be booked."""

    from_at: str
    until_at: str


class ReserveResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `reserve` (also with `dry_run`). A refusal is the error `refused`, whose
    message gives the causes and whose hint the nearest windows; a dry run with `suggest` gives both here.
    """

    schema: int = SCHEMA
    dry_run: bool = False
    reservation: ReservationView
    """The booking; of a series the first one."""
    series: list[ReservationView] = []
    """All bookings of a series, by start."""
    refused: str = ""
    """With `suggest`: why it cannot be had, in words."""
    notices: list[str] = []
    """Announced maintenance about the time of the window, in words."""
    windows: list[WindowView] = []
    """With `suggest`: the nearest windows of this length that could be had, the earliest first."""
