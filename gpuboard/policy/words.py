"""How the policy says instants and devices in words: by the offsets from UTC that the world has."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from gpuboard.model.plan import Cause, WaitCause
from gpuboard.model.world import DeviceFact

UtcOffset = tuple[int, int]
"""From when on (ms), and by how many seconds the box's clock is ahead of UTC."""

_LAST_AT = 253402214400000 - 1
"""Past the calendar's end there is no date to say; a plan that far off is "never" to people."""


def clock_words(at: int, now: int, utc_offsets: Sequence[UtcOffset] = ()) -> str:
    """Return an instant as people say it: `14:10` today, `Tue 14:10` this week, else with its date.

    `utc_offsets`, by instant, make it the box's time; without any it is UTC.
    """
    moment = _moment(at, utc_offsets)
    today = _moment(now, utc_offsets).date()
    if moment.date() == today:
        return f"{moment:%H:%M}"
    if abs(moment.date() - today) < timedelta(days=7):
        return f"{moment:%a %H:%M}"
    return f"{moment:%Y-%m-%d %H:%M}"


def devices_words(facts: Iterable[DeviceFact]) -> str:
    """Return `GPU 2,3` for some devices."""
    return "GPU " + ",".join(fact.label or str(fact.index) for fact in facts)


def being_cleared(facts: Sequence[DeviceFact], until_at: int) -> Cause:
    """Return the cause that devices whose job has ended are: they come free in a moment."""
    verb = "is" if len(facts) == 1 else "are"
    words = f"{devices_words(facts)} {verb} being cleared: the driver has yet to show it empty"
    return Cause(
        WaitCause.DEVICES_BUSY,
        words if len(facts) == 1 else words.replace("show it", "show them"),
        count=len(facts),
        devices=tuple(fact.uuid for fact in facts),
        until_at=until_at,
    )


def count_words(count: int, one: str, many: str) -> str:
    """Return `1 job` or `3 jobs`."""
    return f"{count} {one if count == 1 else many}"


def _moment(at: int, utc_offsets: Sequence[UtcOffset]) -> datetime:
    place = bisect_right(utc_offsets, at, key=lambda offset: offset[0])
    ahead_s = utc_offsets[max(0, place - 1)][1] if utc_offsets else 0
    return datetime.fromtimestamp(min(at, _LAST_AT) / 1000, tz=UTC) + timedelta(seconds=ahead_s)
