"""Spans of time as people write them, to integer seconds and back: `2h30m`, `2:00:00`, `90`.

A bare number is minutes and `30:00` is thirty minutes, as in Slurm, because those are in people's
scripts. Nothing heavy is imported and no pattern compiled before it is needed: the command line
loads this before anything else.
"""

from __future__ import annotations

import re

from gpuboard.errors import InvalidRequest

MAX_S = 36500 * 86400
"""The longest span that is taken seriously (100 years): keeps every sum far inside 64 bits."""

FORMS = "90m, 2h30m, 1d12h, 1.5h, 2:00:00, 1-12:00:00, or a bare number of minutes"
"""The accepted forms, for help texts and hints."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST_TEXT = 64
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_UNIT = r"(?:s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)"
_WORDS = rf"{_NUMBER}\s*{_UNIT}(?:\s*{_NUMBER}\s*{_UNIT})*"
_WORD = rf"({_NUMBER})\s*({_UNIT})"
_CLOCK = r"(?:([0-9]+)-)?([0-9]+)(?::([0-9]+))?(?::([0-9]+))?"


def parse_duration(text: str | int, *, field: str, least_s: int = 1) -> int:
    """Return the seconds that `text` says: always >= 1, or >= `least_s`.

    Clock forms are Slurm's: `M:S`, `H:M:S`, `D-H`, `D-H:M`, `D-H:M:S`. Fractions are rounded to
    whole seconds. Raises InvalidRequest that names the field, the value and the accepted forms.
    """
    seconds = _seconds_of(text)
    if seconds is None:
        raise _invalid(text, field, "is not a span of time")
    if seconds < least_s:
        raise _invalid(text, field, "is not longer than nothing")
    if seconds > MAX_S:
        raise _invalid(text, field, "is longer than 100 years")
    return seconds


def format_duration(seconds: int) -> str:
    """Return the span in words: `2h30m`, `1d12h`, `45s`; `0s` for nothing, `-5m` for five minutes ago.

    `parse_duration` reads every positive one back to the same seconds.
    """
    if seconds < 0:
        return "-" + format_duration(-seconds)
    parts = []
    rest = seconds
    for unit in "dhms":
        count, rest = divmod(rest, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _seconds_of(text: str | int) -> int | None:
    if isinstance(text, bool):
        return None
    if isinstance(text, int):
        return text * 60
    text = text.strip().lower()
    if len(text) > _LONGEST_TEXT:
        return None
    if re.fullmatch(_NUMBER, text):
        return _product(text, 60)
    if re.fullmatch(_WORDS, text):
        return sum(_product(number, _UNITS[unit[0]]) for number, unit in re.findall(_WORD, text))
    clock = re.fullmatch(_CLOCK, text)
    return _clock_seconds(*clock.groups()) if clock else None


def _product(number: str, unit_s: int) -> int:
    if number.isdigit():
        return int(number) * unit_s
    return round(float(number) * unit_s)


def _clock_seconds(
    days: str | None, first: str, second: str | None, third: str | None
) -> int | None:
    """Return the seconds of a clock form; what the first number means hangs on the rest, as in Slurm."""
    if days is not None:
        hours, minutes, seconds = int(first), int(second or 0), int(third or 0)
        if hours >= 24:
            return None
    elif third is not None:
        hours, minutes, seconds = int(first), int(second or 0), int(third)
    else:
        return int(first) * 60 + int(second or 0) if int(second or 0) < 60 else None
    if minutes >= 60 or seconds >= 60:
        return None
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds


def _invalid(text: str | int, field: str, complaint: str) -> InvalidRequest:
    from gpuboard.model.text import plain

    shown = (
        plain(str(text)[:200], 60) if isinstance(text, str) or abs(text) < 10**30 else "that number"
    )
    return InvalidRequest(f"{field}: '{shown}' {complaint}", hint=f"write {FORMS}", field=field)
