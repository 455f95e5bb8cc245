"""The week book: device-seconds of the last seven days, by hour, person and group, for weekly quotas.

Filled from the leases that ended; those that live are added when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator

from gpuboard.model.ids import Uid
from gpuboard.model.world import Spent
from gpuboard.policy.week import HOUR_MS, WEEK_MS

_Key = tuple[int, Uid, str]


class WeekBook:
    """Sums in memory; the leases in the database are what they are made from."""

    def __init__(self) -> None:
        self._seconds: dict[_Key, float] = {}
        self._oldest_hour_at = 0

    def add(self, uid: int, account: str, from_at: int, until_at: int) -> None:
        """Count a device held by somebody from one instant to another (ms)."""
        for key, seconds in _hours(Uid(uid), account, from_at, until_at):
            self._seconds[key] = self._seconds.get(key, 0.0) + seconds
        self._forget(until_at)

    def rows(self, now: int, live: Iterator[tuple[int, str, int]]) -> tuple[Spent, ...]:
        """Return what counts at `now`; `live` gives (uid, group, since when) of what is still held."""
        sums = self._seconds.copy()
        for uid, account, from_at in live:
            for key, seconds in _hours(Uid(uid), account, max(from_at, now - WEEK_MS), now):
                sums[key] = sums.get(key, 0.0) + seconds
        return tuple(
            Spent(uid, account, hour_at, seconds)
            for (hour_at, uid, account), seconds in sorted(sums.items())
            if hour_at + HOUR_MS + WEEK_MS > now
        )

    def _forget(self, now: int) -> None:
        oldest_hour_at = (now - WEEK_MS) // HOUR_MS * HOUR_MS
        if oldest_hour_at > self._oldest_hour_at:
            self._oldest_hour_at = oldest_hour_at
            self._seconds = {k: s for k, s in self._seconds.items() if k[0] >= oldest_hour_at}


def _hours(uid: Uid, account: str, from_at: int, until_at: int) -> Iterator[tuple[_Key, float]]:
    """Yield the parts (s) of a span by the hour in which they lie; of the last week only."""
    at = max(from_at, until_at - WEEK_MS - HOUR_MS)
    while at < until_at:
        hour_at = at // HOUR_MS * HOUR_MS
        end_at = min(until_at, hour_at + HOUR_MS)
        yield (hour_at, uid, account), (end_at - at) / 1000
        at = end_at
