"""Traces: jobs of the past, from CSV or from the Parallel Workloads Archive's SWF.

CSV has a header with at least `job_id,user,submit,gpus,runtime,limit` (seconds). SWF is described
at the archive ("The Standard Workload Format", Feitelson et al.): 18 columns, `;` comments. Both
may be gzipped. Submissions count from the first one, whatever the file counts from.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import msgspec
from msgspec.structs import replace

from gpuboard.errors import InvalidRequest

COLUMNS = ("job_id", "user", "submit", "gpus", "runtime", "limit")
SWF_COLUMNS_READ = 12
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
            is_swf = ".swf" in path.suffixes
            jobs = list(_read_swf(lines, path) if is_swf else _read_csv(lines, path))
    except _UNREADABLE as error:
        raise InvalidRequest(f"cannot read the trace {path}: {error}", field="TRACE") from error
    if not jobs:
        raise InvalidRequest(f"the trace {path} has no job", field="TRACE")
    jobs.sort(key=lambda job: (job.submit_s, job.job_id))
    first_s = jobs[0].submit_s
    return [replace(job, submit_s=job.submit_s - first_s) for job in jobs] if first_s else jobs


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _read_csv(lines: Iterable[str], path: Path) -> Iterator[TraceJob]:
    rows = csv.DictReader(lines)
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise InvalidRequest(
            f"the trace {path} lacks the column {missing[0]}",
            hint=f"its first line must name {','.join(COLUMNS)}",
            field="TRACE",
        )
    for row in rows:
        try:
            yield _checked(
                TraceJob(
                    job_id=int(row["job_id"]),
                    user=row["user"].strip(),
                    submit_s=_seconds(row["submit"]),
                    gpus=int(row["gpus"]),
                    runtime_s=_seconds(row["runtime"]),
                    limit_s=_seconds(row["limit"]),
                )
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise _bad_line(path, rows.line_num, error) from error


def _read_swf(lines: Iterable[str], path: Path) -> Iterator[TraceJob]:
    """Yield the jobs that ran; a job without a limit gets its run time, as the archive advises."""
    for number, line in enumerate(lines, 1):
        if line.startswith(";") or not line.strip():
            continue
        try:
            fields = _swf_fields(line)
            job_id, submit_s, runtime_s = fields[0], fields[1], fields[3]
            gpus = fields[7] if fields[7] > 0 else fields[4]
            limit_s, user = fields[8], fields[11]
            if runtime_s >= 0 and gpus > 0:
                yield _checked(TraceJob(job_id, f"u{user}", submit_s, gpus, runtime_s, limit_s))
        except ValueError as error:
            raise _bad_line(path, number, error) from error


def _swf_fields(line: str) -> list[int]:
    """Return the columns of a line. Raises ValueError where some are missing."""
    fields = [_seconds(field) for field in line.split()]
    if len(fields) < SWF_COLUMNS_READ:
        raise ValueError(f"{len(fields)} columns, SWF has 18")
    return fields


def _seconds(text: str) -> int:
    """Return a number of a trace, rounded. Raises ValueError for none, and for one beyond reason."""
    value = float(text)
    if not math.isfinite(value) or abs(value) > MOST_S:
        raise ValueError(f"{text!r} is not a number of seconds that a box could see")
    return round(value)


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
    return InvalidRequest(f"line {number} of the trace {path} is no job: {error}", field="TRACE")
