"""Usage in words and folded by the clock: one's fair share in a sentence, waits, the week by hours. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable

from gpuboard.model.views.shares import UsageRow, UsageView
from gpuboard.model.views.usage import UsageReport, UsedHour, UsedRow
from gpuboard.tui.instants import DAY_S, epoch_s, span

OVER = {"day": "the last day", "week": "the last week", "month": "the last 30 days"}
_ORDINALS = {1: "st", 2: "nd", 3: "rd"}


def fair_share_words(view: UsageView) -> str:
    """Return one's own fair share in a sentence: what was used, when it is forgotten, one's place."""
    mine = next((row for row in view.people if row.mine), None)
    if mine is None or not mine.device_seconds:
        return "you used nothing lately: your jobs come before those of people who did"
    half = ""
    if view.half_life_s:
        half = f", half of it is forgotten by {_day_words(epoch_s(view.at), view.half_life_s)}"
    hours = hours_words(mine.device_seconds_7d)
    return f"you used {hours} GPU-hours this week{half}; {_place_words(view, mine)}"


def _place_words(view: UsageView, mine: UsageRow) -> str:
    """Return one's place among those who wait: a higher factor is served first."""
    ahead = sum(row.factor > mine.factor and row.queued_jobs > 0 for row in view.people)
    be = "you are" if mine.queued_jobs else "with a job you would be"
    return f"{be} {ordinal(ahead + 1)} in line"


def ordinal(number: int) -> str:
    """Return `1st`, `2nd`, `11th`."""
    ending = "th" if number % 100 in (11, 12, 13) else _ORDINALS.get(number % 10, "th")
    return f"{number}{ending}"


def _day_words(now_s: int, half_life_s: int) -> str:
    local = time.localtime(now_s + half_life_s)
    if half_life_s < DAY_S:
        return time.strftime("%H:%M", local)
    return time.strftime("%A" if half_life_s < 7 * DAY_S else "%A next week", local)


def hours_words(seconds: float) -> str:
    """Return device-seconds as GPU-hours: `41`, `7.5`, `0.2`."""
    hours = seconds / 3600
    return f"{hours:.1f}" if 0 < hours < 9.95 else f"{hours:.0f}"


def used_share(row: UsedRow | UsedHour) -> float | None:
    """Return the utilisation of what was seen, 0..1; None where nothing was."""
    return row.used_s / row.seen_s if row.seen_s > 0 else None


def percent_words(share: float | None) -> str:
    """Return `71%`, or `?` where it is not known."""
    return "?" if share is None else f"{share:.0%}"


def report_words(report: UsageReport) -> str:
    """Return the window in a sentence: held, used, idle."""
    total = report.total
    words = f"{hours_words(total.held_s)} GPU-hours held"
    share = used_share(total)
    if share is not None:
        words += f", {percent_words(share)} used"
    if total.idle_s >= 60:
        words += f", {hours_words(total.idle_s)} held idle"
    return words


def wait_words(report: UsageReport) -> str:
    """Return how long jobs waited in the window."""
    total = report.total
    if total.wait_median_s is None or total.wait_p90_s is None:
        return "no job started"
    return (
        f"{total.starts} jobs started: half waited at most {span(total.wait_median_s)},"
        f" 9 of 10 at most {span(total.wait_p90_s)}"
    )


def folded(hours: Iterable[UsedHour]) -> dict[tuple[int, int], float]:
    """Return the utilisation, 0..1, by local weekday (0 = Monday) and hour; where known."""
    sums: dict[tuple[int, int], list[float]] = {}
    for hour in hours:
        if hour.seen_s > 0:
            local = time.localtime(epoch_s(hour.at))
            one = sums.setdefault((local.tm_wday, local.tm_hour), [0.0, 0.0])
            one[0] += hour.used_s
            one[1] += hour.seen_s
    return {place: used / seen for place, (used, seen) in sums.items()}
