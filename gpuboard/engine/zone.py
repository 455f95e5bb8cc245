"""The box's own clock as data: by how much it is ahead of UTC, and when that changes."""

from __future__ import annotations

import time
from functools import lru_cache

DAY_MS = 86_400_000
BEHIND_DAYS, AHEAD_DAYS = 10, 400
"""How far around now changes of the clocks are looked for."""


def utc_offsets(now: int) -> tuple[tuple[int, int], ...]:
    """Return (from when on in ms, seconds ahead of UTC) about an instant, ascending; read once a day."""
    return _about(now // DAY_MS)


@lru_cache(maxsize=4)
def _about(day: int) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for number in range(day - BEHIND_DAYS, day + AHEAD_DAYS):
        at = number * DAY_MS
        ahead_s = _ahead_s(at)
        if not found:
            found.append((at, ahead_s))
        elif ahead_s != found[-1][1]:
            found.append((_change_between(at - DAY_MS, at), ahead_s))
    return tuple(found)


def _change_between(low: int, high: int) -> int:
    """Return the minute (ms) in (low, high] from which on the offset is that of `high`."""
    new_s = _ahead_s(high)
    while high - low > 60_000:
        middle = (low + high) // 120_000 * 60_000
        low, high = (low, middle) if _ahead_s(middle) == new_s else (middle, high)
    return high


def _ahead_s(at: int) -> int:
    return time.localtime(at // 1000).tm_gmtoff
