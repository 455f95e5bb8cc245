"""Traces: jobs of the past, from CSV or from the Parallel Workloads Archive's SWF.

CSV has a header with at least `job_id,user,submit,gpus,runtime,limit` (seconds). SWF is described
at the archive ("The Standard Workload Format", Feitelson et al.): 18 columns, `;` comments. Both
may be gzipped. Submissions count from the first one, whatever the file counts from. A job without
a limit gets its run time for one, as the archive advises.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec
from msgspec.structs import replace

from gpuboard.errors import InvalidRequest

COLUMNS = ("job_id", "user", "submit", "gpus", "runtime", "limit")
_SWF_COLUMNS = {
    "job_id": 0,
    "submit": 1,
    "runtime": 3,
    "allocated": 4,
    "requested": 7,
    "limit": 8,
    "status": 10,
    "user": 11,
}
"""Those that are read."""
_SWF_PARTIAL = (2, 3, 4)
"""The status of a line that tells of a part of a job, of which another line tells the whole."""
_NO_LIMIT = -1
MOST_S = 10**11
"""No span or instant (3,000 years) is longer: one that is was written in another unit."""
MOST_GPUS = 10**6
_UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)


class TraceJob(msgspec.Struct, frozen=True, gc=False):
    """One job of a trace; spans and instants in seconds."""

    job_id: int
    user: str
    submit_s: int
    """After the trace's begin."""
    gpus: int
    runtime_s: int
    limit_s: int
    account: str = ""
    """The group that it is charged to."""
    class_name: str = ""
    preemptible: bool = False
    """Whether it was asked for as such."""


def read_trace(path: Path) -> list[TraceJob]:
    """Return the jobs of a trace by submission. The name's ending tells the format.

    Raises InvalidRequest, with the line, for what is not a trace.
    """
    try:
        with _open(path) as lines:
            is_swf = _is_swf(path)
            jobs = list(_read_swf(lines, path) if is_swf else _read_csv(lines, path))
    except _UNREADABLE as error:
        words = (isinstance(error, OSError) and error.strerror) or error
        raise InvalidRequest(f"cannot read the trace {path}: {words}", field="TRACE") from error
    if not jobs:
        raise InvalidRequest(f"the trace {path} has no job", field="TRACE")
    jobs.sort(key=lambda job: (job.submit_s, job.job_id))
    first_s = jobs[0].submit_s
    return [replace(job, submit_s=job.submit_s - first_s) for job in jobs] if first_s else jobs


def _is_swf(path: Path) -> bool:
    return ".swf" in path.name.lower()


def _open(path: Path) -> IO[str]:
    """Open a trace as text. SWF has letters in comments only, in whatever encoding a log's keeper had."""
    errors = "replace" if _is_swf(path) else "strict"
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors=errors, newline="")
    return path.open(encoding="utf-8-sig", errors=errors, newline="")


def _read_csv(lines: Iterable[str], path: Path) -> Iterator[TraceJob]:
    rows = csv.DictReader(lines)
    rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
    missing = [column for column in COLUMNS if column not in rows.fieldnames]
    if missing:
        raise InvalidRequest(
            f"the trace {path} lacks the column {missing[0]}",
            hint=f"its first line must name {','.join(COLUMNS)}; the name of an SWF file ends in .swf",
            field="TRACE",
        )
    for row in rows:
        try:
            yield _checked(
                TraceJob(
                    job_id=_count(row, "job_id"),
                    user=(row["user"] or "").strip(),
                    submit_s=_seconds(row, "submit"),
                    gpus=_count(row, "gpus"),
                    runtime_s=_seconds(row, "runtime"),
                    limit_s=_seconds(row, "limit") if (row["limit"] or "").strip() else _NO_LIMIT,
                )
            )
        except ValueError as error:
            raise _bad_line(path, rows.line_num, error) from error


def _read_swf(lines: Iterable[str], path: Path) -> Iterator[TraceJob]:
    """Yield the jobs that ran."""
    for number, line in enumerate(lines, 1):
        if line.startswith(";") or not line.strip():
            continue
        try:
            job = _swf_job(line.split())
        except ValueError as error:
            raise _bad_line(path, number, error) from error
        if job is not None:
            yield job


def _swf_job(fields: Sequence[str]) -> TraceJob | None:
    """Return the job of a line; None where it tells of none that ran. Raises ValueError."""
    if len(fields) <= max(_SWF_COLUMNS.values()):
        raise ValueError(f"{len(fields)} columns, SWF has 18")
    row = {name: fields[place] for name, place in _SWF_COLUMNS.items()}
    allocated, requested = _count(row, "allocated"), _count(row, "requested")
    gpus, runtime_s = requested if requested > 0 else allocated, _seconds(row, "runtime")
    has_run = runtime_s >= 0 and gpus > 0 and allocated != 0
    if not has_run or _count(row, "status") in _SWF_PARTIAL:
        return None
    return _checked(
        TraceJob(
            job_id=_count(row, "job_id"),
            user=f"u{_count(row, 'user')}",
            submit_s=_seconds(row, "submit"),
            gpus=gpus,
            runtime_s=runtime_s,
            limit_s=_seconds(row, "limit"),
        )
    )


def _count(row: Mapping[str, str | None], name: str) -> int:
    """Return a whole number of a trace. Raises ValueError for none."""
    value = _number(row, name)
    if not value.is_integer():
        raise ValueError(f"{name}: {row[name]!r} is not a whole number")
    return int(value)


def _seconds(row: Mapping[str, str | None], name: str) -> int:
    """Return a number of seconds, rounded. Raises ValueError for none, and for one beyond reason."""
    value = _number(row, name)
    if abs(value) > MOST_S:
        raise ValueError(f"{name}: {row[name]!r} is not a number of seconds that a box could see")
    return round(value)


def _number(row: Mapping[str, str | None], name: str) -> float:
    text = row[name] or ""
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"{name}: {text!r} is not a number") from error
    if not math.isfinite(value):
        raise ValueError(f"{name}: {text!r} is not a number of anything")
    return value


def _checked(job: TraceJob) -> TraceJob:
    """Return the job, its limit no shorter than it ran. Raises ValueError for one that cannot be."""
    if not job.user:
        raise ValueError("user: nobody")
    if not 0 < job.gpus <= MOST_GPUS:
        raise ValueError(f"gpus: {job.gpus}; leave out jobs that had none")
    if job.runtime_s < 0:
        raise ValueError(f"runtime: {job.runtime_s} s")
    if job.submit_s < 0:
        raise ValueError(f"submit: {job.submit_s} s")
    return replace(job, limit_s=max(1, job.runtime_s, job.limit_s))


def _bad_line(path: Path, number: int, error: Exception) -> InvalidRequest:
    return InvalidRequest(
        f"line {number} of the trace {path} is no job: {error}",
        hint="mend that line, or leave it out",
        field="TRACE",
    )
