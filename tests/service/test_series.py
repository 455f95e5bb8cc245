"""Recurring bookings: all or none, by the wall clock, cancelled as one or one by one."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gpuboard.errors import InvalidRequest, Refused
from gpuboard.model.instants import from_iso, iso
from gpuboard.model.recurrence import occurrences, read_rule
from gpuboard.model.requests import ReserveRequest
from gpuboard.service.services import Services
from tests.support.engine import Box
from tests.support.services import AS_ANN, AS_BEN

WEEKLY = ReserveRequest(gpus=2, duration="1h", at="now+1d", repeat="weekly", count=4)


def test_a_series_is_booked_whole(services: Services) -> None:
    """Four weeks, one series, one rule."""
    made = services.bookings.reserve(AS_ANN, WEEKLY)
    assert len(made.series) == 4
    assert {one.series_id for one in made.series} == {made.reservation.id}
    assert {one.rule for one in made.series} == {"FREQ=WEEKLY"}
    begins = [from_iso(one.from_at) for one in services.bookings.list(AS_ANN).reservations]
    assert {after - before for before, after in pairwise(begins)} == {7 * 86_400_000}


def test_a_series_of_which_one_does_not_fit_is_not_booked_at_all(services: Services) -> None:
    """All or nothing."""
    services.bookings.reserve(AS_BEN, ReserveRequest(gpus=4, duration="2h", at="now+15d"))
    with pytest.raises(Refused, match="ben"):
        services.bookings.reserve(AS_ANN, WEEKLY)
    assert services.bookings.list(AS_ANN, mine=True).reservations == []


def test_a_dry_run_of_a_series_books_nothing(services: Services) -> None:
    """The same windows, and nothing kept."""
    request = ReserveRequest(gpus=1, duration="1h", repeat="daily", count=3, dry_run=True)
    assert len(services.bookings.reserve(AS_ANN, request).series) == 3
    assert services.bookings.list(AS_ANN).reservations == []


def test_one_of_a_series_is_cancelled_or_it_and_all_later_ones(
    box: Box, services: Services
) -> None:
    """And the daemon knows the series again after a restart."""
    ids = [one.id for one in services.bookings.reserve(AS_ANN, WEEKLY).series]
    services.bookings.cancel(AS_ANN, ids[0])
    services.bookings.cancel(AS_ANN, ids[2], series=True)
    assert [one.id for one in services.bookings.list(AS_ANN).reservations] == [ids[1]]
    box.restart()
    assert box.engine.reservation(ids[1]).series_id == ids[0]


def test_the_wall_clock_time_stays_over_a_change_of_the_clocks() -> None:
    """09:00 in Berlin is 07:00 UTC in summer and 08:00 in winter."""
    begin = from_iso("2026-10-21T07:00:00Z")
    found = occurrences("FREQ=WEEKLY", begin, "Europe/Berlin", count=2, last_at=None)
    assert [iso(at) for at in found] == ["2026-10-21T07:00:00Z", "2026-10-28T08:00:00Z"]


@pytest.mark.parametrize(
    "rule",
    [
        "", "x", "FREQ=SECONDLY", "FREQ=DAILY;INTERVAL=7;BYDAY=MO", "FREQ=YEARLY;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYMONTHDAY=31;BYDAY=MO", "FREQ=WEEKLY;BYDAY=1MO", "FREQ=WEEKLY;COUNT=0", "BYDAY=MO",
    ],
)  # fmt: skip
def test_a_rule_that_could_search_forever_is_refused(rule: str) -> None:
    """Refused with the forms that are taken."""
    with pytest.raises(InvalidRequest) as caught:
        read_rule(rule)
    assert caught.value.field == "repeat"


@pytest.mark.parametrize(
    "fields",
    [
        {"repeat": "weekly"},
        {"repeat": "weekly", "count": 0},
        {"repeat": "daily", "count": 61},
        {"repeat": "daily", "count": 2, "duration": "25h"},
        {"repeat": "weekly", "count": 60},
        {"count": 3},
    ],
)
def test_a_series_without_end_or_that_overlaps_is_refused(
    services: Services, fields: dict[str, object]
) -> None:
    """The message names the field."""
    with pytest.raises(InvalidRequest) as caught:
        services.bookings.reserve(AS_ANN, ReserveRequest(**{"duration": "1h", **fields}))
    assert caught.value.field
