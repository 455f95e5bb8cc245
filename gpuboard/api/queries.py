"""What may stand behind the `?` of each request: closed schemas, decoded from text."""

from __future__ import annotations

import msgspec


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing may."""


class JobsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which live jobs."""

    mine: bool = False
    user: str = ""
    state: list[str] = []
    """Repeated, or separated by commas."""
    limit: int = 500


class QueueQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of the live jobs, running ones first, then the queue in serving order."""

    mine: bool = False
    user: str = ""
    state: list[str] = []
    """Repeated, or separated by commas; `held` too."""
    text: str = ""
    """Words that a job's number, name, owner or state must have, all of them, in any case."""
    offset: int = 0
    limit: int = 100


class HistoryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which jobs of the record."""

    user: str = ""
    state: list[str] = []
    name: str = ""
    since: str = ""
    until: str = ""
    limit: int = 100
    before: int | None = None
    """Only jobs with a smaller number: the next page."""


class ResolveQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which jobs are meant."""

    job: list[str] = []
    """Numbers, ranges (`4-7`), `@`, names; repeated, or separated by commas."""


class SubmitQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a submission is meant."""

    dry_run: bool = False
    """Say which devices and when; store nothing."""


class LogQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a log."""

    attempt: int | None = None
    tail: int | None = None
    """Only the last so many lines."""
    since: str = ""
    """An instant, e.g. `2026-11-22T20:01:00Z` or `10m ago`."""
    follow: bool = False
    """Go on until the job has ended."""


class UnreserveQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of a series is meant."""

    series: bool = False
    """The later bookings of its series too."""


class ReservationsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which bookings."""

    mine: bool = False
    past: bool = False


class TimelineQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which window; empty: the next 24 hours."""

    since: str = ""
    until: str = ""


class DeviceHistoryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far back."""

    seconds: int = 120


class UsageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fair share as it stands, or (`over`) a past window."""

    over: str = ""
    """`day`, `week`, `month`, or a span such as `36h`, up to now."""


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events."""

    after: int = 0
    last: int = 0
    """Only so many of the newest; 0: all."""
    limit: int = 1000
    job: str = ""
    """Only those of this job."""
