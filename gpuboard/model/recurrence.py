"""Recurrence: which instants a rule of RFC 5545 names, by the wall clock of a person's zone.

`python-dateutil` expands the rule and is imported only then. Rules are cut down to what bookings
need: one that names nothing would be searched until the year 9999.
"""

from __future__ import annotations

import re

from gpuboard.errors import InvalidRequest
from gpuboard.model.instants import local_time, parse_instant

MOST_OCCURRENCES = 60
_WORDS = {
    "daily": "FREQ=DAILY",
    "weekly": "FREQ=WEEKLY",
    "weekdays": "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
}
_DAYS = r"(MO|TU|WE|TH|FR|SA|SU)"
_PARTS = {
    "FREQ": r"DAILY|WEEKLY|MONTHLY",
    "INTERVAL": r"[1-9][0-9]?",
    "COUNT": r"[1-9][0-9]{0,2}",
    "BYDAY": rf"[+-]?[1-4]?{_DAYS}(,[+-]?[1-4]?{_DAYS})*",
    "BYMONTHDAY": r"([1-9]|1[0-9]|2[0-8])(,([1-9]|1[0-9]|2[0-8]))*",
    "WKST": _DAYS,
}
_HINT = "daily, weekly, weekdays, or FREQ=WEEKLY;BYDAY=MO,TH - with --count 8 or --until 2026-12-24"


def read_rule(text: str) -> str:
    """Return the rule in RFC 5545's words. Raises InvalidRequest."""
    words = text.strip()[:200]
    rule = _WORDS.get(words.lower(), words.upper().removeprefix("RRULE:"))
    parts = dict(part.partition("=")[::2] for part in rule.split(";"))
    for name, value in parts.items():
        if not re.fullmatch(_PARTS.get(name, "(?!)"), value):
            raise _wrong(text, f"{name}={value} is not possible here" if value else "is no rule")
    by = parts.keys() & {"BYDAY", "BYMONTHDAY"}
    frequency = parts.get("FREQ", "")
    if not frequency or len(by) > 1 or (by and frequency == "DAILY"):
        raise _wrong(text, "is not a rule for bookings")
    if "BYMONTHDAY" in by and frequency != "MONTHLY":
        raise _wrong(text, "names days of the month, but does not repeat monthly")
    if frequency != "MONTHLY" and re.search("[0-9]", parts.get("BYDAY", "")):
        raise _wrong(text, "counts weekdays, but does not repeat monthly")
    return rule


def occurrences(
    rule: str, from_at: int, zone: str, *, count: int | None, last_at: int | None
) -> list[int]:
    """Return the instants (ms) of a rule from `read_rule`, the first of them at or after `from_at`.

    Ends with `count`, at `last_at`, or with the rule's own COUNT. The wall-clock time stays the same
    over a change of the clocks. Raises InvalidRequest: without an end, none at all, or too many.
    """
    from itertools import islice

    from dateutil.rrule import rrulestr

    if count is None and last_at is None and "COUNT=" not in rule:
        raise InvalidRequest("how often, or until when?", field="repeat", hint=_HINT)
    if count is not None and not 1 <= count <= MOST_OCCURRENCES:
        raise InvalidRequest(f"{count} is not 1 to {MOST_OCCURRENCES}", field="count")
    days = rrulestr(rule, dtstart=local_time(from_at, zone))
    found: list[int] = []
    for day in islice(days, min(count or MOST_OCCURRENCES + 1, MOST_OCCURRENCES + 1)):
        at = parse_instant(f"{day:%Y-%m-%d %H:%M:%S}", now_ms=from_at, zone=zone, field="repeat")
        if last_at is not None and at > last_at:
            break
        found.append(at)
    if not found:
        raise InvalidRequest("the series is over before it begins", field="until")
    if len(found) > MOST_OCCURRENCES:
        raise InvalidRequest(
            f"more than {MOST_OCCURRENCES} bookings", field="repeat", hint="end it sooner"
        )
    return found


def _wrong(text: str, complaint: str) -> InvalidRequest:
    return InvalidRequest(f"'{text[:60]}' {complaint}", field="repeat", hint=_HINT)
