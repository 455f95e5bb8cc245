"""Instants as people and machines write them, to milliseconds since the epoch (UTC) and back.

Machines get ISO-8601 in UTC, made with integers alone. People write `tomorrow 09:00` in their own
zone; `datetime` and `zoneinfo` are imported only for them. A wall-clock time that a change of the
clocks skips is read with the offset from before the change (RFC 5545): 02:30 becomes 03:30. One
that comes twice is the first of the two that is still ahead.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from gpuboard.errors import InvalidRequest
from gpuboard.model.durations import parse_duration

if TYPE_CHECKING:
    from datetime import date, datetime, time, tzinfo

FORMS = "now+1h, 14:30, 'tomorrow 09:00', 'mon 09:00', 2026-11-23, or 2026-11-23T09:00[Z]"
"""The accepted forms, for help texts and hints."""

_DAY_MS = 86_400_000
_LONGEST_TEXT = 64
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY_WORDS = {"yesterday": -1, "today": 0, "tomorrow": 1}
_ISO = (
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?"
    r"\s*(Z|[+-][0-9]{2}:?[0-9]{2})"
)
_TIME = r"([0-9]{1,2})(?::([0-9]{2}))?(?::([0-9]{2}))?\s*(am|pm)?"
_DATE = r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"


@lru_cache(maxsize=2048)
def iso(ms: int | None) -> str | None:
    """Return `2026-11-22T20:01:00Z`; milliseconds only when there are some. None stays None."""
    if ms is None:
        return None
    days, rest = divmod(ms, _DAY_MS)
    year, month, day = _civil(days)
    seconds, millis = divmod(rest, 1000)
    fraction = f".{millis:03}" if millis else ""
    return (
        f"{year:04}-{month:02}-{day:02}T{seconds // 3600:02}:{seconds // 60 % 60:02}"
        f":{seconds % 60:02}{fraction}Z"
    )


def from_iso(text: str, *, field: str = "instant") -> int:
    """Return the milliseconds of an ISO-8601 instant with `Z` or an offset. Raises InvalidRequest."""
    ms = _iso_ms(text.strip()) if len(text) <= _LONGEST_TEXT else None
    if ms is None:
        raise _invalid(text, field, "is not an instant such as 2026-11-22T20:01:00Z")
    return ms


def parse_instant(
    text: str, *, now_ms: int, after_ms: int | None = None, zone: str = "", field: str
) -> int:
    """Return the instant that a person means by `text`, in ms since the epoch; it may lie in the past.

    `now`, `now+1h`, `now-2d`, `in 1h`, `2h ago`; `14:30`, `9am`, `noon` (the next one); `today`,
    `tomorrow`, `yesterday`, a weekday (the next one) or a date, each alone (its first moment) or with
    a time; ISO-8601 with or without an offset. `zone` is an IANA name; empty is the host's zone.
    After `now+` a unit is needed: a bare number is seconds in Slurm and minutes elsewhere here.
    `after_ms` is given for the end of a window that begins then: a time or a weekday alone is the
    next one from there on and `+1h` an hour later; all other words still mean what they mean now.
    Raises InvalidRequest that names the field, the value and the accepted forms.
    """
    words = " ".join(text.lower().split()) if len(text) <= _LONGEST_TEXT else ""
    exact = _iso_ms(words)
    if exact is not None:
        return exact
    after_ms = now_ms if after_ms is None else max(now_ms, after_ms)
    delta_s = _relative_s(words, field)
    if delta_s is not None:
        return (after_ms if words.startswith("+") else now_ms) + delta_s * 1000
    try:
        ms = _wall_ms(words, now_ms, after_ms, _tzinfo(zone))
    except (OverflowError, OSError) as error:  # a year that the host's calendar does not have
        raise _invalid(text, field, "is out of range") from error
    if ms is None:
        raise _invalid(text, field, "is not a time")
    return ms


def format_local(ms: int, now_ms: int, zone: str = "") -> str:
    """Return the instant as a person near it would say it: `14:10`, `tomorrow 09:00`, `Tue 09:00`.

    A weekday means one of the coming six days; everything else is `2026-12-03 09:00`.
    """
    try:
        tz = _tzinfo(zone)
        at, now = _wall(ms, tz), _wall(now_ms, tz)
    except (OverflowError, OSError, ValueError):
        return iso(ms) or ""
    clock = f"{at.hour:02}:{at.minute:02}"
    days = (at.date() - now.date()).days
    if days == 0:
        return clock
    for word, distance in _DAY_WORDS.items():
        if days == distance:
            return f"{word} {clock}"
    if 1 < days < 7:
        return f"{_WEEKDAYS[at.weekday()][:3].title()} {clock}"
    return f"{at.year:04}-{at.month:02}-{at.day:02} {clock}"


def local_time(ms: int, zone: str = "") -> datetime:
    """Return the wall clock's time of the zone at an instant, to the second, without the zone.

    Raises InvalidRequest for a zone that is none.
    """
    return _wall(ms, _tzinfo(zone)).replace(tzinfo=None, microsecond=0)


def _relative_s(words: str, field: str) -> int | None:
    """Return the seconds from now of `now`, `now+1h`, `in 1h`, `2h ago`; None for anything else."""
    if words == "now":
        return 0
    if words.startswith("now"):
        rest = words[3:].strip()
        sign = {"+": 1, "-": -1}.get(rest[:1])
        span = rest[1:].strip()
    elif words.startswith(("in ", "+")):
        sign, span = 1, words.removeprefix("in ").removeprefix("+").strip()
    elif words.endswith(" ago"):
        sign, span = -1, words.removesuffix(" ago")
    else:
        return None
    if sign is None:
        return None
    if span.replace(".", "").isdigit():
        raise _invalid(
            words, field, "has no unit", hint=f"write now+{span}m for minutes, or now+{span}s"
        )
    return sign * parse_duration(span, field=field)


def _wall_ms(words: str, now_ms: int, after_ms: int, tz: tzinfo | None) -> int | None:
    """Return the instant of a time, day, or day and time on the wall clock of `tz`."""
    from datetime import time, timedelta

    begin = _wall(after_ms, tz).date()
    clock = _clock(words)
    if clock is not None:
        candidates = [begin + timedelta(days=days) for days in range(3)]
        return _first_after(after_ms, candidates, clock, tz)
    day_word, _, rest = (
        words.replace("t", " ", 1).partition(" ")
        if re.match(_DATE, words)
        else words.partition(" ")
    )
    if day_word == "next" and rest:
        day_word, _, rest = rest.partition(" ")
    clock = _clock(rest.removeprefix("at ")) if rest else time()
    if clock is None:
        return None
    weekday = _weekday(day_word)
    if weekday is not None:
        first = begin + timedelta(days=(weekday - begin.weekday()) % 7)
        return _first_after(after_ms, [first, first + timedelta(days=7)], clock, tz)
    day = _day(day_word, _wall(now_ms, tz).date())
    return None if day is None else _instant(day, clock, tz, after_ms)


def _clock(words: str) -> time | None:
    from datetime import time

    if words in ("noon", "midnight"):
        return time(12 if words == "noon" else 0)
    match = re.fullmatch(_TIME, words)
    if match is None or (match[2] is None and match[4] is None):
        return None
    hour, minute, second = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    if match[4]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match[4] == "pm" else 0)
    return time(hour, minute, second) if hour < 24 and minute < 60 and second < 60 else None


def _weekday(word: str) -> int | None:
    if len(word) < 3:
        return None
    return next((n for n, name in enumerate(_WEEKDAYS) if name.startswith(word)), None)


def _day(word: str, today: date) -> date | None:
    from datetime import date, timedelta

    if word in _DAY_WORDS:
        return today + timedelta(days=_DAY_WORDS[word])
    match = re.fullmatch(_DATE, word)
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def _first_after(now_ms: int, days: list[date], clock: time, tz: tzinfo | None) -> int:
    instants = (_instant(day, clock, tz, now_ms) for day in days)
    return next((ms for ms in instants if ms > now_ms), now_ms)


def _instant(day: date, clock: time, tz: tzinfo | None, now_ms: int) -> int:
    """Return the instant of a wall-clock time; of two, the first that is ahead of now."""
    from datetime import datetime

    wall = datetime.combine(day, clock, tzinfo=tz)
    first, second = (round(wall.replace(fold=fold).timestamp()) * 1000 for fold in (0, 1))
    # In a gap the second is the earlier one; the first then has the offset from before the change.
    return second if first <= now_ms < second else first


def _wall(ms: int, tz: tzinfo | None) -> datetime:
    from datetime import datetime

    return datetime.fromtimestamp(ms / 1000, tz)


def _tzinfo(zone: str) -> tzinfo | None:
    """Return the zone; None is the host's own, which `datetime` knows by itself."""
    if not zone:
        return None
    if zone == "UTC":
        from datetime import UTC

        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(zone)
    except (
        ValueError,
        KeyError,
        OSError,
    ) as error:  # OSError: a directory of zones, a name too long
        raise _invalid(
            zone,
            "timezone",
            "is not a time zone",
            hint="write a name such as Europe/Berlin, or UTC",
        ) from error


def _iso_ms(text: str) -> int | None:
    match = re.fullmatch(_ISO, text, re.IGNORECASE)
    if match is None:
        return None
    year, month, day, hour, minute = (int(match[n]) for n in range(1, 6))
    second = int(match[6] or 0)
    if not (year >= 1 and 1 <= month <= 12 and hour < 24 and minute < 60 and second < 60):
        return None
    days = _days(year, month, day)
    if _civil(days) != (year, month, day):
        return None
    millis = int((match[7] or "0")[:3].ljust(3, "0"))
    offset = _offset_minutes(match[8])
    if offset is None:
        return None
    return days * _DAY_MS + ((hour * 60 + minute - offset) * 60 + second) * 1000 + millis


def _offset_minutes(text: str) -> int | None:
    if text in "Zz":
        return 0
    hours, minutes = int(text[1:3]), int(text[-2:])
    if hours > 23 or minutes > 59:
        return None
    return (hours * 60 + minutes) * (-1 if text[0] == "-" else 1)


def _days(year: int, month: int, day: int) -> int:
    """Return days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms")."""
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


def _civil(days: int) -> tuple[int, int, int]:
    """Return year, month, day of days since 1970-01-01: the inverse of `_days`."""
    era, of_era = divmod(days + 719468, 146097)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    return era * 400 + year + (month <= 2), month, day


def _invalid(text: str, field: str, complaint: str, *, hint: str = "") -> InvalidRequest:
    from gpuboard.model.text import plain

    shown = plain(text[:200], 60)
    return InvalidRequest(
        f"{field}: '{shown}' {complaint}", hint=hint or f"write {FORMS}", field=field
    )
