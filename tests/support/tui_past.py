"""What a scripted source says of the past and of the daemon: a week of a lab, and a box set up by hand."""

from __future__ import annotations

from gpuboard.model.instants import from_iso, iso
from gpuboard.model.requests import BlackoutRequest
from gpuboard.model.views.admin import (
    AdminResult,
    AdminState,
    BlackoutView,
    DatabaseView,
    DrainView,
    RuntimeView,
    SettingView,
)
from gpuboard.model.views.devices import DeviceRef
from gpuboard.model.views.events import EventList, EventView
from gpuboard.model.views.usage import UsageReport, UsedHour, UsedRow

NOW = "2026-11-23T13:40:00Z"
HOUR_MS = 3_600_000
_SPANS_MS = {"day": 24 * HOUR_MS, "week": 7 * 24 * HOUR_MS, "month": 30 * 24 * HOUR_MS}


def used(name: str, hours: float, share: float, idle: float = 0, **values: object) -> UsedRow:
    held_s = hours * 3600
    return UsedRow(
        name=name, held_s=held_s, seen_s=held_s, used_s=held_s * share, idle_s=idle * 3600, **values
    )  # type: ignore[arg-type]  # fmt: skip


def people() -> list[UsedRow]:
    return [
        used("bea", 402, 0.31, 121, uid=1001, starts=14, wait_median_s=240, wait_p90_s=5400),
        used("ann", 260, 0.88, 2.5, uid=1000, mine=True, starts=31, wait_median_s=60, wait_p90_s=900),
        used("carl", 96, 0.93, uid=1002, starts=4, wait_median_s=9000, wait_p90_s=30000),
    ]  # fmt: skip


def hours(span_ms: int) -> list[UsedHour]:
    """Busy by day, quiet at night and on Sunday; Saturday's sweeps are missing."""
    end = from_iso(NOW) // HOUR_MS * HOUR_MS
    made = []
    for at in range(end - span_ms + HOUR_MS, end + 1, HOUR_MS):
        hour, day = at // HOUR_MS % 24, (at // (24 * HOUR_MS) + 3) % 7
        if day == 5:
            continue
        busy = 8 * 3600 * (0.05 if day == 6 else 0.9 if 9 <= hour < 19 else 0.3)
        made.append(UsedHour(at=iso(at) or "", held_s=busy, seen_s=8 * 3600, used_s=busy))
    return made


def report(over: str) -> UsageReport:
    rows = people()
    sums = {
        name: sum(getattr(row, name) for row in rows)
        for name in ("held_s", "seen_s", "used_s", "idle_s", "starts")
    }
    span_ms = _SPANS_MS.get(over, _SPANS_MS["week"])
    return UsageReport(
        at=NOW, over=over, from_at=iso(from_iso(NOW) - span_ms) or "", until_at=NOW,
        total=UsedRow(name="total", wait_median_s=120, wait_p90_s=7200, **sums),  # type: ignore[arg-type]
        people=rows,
        groups=[used("vision", 498, 0.4, 100), used("", 260, 0.88, 20)],
        devices=[used(str(index), 95 - index, 0.9 - index / 10, index) for index in range(8)],
        hours=hours(span_ms),
    )  # fmt: skip


def daemon_state() -> AdminState:
    def setting(section: str, key: str, value: str, is_default: bool = True) -> SettingView:
        return SettingView(section=section, key=key, value=value, is_default=is_default)

    return AdminState(
        at=NOW, version="0.1.0", started_at="2026-11-20T06:00:00Z", config_file="/etc/gpuboard/config.toml",
        settings=[
            setting("daemon", "socket", '"/run/gpuboard/gpuboard.sock"'),
            setting("jobs", "default_time", '"4h"'),
            setting("jobs", "max_time", '"2d"', is_default=False),
            setting("docker", "images", '["pytorch/*", "nvcr.io/*"]', is_default=False),
            setting("notify", "urls", "(not shown)", is_default=False),
        ],
        runtimes=[RuntimeView(name="docker", version="27.3.1"), RuntimeView(name="process")],
        driver="550.90",
        database=DatabaseView(
            path="/var/lib/gpuboard/gpuboard.db", version=3, sqlite="3.45.1", size_bytes=48 * 2**20,
            wal_bytes=2**20, free_bytes=200 * 2**30, backup="/var/lib/gpuboard/backups/2026-11-23.db",
            backup_at="2026-11-23T06:00:00Z",
        ),
        checked_at="2026-11-22T09:00:00Z", check_words="ok",
        drains=[DrainView(device=DeviceRef("6", "GPU-0006"), at="2026-11-22T16:00:00Z", by="root", note="fan broken")],
        blackouts=[BlackoutView(id=3, from_at="2026-11-23T20:00:00Z", until_at="2026-11-23T23:00:00Z", note="fan replacement", devices=[DeviceRef("6", "GPU-0006")])],
    )  # fmt: skip


class PastAndDaemon:
    """The part of a scripted source that tells of them; `_asked` is the whole one's."""

    report = staticmethod(report)
    state = staticmethod(daemon_state)
    older_events: list[EventView] = []

    def _asked(self, name: str, what: object) -> None: ...

    def usage_over(self, over: str) -> UsageReport:
        self._asked("usage_over", over)
        return self.report(over)

    def last_events(self, last: int) -> EventList:
        self._asked("last_events", last)
        return EventList(events=self.older_events)

    def blackout(self, request: BlackoutRequest) -> AdminResult:
        self._asked("blackout", request)
        return AdminResult(words="done: blackout")

    def backup(self, path: str) -> AdminResult:
        self._asked("backup", path)
        return AdminResult(words="written: /x.db")

    def check_database(self) -> AdminResult:
        self._asked("check_database", None)
        return AdminResult(words="ok")

    def admin_state(self) -> AdminState:
        self._asked("admin_state", None)
        return self.state()
