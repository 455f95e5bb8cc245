"""One job at a time: `show`, `why`; and `wait` for any number."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from gpuboard.cli import follow, words
from gpuboard.cli.completion import complete_jobs
from gpuboard.cli.session import Session, json_option, pass_session, quiet_option
from gpuboard.errors import TimedOut
from gpuboard.model.text import change_words, plain, shown_command

_one_job = click.argument("job", metavar="JOB", shell_complete=complete_jobs)


@click.command("show", short_help="Show everything of a job.")
@_one_job
@json_option
@pass_session
def show(session: Session, job: str) -> None:
    """Show everything of a job that you may know: what was asked for, what became of it."""
    if session.as_json:
        session.pass_through(f"/jobs/{segment(job)}")
        return
    answer = session.client.get(f"/jobs/{segment(job)}")
    now = words.at_ms({})
    for title, text in _facts(session, answer, now):
        if text:
            print(f"{title:<12} {plain(text)}")
    if answer["events"]:
        print("events")
        for event in answer["events"]:
            by = f" ({event['user']})" if event["user"] else ""
            print(f"  {words.clock(event['at'], now)}  {plain(event['words'] + by)}")


def segment(selector: str) -> str:
    """Return a selector as one segment of a path: a name may hold a slash."""
    from gpuboard.api.client import quote

    return quote(selector)


def _facts(session: Session, answer: dict[str, Any], now: int) -> Iterator[tuple[str, str]]:
    job = answer["job"]
    yield "job", f"{words.job_id_words(job)} {job['name']}".strip()
    yield "user", job["user"]
    yield (
        "state",
        words.end_words(job) if follow.is_final(job) else f"{job['state']} {job['reason']}".strip(),
    )
    yield "when", words.when_words(job, now)
    yield "held by", {"user": "its owner", "admin": "an admin"}.get(job["held_by"], job["held_by"])
    linked = " linked by NVLink" if job["nvlink"] else ""
    yield "GPUs", f"{job['gpus']} {job['gpu_type']}".strip() + linked
    yield "GPU memory", _size(job["gpu_memory_bytes"])
    yield "on GPU", words.devices_words(job["devices"])
    for port in job.get("ports", ()):
        yield "port", words.port_words(port)
    if lead := words.tunnel_line(job.get("ports", []), _box(session)):
        yield "from afar", lead
    yield "limit", words.span(job["limit_s"])
    yield "group", job.get("account", "")
    yield "class", job.get("class", "")
    yield "ran", words.span(job["elapsed_s"])
    yield "attempt", str(job["attempt"]) if job["attempt"] > 1 else ""
    yield "submitted", words.clock(job["submitted_at"], now)
    yield "begin", words.clock(job["begin_at"], now)
    yield "started", words.clock(job["started_at"], now)
    yield "runtime", job["runtime"]
    yield "image", f"{job['image']} {answer['image_id'][:19]}".strip()
    yield "command", shown_command(job["command"])
    lines = answer["script"].count("\n") + 1 if answer.get("script") else 0
    yield "script", f"{lines} lines, as they were at the submission" if lines else ""
    yield "workdir", answer["workdir"]
    for mount in answer["mounts"]:
        yield "mount", f"{mount['source']}:{mount['target']}{':ro' if mount['read_only'] else ''}"
    for key, value in answer["env"].items():
        yield "env", f"{key}={value}"
    yield "cpus", "" if answer["cpus"] is None else f"{answer['cpus']:g}"
    yield "memory", _size(answer["memory_bytes"])
    yield "shm", _size(answer["shm_bytes"])
    yield "depends on", ", ".join(job["depends_on"])
    yield (
        "array",
        ""
        if job["array_id"] is None
        else f"{job['array_id']}, index {job['array_index']}; by itself it is job {job['id']}",
    )
    yield "booking", "" if job["reservation_id"] is None else str(job["reservation_id"])
    yield (
        "may be",
        " and ".join(
            word for word in ("preempted" * job["preemptible"], "requeued" * job["requeue"]) if word
        ),
    )
    yield "note", job["note"]


def _box(session: Session) -> str:
    """Return the name by which ssh finds the box: as `--host` was given, else the box's own."""
    if session.hosts:
        return session.hosts[0]
    import socket

    return socket.gethostname()


def _size(size_bytes: int | None) -> str:
    from gpuboard.model.sizes import format_size

    return "" if size_bytes is None else format_size(size_bytes)


@click.command("why", short_help="Say why a job waits and when it starts.")
@_one_job
@json_option
@pass_session
def why(session: Session, job: str) -> None:
    """Say why a job waits, when it starts, and the smallest change that would start it now."""
    if session.as_json:
        session.pass_through(f"/jobs/{segment(job)}/why")
        return
    answer = session.client.get(f"/jobs/{segment(job)}/why")
    now = words.at_ms({})
    if not answer["causes"]:
        print(plain(words.localised(answer["words"], now)))
        return
    print(f"job {answer['id']} waits:")
    for cause in answer["causes"]:
        print(f"  - {plain(words.localised(cause['words'], now))}")
    start = words.start_words(answer, now)
    if start:
        print(f"starts {start}")
    elif answer.get("no_start"):
        print(plain(answer["no_start"]))
    likely = words.clock(answer["p90_start_at"], now)
    if likely and likely not in start:
        print(f"nine times in ten by {likely}")
    promised = words.clock(answer.get("promised_start_at"), now)
    if promised:
        print(f"promised a start by {promised}; that only moves earlier")
    if answer.get("rank"):
        print(f"number {answer['rank']} of {answer['ranked']} by fair share")
    if answer["would_start_now"]:
        print(f"would start now {plain(change_words(answer['would_start_now']))}")


@click.command("wait", short_help="Wait until jobs have ended; give their exit code.")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=complete_jobs)
@click.option("-t", "--timeout", metavar="SPAN", help="Give up, with 4, after this long.")
@click.option("--started", is_flag=True, help="Wait only until they have started.")
@json_option
@quiet_option("Print nothing.")
@pass_session
def wait(session: Session, *, jobs: Sequence[str], timeout: str | None, started: bool) -> int:
    """Wait until all these jobs have ended. The exit code is the job's own, of several the highest."""
    from gpuboard.model.durations import parse_duration

    until = (
        None if timeout is None else time.monotonic() + parse_duration(timeout, field="--timeout")
    )
    is_there = follow.has_started if started else follow.is_final
    ended = []
    for job_id in follow.resolve(session, jobs):
        try:
            job = follow.wait_for(session, job_id, is_there, until=until)
        except TimedOut as error:
            raise TimedOut(
                f"job {job_id} has not {'started' if started else 'ended'} within {timeout}",
                hint=f"gpuboard why {job_id}",
            ) from error
        ended.append(job)
        if not session.as_json and not session.quiet:
            print(plain(f"job {job_id} {words.end_words(job)}"), flush=True)
    code = max((follow.exit_code(job) for job in ended if follow.is_final(job)), default=0)
    if session.as_json:
        session.answer({"schema": 1, "exit_code": code, "jobs": ended})
    return code
