"""A report on the past: what adds up must add up, by person, group, device and hour."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuboard.errors import InvalidRequest
from gpuboard.model.device import ProbeSnapshot
from gpuboard.model.past import NOBODY, DeviceHour, HeldSpan, Past, WaitSpan
from gpuboard.model.requests import SubmitRequest
from gpuboard.runtimes.simulated import Script
from gpuboard.service.devices import DeviceNames
from gpuboard.service.services import Services
from gpuboard.service.usagereport import percentile, report_on
from tests.support.engine import Box
from tests.support.services import AS_ANN, AS_BEN

HOUR = 3_600_000
NONE = DeviceNames(ProbeSnapshot(at=0))


def made(past: Past):
    return report_on(past, NONE, over="day", own_uid=1)


def test_group_gets_the_part_of_its_peoples_use_that_it_was_charged_for() -> None:
    """Ann held three hours for the lab and one for herself: the lab used three quarters of hers."""
    past = Past(
        0, 9 * HOUR,
        held=[
            HeldSpan("A", 1, 0, 3 * HOUR, "lab"),
            HeldSpan("A", 1, 3 * HOUR, 4 * HOUR, ""),
            HeldSpan("B", 2, 0, HOUR, "lab"),
        ],
        hours=[DeviceHour(0, "A", 1, 14400, 8000, 400), DeviceHour(0, "B", 2, 3600, 1000, 0)],
    )  # fmt: skip
    lab, alone = made(past).groups
    assert (lab.name, lab.held_s, lab.used_s, lab.idle_s) == ("lab", 4 * 3600, 7000, 300)
    assert (alone.name, alone.held_s, alone.used_s) == ("", 3600, 2000)


def test_box_without_groups_reports_none() -> None:
    """A table of one row without a name says nothing."""
    assert made(Past(0, HOUR, held=[HeldSpan("A", 1, 0, HOUR)])).groups == []


def test_waits_are_told_by_person_with_median_and_nine_of_ten() -> None:
    """Nearest rank: a wait that somebody really had."""
    waits = [WaitSpan(1, s) for s in (0, 10, 20, 30, 40, 50, 60, 70, 80, 500)]
    report = made(Past(0, HOUR, waits=[*waits, WaitSpan(2, 7)], names={1: "ann"}))
    ann, other = report.people
    assert (ann.name, ann.starts, ann.wait_median_s, ann.wait_p90_s) == ("ann", 10, 45, 80)
    assert (other.name, other.wait_median_s, other.wait_p90_s) == ("uid 2", 7, 7)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40), st.sampled_from([0.01, 0.5, 0.9, 1.0]))
def test_percentile_is_one_of_the_values_and_covers_its_part(
    values: list[float], part: float
) -> None:
    """By the definition of the nearest rank."""
    found = percentile(values, part)
    assert found in values
    assert sum(value <= found for value in values) >= part * len(values) - 1e-9


@st.composite
def pasts(draw: st.DrawFn) -> Past:
    """Spans and hours inside a window of some hours."""
    end = draw(st.integers(1, 30)) * HOUR
    instants = st.integers(0, end)
    held = [
        HeldSpan(device, uid, *sorted((draw(instants), draw(instants))), account)
        for device, uid, account in draw(
            st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, 4), st.sampled_from(["", "x"])), max_size=12)
        )
    ]  # fmt: skip
    hours = [
        DeviceHour(hour * HOUR, device, uid, 3600, used)
        for hour, device, uid, used in draw(
            st.lists(st.tuples(st.integers(0, 29), st.sampled_from("ABC"), st.sampled_from([NOBODY, 1, 2]), st.integers(0, 3600)), max_size=12)
        )
    ]  # fmt: skip
    return Past(0, end, held=[span for span in held if span.from_at < span.until_at], hours=hours)


@given(pasts())
def test_every_table_adds_up_to_the_same(past: Past) -> None:
    """What is held is charged once: by person, by group, by device and by the hour."""
    report = made(past)
    held = sum(span.until_at - span.from_at for span in past.held) / 1000
    tables = [report.people, report.devices, report.hours]
    tables += [report.groups] if report.groups else []
    for rows in tables:
        assert sum(row.held_s for row in rows) == pytest.approx(held, abs=1)
    assert report.total.held_s == pytest.approx(held, abs=1)
    used = sum(hour.used_s for hour in past.hours)
    assert sum(row.used_s for row in report.hours) == pytest.approx(used)
    assert sum(row.used_s for row in report.devices) == pytest.approx(used)
    assert all(row.held_s <= 3 * 4 * 3600 * 12 for row in report.hours)


def test_report_of_a_box_is_of_the_window_and_marks_mine(box: Box, services: Services) -> None:
    """Through engine and database."""
    box.scripts["long"] = Script(run_s=50000)
    services.jobs.submit(AS_ANN, SubmitRequest(command=["x"], gpus=3, name="long"))
    services.jobs.submit(AS_BEN, SubmitRequest(command=["x"], gpus=1, name="long"))
    box.advance(7200, by=60)
    report = services.usage.report(AS_BEN, "1h")()
    ann, ben = report.people
    assert (ann.name, ann.mine, ben.mine) == ("ann", False, True)
    assert (ann.held_s, ben.held_s) == (pytest.approx(3 * 3600), pytest.approx(3600))
    assert [row.name for row in report.devices] == ["0", "1", "2", "3"]
    assert services.usage.report(AS_BEN, "day")().total.starts == 2


@pytest.mark.parametrize("over", ["fortnight", "1s", "10000d", "-1h", ""])
def test_window_must_be_one(services: Services, over: str) -> None:
    """In words that name the field."""
    with pytest.raises(InvalidRequest, match="over"):
        services.usage.report(AS_ANN, over)
