"""Device-hours of the last seven days, for weekly quotas: a rolling week in steps of an hour.

What has ended counts by the hours in which it was held; what runs counts up to its limit, so that
a week's sum is never above the quota whatever runs its full time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gpuboard.model.ids import Uid
from gpuboard.model.world import Holder, Spent, Waiting

HOUR_MS = 3_600_000
WEEK_MS = 7 * 86_400_000

Unit = Uid | str
"""Who is limited: a person, or a group by name."""


class Week:
    """What people and groups used of their week at an instant; grows fuller as jobs start."""

    def __init__(
        self,
        spent: Iterable[Spent],
        holders: Iterable[Holder],
        now: int,
        units: Callable[[Uid, str], list[Unit]],
    ) -> None:
        """Sum up. `units` gives who is charged when a person uses something charged to a group."""
        self._now = now
        self._units = units
        self._seconds: dict[Unit, float] = {}
        self._expiries: dict[Unit, list[tuple[int, float]]] = {}
        for hour in sorted(spent, key=lambda hour: (hour.hour_at, hour.uid, hour.account)):
            expiry_at = hour.hour_at + HOUR_MS + WEEK_MS
            if expiry_at > now:
                self._add(hour.uid, hour.account, hour.device_seconds, expiry_at)
        for holder in sorted(holders, key=lambda holder: holder.job_id):
            latest_at = max(holder.ends_at - holder.grace_s * 1000, now)
            span_s = (latest_at - max(holder.started_at, now - WEEK_MS)) / 1000
            seconds = max(0.0, span_s) * len(holder.devices)
            self._add(holder.uid, holder.account, seconds, latest_at + WEEK_MS)
        for expiries in self._expiries.values():
            expiries.sort()

    def hours(self, unit: Unit) -> float:
        """Return what is used of a week (device-hours)."""
        return self._seconds.get(unit, 0.0) / 3600

    def every(self) -> dict[Unit, float]:
        """Return what everybody used of their week (device-hours)."""
        return {unit: seconds / 3600 for unit, seconds in self._seconds.items()}

    def commit(self, waiting: Waiting) -> None:
        """Count a job that starts, up to its limit."""
        for unit in self._units(waiting.uid, waiting.account):
            self._seconds[unit] = self._seconds.get(unit, 0.0) + hours_wanted(waiting) * 3600

    def next_expiry(self, unit: Unit) -> int | None:
        """Return when (ms) what the unit used next becomes less by time alone."""
        return next((at for at, _ in self._expiries.get(unit, ()) if at > self._now), None)

    def frees_at(self, unit: Unit, hours: float) -> int | None:
        """Return when (ms) so many of the used hours are past a week at the latest; None: never."""
        left_s = hours * 3600
        for at, seconds in self._expiries.get(unit, ()):
            left_s -= seconds
            if left_s <= 0:
                return at
        return None

    def _add(self, uid: Uid, account: str, seconds: float, expiry_at: int) -> None:
        for unit in self._units(uid, account):
            self._seconds[unit] = self._seconds.get(unit, 0.0) + seconds
            self._expiries.setdefault(unit, []).append((expiry_at, seconds))


def hours_wanted(waiting: Waiting) -> float:
    """Return the device-hours that a job takes by its limit."""
    return waiting.gpus * waiting.limit_s / 3600
