"""How the policy says instants and devices in words; instants in the box's own zone, as on its clock."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from gpuboard.model.world import DeviceFact


def clock_words(at: int, now: int) -> str:
    """Return an instant as people say it: `14:10` today, `Tue 14:10` this week, else with its date."""
    moment = _moment(at)
    today = _moment(now).date()
    if moment.date() == today:
        return f"{moment:%H:%M}"
    if abs(moment.date() - today) < timedelta(days=7):
        return f"{moment:%a %H:%M}"
    return f"{moment:%Y-%m-%d %H:%M}"


def devices_words(facts: Iterable[DeviceFact]) -> str:
    """Return `GPU 2,3` for some devices."""
    return "GPU " + ",".join(fact.label or str(fact.index) for fact in facts)


def count_words(count: int, one: str, many: str) -> str:
    """Return `1 job` or `3 jobs`."""
    return f"{count} {one if count == 1 else many}"


def _moment(at: int) -> datetime:
    # Past the calendar's end there is no date to say; a plan that far off is "never" to people.
    return datetime.fromtimestamp(min(at, 253402300799000) / 1000, tz=UTC).astimezone()
