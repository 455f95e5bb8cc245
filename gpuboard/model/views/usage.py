"""What leaves the daemon about a past window: who held and used how much, when, and how long jobs waited."""

from __future__ import annotations

import msgspec

from gpuboard.model.views import SCHEMA


class UsedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One person's, group's or device's part of the window."""

    name: str
    """User name, group, label of the device; empty: no group."""
    uid: int | None = None
    """Of a person."""
    mine: bool = False
    held_s: float = 0.0
    """Device-seconds held: what is charged."""
    seen_s: float = 0.0
    """Device-seconds held of which the utilisation is known."""
    used_s: float = 0.0
    """Utilisation over those: two devices half busy for an hour are 3600."""
    idle_s: float = 0.0
    """Device-seconds held that counted as idle."""
    starts: int = 0
    """Jobs that started for the first time."""
    wait_median_s: float | None = None
    """From submission to that start, dependencies and `--begin` included; null without any."""
    wait_p90_s: float | None = None


class UsedHour(msgspec.Struct, frozen=True, kw_only=True):
    """One hour of the whole box."""

    at: str
    held_s: float = 0.0
    seen_s: float = 0.0
    """Device-seconds, held or not, of which the utilisation is known."""
    used_s: float = 0.0


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """`gpuboard usage --over week`: a past window, by person, group and device, and by the hour."""

    schema: int = SCHEMA
    at: str
    over: str
    """`day`, `week`, `month`, or the span asked for."""
    from_at: str
    until_at: str
    total: UsedRow
    people: list[UsedRow] = []
    """Those who held most first."""
    groups: list[UsedRow] = []
    """By account; empty where no job names one. Use and idleness are split as the holding was."""
    devices: list[UsedRow] = []
    """By label; `held_s` of what is held, `used_s` and `seen_s` of all that was seen."""
    hours: list[UsedHour] = []
    """Hours in which anything was known or held, oldest first."""
