"""A box's record as a trace: what people asked for, and what stood in the way."""

from __future__ import annotations

from typing import Any

import pytest

from gpuboard.errors import InvalidRequest
from gpuboard.simulate.bookings import Closure, PastBooking
from gpuboard.simulate.record import Past, past_of_record
from gpuboard.simulate.run import run_simulation
from gpuboard.simulate.simulation import Conditions
from gpuboard.simulate.trace import TraceJob


def at(minute: int) -> str:
    return f"2026-01-01T{minute // 60:02}:{minute % 60:02}:00Z"


def ran(number: int, submitted: int, started: int, ended: int, **fields: Any) -> dict[str, Any]:
    """A job of the record, its instants in minutes."""
    usual = {"user": "ann", "gpus": 1, "limit_s": 3600, "depends_on": [], "begin_at": None}
    return usual | {
        "id": number, "submitted_at": at(submitted), "started_at": at(started), "ended_at": at(ended),
    } | fields  # fmt: skip


def event(kind: str, minute: int, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "at": at(minute)} | fields


def came(past: Past) -> dict[int, int]:
    """When each job came, in minutes after the first."""
    return {job.job_id: job.submit_s // 60 for job in past.jobs}


def test_a_job_comes_when_it_could_first_have_started() -> None:
    """Its begin time, what it waited for and the time it was held are not the policy's to shorten."""
    past = past_of_record(
        [
            ran(1, 0, 0, 30),
            ran(2, 1, 40, 50, begin_at=at(20)),
            ran(3, 2, 40, 50, depends_on=["afterok:1"]),
            ran(4, 3, 40, 50),
        ],
        [event("job.held", 5, job_id=4), event("job.released", 15, job_id=4)],
    )
    assert came(past) == {1: 0, 2: 20, 3: 30, 4: 13}


def test_jobs_of_bookings_are_left_out_and_the_booking_is_played() -> None:
    """A booking stands from its making to its end, or to when it was given back."""
    past = past_of_record(
        [ran(1, 0, 0, 30), ran(2, 10, 10, 20, reservation_id=5)],
        [
            event("reservation.created", 2, reservation_id=5),
            event("reservation.cancelled", 20, reservation_id=5),
        ],
        [{"id": 5, "gpus": 2, "from_at": at(10), "until_at": at(60)}],
    )
    assert [job.job_id for job in past.jobs] == [1]
    assert past.bookings == (PastBooking(2, 120, 600, 1200),)


def test_a_device_out_of_service_is_closed_as_long_as_it_was() -> None:
    """Until it was put back, or to the end of the record."""
    past = past_of_record(
        [ran(1, 0, 0, 60)],
        [
            event("device.drained", 10, device="GPU-b"),
            event("device.resumed", 20, device="GPU-b"),
            event("device.drained", 50, device="GPU-a"),
        ],
        devices=["GPU-a", "GPU-b"],
    )
    assert past.closures == (Closure(1, 600, 1200), Closure(0, 3000, 3600))


def test_a_record_without_a_run_is_refused_in_words() -> None:
    with pytest.raises(InvalidRequest, match="no job that ran"):
        past_of_record([])


def test_a_closed_device_is_not_used_and_costs_its_time() -> None:
    """Of two devices one is closed: two jobs that would run side by side run one after the other."""
    jobs = [TraceJob(n, "ann", 10, 1, 100, 100) for n in (1, 2)]
    closed = Conditions(closures=(Closure(0, 0, 1000),))
    open_box, box = (
        run_simulation(jobs, gpus=2, policies=["fairshare"], conditions=one)["policies"][
            "fairshare"
        ]
        for one in (Conditions(), closed)
    )
    assert (open_box["makespan_s"], box["makespan_s"]) == (100, 200)


def test_a_past_booking_takes_its_devices() -> None:
    """A job that would run into it waits until it is over."""
    conditions = Conditions(bookings=(PastBooking(1, 0, 50, 150),))
    answer = run_simulation(
        [TraceJob(1, "ann", 1, 1, 100, 100)], gpus=1, policies=["fairshare"], conditions=conditions
    )
    table = answer["policies"]["fairshare"]
    assert (table["wait_max_s"], table["promise_violations"]) == (149, 0)
