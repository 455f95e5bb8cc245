"""What a report on a past window is made of: leases, hours of devices, and how long jobs waited."""

from __future__ import annotations

import msgspec

NOBODY = -1
"""The uid of time in which nobody held the device."""
HOUR_MS = 3_600_000


class DeviceHour(msgspec.Struct, frozen=True):
    """A part of an hour of one device in one person's hands; spans in seconds."""

    hour_at: int
    """When the hour began (ms since epoch, a whole hour of UTC)."""
    device: str
    uid: int
    seen_s: float = 0.0
    """For how long its utilisation was known."""
    used_s: float = 0.0
    """Utilisation over time: half busy for an hour is 1800."""
    idle_s: float = 0.0
    """For how long it was held and counted as idle (`[devices] idle_after`)."""


class HeldSpan(msgspec.Struct, frozen=True):
    """A lease as far as it lies in the window (ms since epoch)."""

    device: str
    uid: int
    from_at: int
    until_at: int
    account: str = ""
    """The group that it was charged to; empty: the person alone."""
    part: float = 1.0
    """How much of the device was charged: less than 1 where several jobs shared it."""

    @property
    def held_s(self) -> float:
        """Return the device-seconds that it held."""
        return self.part * (self.until_at - self.from_at) / 1000


class WaitSpan(msgspec.Struct, frozen=True):
    """How long a job that started in the window had waited since its submission."""

    uid: int
    wait_s: float


class Past(msgspec.Struct, frozen=True):
    """All of one window, as of one instant."""

    from_at: int
    until_at: int
    held: list[HeldSpan] = []
    hours: list[DeviceHour] = []
    waits: list[WaitSpan] = []
    names: dict[int, str] = {}
    """User names by uid, of everybody who ever came here."""
