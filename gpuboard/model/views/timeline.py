"""What leaves the daemon of who has what when: runs, bookings, forecasts, maintenance."""

from __future__ import annotations

import msgspec

from gpuboard.model.views import SCHEMA
from gpuboard.model.views.devices import DeviceRef


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A bar on the timeline."""

    device: str | None
    """Label of the device; null while a booking is not bound."""
    uuid: str | None = None
    kind: str
    """`ran`, `running`, `booking`, `forecast`, `blackout`."""
    user: str = ""
    mine: bool = False
    job_id: int | None = None
    reservation_id: int | None = None
    name: str = ""
    gpus: int = 1
    from_at: str
    until_at: str
    latest_from_at: str | None = None
    """Of a forecast: it starts no later than that."""
    rule: str = ""
    """Of a booking in a series: how that repeats."""


class TimelineView(msgspec.Struct, frozen=True, kw_only=True):
    """Bookings and runs between two instants."""

    schema: int = SCHEMA
    at: str
    from_at: str
    until_at: str
    devices: list[DeviceRef] = []
    entries: list[TimelineEntry] = []
