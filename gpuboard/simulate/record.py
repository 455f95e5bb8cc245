"""A box's own record as something to simulate: what people asked for, and what stood in the way.

A job comes when it could first have started: after its begin time and the jobs it depended on, and
later by as long as it was held back, since no policy could have served it then. Jobs that ran inside
a booking are left out; the booking itself is played. Devices taken out of service are closed for as
long as they were. Of a job that ran several times the last run counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gpuboard.errors import InvalidRequest
from gpuboard.model.instants import from_iso
from gpuboard.simulate.bookings import Closure, PastBooking
from gpuboard.simulate.trace import TraceJob

_GONE = ("reservation.cancelled", "reservation.no_show", "reservation.ended")


class Past(msgspec.Struct, frozen=True):
    """What happened on a box, in seconds after its first job came."""

    jobs: list[TraceJob]
    bookings: tuple[PastBooking, ...] = ()
    closures: tuple[Closure, ...] = ()


def past_of_record(
    jobs: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]] = (),
    reservations: Sequence[Mapping[str, Any]] = (),
    devices: Sequence[str] = (),
) -> Past:
    """Return the past of a box from what its daemon answers: the record, events and bookings.

    `devices`: the uuids of the box's devices, in their order. Raises InvalidRequest where no job ran on a GPU.
    """
    ran = [job for job in jobs if job["started_at"] and job["ended_at"] and job["gpus"]]
    ran = [job for job in ran if not job.get("reservation_id")]
    if not ran:
        raise InvalidRequest("the record has no job that ran on a GPU", hint="give a TRACE instead")
    ended = {job["id"]: from_iso(job["ended_at"]) for job in jobs if job["ended_at"]}
    holds = _holds(events)
    came = {job["id"]: _came_at(job, ended, holds.get(job["id"], [])) for job in ran}
    first_at = min(came.values())
    last_at = max(ended.values())
    ran.sort(key=lambda job: (came[job["id"]], job["id"]))
    return Past(
        [_trace_job(job, (came[job["id"]] - first_at) // 1000) for job in ran],
        tuple(_bookings(reservations, events, first_at)),
        tuple(_closures(events, list(devices), first_at, last_at)),
    )


def _trace_job(job: Mapping[str, Any], submit_s: int) -> TraceJob:
    ran_s = max(0, from_iso(job["ended_at"]) - from_iso(job["started_at"])) // 1000
    limit_s = max(1, ran_s, job["limit_s"])
    return TraceJob(
        job["id"],
        job["user"],
        submit_s,
        job["gpus"],
        ran_s,
        limit_s,
        account=job.get("account", ""),
        class_name=job.get("class", ""),
        preemptible=job.get("preemptible", False),
    )


def _came_at(
    job: Mapping[str, Any], ended: Mapping[int, int], holds: Iterable[tuple[int, int | None]]
) -> int:
    """Return since when (ms) the job could have started."""
    started_at = from_iso(job["started_at"])
    could_at = [from_iso(job["submitted_at"])]
    if job.get("begin_at"):
        could_at.append(from_iso(job["begin_at"]))
    for needed in job.get("depends_on", ()):
        number = re.search(r"\d+", needed)
        if number:
            could_at.append(ended.get(int(number.group()), 0))
    ready_at = max(could_at)
    held_ms = sum(
        max(0, min(until_at or started_at, started_at) - max(from_at, ready_at))
        for from_at, until_at in holds
    )
    return min(started_at, ready_at + held_ms)


def _holds(events: Iterable[Mapping[str, Any]]) -> dict[int, list[tuple[int, int | None]]]:
    """Return when jobs were held back (ms), from and until."""
    found: dict[int, list[tuple[int, int | None]]] = {}
    for event in events:
        spans = found.setdefault(event["job_id"], []) if event.get("job_id") else []
        is_open = bool(spans) and spans[-1][1] is None
        if event["kind"] == "job.held" and not is_open:
            spans.append((from_iso(event["at"]), None))
        elif event["kind"] == "job.released" and is_open:
            spans[-1] = (spans[-1][0], from_iso(event["at"]))
    return found


def _bookings(
    reservations: Iterable[Mapping[str, Any]], events: Iterable[Mapping[str, Any]], first_at: int
) -> Iterable[PastBooking]:
    """Yield the bookings: when they were made, and how long they stood."""
    made: dict[int, int] = {}
    gone: dict[int, int] = {}
    for event in events:
        number = event.get("reservation_id")
        if number and event["kind"] == "reservation.created":
            made[number] = from_iso(event["at"])
        elif number and event["kind"] in _GONE:
            gone[number] = from_iso(event["at"])
    for booking in reservations:
        from_at, until_at = from_iso(booking["from_at"]), from_iso(booking["until_at"])
        until_at = min(until_at, gone.get(booking["id"], until_at))
        made_at = min(made.get(booking["id"], from_at), from_at)
        if until_at > max(from_at, first_at):
            yield PastBooking(
                booking["gpus"],
                max(0, made_at - first_at) // 1000,
                max(0, from_at - first_at) // 1000,
                (until_at - first_at) // 1000,
            )


def _closures(
    events: Iterable[Mapping[str, Any]], devices: Sequence[str], first_at: int, last_at: int
) -> Iterable[Closure]:
    """Yield for how long devices were out of service."""
    since: dict[str, int] = {}
    spans: list[tuple[str, int, int]] = []
    for event in events:
        device, at = event.get("device"), from_iso(event["at"])
        if device and event["kind"] == "device.drained":
            since.setdefault(device, at)
        elif device in since and event["kind"] == "device.resumed":
            spans.append((device, since.pop(device), at))
    spans += [(device, at, last_at) for device, at in since.items()]
    for device, from_at, until_at in spans:
        if device in devices and until_at > max(from_at, first_at):
            yield Closure(
                devices.index(device),
                max(0, from_at - first_at) // 1000,
                (until_at - first_at) // 1000,
            )
