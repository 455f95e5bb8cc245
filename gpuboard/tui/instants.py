"""Instants and spans as people read them on the screen: `14:10`, `Mon 09:00`, `2h05`.

Views carry ISO-8601 UTC; the screen shows the person's own zone. "Now" is always the daemon's, so
that a client with a wrong clock tells the same story and a test is repeatable.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from functools import lru_cache

DAY_S = 86400
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


@lru_cache(maxsize=4096)
def epoch_s(iso: str) -> int:
    """Return an ISO-8601 instant as whole seconds since the epoch."""
    moment = datetime.fromisoformat(iso)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp())


def iso(at_s: int) -> str:
    """Return seconds since the epoch as an ISO-8601 UTC instant."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(at_s: int, now_s: int) -> str:
    """Return an instant in local time, as short as it is unambiguous seen from `now_s`."""
    local, today = time.localtime(at_s), time.localtime(now_s)
    if local[:3] == today[:3]:
        return time.strftime("%H:%M", local)
    if abs(at_s - now_s) < 6 * DAY_S:
        return time.strftime("%a %H:%M", local)
    return time.strftime("%d %b %H:%M", local).lstrip("0")


def clock_of(instant: str | None, now_s: int, default: str = "") -> str:
    """Return `clock` of an ISO instant, or `default` where there is none."""
    return clock(epoch_s(instant), now_s) if instant else default


def localised(words: str, now_s: int) -> str:
    """Return the daemon's words with every UTC instant in them in local time."""
    return _INSTANT.sub(lambda found: clock(epoch_s(found[0]), now_s), words)


def local_words(at_s: int) -> str:
    """Return an instant as the command line takes it, in local time: `2026-11-22 14:30`."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))


def span(seconds: float) -> str:
    """Return a span in at most two units: `45s`, `12m`, `2h05`, `3d04h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < DAY_S:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}"
    return f"{whole // DAY_S}d{whole % DAY_S // 3600:02d}h"


def limit_words(seconds: int) -> str:
    """Return a span as `--time` takes it, exactly: `90m`, `2h`, `2h30m`, `1-12:00:00`."""
    if seconds >= DAY_S:
        rest = seconds % DAY_S
        return f"{seconds // DAY_S}-{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    hours, minutes, rest = seconds // 3600, seconds % 3600 // 60, seconds % 60
    words = (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")
    return words + (f"{rest}s" if rest or not words else "")


def brief(seconds: int) -> str:
    """Return a limit in at most five columns: `30m`, `1h30`, `36h`, `7d`."""
    if seconds >= 4 * DAY_S or (seconds and seconds % DAY_S == 0):
        return f"{seconds // DAY_S}d"
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    if not hours:
        return f"{minutes}m" if minutes else f"{seconds}s"
    return f"{hours}h{minutes:02d}" if minutes else f"{hours}h"


def gigabytes(amount: float | None) -> str:
    """Return bytes as GiB without a unit: `42`, `7.5`; `-` where unknown."""
    if amount is None:
        return "-"
    value = amount / 2**30
    return f"{value:.1f}" if 0 < value < 9.95 else f"{value:.0f}"
