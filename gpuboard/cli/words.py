"""Instants, spans, sizes and states in a person's words: `about 14:10, by 16:00`, `2h30m`, `GPU 2,3`.

"Now" is the `at` of the daemon's answer, so that a client with a wrong clock tells the same story.
"""

from __future__ import annotations

import re
from typing import Any

from gpuboard.model.durations import format_duration
from gpuboard.model.instants import format_local, from_iso

STYLES = {
    "running": "good",
    "starting": "good",
    "stopping": "busy",
    "queued": "busy",
    "succeeded": "dim",
    "failed": "bad",
    "timed_out": "bad",
    "lost": "bad",
    "free": "good",
    "leased": "busy",
    "booked": "busy",
    "drained": "dim",
    "faulty": "bad",
    "foreign": "bad",
}
"""Colour's meaning by state of a job or device."""

STATES = (
    "queued", "starting", "running", "stopping", "succeeded", "failed", "cancelled", "timed_out",
    "preempted", "lost",
)  # fmt: skip
"""Of jobs."""
FINAL = frozenset({"succeeded", "failed", "cancelled", "timed_out", "preempted", "lost"})


_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?Z")


def localised(text: str, now_ms: int) -> str:
    """Return the daemon's words with their UTC instants as this person would say them."""
    return _INSTANT.sub(lambda found: clock(found[0], now_ms), text)


def at_ms(answer: dict[str, Any]) -> int:
    """Return the daemon's now, in ms; this machine's where the answer does not say."""
    if answer.get("at"):
        return from_iso(answer["at"])
    import time

    return int(time.time() * 1000)


def clock(instant: str | None, now_ms: int) -> str:
    """Return an ISO instant as a person near it would say it; empty for none."""
    return format_local(from_iso(instant), now_ms) if instant else ""


def span(seconds: float | None) -> str:
    """Return a span, without seconds once it is longer than an hour."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    return format_duration(whole - whole % 60 if whole >= 3600 else whole)


def start_words(job: dict[str, Any], now_ms: int) -> str:
    """Return `about 14:10, by 16:00` of a waiting job, as far as it is known."""
    about, by = clock(job["expected_start_at"], now_ms), clock(job["latest_start_at"], now_ms)
    if about and by and about != by:
        return f"about {about}, by {by}"
    if about:
        return f"about {about}"
    return f"by {by}" if by else ""


def when_words(job: dict[str, Any], now_ms: int) -> str:
    """Return what time has to do with a job: its start, when its limit stops it, when it ended."""
    if job["state"] == "queued":
        return start_words(job, now_ms)
    if job["state"] in FINAL:
        return f"ended {clock(job['ended_at'], now_ms)}" if job["ended_at"] else ""
    return f"limit {clock(job['ends_at'], now_ms)}" if job["ends_at"] else ""


def devices_words(devices: list[dict[str, str]]) -> str:
    """Return `2,3`."""
    return ",".join(device["label"] for device in devices)


def port_words(port: dict[str, Any]) -> str:
    """Return `8888 at 127.0.0.1:20017`, or that a port's place is not known yet."""
    if port["host_port"] is None:
        return f"{port['port']} (on 127.0.0.1 once it runs)"
    return f"{port['port']} at 127.0.0.1:{port['host_port']}"


def tunnel_line(ports: list[dict[str, Any]], box: str) -> str:
    """Return the ssh command that leads from another machine to a job's ports; empty for none."""
    from gpuboard.model.ports import tunnel

    open_ports = [(each["port"], each["host_port"]) for each in ports if each["host_port"]]
    return tunnel(open_ports, box)


def end_words(job: dict[str, Any]) -> str:
    """Return how a job ended: `failed: exit code 3`; of one that never ran, why it did not."""
    state: str = job["state"].replace("_", " ")
    has_run = job["started_at"] is not None
    why = (job["exit_words"] if has_run else "") or job["reason"] or job["exit_words"]
    return f"{state}: {why}" if why and job["state"] != "succeeded" else state


def gib(amount: float | None) -> str:
    """Return bytes as GiB, `?` where the driver does not say."""
    return "?" if amount is None else f"{amount / 2**30:.0f}"


def job_id_words(job: dict[str, Any]) -> str:
    """Return how a person names the job: `12`, or `24_3` for one of an array."""
    if job.get("array_id") is None:
        return str(job["id"])
    return f"{job['array_id']}_{job['array_index']}"


def id_words(ids: list[int]) -> str:
    """Return `12`, `12-21` or `12,14`."""
    if len(ids) > 2 and ids == list(range(ids[0], ids[-1] + 1)):
        return f"{ids[0]}-{ids[-1]}"
    return ",".join(map(str, ids))


def device_job_words(device: dict[str, Any]) -> str:
    """Return for what a device is held: a job, a booking or nothing."""
    if device["job_id"] is None:
        return f"booking {device['reservation_id']}" if device["reservation_id"] else ""
    return f"{device['job_id']} {device['job_name']}".rstrip()


def next_booking_words(booking: dict[str, Any], now: int) -> str:
    """Return by whom and from when a device is booked."""
    return f"booked by {booking['user']} from {clock(booking['from_at'], now)}"
